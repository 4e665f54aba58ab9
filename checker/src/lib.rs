//! The history of a fault run, and the checker that judges it.
//!
//! A run writes what it does and sees ([`history`]); [`check`] reads that and says what is wrong with
//! it, in the classes of Jepsen's Kafka workload. Nothing here needs Kafka or the library.
//!
//! The history is read twice: once for what must be known beforehand (the log, the dead letters, the
//! faults, how every process ended), once in the order of time. Nothing is kept but compact tables:
//! about 60 bytes for each event, and 8 for each record and group.

mod anomaly;
mod disturbance;
mod events;
pub mod history;
mod judge;
mod lives;
mod log;
mod merge;
mod names;
mod page;
mod ranges;
mod recovery;
mod report;
mod steady;
mod timeline;
mod world;

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};

pub use anomaly::{Anomaly, Class, Findings};
pub use judge::{GroupCounts, Handlers, Outcomes};
pub use lives::{LIVES, Lives};
pub use recovery::{FaultSummary, FlowSummary};
pub use report::Report;
pub use steady::{Figures, Growth, Spread, Steadiness, Steady};

/// How long after a fault, a kill or a rebalance it still explains a repetition: a member that was cut
/// off may take a session timeout and a rebalance to learn of it.
pub const SETTLE: Duration = Duration::from_secs(60);

/// Judges the history in `directory`. `settle` is how long a fault explains a repetition after its
/// end; see [`SETTLE`].
///
/// # Errors
///
/// The history cannot be read, contradicts itself, or has no final read of the log.
pub fn check(directory: &Path, settle: Duration) -> Result<Report> {
    let world = world::scan(directory, settle)?;
    let verdict = judge::judge(&world)?;
    if verdict.outcomes.stored > 0 && world.logs.iter().all(|log| log.len() == 0) {
        bail!("the history has no final read of the log");
    }
    let mut report = Report::new(&world, verdict);
    let lives = directory.join(LIVES);
    if lives.is_dir() {
        report.lives = Some(lives::judge(&lives, &mut report.anomalies)?);
    }
    Ok(report)
}
