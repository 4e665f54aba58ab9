//! What one side measures, and how it reads threads and memory of its process.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::Rest;
use crate::measure::cpu;

/// The results of one side.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// Threads once everything is assigned.
    pub(crate) threads: f64,
    /// Resident memory before anything was registered, in MiB.
    pub(crate) empty: f64,
    /// Resident memory once everything is assigned, in MiB.
    pub(crate) memory: f64,
    /// CPU while idle, in milliseconds a second.
    pub(crate) idle: f64,
    /// The calls that register, in seconds.
    pub(crate) registered: f64,
    /// From the first registration until the starts of all partitions are fixed, in seconds.
    pub(crate) assigned: f64,
    /// From the first registration until an event of each topic, published once the starts were fixed, has reached
    /// each group, in seconds.
    pub(crate) read: f64,
    /// CPU of that, in seconds.
    pub(crate) read_cpu: f64,
    /// After the idleness: one event on each topic, from the first publish until it has reached each group, in seconds.
    pub(crate) arrived: f64,
    /// Assignments of partitions, one for each group if all is well.
    pub(crate) rebalances: u64,
    /// Until all groups are left and all threads are joined, in seconds.
    pub(crate) stopped: f64,
}

impl Figures {
    pub(crate) fn begin() -> Result<Self> {
        Ok(Self {
            empty: status("VmRSS")? / 1024.0,
            ..Self::default()
        })
    }

    /// Everything is assigned: takes threads, memory and what idleness costs.
    pub(crate) fn rest(&mut self, rest: Rest) -> Result<()> {
        std::thread::sleep(Duration::from_secs(rest.calm));
        self.threads = status("Threads")?;
        self.memory = status("VmRSS")? / 1024.0;
        let (before, start) = (cpu(), Instant::now());
        std::thread::sleep(Duration::from_secs(rest.idle));
        let spent = cpu().saturating_sub(before);
        self.idle = spent.as_secs_f64() * 1e3 / start.elapsed().as_secs_f64();
        Ok(())
    }
}

/// A number of `/proc/self/status`.
fn status(field: &str) -> Result<f64> {
    let text = fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    let number = line.and_then(|line| line.trim_start_matches(':').split_whitespace().next());
    number
        .and_then(|number| number.parse().ok())
        .with_context(|| format!("no {field} in /proc/self/status"))
}
