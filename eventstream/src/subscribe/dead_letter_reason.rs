use std::fmt;
use std::str::FromStr;

use crate::error::{Error, ErrorKind, Fault};

/// Why a record is in the dead-letter topic. Its name is the same in the dead letter's header, in
/// the labels of metrics, in spans and in the tool's output.
///
/// ```
/// use eventstream::DeadLetterReason;
///
/// let reason: DeadLetterReason = "exhausted".parse()?;
/// assert_eq!(reason, DeadLetterReason::Exhausted);
/// assert_eq!(reason.to_string(), "exhausted");
/// # Ok::<(), eventstream::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum DeadLetterReason {
    /// It is not an event envelope.
    Undecodable,
    /// Its handler failed at the last attempt that the retry policy allows.
    Exhausted,
    /// No handler of the group asked for it.
    Unmatched,
    /// Its handler rejected it, or its payload does not fit the handler's type: no retry can help.
    Rejected,
}

impl DeadLetterReason {
    pub(crate) const ALL: [Self; 4] = [
        Self::Undecodable,
        Self::Exhausted,
        Self::Unmatched,
        Self::Rejected,
    ];

    /// Its name: `undecodable`, `exhausted`, `unmatched` or `rejected`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Undecodable => "undecodable",
            Self::Exhausted => "exhausted",
            Self::Unmatched => "unmatched",
            Self::Rejected => "rejected",
        }
    }

    /// The allowed names, for errors.
    pub(crate) fn allowed() -> String {
        format!("must be one of {}", Self::ALL.map(Self::as_str).join(", "))
    }
}

impl fmt::Display for DeadLetterReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for DeadLetterReason {
    type Err = Error;

    /// Parses a name as [`as_str`](Self::as_str) gives it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Validation`] with the names there are.
    fn from_str(name: &str) -> Result<Self, Error> {
        let found = Self::ALL.into_iter().find(|reason| reason.as_str() == name);
        found.ok_or_else(|| {
            Error::from_faults(
                ErrorKind::Validation,
                "read the reason of a dead letter",
                vec![Fault::new("reason", name, Self::allowed())],
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_place_and_its_name() {
        for (at, reason) in DeadLetterReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, at, "arrays of metrics are in this order");
            assert_eq!(
                reason.as_str().parse::<DeadLetterReason>().expect("known"),
                reason
            );
        }
        let error = "Exhausted"
            .parse::<DeadLetterReason>()
            .expect_err("unknown");
        assert_eq!(
            error.to_string(),
            "read the reason of a dead letter: reason \"Exhausted\": must be one of undecodable, \
             exhausted, unmatched, rejected"
        );
    }
}
