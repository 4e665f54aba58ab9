//! Measurements, and the line they are printed as.

use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use serde::Serialize;

/// A point in time: the clock, and the CPU time of this process so far.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    at: Instant,
    cpu: Duration,
}

impl Mark {
    pub(super) fn now() -> anyhow::Result<Self> {
        let usage = getrusage(UsageWho::RUSAGE_SELF)?;
        let micros = (usage.user_time() + usage.system_time()).num_microseconds();
        Ok(Self {
            at: Instant::now(),
            cpu: Duration::from_micros(u64::try_from(micros).unwrap_or(0)),
        })
    }
}

/// One JSON line.
#[derive(Serialize)]
pub(super) struct Figures {
    events: u64,
    pub(super) failed: u64,
    seconds: f64,
    events_per_second: f64,
    cpu_us_per_event: f64,
    max_rss_mib: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_us: Option<Latency>,
}

#[derive(Serialize)]
struct Latency {
    p50: u32,
    p99: u32,
    max: u32,
}

impl Figures {
    /// The figures for `events` between two marks.
    pub(super) fn between(from: Mark, to: Mark, events: u64, failed: u64) -> anyhow::Result<Self> {
        let seconds = to.at.duration_since(from.at).as_secs_f64();
        let cpu = to.cpu.saturating_sub(from.cpu).as_secs_f64();
        let count = events as f64;
        Ok(Self {
            events,
            failed,
            seconds: rounded(seconds, 6),
            events_per_second: rounded(count / seconds.max(1e-6), 1),
            cpu_us_per_event: rounded(cpu * 1e6 / count.max(1.0), 3),
            max_rss_mib: rounded(max_rss_mib()?, 1),
            latency_us: None,
        })
    }

    /// Adds the latencies, given in microseconds in any order.
    pub(super) fn with_latencies(mut self, mut micros: Vec<u32>) -> Self {
        micros.sort_unstable();
        let at = |share: f64| {
            // The smallest value that this share of the samples does not exceed.
            let rank = (micros.len() as f64 * share).ceil() as usize;
            micros
                .get(rank.clamp(1, micros.len().max(1)) - 1)
                .copied()
                .unwrap_or(0)
        };
        self.latency_us = Some(Latency {
            p50: at(0.50),
            p99: at(0.99),
            max: at(1.0),
        });
        self
    }

    pub(super) fn line(&self) -> String {
        let mut line = serde_json::to_string(self).expect("numbers can be written");
        line.push('\n');
        line
    }
}

fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (value * scale).round() / scale
}

fn max_rss_mib() -> anyhow::Result<f64> {
    let rss = getrusage(UsageWho::RUSAGE_SELF)?.max_rss() as f64;
    // Apple reports bytes, the others kibibytes.
    let unit = if cfg!(target_vendor = "apple") {
        1024.0 * 1024.0
    } else {
        1024.0
    };
    Ok(rss / unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let now = Mark::now().unwrap();
        let of = |micros: Vec<u32>| {
            let figures = Figures::between(now, now, 1, 0).unwrap();
            let Latency { p50, p99, max } = figures.with_latencies(micros).latency_us.unwrap();
            (p50, p99, max)
        };
        assert_eq!(of((1..=100).rev().collect()), (50, 99, 100));
        assert_eq!(of(vec![7]), (7, 7, 7));
        assert_eq!(of(vec![]), (0, 0, 0));
    }
}
