//! Commits: what the tasks wish, each interval, and at the end.

use std::sync::atomic::Ordering as Atomic;
use std::time::{Duration, Instant};

use rdkafka::consumer::{CommitMode as KafkaCommit, Consumer};
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::topic_partition_list::Offset;

use super::Poller;
use crate::delivery::CommitMode;
use crate::kafka::consumer::assignment;
use crate::kafka::consumer::events::TopicPartition;
use crate::kafka::consumer::words::ToPartition;
use crate::kafka::error::from_code;

/// How long the last commit of partitions that are given up is tried, and how often.
const LAST_COMMIT: Duration = Duration::from_secs(3);
const COMMIT_AGAIN: Duration = Duration::from_millis(100);
/// How long the outcome of a commit in the background is waited for before the next is sent.
const OUTCOME: Duration = Duration::from_secs(30);

impl Poller {
    /// Commits what machines that commit record by record wait for: all at once.
    pub(super) fn commit_wanted(&mut self) {
        if self.commits_wanted.is_empty() {
            return;
        }
        let wanted = std::mem::take(&mut self.commits_wanted);
        let mode = match self.group.env.commit {
            CommitMode::AsyncEach | CommitMode::Auto => KafkaCommit::Async,
            CommitMode::AfterEach | CommitMode::BeforeProcessing => KafkaCommit::Sync,
        };
        let offsets: Vec<_> = self
            .assigned
            .iter()
            .filter_map(|a| Some((a.name.clone(), wanted.get(&a.number)?.1)))
            .collect();
        let ok = self.commit(&offsets, mode).is_ok();
        for assigned in &mut self.assigned {
            if let Some((history, up_to)) = wanted.get(&assigned.number).copied() {
                if ok && matches!(mode, KafkaCommit::Sync) {
                    assigned.confirm(up_to);
                }
                let answer = ToPartition::Committed { history, up_to, ok };
                let _ = assigned.words.send(answer);
            }
        }
    }

    /// Commits what the partitions have done before they are given up. A commit that was sent while
    /// the group agrees anew waits at the broker behind this member's own request to join, and is
    /// then refused as one of an older generation. It is sent again, for what is not committed is
    /// handled twice.
    pub(super) fn commit_finally(&mut self, deadline: Instant) {
        let mut again_until = None;
        while let Err(code) = self.commit_watermarks(KafkaCommit::Sync) {
            if is_hopeless(code) {
                return;
            }
            // From the first refusal, which may have taken long.
            let until = *again_until.get_or_insert_with(|| Instant::now() + LAST_COMMIT);
            if Instant::now() >= deadline.min(until) {
                return;
            }
            std::thread::sleep(COMMIT_AGAIN);
        }
    }

    /// Commits every watermark that has moved.
    pub(super) fn commit_watermarks(&mut self, mode: KafkaCommit) -> Result<(), Code> {
        let offsets: Vec<_> = self
            .assigned
            .iter()
            .filter_map(|a| {
                let watermark = a.shared.watermark()?;
                (watermark > a.committed).then(|| (a.name.clone(), watermark))
            })
            .collect();
        if offsets.is_empty() {
            return Ok(());
        }
        self.commit(&offsets, mode)?;
        if matches!(mode, KafkaCommit::Sync) {
            self.confirm(&offsets);
        }
        Ok(())
    }

    /// A commit in the background waits while another has no outcome yet, and then goes with the
    /// watermarks: librdkafka may send an older commit again after a newer one, and the committed
    /// offset would go back.
    fn commit(&mut self, offsets: &[(TopicPartition, i64)], mode: KafkaCommit) -> Result<(), Code> {
        let awaited = |at: Instant| at.elapsed() < OUTCOME;
        if matches!(mode, KafkaCommit::Async) && self.commit_sent.is_some_and(awaited) {
            self.commit_again = true;
            return Ok(());
        }
        let list = assignment::list(offsets.iter().map(|(p, o)| (p, Offset::Offset(*o))));
        let outcome = match mode {
            KafkaCommit::Async => self
                .queue
                .commit(self.consumer.client(), &list)
                .map(|()| self.commit_sent = Some(Instant::now())),
            KafkaCommit::Sync => self
                .consumer
                .commit(&list, mode)
                .map(|()| self.count_commit())
                .map_err(|error| error.rdkafka_error_code().unwrap_or(Code::Unknown)),
        };
        outcome.inspect_err(|code| self.commit_failed(*code))
    }

    fn count_commit(&self) {
        let env = &self.group.env;
        env.counters.commits.fetch_add(1, Atomic::Relaxed);
        env.meter.committed();
    }

    /// The outcome of an asynchronous commit.
    pub(super) fn committed(
        &mut self,
        error: Option<Code>,
        offsets: &[(TopicPartition, i64, Option<Code>)],
    ) {
        self.commit_sent = None;
        if let Some(code) = error {
            // What it was for is committed at the next interval.
            self.commit_again = false;
            self.commit_failed(code);
            return;
        }
        match offsets.iter().find_map(|(_, _, error)| *error) {
            Some(code) => self.commit_failed(code),
            None => self.count_commit(),
        }
        let confirmed: Vec<_> = offsets
            .iter()
            .filter(|(_, _, error)| error.is_none())
            .map(|(name, offset, _)| (name.clone(), *offset))
            .collect();
        self.confirm(&confirmed);
        if std::mem::take(&mut self.commit_again) {
            // A refusal is told, and the next interval tries again.
            let _ = self.commit_watermarks(KafkaCommit::Async);
        }
    }

    fn confirm(&mut self, offsets: &[(TopicPartition, i64)]) {
        for (name, offset) in offsets {
            if let Some(assigned) = self.assigned.iter_mut().find(|a| a.name == *name) {
                assigned.confirm(*offset);
            }
        }
    }

    /// A commit that a rebalance has overtaken is nobody's loss: the next owner reads again.
    fn commit_failed(&self, code: Code) {
        let passing = matches!(
            code,
            Code::IllegalGeneration
                | Code::UnknownMemberId
                | Code::RebalanceInProgress
                | Code::NoOffset
                | Code::AssignmentLost
                | Code::State
        );
        let error = from_code("commit offsets", code);
        if passing {
            tracing::debug!(group = &*self.group.env.wire_group, %error, "commit overtaken");
        } else {
            tracing::warn!(group = &*self.group.env.wire_group, %error, "commit failed, tried again");
            self.group.env.meter.commit_failed();
            self.group.tell_all(&error);
        }
    }
}

/// Whether the group has another owner for the partitions, or never lets this member commit:
/// another attempt would meet the same.
fn is_hopeless(code: Code) -> bool {
    matches!(
        code,
        Code::UnknownMemberId
            | Code::FencedInstanceId
            | Code::FencedMemberEpoch
            | Code::UnreleasedInstanceId
            | Code::GroupAuthorizationFailed
            | Code::TopicAuthorizationFailed
            | Code::InvalidGroupId
            | Code::AssignmentLost
            | Code::Fatal
            | Code::Fenced
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_rebalance_passes_by_is_committed_again() {
        for code in [
            Code::RebalanceInProgress,
            Code::IllegalGeneration,
            Code::StaleMemberEpoch,
            Code::RequestTimedOut,
            Code::CoordinatorLoadInProgress,
            Code::NotCoordinator,
            Code::OperationTimedOut,
        ] {
            assert!(!is_hopeless(code), "{code:?}");
        }
        for code in [Code::UnknownMemberId, Code::FencedInstanceId, Code::Fatal] {
            assert!(is_hopeless(code), "{code:?}");
        }
    }
}
