use std::sync::Arc;

use super::policy::Retry;
use super::time::Time;

/// One route of the group: a handler and its options. The driver assigns the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RouteId(pub(crate) u32);

/// The local number of a record. Offsets may have gaps, tickets have none, so finding a record is
/// indexing, not searching.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Ticket(u64);

impl Ticket {
    /// The first ticket of an assignment. 2^48 records are a million a second for nine years.
    pub(super) fn first(incarnation: u16) -> Self {
        Self(u64::from(incarnation) << 48)
    }

    pub(super) fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }

    pub(super) fn plus(self, count: usize) -> Self {
        Self(self.0.wrapping_add(count as u64))
    }

    /// How many tickets lie between `base` and this one; huge for one before `base`.
    pub(super) fn distance(self, base: Self) -> usize {
        usize::try_from(self.0.wrapping_sub(base.0)).unwrap_or(usize::MAX)
    }
}

/// Which routes a record goes to.
#[derive(Clone, Debug)]
pub(crate) enum Plan {
    /// One route: the normal case, without an allocation.
    One(RouteId),
    /// Several different routes. Shared, so that the driver creates the list once for a name.
    Many(Arc<[RouteId]>),
    /// All of these; workers compete for at least one of them.
    Shared(Arc<[Worker]>),
    /// No route handles it.
    Unmatched,
    /// It is not an event.
    Undecodable,
}

impl Plan {
    /// The routes it names.
    pub(super) fn routes(&self) -> impl Iterator<Item = RouteId> {
        let (ids, workers): (&[_], &[Worker]) = match self {
            Self::One(id) => (std::slice::from_ref(id), &[]),
            Self::Many(ids) => (ids, &[]),
            Self::Shared(workers) => (&[], workers),
            Self::Unmatched | Self::Undecodable => (&[], &[]),
        };
        let workers = workers.iter().map(|worker| worker.route);
        ids.iter().copied().chain(workers)
    }

    /// The routes that compete with a route for the record.
    pub(super) fn others(&self, route: RouteId) -> &[RouteId] {
        match self {
            Self::Shared(workers) => workers
                .iter()
                .find(|worker| worker.route == route)
                .map_or(&[], |worker| &worker.others),
            _ => &[],
        }
    }
}

/// One of several workers that compete for a record. Any choice is fine at any time: a key that
/// changes workers waits until the earlier ones have finished its records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Worker {
    pub(crate) route: RouteId,
    /// The other routes that may have had records of the same name, including closed ones.
    pub(crate) others: Vec<RouteId>,
}

/// Gets a record of an abandoned route.
#[derive(Clone, Debug)]
pub(crate) struct Heir {
    pub(crate) worker: Worker,
    /// The hash of its key, which may not have mattered when the record arrived.
    pub(crate) key: Option<u64>,
}

/// The machine's inputs.
#[derive(Clone, Debug)]
pub(crate) enum Input<R> {
    /// A record was read. Within a history offsets increase; a record that does not was read twice
    /// and is ignored.
    Record {
        offset: i64,
        /// A hash of the key; `None` without a key, which means no order.
        key: Option<u64>,
        /// Its size for the byte marks.
        size: usize,
        body: R,
        plan: Plan,
    },
    /// A handler ended: once for each [`Action::Run`].
    Outcome {
        ticket: Ticket,
        route: RouteId,
        result: Outcome,
    },
    /// A handler of several records ended: once for each [`Action::RunBatch`], with an outcome for
    /// each of its records.
    BatchEnded {
        route: RouteId,
        outcomes: Vec<(Ticket, Outcome)>,
        now: Time,
    },
    /// A handler was not started after all, instead of its outcome or outcomes; with all records of
    /// the call. The attempt does not count; the records may start again.
    Withdrawn {
        route: RouteId,
        tickets: Vec<Ticket>,
    },
    /// Exactly once: something of the record was published, which is to leave with its offset. Comes
    /// before the outcome that it belongs to; of a failed attempt nothing is staged.
    Staged {
        ticket: Ticket,
        /// Its size for the byte marks.
        size: usize,
    },
    /// What was released of so many records, with so many bytes, is held no more: it counts until then.
    Left { records: usize, bytes: usize },
    /// A dead letter was acknowledged, or its write failed: once for each [`Action::DeadLetter`].
    DeadLettered {
        ticket: Ticket,
        route: Option<RouteId>,
        stored: bool,
        now: Time,
    },
    /// A commit was confirmed or failed: once for each [`Action::Commit`], with its numbers.
    Committed {
        history: u32,
        up_to: i64,
        ok: bool,
        now: Time,
    },
    /// The partition's offsets restart at `start`: its topic was recreated, or its log was
    /// truncated. Later records are not mistaken for ones already seen, and do not start before
    /// `start` is committed. Records already here cannot be read again: they are handled before
    /// what follows them in their lane, wait for no commit, and are reported as skipped if the
    /// partition leaves first. From here on the watermark is `start`, and nothing earlier is ever
    /// committed.
    ///
    /// Ignored once the partition leaves; the driver must then omit the last commit.
    NewHistory { start: i64 },
    /// Everything below `offset` was read: there is no record between the last one and it, as at
    /// the end of a transaction. Once everything so far is done, the watermark is `offset`.
    ReadTo { offset: i64 },
    /// The time requested by [`poll_timeout`](super::Partition::poll_timeout) has come. If a route takes batches,
    /// also sent ahead of records: a batch waits from the time last reported.
    Tick(Time),
    /// The partition is being taken away, or the subscription stops: handlers that run may finish,
    /// [`Action::Drained`] follows the last of them. A record starts, is tried again or has its dead
    /// letter written only if a later one is done, which could not be committed otherwise; a retry
    /// only if it is due by `until`. What is left undone is read again by the next owner.
    Revoke { until: Time },
    /// In a drain: nothing starts any more, whatever that leaves uncommitted.
    StopCatchingUp,
    /// The partition was lost: everything is forgotten, nothing may be committed. Also sent by the
    /// driver if a drain takes too long.
    Lost,
}

/// How a handler ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Outcome {
    Handled,
    /// It returned an error or panicked. The time starts the backoff; success needs no clock.
    Failed {
        now: Time,
        /// The policy for this record; `None` for that of its route.
        retry: Option<Retry>,
    },
    /// It asked for a dead letter: no retry can help.
    Rejected,
}

/// The machine's outputs.
#[derive(Clone, Debug)]
pub(crate) enum Action<R> {
    /// Start the handler.
    Run {
        ticket: Ticket,
        route: RouteId,
        attempt: u32,
        #[cfg_attr(not(test), expect(dead_code, reason = "the simulation reads it"))]
        offset: i64,
        body: R,
    },
    /// Start the handler with these records, in order. A record that has failed comes alone.
    RunBatch {
        route: RouteId,
        records: Vec<Started<R>>,
    },
    /// Write a dead letter and answer with [`Input::DeadLettered`]. Repeated if that failed.
    DeadLetter(Failure<R>),
    /// Exactly once: what is staged of the record leaves, for it and all before it are done. Comes in
    /// the order of the records. [`covered`](super::Partition::covered) says which offset goes with it.
    Release { ticket: Ticket },
    /// Commit, and answer with [`Input::Committed`]. A commit of an earlier history need not be
    /// made or answered.
    Commit {
        /// How many [`Input::NewHistory`] there were.
        history: u32,
        up_to: i64,
    },
    /// Stop reading this partition: its buffer is full.
    Pause,
    /// Resume reading.
    Resume,
    /// Report to the user that the policy skipped this record. It is done.
    Skipped(Failure<R>),
    /// Stop the group here: nothing starts any more in this partition. The record stays undone (but
    /// see [`CommitMode::BeforeProcessing`](super::CommitMode)).
    StopSubscription(Failure<R>),
    /// Leave the group and rejoin. The record stays undone.
    Rejoin(Failure<R>),
    /// An abandoned route has a record again, whose handler failed: call
    /// [`abandon_route`](super::Partition::abandon_route) again.
    Orphaned { route: RouteId },
    /// A closed route has run everything queued for it, and is gone.
    RouteDrained { route: RouteId },
    /// Cancel the handler: its partition is lost.
    Cancel {
        #[cfg_attr(not(test), expect(dead_code, reason = "the simulation reads it"))]
        ticket: Ticket,
        #[cfg_attr(not(test), expect(dead_code, reason = "the simulation reads it"))]
        route: RouteId,
    },
    /// Nothing is in flight after a revoke or drain; the watermark is final.
    Drained,
}

/// One record of a batch.
#[derive(Clone, Debug)]
pub(crate) struct Started<R> {
    pub(crate) ticket: Ticket,
    pub(crate) attempt: u32,
    #[cfg_attr(not(test), expect(dead_code, reason = "the simulation reads it"))]
    pub(crate) offset: i64,
    pub(crate) body: R,
}

/// A record that was not handled, and why.
#[derive(Clone, Debug)]
pub(crate) struct Failure<R> {
    pub(crate) ticket: Ticket,
    /// `None` if the record never reached a route.
    pub(crate) route: Option<RouteId>,
    pub(crate) reason: Reason,
    /// How often a handler was started with it.
    pub(crate) attempts: u32,
    pub(crate) offset: i64,
    pub(crate) body: R,
}

/// Why a record was not handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Reason {
    Undecodable,
    Unmatched,
    Exhausted,
    Rejected,
    /// Its subscription stopped before it started, and there is no other worker.
    Stopped,
    /// The partition was revoked before it was done, and nobody will read it again: at most once
    /// its offset was (or may have been) committed, or it is of an earlier history.
    Revoked,
}
