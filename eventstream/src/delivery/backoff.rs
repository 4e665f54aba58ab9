use std::time::Duration;

/// How long to wait before trying again: exponential, capped, with jitter.
///
/// The wait before retry `n` (1, 2, ..) is `initial * multiplier^(n-1)`, at most `max`, minus a
/// random share of it, up to `jitter`. So `max` is never exceeded.
///
/// The reasons for the defaults, 100 ms doubling to 30 s with a jitter of 0.2: 100 ms outlasts a
/// lost connection or a lock conflict and is too short to be noticed. Doubling reaches the cap at
/// the tenth attempt, after about 51 s, by which time a restarted dependency is back. At the cap,
/// one failing record costs its dependency two calls a minute, and work resumes at most 30 s after
/// the dependency does. A jitter of 0.2 spreads partitions that failed together over 6 s.
///
/// ```
/// use std::time::Duration;
/// use eventstream::Backoff;
///
/// let backoff = Backoff::default().initial(Duration::from_millis(10)).max(Duration::from_secs(5));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    initial: Duration,
    max: Duration,
    multiplier: f64,
    jitter: f64,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            initial: Duration::from_millis(100),
            max: Duration::from_secs(30),
            multiplier: 2.0,
            jitter: 0.2,
        }
    }
}

impl Backoff {
    /// The wait before the first retry.
    #[must_use]
    pub fn initial(mut self, initial: Duration) -> Self {
        self.initial = initial;
        self
    }

    /// The longest wait.
    #[must_use]
    pub fn max(mut self, max: Duration) -> Self {
        self.max = max;
        self
    }

    /// By what factor each wait is longer than the one before; at least 1.
    #[must_use]
    pub fn multiplier(mut self, multiplier: f64) -> Self {
        self.multiplier = multiplier;
        self
    }

    /// The fraction of a wait that may be randomly taken away: 0 (none) to 1 (all).
    #[must_use]
    pub fn jitter(mut self, jitter: f64) -> Self {
        self.jitter = jitter;
        self
    }

    /// The fault of these numbers, for the check of a subscription's options.
    pub(crate) fn fault(&self) -> Option<&'static str> {
        if self.initial > self.max {
            Some("backoff: initial is longer than max")
        } else if !self.multiplier.is_finite() || self.multiplier < 1.0 {
            Some("backoff: multiplier must be a number of at least 1")
        } else if !(0.0..=1.0).contains(&self.jitter) {
            Some("backoff: jitter must be from 0 to 1")
        } else {
            None
        }
    }

    /// The longest wait before `retry` (1, 2, ..).
    pub(crate) fn ceiling(&self, retry: u32) -> Duration {
        let exponent = i32::try_from(retry.saturating_sub(1)).unwrap_or(i32::MAX);
        let seconds = self.initial.as_secs_f64() * self.multiplier.powi(exponent);
        // Written so that infinity, from an overflowing power, also ends at `max`.
        if seconds < self.max.as_secs_f64() {
            Duration::from_secs_f64(seconds.max(0.0))
        } else {
            self.max
        }
    }

    #[cfg(test)]
    pub(super) fn jitter_part(&self) -> f64 {
        self.jitter
    }

    pub(super) fn delay(&self, retry: u32, jitter: &mut Jitter) -> Duration {
        let off = self.jitter.clamp(0.0, 1.0) * jitter.fraction();
        self.ceiling(retry).mul_f64(1.0 - off)
    }
}

/// A source of randomness for jitter: splitmix64. Seeded, so that simulations are reproducible.
#[derive(Clone, Debug)]
pub(super) struct Jitter(u64);

impl Jitter {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 up to but excluding 1.
    fn fraction(&mut self) -> f64 {
        const SCALE: f64 = 1.0 / (1u64 << 53) as f64;
        (self.next() >> 11) as f64 * SCALE
    }
}
