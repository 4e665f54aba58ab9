use std::sync::atomic::{AtomicU64, Ordering};

use crate::observe::stats::WriterStats;

/// What has happened since the client was created.
#[derive(Default)]
pub(super) struct Counters {
    accepted: Apart,
    stored: AtomicU64,
    stored_bytes: AtomicU64,
    failed: AtomicU64,
    rebuilt: AtomicU64,
}

/// On a cache line of its own: publishers write it, the delivery thread writes the others.
#[derive(Default)]
#[repr(align(128))]
struct Apart(AtomicU64);

impl Counters {
    pub(super) fn accepted(&self) {
        self.accepted.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Counted before the receipt completes, so that its waiter finds the event in the figures. Only the delivery
    /// thread writes, so nothing is lost between load and store.
    pub(super) fn stored(&self, bytes: usize) {
        let add = |counter: &AtomicU64, by| {
            counter.store(counter.load(Ordering::Relaxed) + by, Ordering::Relaxed);
        };
        add(&self.stored_bytes, u64::try_from(bytes).unwrap_or(0));
        add(&self.stored, 1);
    }

    pub(super) fn stored_so_far(&self) -> u64 {
        self.stored.load(Ordering::Relaxed)
    }

    pub(super) fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn rebuilt(&self) {
        self.rebuilt.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn snapshot(
        &self,
        in_flight: usize,
        in_flight_bytes: usize,
        waiting: usize,
    ) -> WriterStats {
        WriterStats {
            accepted: self.accepted.0.load(Ordering::Relaxed),
            stored: self.stored.load(Ordering::Relaxed),
            stored_bytes: self.stored_bytes.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            rebuilt: self.rebuilt.load(Ordering::Relaxed),
            in_flight,
            in_flight_bytes,
            waiting,
        }
    }
}
