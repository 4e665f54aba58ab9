use super::backoff::Backoff;
use super::policy::{Batch, Concurrency, OnUndecodable, OnUnmatched, Retry};

/// When offsets are committed, and whether work waits for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum CommitMode {
    /// The driver stores [`watermark`](super::Partition::watermark) when it likes.
    #[default]
    Auto,
    /// Each record's commit is confirmed before the next record of the partition starts. Routes
    /// that run per key go on meanwhile; their commits still go one after the other.
    AfterEach,
    /// A commit follows each advance of the watermark; nothing waits for it.
    AsyncEach,
    /// At most once: a record runs only after the commit of its own offset was confirmed.
    BeforeProcessing,
}

/// Where the reading of a partition begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Start {
    /// At an offset that the group has committed.
    #[default]
    Committed,
    /// At this offset, which the group has not committed: it is, before anything of the partition
    /// starts. A crash before the first commit would else move a group that starts at the tail.
    ToCommit(i64),
}

/// What one partition's machine is made with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PartitionConfig {
    pub(crate) commit: CommitMode,
    pub(crate) start: Start,
    pub(crate) on_unmatched: OnUnmatched,
    pub(crate) on_undecodable: OnUndecodable,
    /// Records not done at which the partition pauses, and at which it goes on.
    pub(crate) records: Marks,
    /// The same in bytes. A pause throws away what librdkafka prefetched, hence the distance.
    pub(crate) bytes: Marks,
    /// How far work may go on past the first record that is not done, in records: what bounds the
    /// bookkeeping, and what is run again after a crash, while one key fails for ever.
    pub(crate) span: Marks,
    /// The wait before a dead letter or a commit that failed is tried again.
    pub(crate) backoff: Backoff,
    /// Tells the tickets of this assignment from those of earlier ones: an outcome that arrives
    /// after the partition left and came back finds nothing. The driver counts it up, wrapping.
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

/// Backpressure: pause at `high` or above, go on at `low` or below. `low` is below `high`.
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
        // An empty buffer is low whatever the marks say, or a bad pair would stall for ever.
        level <= self.low || level == 0
    }
}

/// What one route is made with.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RouteOptions {
    pub(crate) concurrency: Concurrency,
    pub(crate) retry: Retry,
    /// Records are handled several at once.
    pub(crate) batch: Option<Batch>,
}
