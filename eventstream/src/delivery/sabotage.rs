/// Faults built into the machine on purpose. Only tests can enable one, to show that the simulation
/// finds it, and so would find similar ones.
///
/// The torture run can enable some as well, in a library compiled with [`BUILT_FOR_IT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sabotage {
    /// The watermark covers a record as soon as it starts.
    StoreBeforeDone,
    /// The watermark follows the record that finished last, whatever is still open below it.
    CommitNotContiguous,
    /// The watermark is one lower while nothing is in flight.
    WatermarkGoesBack,
    /// A commit that failed counts as confirmed.
    BelieveFailedCommit,
    /// Records still start while the partition drains.
    DispatchAfterRevoke,
    /// A record that failed goes to the end of its lane.
    ForgetLaneOrder,
    /// A lane continues once its dead letter is being written.
    ReleaseBeforeDeadLetterAck,
    /// A dead letter whose write failed is skipped.
    PassOverFailedDeadLetter,
    /// One key more than allowed runs at once.
    OneKeyTooMany,
    /// One attempt more than allowed.
    OneAttemptTooMany,
    /// A retry does not wait.
    RetryAtOnce,
    /// A retry is never woken.
    ForgetRetry,
    /// A paused partition stays paused.
    ForgetResume,
    /// One lane starts where several may.
    LeavePlacesEmpty,
    /// `Drained` does not wait for running handlers.
    DrainedTooEarly,
    /// A drain waits for no further attempt, although something after the record is done.
    DrainForgetsRetries,
    /// A drain writes no dead letter, although something after the record is done.
    DrainForgetsLetters,
    /// Nothing waits for the commit of its history's start.
    StartBeforeCommit,
    /// A new history is not recognised: its records are dropped as duplicates.
    TakeNewHistoryForSeen,
    /// After a new history the watermark is still that of the old one.
    KeepOldWatermark,
    /// An answer to a commit of an earlier history counts.
    BelieveLateAnswer,
    /// Records that cannot be read again are silently forgotten when the partition leaves.
    ForgetOldSilently,
    /// A gap behind the last record is not counted as read.
    IgnoreGap,
    /// A key changes workers while the earlier one still has unfinished records of it.
    ChangeWorkersAtOnce,
    /// A closed route stays paused.
    CloseKeepsPause,
    /// An abandoned route keeps its records.
    KeepAbandoned,
    /// If one route stops the group, the others of the partition continue.
    SiblingsGoOn,
    /// A handler that was not started counts as an attempt.
    CountWithdrawn,
    /// A batch has one record more than allowed.
    BatchTooLarge,
    /// A batch does not wait for others.
    BatchAtOnce,
    /// A batch that is not full is never started.
    BatchNeverDue,
    /// Records that failed in a batch are retried together with others.
    RetryInBatch,
    /// Records that succeeded in a batch are handled again if others failed.
    RunAllAgain,
    /// Records that failed in a batch let later ones of their lane go first.
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
    /// A skipped record is not reported.
    SkipSilently,
    /// Handlers of a revoked partition are not waited for. The poller's, not the machine's.
    RevokeWithoutDrain,
    /// A recreated topic is mistaken for the old one. The poller's.
    IgnoreTopicId,
    /// What a handler publishes leaves at once, outside the transaction. The context's.
    PublishUnstaged,
    /// A transaction is committed as nobody in the group, whom a broker never refuses. The poller's.
    CommitUnfenced,
}

/// Whether the crate was compiled with `EVENTSTREAM_BUILD_SABOTAGE` set, as `cargo xtask torture
/// --without` does. In every other build this is a constant `false`, and so is each check.
pub(crate) const BUILT_FOR_IT: bool = option_env!("EVENTSTREAM_BUILD_SABOTAGE").is_some();

/// The fault that the environment selects, in a build for it.
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
        "publish-unstaged" => Some(Sabotage::PublishUnstaged),
        "commit-unfenced" => Some(Sabotage::CommitUnfenced),
        _ => None,
    }
}
