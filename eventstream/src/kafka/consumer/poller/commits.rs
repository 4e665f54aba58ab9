//! Commits: at the tasks' request, at each interval, and at the end.

use std::collections::HashMap;
use std::sync::atomic::Ordering as Atomic;
use std::time::{Duration, Instant};

use rdkafka::consumer::{CommitMode as KafkaCommit, Consumer};
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::topic_partition_list::TopicPartitionList;

use super::{Assigned, Poller};
use crate::guard::tracing;
use crate::kafka::consumer::assignment::{self, Commit};
use crate::kafka::consumer::events::TopicPartition;
use crate::kafka::consumer::refusals::Cause;
use crate::kafka::consumer::words::ToPartition;
use crate::kafka::error::from_code;
use crate::kafka::questions::TopicId;

/// How long the last commit of revoked partitions is retried, and how often.
pub(super) const LAST_COMMIT: Duration = Duration::from_secs(3);
const COMMIT_AGAIN: Duration = Duration::from_millis(100);
/// How long to wait for the outcome of a background commit before the next is sent.
const OUTCOME: Duration = Duration::from_secs(30);
/// How many partitions one commit is for. A broker stores it as one batch, and refuses one that is larger than
/// `message.max.bytes`, 1 MB by default; with the longest names and the topic's id a partition takes 0.6 KB.
const AT_ONCE: usize = 1_000;

/// A commit without an outcome yet.
pub(super) struct Sent {
    at: Instant,
    entries: Vec<Entry>,
}

/// One partition's part of a commit.
struct Entry {
    name: TopicPartition,
    /// Its assignment; `None` if it belongs to another member, and only its start is fixed here.
    number: Option<u64>,
    history: u32,
    up_to: i64,
    id: Option<TopicId>,
    /// Its machine waits for the outcome.
    is_wished: bool,
}

impl Sent {
    fn is_awaited(&self) -> bool {
        self.at.elapsed() < OUTCOME
    }
}

impl Poller {
    /// Commits what machines wait for, all at once, once the previous commit has its outcome.
    pub(super) fn commit_wanted(&mut self) {
        match &self.commit_sent {
            Some(sent) if sent.is_awaited() => return,
            Some(_) => self.wish_again(),
            None => {}
        }
        let entries = self.wishes();
        if !entries.is_empty()
            && let Err(code) = self.send(entries)
        {
            self.commit_failed(code);
        }
    }

    /// Like [`commit_wanted`](Self::commit_wanted), but waits for the outcome, as no events are
    /// read during a drain.
    pub(super) fn commit_wanted_now(&mut self) {
        loop {
            let entries = self.wishes();
            if entries.is_empty() {
                return;
            }
            let ok = self.commit_now(&entries).is_ok();
            for entry in &entries {
                self.settled(entry, ok);
            }
            if !ok {
                return;
            }
        }
    }

    /// Requests again what machines wait for, in a commit whose outcome may never be read.
    pub(super) fn wish_again(&mut self) {
        let Some(mut sent) = self.commit_sent.take() else {
            return;
        };
        for entry in sent.entries.iter_mut().filter(|e| e.is_wished) {
            entry.is_wished = false;
            if let Some(number) = entry.number {
                self.wish(number, entry.history, entry.up_to);
            }
        }
        self.commit_sent = Some(sent).filter(Sent::is_awaited);
    }

    /// A machine waits for this commit; only the latest one of a partition is kept.
    pub(super) fn wish(&mut self, number: u64, history: u32, up_to: i64) {
        let wish = (history, up_to);
        let wanted = self.commits_wanted.entry(number).or_insert(wish);
        *wanted = wish.max(*wanted);
    }

    fn wishes(&mut self) -> Vec<Entry> {
        let wanted = std::mem::take(&mut self.commits_wanted);
        if wanted.is_empty() {
            return Vec::new();
        }
        let mut entries = Vec::new();
        // In turn: with thousands that wish again at once, the last ones would wait forever.
        let next = self
            .assigned
            .partition_point(|a| a.number < self.wishes_from);
        let (before, after) = self.assigned.split_at(next);
        for assigned in after.iter().chain(before) {
            let Some((history, up_to)) = wanted.get(&assigned.number).copied() else {
                continue;
            };
            if entries.len() >= AT_ONCE {
                // They come next, once this commit has its outcome.
                let later = (history, up_to);
                self.commits_wanted.insert(assigned.number, later);
                continue;
            }
            // A commit of an earlier history is outdated, and needs no answer.
            if history != assigned.history {
                continue;
            }
            if !assigned.is_started {
                let births = self.starting.births_with(&assigned.name.0);
                entries.extend(births.iter().map(|birth| Entry {
                    name: birth.partition.clone(),
                    number: None,
                    history: 0,
                    up_to: birth.offset,
                    id: birth.id,
                    is_wished: false,
                }));
            }
            entries.push(Entry {
                name: assigned.name.clone(),
                number: Some(assigned.number),
                history,
                up_to,
                id: assigned.topic_id,
                is_wished: true,
            });
            self.wishes_from = assigned.number + 1;
        }
        entries
    }

    /// Reports the outcome of a commit to the machines concerned.
    fn settled(&mut self, entry: &Entry, ok: bool) {
        let Some(number) = entry.number else {
            if ok {
                self.starting.born(&entry.name);
            }
            return;
        };
        let Some(assigned) = self.assigned.numbered(number) else {
            return;
        };
        if assigned.history != entry.history {
            return;
        }
        if ok {
            assigned.confirm(entry.up_to);
        }
        if entry.is_wished {
            let (history, up_to) = (entry.history, entry.up_to);
            // A task that has ended waits for nothing.
            let _ = assigned
                .words
                .send(ToPartition::Committed { history, up_to, ok });
        }
    }

    /// Commits finished work of partitions before they are given up. A commit sent during a
    /// rebalance waits at the broker behind this member's own request to join, and is then refused
    /// as one of an older generation. It is sent again, as uncommitted work is handled twice.
    pub(super) fn commit_finally(&mut self, deadline: Instant) {
        if self.transacting.is_some() {
            self.commit_transaction_finally(deadline);
            return;
        }
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

    /// Commits every watermark that has moved. A background commit waits while another has no
    /// outcome, and then uses the current watermarks: librdkafka may repeat an older commit after a
    /// newer one, and the committed offset would go back.
    pub(super) fn commit_watermarks(&mut self, mode: KafkaCommit) -> Result<(), Code> {
        if matches!(mode, KafkaCommit::Async)
            && self.commit_sent.as_ref().is_some_and(Sent::is_awaited)
        {
            self.commit_again = true;
            return Ok(());
        }
        let moved = |assigned: &Assigned| {
            let up_to = assigned.watermark().filter(|w| *w > assigned.committed)?;
            Some(Entry {
                name: assigned.name.clone(),
                number: Some(assigned.number),
                history: assigned.history,
                up_to,
                id: assigned.topic_id,
                is_wished: false,
            })
        };
        if matches!(mode, KafkaCommit::Async) {
            let next = self
                .assigned
                .partition_point(|a| a.number < self.commit_from);
            let mut moved = self.assigned[next..].iter().filter_map(moved);
            let entries: Vec<_> = moved.by_ref().take(AT_ONCE).collect();
            let is_left = moved.next().is_some();
            // Each of them once, however fast the first ones move on.
            self.commit_from = 0;
            if let Some(number) = entries
                .last()
                .and_then(|last| last.number)
                .filter(|_| is_left)
            {
                self.commit_from = number + 1;
                self.commit_again = true;
            }
            if entries.is_empty() {
                return Ok(());
            }
            return self
                .send(entries)
                .inspect_err(|code| self.commit_failed(*code));
        }
        let entries: Vec<_> = self.assigned.iter().filter_map(moved).collect();
        for entries in entries.chunks(AT_ONCE) {
            self.commit_now(entries)?;
            for entry in entries {
                self.settled(entry, true);
            }
        }
        Ok(())
    }

    fn send(&mut self, entries: Vec<Entry>) -> Result<(), Code> {
        if self.keep(&entries) {
            for entry in &entries {
                self.settled(entry, true);
            }
            return Ok(());
        }
        let list = offsets(&entries);
        let sent = self.queue.commit(self.consumer.client(), &list);
        if sent.is_err() {
            for entry in &entries {
                self.settled(entry, false);
            }
            return sent;
        }
        let at = Instant::now();
        self.commit_sent = Some(Sent { at, entries });
        Ok(())
    }

    /// Without a group, commits go to the process's memory; `false` if there is a group.
    fn keep(&self, entries: &[Entry]) -> bool {
        let Some(memory) = &self.group.env.groupless else {
            return false;
        };
        let commit = |entry: &Entry| Commit {
            offset: entry.up_to,
            id: entry.id,
        };
        let commits = entries.iter().map(|e| (e.name.clone(), commit(e)));
        memory.lock().extend(commits);
        true
    }

    fn commit_now(&mut self, entries: &[Entry]) -> Result<(), Code> {
        if self.keep(entries) {
            return Ok(());
        }
        let outcome = self
            .consumer
            .commit(&offsets(entries), KafkaCommit::Sync)
            .map(|()| self.count_commit())
            .map_err(|error| error.rdkafka_error_code().unwrap_or(Code::Unknown));
        outcome.inspect_err(|code| self.commit_failed(*code))
    }

    pub(super) fn count_commit(&self) {
        let env = &self.group.env;
        env.reporter.heard();
        self.group.allow(&Cause::Group);
        env.counters.commits.fetch_add(1, Atomic::Relaxed);
        env.meter.committed();
    }

    /// The outcome of an asynchronous commit.
    pub(super) fn committed(
        &mut self,
        error: Option<Code>,
        offsets: &[(TopicPartition, i64, Option<Code>)],
    ) {
        let first = offsets.iter().find_map(|(_, _, error)| *error);
        match error.or(first) {
            Some(code) => self.commit_failed(code),
            None => self.count_commit(),
        }
        let outcomes = offsets
            .iter()
            .map(|(name, _, error)| (name, error.is_none()));
        let outcomes: HashMap<_, _> = outcomes.collect();
        let entries = self.commit_sent.take().map(|sent| sent.entries);
        for entry in entries.into_iter().flatten() {
            let is_accepted = outcomes.get(&entry.name).copied().unwrap_or_default();
            let ok = error.is_none() && is_accepted;
            self.settled(&entry, ok);
        }
        // After a failure, the next interval tries again.
        if std::mem::take(&mut self.commit_again) && error.is_none() {
            let _ = self.commit_watermarks(KafkaCommit::Async);
        }
    }

    /// A commit overtaken by a rebalance does no harm: the next owner reads again. Nor does one for a deleted topic,
    /// which is reported separately.
    fn commit_failed(&mut self, code: Code) {
        let passing = matches!(
            code,
            Code::IllegalGeneration
                | Code::UnknownMemberId
                | Code::RebalanceInProgress
                | Code::NoOffset
                | Code::UnknownTopicOrPartition
                | Code::AssignmentLost
                | Code::State
        );
        let error = from_code("commit offsets", code);
        if code == Code::GroupAuthorizationFailed {
            self.group.env.meter.commit_failed();
            self.deny_group(code);
        } else if code == Code::TopicAuthorizationFailed {
            self.group.env.meter.commit_failed();
            self.ask_all_topics();
        } else if passing {
            tracing::debug!(group = &*self.group.env.wire_group, %error, "commit overtaken");
        } else {
            tracing::warn!(group = &*self.group.env.wire_group, %error, "commit failed, retrying");
            self.group.env.meter.commit_failed();
            self.group.tell_all(&error);
        }
    }
}

fn offsets(entries: &[Entry]) -> TopicPartitionList {
    let entries = entries.iter();
    assignment::to_commit(entries.map(|entry| (&entry.name, entry.up_to, entry.id)))
}

/// Whether the partitions have another owner, or this member may never commit: a retry would fail
/// in the same way.
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
