//! Protections that can be disabled, to show that the checker detects their absence.

use clap::ValueEnum;

use crate::layout::COPYING;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Protection {
    /// The idempotent producer: retries may duplicate and overtake
    Idempotence,
    /// Offsets are committed after the handler, not before
    CommitAfterHandler,
    /// A revoked partition's handlers are waited for
    Drain,
    /// The offset moves after the dead letter is acknowledged
    DeadLetterAck,
    /// Records of a recreated topic are not mistaken for those of the old one
    TakeNewHistoryForSeen,
    /// A recreated topic is recognised by its id
    IgnoreTopicId,
    /// Nothing is handled before the start of its partition is committed
    StartBeforeCommit,
    /// A key changes workers only when the earlier one owes nothing of it
    ChangeWorkersAtOnce,
    /// What handlers publish is staged until they succeed
    PublishUnstaged,
    /// What is staged is sent when all earlier records are done
    ReleaseAtOnce,
    /// A transaction has the offsets of everything that it has outputs of
    OffsetsOutside,
    /// After an abort everything since the last commit is read again
    KeepTheAborted,
    /// A transaction commits only while its member is in the group
    CommitUnfenced,
    /// Copies are read with `isolation.level=read_committed`
    ReadCommitted,
}

impl Protection {
    /// Its name on the command line and in the history.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Idempotence => "idempotence",
            Self::CommitAfterHandler => "commit-after-handler",
            Self::Drain => "drain",
            Self::DeadLetterAck => "dead-letter-ack",
            Self::TakeNewHistoryForSeen => "take-new-history-for-seen",
            Self::IgnoreTopicId => "ignore-topic-id",
            Self::StartBeforeCommit => "start-before-commit",
            Self::ChangeWorkersAtOnce => "change-workers-at-once",
            Self::PublishUnstaged => "publish-unstaged",
            Self::ReleaseAtOnce => "release-at-once",
            Self::OffsetsOutside => "offsets-outside",
            Self::KeepTheAborted => "keep-the-aborted",
            Self::CommitUnfenced => "commit-unfenced",
            Self::ReadCommitted => "read-committed",
        }
    }

    /// The faults that need it, if the command line names none.
    pub(crate) fn faults(self) -> &'static [&'static str] {
        match self {
            Self::Idempotence => &[
                "broker-killed",
                "connections-cut",
                "connections-refused",
                "half-open",
            ],
            Self::CommitAfterHandler => &["member-killed", "handlers-slow"],
            // Clean stops, which excuse nothing.
            Self::Drain => &["member-stopped", "handlers-slow"],
            Self::DeadLetterAck | Self::KeepTheAborted => &["dead-letters-refused"],
            Self::TakeNewHistoryForSeen => &["topic-remade"],
            Self::IgnoreTopicId => &["topic-outgrown"],
            Self::StartBeforeCommit => &["start-delayed"],
            Self::ChangeWorkersAtOnce => &["workers-changed"],
            Self::PublishUnstaged => &["handlers-failing"],
            Self::ReleaseAtOnce => &["member-killed", "handlers-failing"],
            Self::OffsetsOutside => &["member-killed"],
            Self::ReadCommitted => &["dead-letters-refused", "member-killed"],
            Self::CommitUnfenced => &["member-paused", "member-replaced"],
        }
    }

    /// The only group whose members are hit; `None` for all.
    pub(crate) fn group(self) -> Option<&'static str> {
        match self {
            Self::PublishUnstaged
            | Self::ReleaseAtOnce
            | Self::OffsetsOutside
            | Self::KeepTheAborted
            | Self::CommitUnfenced
            | Self::ReadCommitted => Some(COPYING),
            _ => None,
        }
    }

    /// The library's fault that disables it; `None` if an option does.
    pub(crate) fn sabotage(self) -> Option<&'static str> {
        match self {
            Self::Idempotence | Self::ReadCommitted => None,
            Self::CommitAfterHandler => Some("store-before-done"),
            Self::Drain => Some("revoke-without-drain"),
            Self::DeadLetterAck => Some("pass-over-failed-dead-letter"),
            Self::TakeNewHistoryForSeen
            | Self::IgnoreTopicId
            | Self::StartBeforeCommit
            | Self::ChangeWorkersAtOnce
            | Self::PublishUnstaged
            | Self::ReleaseAtOnce
            | Self::OffsetsOutside
            | Self::KeepTheAborted
            | Self::CommitUnfenced => Some(self.word()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_is_that_of_the_command_line() {
        for off in Protection::value_variants() {
            let value = off.to_possible_value().expect("none is hidden");
            assert_eq!(value.get_name(), off.word());
        }
    }
}
