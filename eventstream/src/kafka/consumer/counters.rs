use std::sync::atomic::{AtomicU64, Ordering};

use crate::observe::metrics::Tally;
use crate::observe::stats::ReaderStats;
use crate::subscribe::DeadLetterReason;

/// What all subscriptions of a client have done.
#[derive(Default)]
pub(super) struct Counters {
    pub(super) records: AtomicU64,
    pub(super) bytes: AtomicU64,
    handled: AtomicU64,
    failed_attempts: AtomicU64,
    unmatched: AtomicU64,
    undecodable: AtomicU64,
    dead_lettered: AtomicU64,
    skipped: AtomicU64,
    pauses: AtomicU64,
    pub(super) commits: AtomicU64,
    pub(super) rebalances: AtomicU64,
}

impl Counters {
    /// Adds a partition's tally.
    pub(super) fn add(&self, tally: &Tally) {
        let parts = [
            (&self.handled, tally.handled),
            (
                &self.failed_attempts,
                tally.failed + tally.panicked + tally.rejected,
            ),
            (&self.unmatched, tally.unmatched),
            (&self.undecodable, tally.undecodable),
            (&self.dead_lettered, tally.dead_letters.iter().sum()),
            // The unmatched ones are counted separately.
            (
                &self.skipped,
                tally.skipped.iter().sum::<u64>()
                    - tally.skipped[DeadLetterReason::Unmatched as usize],
            ),
            (&self.pauses, tally.pauses),
        ];
        for (total, part) in parts {
            if part > 0 {
                total.fetch_add(part, Ordering::Relaxed);
            }
        }
    }

    pub(super) fn snapshot(&self, partitions: usize, buffered: usize) -> ReaderStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ReaderStats {
            records: read(&self.records),
            bytes: read(&self.bytes),
            handled: read(&self.handled),
            failed_attempts: read(&self.failed_attempts),
            unmatched: read(&self.unmatched),
            undecodable: read(&self.undecodable),
            dead_lettered: read(&self.dead_lettered),
            skipped: read(&self.skipped),
            commits: read(&self.commits),
            rebalances: read(&self.rebalances),
            pauses: read(&self.pauses),
            partitions,
            buffered,
        }
    }
}
