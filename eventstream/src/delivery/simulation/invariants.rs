//! What must hold in every schedule. ARCHITECTURE.md lists the same names.

/// The invariants of delivery. [`Oracle`](super::oracle::Oracle) checks all of them, after every
/// step, against a model of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Invariant {
    /// No offset is stored or committed before every lower one is done: handled, told as passed
    /// over, or dead-lettered with an acknowledged write. At most once: was released to run. And
    /// the watermark lags behind by none.
    StoresOnlyWhatIsDone,
    /// Within a history the watermark and the commits never go back.
    NeverGoesBack,
    /// After a revoke or loss nothing starts: no commit, and in a drain only the dead letters of
    /// handlers that ran, and the handlers and dead letters without which something that is done could
    /// not be committed, and those of records that nobody could read again.
    NothingStartsAfterRevoke,
    /// Inside a lane (partition or key) of a route, a record starts only when every earlier one is
    /// done, over all retries and dead letters, or starts in the same batch.
    LaneOrder,
    /// One call at a time in a lane, and no more calls at once than the route allows.
    Concurrency,
    /// Every record ends as handled, told, dead-lettered with an acknowledgement, or is undone and
    /// above the watermark. None is passed over in silence, and nothing is told that is not so.
    NothingIsLost,
    /// Attempts count 1, 2, 3.. and stop at the limit; a wait is never cut short, lies within the
    /// bounds of its backoff and jitter, and ends.
    AttemptsAndBackoff,
    /// A drain ends only when what a handler that ran has given up is dead-lettered, and what keeps
    /// something that is done from being committed has been started, tried again and dead-lettered, or
    /// something before it will not be done.
    CatchesUp,
    /// `Drained` comes exactly once, and only when nothing is in flight.
    DrainedOnce,
    /// Pause at the high mark and resume at the low one, in turn, not after a revoke.
    PauseAndResume,
    /// Whatever may start is started, and when handlers succeed everything is done: the machine is
    /// silent only while it waits for an answer, a deadline, or a user who paused or stopped it.
    Progress,
    /// At most once: no record runs before its commit is confirmed, none runs twice in a route,
    /// not even over a rebalance.
    AtMostOnce,
    /// With a commit after each record: the next record of a partition waits for it.
    EachCommitAwaited,
    /// Nothing of a partition, or of a new history of it, starts or is reported before the commit of
    /// its start is confirmed; that commit is requested at once, and again until it is confirmed.
    StartCommittedFirst,
    /// When offsets restart, no record counts as seen, nothing of the earlier history is committed
    /// any more, and what is buffered of it is handled or reported.
    NewHistoryIsRead,
    /// A record starts at a worker only when no competing worker owes an earlier one of its key (of
    /// its partition, where one of the two orders by that).
    WorkerOrder,
    /// A route that is closed, paused or not, runs what it has; one that is abandoned gives away all
    /// that does not run, at once.
    NoSiblingStalls,
    /// A batch has one record at least and no more than asked for, in the order of the partition.
    BatchBounds,
    /// A batch takes all that may be in it, and starts once it is full or its first record has
    /// waited long enough; earlier only where nothing more can come for it. Never later.
    BatchInTime,
    /// What has failed in a batch is tried again alone.
    TriedAgainAlone,
    /// What is published with a record leaves only when it and all before it are done.
    ReleasedBelowWatermark,
    /// It leaves in the order of the records.
    ReleasedInOrder,
    /// It leaves once.
    ReleasedOnce,
    /// The offset that goes into a transaction has everything below it that was published, and no more.
    OffsetsEqualOutputs,
    /// After a loss nothing leaves.
    NothingReleasedAfterLoss,
    /// When a policy stops the group, nothing after that starts in the partition.
    StopsTheGroup,
}

#[derive(Debug)]
pub(super) struct Violation {
    pub(super) invariant: Invariant,
    pub(super) detail: String,
}

pub(super) type Checked<T = ()> = Result<T, Violation>;

/// Ends the function with a violation unless the condition holds.
macro_rules! ensure {
    ($holds:expr, $invariant:ident, $($detail:tt)+) => {
        if !$holds {
            return Err($crate::delivery::simulation::invariants::Violation {
                invariant: $crate::delivery::simulation::invariants::Invariant::$invariant,
                detail: format!($($detail)+),
            });
        }
    };
}
pub(super) use ensure;
