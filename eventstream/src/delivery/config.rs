use super::backoff::Backoff;
use super::policy::{Batch, Concurrency, OnUndecodable, OnUnmatched, Retry};

/// When offsets are committed, and whether work waits for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum CommitMode {
    /// The driver commits [`watermark`](super::Partition::watermark) when it likes.
    #[default]
    Auto,
    /// Each record's commit is confirmed before the next record of the partition starts. Routes
    /// that run per key continue meanwhile; their commits still go one after the other.
    AfterEach,
    /// A commit follows each advance of the watermark; nothing waits for it.
    AsyncEach,
    /// At most once: a record runs only after the commit of its own offset was confirmed.
    BeforeProcessing,
}

/// Where reading a partition starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Start {
    /// At a committed offset of the group.
    #[default]
    Committed,
    /// At this offset, which the group has not committed: it is committed before anything of the
    /// partition starts. Otherwise a crash before the first commit would move a group that starts
    /// at the tail.
    ToCommit(i64),
}

/// The settings of one partition's machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PartitionConfig {
    pub(crate) commit: CommitMode,
    pub(crate) start: Start,
    pub(crate) on_unmatched: OnUnmatched,
    pub(crate) on_undecodable: OnUndecodable,
    /// The number of unfinished records at which the partition pauses, and at which it resumes.
    pub(crate) records: Marks,
    /// The same in bytes. A pause discards what librdkafka prefetched, hence the distance.
    pub(crate) bytes: Marks,
    /// How far work may continue past the first unfinished record, in records: limits the
    /// bookkeeping, and what is repeated after a crash, while one key keeps failing.
    pub(crate) span: Marks,
    /// The wait before a failed dead letter or commit is retried.
    pub(crate) backoff: Backoff,
    /// Distinguishes the tickets of this assignment from those of earlier ones: an outcome that
    /// arrives after the partition left and came back finds nothing. The driver increments it,
    /// wrapping.
    pub(crate) incarnation: u16,
    pub(crate) seed: u64,
}

impl Default for PartitionConfig {
    fn default() -> Self {
        Self {
            commit: CommitMode::default(),
            start: Start::default(),
            on_unmatched: OnUnmatched::default(),
            on_undecodable: OnUndecodable::default(),
            records: Marks {
                high: 10_000,
                low: 2_500,
            },
            bytes: Marks {
                high: 32 << 20,
                low: 8 << 20,
            },
            span: Marks {
                high: 100_000,
                low: 50_000,
            },
            backoff: Backoff::default(),
            incarnation: 0,
            seed: 0,
        }
    }
}

/// Backpressure: pause at `high` or above, resume at `low` or below. `low` is below `high`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Marks {
    pub(crate) high: usize,
    pub(crate) low: usize,
}

impl Marks {
    pub(super) fn is_high(self, level: usize) -> bool {
        level >= self.high
    }

    pub(super) fn is_low(self, level: usize) -> bool {
        // An empty buffer is low whatever the marks are, or a bad pair would stall forever.
        level <= self.low || level == 0
    }
}

/// The settings of one route.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RouteOptions {
    pub(crate) concurrency: Concurrency,
    pub(crate) retry: Retry,
    /// Records are handled in batches.
    pub(crate) batch: Option<Batch>,
}
