//! Deadlines from durations that users give.

use std::time::{Duration, Instant};

/// Counts as never: longer than any process lives, and short enough for every clock.
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// `time` from now. A duration that the clock cannot represent, such as [`Duration::MAX`], is far
/// in the future.
pub(crate) fn after(time: Duration) -> Instant {
    Instant::now() + time.min(FAR)
}

/// The time left until then.
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
