//! When a time that a user gave is over.

use std::time::{Duration, Instant};

/// What counts as never: longer than any process lives, short enough for every clock.
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// When `time` from now is over. What the clock cannot count, as [`Duration::MAX`], is far away.
pub(crate) fn after(time: Duration) -> Instant {
    Instant::now() + time.min(FAR)
}

/// What is left until then.
pub(crate) fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_duration_has_an_end() {
        for time in [Duration::ZERO, Duration::MAX, Duration::from_secs(u64::MAX)] {
            assert!(left(after(time)) <= FAR);
        }
        assert!(left(after(Duration::MAX)) > FAR / 2);
    }
}
