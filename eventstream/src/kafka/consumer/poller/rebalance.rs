//! Rebalances: partitions are assigned, drained and given up, or lost.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering as Atomic;
use std::time::{Duration, Instant};

use rdkafka::consumer::{Consumer, RebalanceProtocol};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Poller;
use super::assigned::{Assigned, Batch};
use crate::delivery::{self, PartitionConfig, Sabotage};
use crate::guard::tracing;
use crate::kafka::consumer::assignment::{self, Start};
use crate::kafka::consumer::driver::{Driver, DriverOptions};
use crate::kafka::consumer::events::TopicPartition;
use crate::kafka::consumer::words::{Shared, ToPartition};
use crate::kafka::error::from_kafka;
use crate::kafka::questions::TopicId;
use crate::record::Source;

/// Batches in a partition's inbox; its machine has its own limits in addition.
const INBOX: usize = 8;
/// How long a drain starts handlers so that later finished records can be committed. The whole
/// group waits for a drain, so it is no longer than the normal case needs.
const CATCH_UP: Duration = Duration::from_secs(5);

impl Poller {
    /// Accepts assigned partitions. librdkafka gets each of them once its start is known.
    pub(super) fn assign(&mut self, partitions: &[TopicPartition]) {
        if !self.accept(&TopicPartitionList::new()) {
            return;
        }
        if self.rejoin_at.is_some() {
            // Of a rebalance that it leaves the group after.
            self.joined = false;
            return;
        }
        self.take_in(partitions);
        self.ask(Instant::now());
    }

    pub(super) fn take_in(&mut self, partitions: &[TopicPartition]) {
        let env = &self.group.env;
        tracing::info!(
            group = &*env.wire_group,
            partitions = partitions.len(),
            "partitions assigned"
        );
        env.counters.rebalances.fetch_add(1, Atomic::Relaxed);
        env.meter.rebalanced(&self.subscribed);
        env.reporter.accepted();
        self.group.set_problem(None);
        self.is_given = true;
        self.coverage.rebalanced();
        self.find_starts(partitions);
    }

    /// Answers an assignment; `false` if librdkafka rejects the answer.
    pub(super) fn accept(&mut self, list: &TopicPartitionList) -> bool {
        let assigned = match self.consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => self.consumer.incremental_assign(list),
            RebalanceProtocol::Eager | RebalanceProtocol::None => self.consumer.assign(list),
        };
        self.joined = true;
        self.has_place();
        if let Err(error) = assigned {
            self.fatal = Some(from_kafka("take the assigned partitions", error));
            return false;
        }
        true
    }

    /// Answers a revocation. With the eager protocol, a join follows.
    pub(super) fn give_up(&mut self, names: &[TopicPartition]) {
        let groupless = self.group.env.groupless.is_some();
        let unassigned = match self.consumer.rebalance_protocol() {
            protocol if groupless || matches!(protocol, RebalanceProtocol::Cooperative) => {
                // Except those whose start was not known yet.
                let has = self.consumer.assignment().unwrap_or_default();
                let has = assignment::names(&has);
                let names = names.iter().filter(|name| has.contains(*name));
                let list = assignment::list(names.map(|name| (name, Offset::Invalid)));
                self.consumer.incremental_unassign(&list)
            }
            _ => {
                self.joined = false;
                self.consumer.unassign()
            }
        };
        if let Err(error) = unassigned {
            self.fatal = Some(from_kafka("give up the revoked partitions", error));
        }
    }

    pub(super) fn start_partition(
        &mut self,
        name: TopicPartition,
        start: &Start,
        topic_id: Option<TopicId>,
    ) {
        let env = &self.group.env;
        let table = self.group.table();
        // Its routes may be gone by now, or not there yet: its task then waits for the next ones.
        let Some(topic) = env.topic(&name.0) else {
            return;
        };
        let partition = name.1;
        let source = Arc::new(Source {
            topic: topic.clone(),
            partition,
            lost: CancellationToken::new(),
            publisher: Arc::clone(&env.sender) as _,
        });
        let shared = Arc::new(Shared::new(source, start.offset));
        if !start.to_commit {
            shared.committed.store(start.offset, Atomic::Relaxed);
        }
        self.incarnation = self.incarnation.wrapping_add(1);
        let routes = table.topics.get(&topic).cloned().unwrap_or_default();
        let number = env.assignments.fetch_add(1, Atomic::Relaxed);
        let (words, heard) = mpsc::unbounded_channel();
        let (sender, inbox) = mpsc::channel(INBOX);
        let transactor = self.begin_transacting(&name, number, topic_id, &words);
        let driver = Driver::new(DriverOptions {
            env: Arc::clone(env),
            shared: Arc::clone(&shared),
            table: Arc::clone(&table),
            poller: self.handle.clone(),
            words: heard,
            inbox,
            number,
            transactor,
            config: PartitionConfig {
                commit: env.commit.into(),
                start: if start.to_commit {
                    delivery::Start::ToCommit(start.offset)
                } else {
                    delivery::Start::Committed
                },
                on_unmatched: routes.on_unmatched,
                on_undecodable: routes.on_undecodable,
                incarnation: self.incarnation,
                seed: u64::from(self.incarnation) << 32 | u64::from(partition.unsigned_abs()),
                ..PartitionConfig::default()
            },
        });
        env.tasks.spawn_on(driver.run(), &env.runtime);
        self.assigned.push(Assigned {
            meter: env.meter.partition(&name.0, partition),
            name,
            number,
            shared,
            words,
            inbox: sender,
            batch: Batch::default(),
            outbox: VecDeque::new(),
            next: start.offset,
            topic_id,
            history: 0,
            in_doubt: false,
            is_started: !start.to_commit,
            is_aborted: false,
            unheard: None,
            unreadable: None,
            machine_full: false,
            inbox_full: false,
            full_since: None,
            paused: false,
            committed: -1,
            ended: false,
        });
    }

    pub(super) fn shared(&self) -> Vec<Arc<Shared>> {
        let shared = self.assigned.iter().map(|a| Arc::clone(&a.shared));
        shared.collect()
    }

    pub(super) fn revoke(&mut self, partitions: &[TopicPartition]) {
        let lost = self.consumer.assignment_lost();
        tracing::info!(
            group = &*self.group.env.wire_group,
            partitions = partitions.len(),
            lost,
            "partitions revoked"
        );
        let names: HashSet<_> = partitions.iter().cloned().collect();
        if lost {
            self.lose(&names);
        } else {
            self.drain(&names, self.group.env.drain_timeout());
        }
        // A partition's pause must not outlast its assignment.
        let paused = self
            .assigned
            .iter()
            .filter(|a| a.paused && names.contains(&a.name));
        let paused = assignment::list(paused.map(|a| (&a.name, Offset::Invalid)));
        if paused.count() > 0
            && let Err(error) = self.consumer.resume(&paused)
        {
            tracing::debug!(%error, "resume what is revoked");
        }
        self.end_transacting(|name| names.contains(name));
        self.assigned.retain(|a| !names.contains(&a.name));
        self.starting.remove(&names);
        self.give_up(partitions);
        if lost {
            self.joined = false;
        }
        self.group.set_assigned(self.shared());
    }

    /// Lets running handlers of these partitions finish, then commits. Those that do not finish in
    /// time are lost to this member, and their records are read again by the next.
    pub(super) fn drain(&mut self, names: &HashSet<TopicPartition>, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        let catch_up = CATCH_UP.min(timeout / 2);
        self.tell(names, || ToPartition::Revoke { catch_up });
        self.wish_again();
        if delivery::chosen_sabotage() == Some(Sabotage::RevokeWithoutDrain) {
            self.commit_finally(deadline);
            self.lose(names);
            return;
        }
        self.await_ended(names, deadline);
        self.commit_finally(deadline);
        let late: HashSet<_> = self
            .assigned
            .iter()
            .filter(|a| !a.ended && names.contains(&a.name))
            .map(|a| a.name.clone())
            .collect();
        if !late.is_empty() {
            self.group.cut_short(late.len());
            tracing::warn!(
                group = &*self.group.env.wire_group,
                partitions = late.len(),
                "handlers still run at the end of the drain: they are cancelled"
            );
            self.lose(&late);
        }
    }

    pub(super) fn lose(&mut self, names: &HashSet<TopicPartition>) {
        for assigned in self.assigned.iter().filter(|a| names.contains(&a.name)) {
            assigned.shared.watermark.store(-1, Atomic::Release);
            assigned.shared.source.lost.cancel();
        }
        self.tell(names, || ToPartition::Lost);
    }

    pub(super) fn lose_all(&mut self) {
        let names: HashSet<_> = self.assigned.iter().map(|a| a.name.clone()).collect();
        self.lose(&names);
        self.end_transacting(|_| true);
        self.assigned.clear();
        self.starting.clear();
        self.group.set_assigned(Vec::new());
    }

    pub(super) fn drain_all(&mut self, deadline: Duration) {
        let names: HashSet<_> = self.assigned.iter().map(|a| a.name.clone()).collect();
        self.drain(&names, deadline);
        self.end_transacting(|_| true);
        self.assigned.clear();
        self.starting.clear();
        self.group.set_assigned(Vec::new());
    }

    /// Sends a message to partitions.
    pub(super) fn tell(&self, names: &HashSet<TopicPartition>, word: impl Fn() -> ToPartition) {
        for assigned in self
            .assigned
            .iter()
            .filter(|a| !a.ended && names.contains(&a.name))
        {
            // Sending only fails if a task has ended.
            let _ = assigned.words.send(word());
        }
    }

    /// Serves the tasks' requests until those of these partitions have ended.
    pub(super) fn await_ended(&mut self, names: &HashSet<TopicPartition>, deadline: Instant) {
        // Those before it are not waited for; meanwhile the list stays as it is.
        let mut at = 0;
        loop {
            let rest = self.assigned.get(at..).unwrap_or_default();
            let over = |a: &&Assigned| a.ended || !names.contains(&a.name);
            at += rest.iter().take_while(over).count();
            let open = at < self.assigned.len();
            // A stop may arrive meanwhile, with less time.
            let deadline = self.stop.map_or(deadline, |stop| stop.min(deadline));
            let left = deadline.saturating_duration_since(Instant::now());
            if !open || left.is_zero() {
                return;
            }
            if let Ok(command) = self.commands.recv_timeout(left) {
                self.command(command);
            }
            self.commit_wanted_now();
        }
    }
}
