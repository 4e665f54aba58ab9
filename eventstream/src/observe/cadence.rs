use std::time::{Duration, Instant};

/// When to log something that keeps happening: at once, then at growing intervals.
#[derive(Debug)]
pub(crate) struct Cadence {
    first: Duration,
    longest: Duration,
    wait: Duration,
    next: Option<Instant>,
    untold: u64,
}

impl Cadence {
    /// The first interval, which doubles up to the longest.
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            wait: first,
            next: None,
            untold: 0,
        }
    }

    /// Whether to log it now, and if so, how often it was suppressed meanwhile.
    pub(crate) fn due(&mut self, now: Instant) -> Option<u64> {
        match self.next {
            Some(next) if now < next => {
                self.untold += 1;
                return None;
            }
            // It was quiet for as long again, so this is new.
            Some(next) if now < next + self.wait => {
                self.wait = (self.wait * 2).min(self.longest);
            }
            _ => self.wait = self.first,
        }
        self.next = Some(now + self.wait);
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_at_once_then_ever_more_rarely_and_afresh_after_a_quiet_time() {
        let second = Duration::from_secs(1);
        let mut cadence = Cadence::new(second, 8 * second);
        let start = Instant::now();
        let mut told = Vec::new();
        for n in 0..300 {
            if let Some(untold) = cadence.due(start + n * second / 10) {
                told.push((n, untold));
            }
        }
        assert_eq!(
            told,
            [(0, 0), (10, 9), (30, 19), (70, 39), (150, 79), (230, 79)]
        );
        assert!(cadence.due(start + 1000 * second).is_some());
        assert!(cadence.due(start + 1001 * second).is_some());
    }
}
