//! The messages between the polling thread and the partitions' tasks, and their shared state.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicUsize, Ordering as Atomic};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::events::ConsumerQueue;
use super::routes::RouteTable;
use crate::error::Error;
use crate::observe::health::Problem;
use crate::record::{Record, Source};

/// Requests to the polling thread. Partitions are named by the number of their assignment: messages
/// of a task that ends late must not concern a partition that has come back since.
pub(super) enum ToPoller {
    Commit {
        number: u64,
        /// How often the partition's offsets have restarted. A request of an earlier history is
        /// outdated: it must not be committed, and needs no answer.
        history: u32,
        up_to: i64,
    },
    /// A partition's machine is full, or no longer is.
    Pause(u64),
    Resume(u64),
    /// A partition's inbox has room again.
    Room,
    /// A partition's task has ended.
    Drained(u64),
    RoutesChanged,
    /// A registration paused itself.
    LookAgain,
    /// A policy stops the group here.
    StopGroup {
        /// The registrations already notified.
        told: Vec<u32>,
        error: Error,
    },
    Rejoin,
    /// The commit of a transaction with this number, or one before it, has ended somehow.
    Transacted(u64),
    /// These offsets were committed in a transaction.
    Told(Vec<(u64, i64)>),
    /// What these partitions have released was aborted: they are to be read again.
    Again(Vec<u64>),
    /// Drain within this time, leave the group, end.
    Stop(Duration),
}

/// The channel to the polling thread; sending also ends a blocking poll.
#[derive(Clone)]
pub(super) struct PollerHandle {
    pub(super) commands: Sender<ToPoller>,
    pub(super) queue: Arc<Mutex<Option<ConsumerQueue>>>,
}

impl PollerHandle {
    pub(super) fn send(&self, command: ToPoller) {
        // A poller that is gone has given up all partitions, so there is nothing left to request.
        if self.commands.send(command).is_ok()
            && let Some(queue) = &*self.queue.lock()
        {
            queue.wake();
        }
    }
}

/// Messages to a partition's task, in order and ahead of the records: there are never more than a
/// few, so they need no bound and sending never waits.
pub(super) enum ToPartition {
    Routes(Arc<RouteTable>),
    Committed {
        history: u32,
        up_to: i64,
        ok: bool,
    },
    /// What was released of so many records, with so many bytes, is held no more.
    Left {
        records: usize,
        bytes: usize,
    },
    /// Revoked, or the consumer stops: finish what runs and, for this long, start what blocks the
    /// commit of finished records; then report.
    Revoke {
        catch_up: Duration,
    },
    /// Lost, or the time to finish is over.
    Lost,
}

/// What a partition's task reads, in order.
#[expect(clippy::enum_variant_names, reason = "named as the machine's input is")]
pub(super) enum Read {
    Records(Vec<Record>),
    /// The offsets restart at `start`.
    NewHistory {
        start: i64,
    },
    /// Everything below was read, and there is no record after the last one.
    ReadTo {
        offset: i64,
    },
}

/// Shared by the poller and a partition's task.
pub(super) struct Shared {
    pub(super) source: Arc<Source>,
    /// The offset that may be committed; negative if there is none.
    pub(super) watermark: AtomicI64,
    /// How many [`Read::NewHistory`] the task has processed, incremented after the watermark has
    /// become that of the new history: a lower count belongs to a watermark that must not be
    /// committed.
    pub(super) history: AtomicU32,
    /// Where the reading started.
    pub(super) start: i64,
    /// The last committed offset; negative if unknown.
    pub(super) committed: AtomicI64,
    /// Fetching is paused.
    pub(super) paused: AtomicBool,
    /// The inbox was full, and the poller waits to be notified of room.
    pub(super) starved: AtomicBool,
    /// Records sent to the task that the machine does not have yet.
    pub(super) on_the_way: AtomicUsize,
    pub(super) progress: Mutex<Progress>,
}

/// A partition's progress.
pub(super) struct Progress {
    /// When the watermark last moved, or there was nothing to do.
    pub(super) since: Instant,
    pub(super) buffered: usize,
    /// The record that has been failing for longest.
    pub(super) failing: Option<Failing>,
    /// The offset of a dead letter that cannot be written, and the reason.
    pub(super) blocked: Option<(i64, Problem)>,
    /// The next record cannot be read, and why.
    pub(super) unreadable: Option<Problem>,
}

/// A record whose handler has failed and is called again.
pub(super) struct Failing {
    pub(super) offset: i64,
    pub(super) attempts: u32,
    pub(super) since: Instant,
    /// The last failure.
    pub(super) error: Error,
}

impl Shared {
    pub(super) fn new(source: Arc<Source>, start: i64) -> Self {
        Self {
            source,
            start,
            committed: AtomicI64::new(-1),
            paused: AtomicBool::new(false),
            watermark: AtomicI64::new(-1),
            history: AtomicU32::new(0),
            starved: AtomicBool::new(false),
            on_the_way: AtomicUsize::new(0),
            progress: Mutex::new(Progress {
                since: Instant::now(),
                buffered: 0,
                failing: None,
                blocked: None,
                unreadable: None,
            }),
        }
    }

    /// Whether records are queued or running.
    pub(super) fn is_busy(&self) -> bool {
        // In this order: the task first counts what it has taken as buffered.
        self.on_the_way.load(Atomic::Acquire) > 0 || self.progress.lock().buffered > 0
    }

    pub(super) fn watermark(&self) -> Option<i64> {
        let watermark = self.watermark.load(Atomic::Acquire);
        (watermark >= 0).then_some(watermark)
    }
}
