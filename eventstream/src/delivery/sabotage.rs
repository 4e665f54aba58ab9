/// Faults built into the machine on purpose. Only a test can switch one on; the test shows that
/// the simulation finds it, and so that the simulation would find the like.
///
/// The torture run can switch some on as well, in a library compiled with [`BUILT_FOR_IT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sabotage {
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
    /// A drain waits for no further attempt, though something after the record is done.
    DrainForgetsRetries,
    /// A drain writes no dead letter, though something after the record is done.
    DrainForgetsLetters,
    /// Nothing waits for the commit of its history's start.
    StartBeforeCommit,
    /// A new history is not known for one: its records are dropped as read twice.
    TakeNewHistoryForSeen,
    /// After a new history the watermark is still that of the old one.
    KeepOldWatermark,
    /// An answer to a commit of an earlier history counts.
    BelieveLateAnswer,
    /// What cannot be read again is forgotten without a word when the partition leaves.
    ForgetOldSilently,
    /// A gap behind the last record is not counted as read.
    IgnoreGap,
    /// A key changes workers while the earlier one still owes something of it.
    ChangeWorkersAtOnce,
    /// A closed route stays paused.
    CloseKeepsPause,
    /// A route that is abandoned keeps what it has.
    KeepAbandoned,
    /// Where one route stops the group, the others of the partition go on.
    SiblingsGoOn,
    /// A handler that was not started counts as an attempt.
    CountWithdrawn,
    /// A batch has one record more than asked for.
    BatchTooLarge,
    /// A batch does not wait for others.
    BatchAtOnce,
    /// A batch that is not full is never started.
    BatchNeverDue,
    /// What has failed in a batch is tried again together with others.
    RetryInBatch,
    /// What has succeeded in a batch is handled again where something else of it has failed.
    RunAllAgain,
    /// What has failed in a batch lets what follows in its lane go first.
    BatchForgetsOrder,
    /// What is staged leaves without waiting for the records before it.
    ReleaseAtOnce,
    /// What is staged is never released.
    ForgetStaged,
    /// What is staged is released after the partition was lost.
    ReleaseAfterLoss,
    /// The offset runs ahead of what was released.
    CoverBeforeRelease,
    /// A transaction is committed without the offset of one of its partitions.
    OffsetsOutside,
    /// What comes after an abort of a partition that stood in it still counts.
    KeepTheAborted,
    /// What was aborted is not read again.
    ForgetTheAborted,
    /// What is gone is committed all the same.
    CommitTheGone,
    /// At most once: a record runs before its commit is confirmed.
    RunBeforeCommit,
    /// A record that was passed over is not told.
    SkipSilently,
    /// Handlers of a partition that is taken away are not waited for. The poller's, not the machine's.
    RevokeWithoutDrain,
    /// A topic that was made anew is taken for the one that was there. The poller's.
    IgnoreTopicId,
}

/// Whether the crate was compiled with `EVENTSTREAM_BUILD_SABOTAGE` set, as `cargo xtask torture
/// --without` does. In every other build this is a constant `false`, and so is each question.
pub(crate) const BUILT_FOR_IT: bool = option_env!("EVENTSTREAM_BUILD_SABOTAGE").is_some();

/// The fault that the environment names, in a build for it.
pub(crate) fn chosen() -> Option<Sabotage> {
    if !BUILT_FOR_IT {
        return None;
    }
    match std::env::var("EVENTSTREAM_SABOTAGE").ok()?.as_str() {
        "store-before-done" => Some(Sabotage::StoreBeforeDone),
        "pass-over-failed-dead-letter" => Some(Sabotage::PassOverFailedDeadLetter),
        "start-before-commit" => Some(Sabotage::StartBeforeCommit),
        "change-workers-at-once" => Some(Sabotage::ChangeWorkersAtOnce),
        "take-new-history-for-seen" => Some(Sabotage::TakeNewHistoryForSeen),
        "release-at-once" => Some(Sabotage::ReleaseAtOnce),
        "offsets-outside" => Some(Sabotage::OffsetsOutside),
        "keep-the-aborted" => Some(Sabotage::KeepTheAborted),
        "revoke-without-drain" => Some(Sabotage::RevokeWithoutDrain),
        "ignore-topic-id" => Some(Sabotage::IgnoreTopicId),
        _ => None,
    }
}
