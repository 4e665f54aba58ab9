use std::sync::atomic::{AtomicU64, Ordering};

use crate::stats::ReaderStats;

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

/// What one partition has done since it last told: counted without sharing cache lines.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) handled: u64,
    pub(super) failed_attempts: u64,
    pub(super) unmatched: u64,
    pub(super) undecodable: u64,
    pub(super) dead_lettered: u64,
    pub(super) skipped: u64,
    pub(super) pauses: u64,
}

impl Counters {
    /// Adds a tally and clears it.
    pub(super) fn add(&self, tally: &mut Tally) {
        let parts = [
            (&self.handled, &mut tally.handled),
            (&self.failed_attempts, &mut tally.failed_attempts),
            (&self.unmatched, &mut tally.unmatched),
            (&self.undecodable, &mut tally.undecodable),
            (&self.dead_lettered, &mut tally.dead_lettered),
            (&self.skipped, &mut tally.skipped),
            (&self.pauses, &mut tally.pauses),
        ];
        for (total, part) in parts {
            if *part > 0 {
                total.fetch_add(std::mem::take(part), Ordering::Relaxed);
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
