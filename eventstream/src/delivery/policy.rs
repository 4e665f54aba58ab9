use std::num::NonZeroU32;
use std::time::Duration;

use super::backoff::Backoff;

/// Which records of a subscription may be handled at the same time, and which wait for each other.
///
/// Order is kept across retries: a record that fails is retried before later records in its
/// partition or key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Concurrency {
    /// Partitions in parallel, one record at a time inside each. A failing record holds back its
    /// partition and no other. The default: it is the order Kafka guarantees, and needs no keys.
    #[default]
    PerPartition,
    /// Keys in parallel, up to this many at once in each partition, one record at a time inside a
    /// key. A failing record holds back its key and no other; while it waits for its next attempt
    /// it does not count towards the limit. Records without a key have no order. 0 counts as 1.
    PerKey(usize),
    /// One record at a time over all partitions of the subscription in this process.
    Serial,
}

/// How many events a handler gets at once, and how long it may wait for them.
///
/// ```
/// use std::time::Duration;
///
/// use eventstream::Batch;
///
/// let batch = Batch::up_to(500).within(Duration::from_secs(1));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Batch {
    pub(crate) up_to: usize,
    pub(crate) within: Duration,
}

impl Batch {
    /// At most this many events: 1 to 100,000.
    pub fn up_to(events: usize) -> Self {
        Self {
            up_to: events,
            within: Duration::from_secs(1),
        }
    }

    /// The longest that the first event of a batch waits for others. Default: 1 s. A batch starts
    /// earlier if it or the partition's buffer is full, or if the subscription stops.
    #[must_use]
    pub fn within(mut self, wait: Duration) -> Self {
        self.within = wait;
        self
    }
}

/// What to do when a handler fails: returns an error or panics.
///
/// ```
/// use eventstream::{Exhausted, Retry};
///
/// let retry = Retry::attempts(5).then(Exhausted::DeadLetter);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Retry {
    /// Try again from memory, without leaving the group. Other partitions (and keys, with
    /// [`Concurrency::PerKey`]) continue meanwhile.
    InPlace {
        /// The wait between attempts.
        backoff: Backoff,
        /// How many attempts, including the first; `None`: until it succeeds.
        max_attempts: Option<NonZeroU32>,
        /// What happens when the last attempt has failed.
        then: Exhausted,
    },
    /// Leave the group and join again, so that another member may get the record: what the Go SDK
    /// does. Each failure costs the group a rebalance.
    Rejoin,
}

impl Default for Retry {
    fn default() -> Self {
        Self::forever()
    }
}

impl Retry {
    /// In place until it succeeds. The default, because it is the only choice that neither loses a
    /// record nor breaks its order; the cost is that a record that can never succeed holds back its
    /// partition or key until someone acts.
    pub fn forever() -> Self {
        Self::InPlace {
            backoff: Backoff::default(),
            max_attempts: None,
            then: Exhausted::default(),
        }
    }

    /// In place, at most this many attempts, including the first; then [`Exhausted::DeadLetter`],
    /// unless [`then`](Self::then) says otherwise. 0 counts as 1.
    pub fn attempts(max: u32) -> Self {
        Self::InPlace {
            backoff: Backoff::default(),
            max_attempts: Some(NonZeroU32::new(max).unwrap_or(NonZeroU32::MIN)),
            then: Exhausted::default(),
        }
    }

    /// What happens when the last attempt has failed. Has no effect if attempts are unlimited.
    #[must_use]
    pub fn then(mut self, exhausted: Exhausted) -> Self {
        if let Self::InPlace { then, .. } = &mut self {
            *then = exhausted;
        }
        self
    }

    /// The wait between attempts. Has no effect on [`Retry::Rejoin`].
    #[must_use]
    pub fn backoff(mut self, chosen: Backoff) -> Self {
        if let Self::InPlace { backoff, .. } = &mut self {
            *backoff = chosen;
        }
        self
    }

    /// Whether there is only one attempt.
    pub(crate) fn is_once(&self) -> bool {
        let once = Some(NonZeroU32::MIN);
        matches!(self, Self::InPlace { max_attempts, .. } if *max_attempts == once)
    }

    /// The longest wait after this many attempts; `None` if there is no further one in place.
    pub(crate) fn next_within(&self, attempts: u32) -> Option<Duration> {
        match self {
            Self::InPlace { max_attempts, .. }
                if max_attempts.is_some_and(|max| max.get() <= attempts) =>
            {
                None
            }
            Self::InPlace { backoff, .. } => Some(backoff.ceiling(attempts)),
            Self::Rejoin => None,
        }
    }

    /// The policy if the offset is committed before processing: committed records are not run
    /// again, so the first attempt is the last.
    pub(super) fn at_most_once(self) -> Self {
        let then = match self {
            Self::InPlace {
                max_attempts: Some(_),
                then,
                ..
            } => then,
            Self::InPlace {
                max_attempts: None, ..
            }
            | Self::Rejoin => Exhausted::Skip,
        };
        Self::attempts(1).then(then)
    }
}

/// What happens to a record whose last attempt has failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Exhausted {
    /// It is written to the dead-letter topic; its offset moves once that write is acknowledged.
    /// Later records in its partition or key wait until then.
    #[default]
    DeadLetter,
    /// It is skipped, and `on_error` is called.
    Skip,
    /// Every subscription of the group in this client ends, with the error reported to its
    /// `on_error`: they are one member of the group, and its offset cannot move past this record.
    /// Running handlers finish; the record is not acknowledged, nor is anything after it in its
    /// partition, so another member of the group reads it.
    Stop,
}

/// What happens to a record that no handler of the group asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnUnmatched {
    /// It is acknowledged and counted. The default: a topic carries many event names, and a group
    /// normally wants only a few of them.
    #[default]
    Acknowledge,
    /// It is written to the dead-letter topic.
    DeadLetter,
}

/// What happens to a record that is not an event envelope.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnUndecodable {
    /// It is skipped, and `on_error` is called.
    #[default]
    Skip,
    /// It is written to the dead-letter topic; its offset moves once that write is acknowledged.
    DeadLetter,
    /// The group stops here, as with [`Exhausted::Stop`].
    Stop,
}
