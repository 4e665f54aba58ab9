//! Exactly once: when a transaction is committed, and what follows from its end.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerGroupMetadata};
use tokio::sync::mpsc::UnboundedSender;

use super::Poller;
use super::commits::LAST_COMMIT;
use crate::delivery::{self, Sabotage};
use crate::guard::tracing;
use crate::kafka::consumer::events::{self, TopicPartition};
use crate::kafka::consumer::transactor::{TransactorHandle, Word};
use crate::kafka::consumer::words::ToPartition;
use crate::kafka::questions::TopicId;

/// The transactions of this consumer.
pub(super) struct Transacting {
    transactor: TransactorHandle,
    /// The last commit that this consumer has requested, until it ends. The transactor outlives a consumer, so those
    /// of an earlier one may end meanwhile.
    in_flight: Option<u64>,
}

impl Transacting {
    pub(super) fn new(transactor: TransactorHandle) -> Self {
        Self {
            transactor,
            in_flight: None,
        }
    }

    fn is_idle(&self) -> bool {
        self.in_flight.is_none()
    }

    fn ask(&mut self, metadata: Option<ConsumerGroupMetadata>) {
        self.in_flight = Some(self.transactor.commit(metadata));
    }

    fn ended(&mut self, number: u64) {
        self.in_flight.take_if(|in_flight| *in_flight == number);
    }
}

impl Poller {
    /// A partition is read from now on. Returns how its task passes on what it releases.
    pub(super) fn begin_transacting(
        &self,
        name: &TopicPartition,
        number: u64,
        id: Option<TopicId>,
        words: &UnboundedSender<ToPartition>,
    ) -> Option<TransactorHandle> {
        let transactor = &self.transacting.as_ref()?.transactor;
        transactor.send(Word::Assigned {
            part: number,
            name: name.clone(),
            id,
            words: words.downgrade(),
        });
        Some(transactor.clone())
    }

    /// Whatever of these is not committed is dropped.
    pub(super) fn end_transacting(&self, is_one: impl Fn(&TopicPartition) -> bool) {
        let Some(transacting) = &self.transacting else {
            return;
        };
        let gone = self.assigned.iter().filter(|a| is_one(&a.name));
        let gone: Vec<_> = gone.map(|a| a.number).collect();
        if !gone.is_empty() {
            transacting.transactor.send(Word::Gone(gone));
        }
    }

    pub(super) fn transact_for_topic(&self, at: usize) {
        let Some(transacting) = &self.transacting else {
            return;
        };
        let assigned = &self.assigned[at];
        transacting.transactor.send(Word::Remade {
            part: assigned.number,
            id: assigned.topic_id,
        });
    }

    /// Requests a commit, unless one is in flight.
    pub(super) fn commit_transaction(&mut self) {
        if self.assigned.is_empty() || !self.transacting.as_ref().is_some_and(Transacting::is_idle)
        {
            return;
        }
        self.ask_for_commit();
    }

    fn ask_for_commit(&mut self) {
        let metadata = self.as_member();
        if let Some(transacting) = &mut self.transacting {
            transacting.ask(metadata);
        }
    }

    /// As whom this member commits, for the group to refuse it once it has let this member go. `None`:
    /// it has. librdkafka forgets its name then, and offsets without a name are refused by nobody. The
    /// check comes after the look: a new name needs an answer of this thread in between.
    fn as_member(&self) -> Option<ConsumerGroupMetadata> {
        if delivery::chosen_sabotage() == Some(Sabotage::CommitUnfenced) {
            return self.as_nobody();
        }
        let metadata = self.consumer.group_metadata();
        let membership = events::membership(self.consumer.client());
        let is_member = membership.is_known && membership.generation > 0;
        metadata.filter(|_| is_member && !self.consumer.assignment_lost())
    }

    fn as_nobody(&self) -> Option<ConsumerGroupMetadata> {
        let group = &*self.group.env.wire_group;
        let outsider = ClientConfig::new().set("group.id", group).create();
        outsider
            .ok()
            .and_then(|it: BaseConsumer| it.group_metadata())
    }

    pub(super) fn transacted(&mut self, number: u64) {
        if let Some(transacting) = &mut self.transacting {
            transacting.ended(number);
        }
    }

    /// Commits what was released, before partitions are given up. What is not committed in time is
    /// aborted, and read again by the next owner.
    pub(super) fn commit_transaction_finally(&mut self, deadline: Instant) {
        let deadline = deadline.max(Instant::now() + LAST_COMMIT);
        self.ask_for_commit();
        while !self.transacting.as_ref().is_none_or(Transacting::is_idle) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left == Duration::ZERO {
                let group = &*self.group.env.wire_group;
                tracing::warn!(group, "a transaction did not end in time, and is aborted");
                return;
            }
            if let Ok(command) = self.commands.recv_timeout(left) {
                self.command(command);
            }
        }
    }

    pub(super) fn committed_in_transaction(&mut self, offsets: &[(u64, i64)]) {
        for (number, up_to) in offsets {
            if let Some(assigned) = self.assigned.numbered(*number) {
                assigned.confirm(*up_to);
            }
        }
        self.count_commit();
    }

    /// What these have released was aborted. Their tasks end, and then they are read again.
    pub(super) fn aborted(&mut self, numbers: &[u64]) {
        let mut names = HashSet::new();
        for number in numbers {
            if let Some(assigned) = self.assigned.numbered(*number) {
                assigned.is_aborted = true;
                assigned.in_doubt = true;
                names.insert(assigned.name.clone());
            }
        }
        self.lose(&names);
    }

    /// Partitions whose tasks have ended after an abort start anew, from what is committed.
    pub(super) fn start_aborted(&mut self) {
        if self.transacting.is_none() {
            return;
        }
        let aborted = self.assigned.iter().filter(|a| a.is_aborted && a.ended);
        let again: Vec<_> = aborted.map(|a| a.name.clone()).collect();
        if again.is_empty() {
            return;
        }
        let names: HashSet<_> = again.iter().cloned().collect();
        self.end_transacting(|name| names.contains(name));
        self.assigned.retain(|a| !names.contains(&a.name));
        self.starting.remove(&names);
        self.group.set_assigned(self.shared());
        self.find_starts(&again);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_an_earlier_consumers_commit_is_not_that_of_this_ones() {
        let (words, _heard) = std::sync::mpsc::channel();
        let transactor = TransactorHandle::new(words);
        let mut earlier = Transacting::new(transactor.clone());
        earlier.ask(None);
        let of_earlier = earlier.in_flight.expect("asked");
        let mut transacting = Transacting::new(transactor);
        transacting.ended(of_earlier);
        assert!(transacting.is_idle());
        transacting.ask(None);
        transacting.ended(of_earlier);
        assert!(!transacting.is_idle());
        let own = transacting.in_flight.expect("asked");
        transacting.ended(own);
        assert!(transacting.is_idle());
    }
}
