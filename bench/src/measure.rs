//! Wall clock and CPU time of a span, and how a child process reports them.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// The results of one side in one run.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// Events per second.
    pub(crate) rate: f64,
    /// User plus system time per event, in microseconds.
    pub(crate) cpu: f64,
    /// Latency of one event, in microseconds; 0 if it was not measured.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

/// A span that has started.
pub(crate) struct Span {
    wall: Instant,
    cpu: Duration,
}

impl Span {
    pub(crate) fn begin() -> Self {
        Self {
            cpu: cpu(),
            wall: Instant::now(),
        }
    }

    /// Ends the span, in which `events` events completed.
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    pub(crate) fn end(self, events: u64) -> Figures {
        let (wall, cpu) = (self.wall.elapsed(), cpu() - self.cpu);
        Figures {
            rate: events as f64 / wall.as_secs_f64(),
            cpu: cpu.as_secs_f64() * 1e6 / events as f64,
            ..Figures::default()
        }
    }
}

/// User plus system time of this process, by `getrusage`.
pub(crate) fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

/// The latency that this share of the samples does not exceed, in microseconds.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an index into a list in memory"
)]
pub(crate) fn quantile(sorted: &[Duration], share: f64) -> f64 {
    let at = ((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1));
    sorted.get(at).map_or(0.0, |d| d.as_secs_f64() * 1e6)
}

/// The median of a few figures.
pub(crate) fn median(figures: Vec<f64>) -> f64 {
    let [_, median, _] = quartiles(figures);
    median
}

/// The figures that a quarter, a half and three quarters of a few figures do not exceed, interpolated; 0 without figures.
#[expect(clippy::cast_precision_loss, reason = "a few figures")]
pub(crate) fn quartiles(mut figures: Vec<f64>) -> [f64; 3] {
    figures.sort_by(f64::total_cmp);
    let Some(last) = figures.len().checked_sub(1) else {
        return [0.0; 3];
    };
    [1, 2, 3].map(|quarter| {
        let (below, rest) = (last * quarter / 4, last * quarter % 4);
        let above = figures[(below + 1).min(last)];
        figures[below] + (above - figures[below]) * rest as f64 / 4.0
    })
}
