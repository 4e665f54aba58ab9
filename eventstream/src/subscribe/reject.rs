use std::error::Error as StdError;
use std::fmt;
use std::io;

use super::handler::BoxError;
use crate::error::{Error, ErrorKind};
use crate::guard;

/// A handler's error for an event that no retry can fix: the event goes to the dead-letter topic at
/// the first attempt, with this reason and its causes.
///
/// It may be anywhere in the [`source`](StdError::source) chain of the handler's error: errors that
/// wrap it only add context. An error of this crate of kind [`Decode`](ErrorKind::Decode) works the
/// same way: a payload that does not fit its type now will not fit later.
///
/// ```
/// use eventstream::{Event, Reject};
///
/// async fn handler(event: Event) -> Result<(), Reject> {
///     let age: u32 = event.user_id().parse().map_err(Reject::new)?;
///     if age == 0 {
///         return Err(Reject::new("no such user"));
///     }
///     Ok(())
/// }
/// # drop(handler);
/// ```
#[derive(Debug)]
pub struct Reject(Reason);

/// Marks a rejection if the type of the error around it is hidden: `anyhow` hides the outermost
/// error in a type of its own.
#[derive(Debug)]
struct Reason(BoxError);

impl Reject {
    /// A rejection with this reason: a text, or an error, whose sources are kept.
    pub fn new(reason: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self(Reason(reason.into()))
    }

    #[cfg(feature = "testing")]
    pub(crate) fn into_reason(self) -> BoxError {
        self.0.0
    }
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("rejected")
    }
}

impl StdError for Reject {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.0)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl StdError for Reason {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}

/// The reason of a rejection, or the error itself if it is not one, or has more context.
pub(crate) fn reason<'a>(error: &'a (dyn StdError + 'static)) -> &'a (dyn StdError + 'static) {
    error.source().filter(|s| s.is::<Reason>()).unwrap_or(error)
}

/// Whether retries cannot fix this error of a handler.
pub(crate) fn is_final(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    for _ in 0..guard::CAUSES {
        let Some(error) = next else { break };
        let misfit = error.downcast_ref::<Error>();
        if error.is::<Reject>()
            || error.is::<Reason>()
            || misfit.is_some_and(|own| own.kind() == ErrorKind::Decode)
        {
            return true;
        }
        // It leaves the error that it was created from out of its sources.
        let inner = error.downcast_ref::<io::Error>();
        next = match inner.and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Outer(BoxError);

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("outer")
        }
    }

    impl StdError for Outer {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            Some(&*self.0)
        }
    }

    fn wrap(depth: usize, error: BoxError) -> BoxError {
        (0..depth).fold(error, |error, _| Box::new(Outer(error)))
    }

    #[test]
    fn a_rejection_is_found_at_any_depth() {
        for depth in [0, 1, 7] {
            assert!(is_final(&*wrap(depth, Reject::new("no such user").into())));
            let in_io = io::Error::other(wrap(depth, Reject::new("no such user").into()));
            assert!(is_final(&in_io));
            let misfit = Error::new(ErrorKind::Decode, "cannot decode the payload");
            assert!(is_final(&*wrap(depth, misfit.into())));
            assert!(!is_final(&*wrap(depth, "the database is away".into())));
        }
    }

    #[test]
    fn a_rejection_is_found_where_its_type_is_hidden() {
        let hidden: BoxError = anyhow::Error::from(Reject::new("no such user")).into();
        assert!(is_final(&*hidden));
        let told = anyhow::Error::from(Reject::new("no such user")).context("load the player");
        assert!(is_final(&*BoxError::from(told)));
    }

    #[test]
    fn a_rejection_tells_its_reason_and_its_causes() {
        let error = Reject::new("7x".parse::<u32>().expect_err("no number"));
        assert_eq!(
            guard::with_causes(&error),
            "rejected: invalid digit found in string"
        );
    }
}
