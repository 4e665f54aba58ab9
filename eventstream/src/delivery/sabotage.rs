/// Faults built into the machine on purpose. Only a test can switch one on; the test shows that
/// the simulation finds it, and so that the simulation would find the like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sabotage {
    /// The watermark covers a record as soon as it starts.
    StoreBeforeDone,
    /// The watermark follows the record that finished last, whatever is still open below.
    CommitNotContiguous,
    /// The watermark is one lower while nothing is in flight.
    WatermarkGoesBack,
    /// A commit that failed counts as confirmed.
    BelieveFailedCommit,
    /// Records still start while the partition drains.
    DispatchAfterRevoke,
    /// A record that failed goes to the end of its lane.
    ForgetLaneOrder,
    /// A lane goes on once its dead letter is being written.
    ReleaseBeforeDeadLetterAck,
    /// A dead letter whose write failed is passed over.
    PassOverFailedDeadLetter,
    /// One key more than allowed runs at once.
    OneKeyTooMany,
    /// One attempt more than allowed.
    OneAttemptTooMany,
    /// A retry does not wait.
    RetryAtOnce,
    /// A retry is never woken.
    ForgetRetry,
    /// A partition that paused stays so.
    ForgetResume,
    /// One lane starts where several may.
    LeavePlacesEmpty,
    /// `Drained` does not wait for what runs.
    DrainedTooEarly,
    /// At most once: a record runs before its commit is confirmed.
    RunBeforeCommit,
    /// A record that was passed over is not told.
    SkipSilently,
}
