//! Foreign code is called through here: callbacks, log subscribers, error texts. A panic in it ends none of our
//! threads or tasks.

use std::error::Error as StdError;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Longer cause chains are cut, as an error may be its own cause.
pub(crate) const CAUSES: usize = 64;

/// Calls foreign code. `None` if it panicked.
pub(crate) fn guarded<T>(call: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(call)).ok()
}

/// Calls a user's callback and logs a panic.
pub(crate) fn callback(what: &str, call: impl FnOnce()) {
    if guarded(call).is_none() {
        tracing::error!("{what} panicked");
    }
}

/// An error with its causes, for contexts without `source`.
pub(crate) fn with_causes(error: &(dyn StdError + 'static)) -> String {
    let mut text = text_of(error);
    let mut cause = guarded(|| error.source()).flatten();
    for _ in 0..CAUSES {
        let Some(next) = cause else { break };
        text.push_str(": ");
        text.push_str(&text_of(next));
        cause = guarded(|| next.source()).flatten();
    }
    text
}

/// The text of any error.
pub(crate) fn text_of(error: &(dyn StdError + 'static)) -> String {
    guarded(|| error.to_string()).unwrap_or_else(|| "an error whose `Display` panics".to_owned())
}

/// The message of a panic.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|s| (*s).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}

/// `tracing`'s macros for log lines, safe against panicking subscribers. A file that imports this
/// module logs through them.
pub(crate) mod tracing {
    macro_rules! guarded_error {
        ($($line:tt)+) => {
            $crate::guard::quietly(|| ::tracing::error!($($line)+))
        };
    }
    macro_rules! guarded_warn {
        ($($line:tt)+) => {
            $crate::guard::quietly(|| ::tracing::warn!($($line)+))
        };
    }
    macro_rules! guarded_info {
        ($($line:tt)+) => {
            $crate::guard::quietly(|| ::tracing::info!($($line)+))
        };
    }
    macro_rules! guarded_debug {
        ($($line:tt)+) => {
            $crate::guard::quietly(|| ::tracing::debug!($($line)+))
        };
    }
    pub(crate) use {
        guarded_debug as debug, guarded_error as error, guarded_info as info, guarded_warn as warn,
    };
}

/// Calls code that may panic when that cannot be logged, such as the log itself.
pub(crate) fn quietly(call: impl FnOnce()) {
    let _ = guarded(call);
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::*;

    #[derive(Debug)]
    struct Own;

    impl fmt::Display for Own {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("own")
        }
    }

    impl StdError for Own {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            Some(&Own)
        }
    }

    #[derive(Debug)]
    struct Broken;

    impl fmt::Display for Broken {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            panic!("no text")
        }
    }

    impl StdError for Broken {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            panic!("no cause")
        }
    }

    #[test]
    fn texts_and_causes_of_any_error_are_told() {
        assert_eq!(with_causes(&Broken), "an error whose `Display` panics");
        assert_eq!(with_causes(&Own).matches("own").count(), CAUSES + 1);
        let io = std::io::Error::other("disk");
        let error = crate::Error::new(crate::ErrorKind::Handler, "failed").with_source(io);
        assert_eq!(with_causes(&error), "failed: disk");
    }

    #[test]
    fn a_callback_that_panics_is_survived() {
        callback("a callback", || panic!("boom"));
        assert_eq!(guarded(|| 1), Some(1));
    }
}
