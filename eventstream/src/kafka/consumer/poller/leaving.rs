//! The end of a consumer: it leaves its group, whatever the state of a rebalance.

use std::collections::HashMap;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use rdkafka::topic_partition_list::TopicPartitionList;

use super::{Met, Poller};
use crate::kafka::consumer::events::{self, Event, Message};
use crate::kafka::consumer::words::ToPoller;

/// How long a leaving member waits until it has joined, within the stop's deadline.
const JOIN_MIN: Duration = Duration::from_secs(3);
const JOIN_MAX: Duration = Duration::from_secs(10);
/// After this long without an answer, the coordinator does not know this member, or is unavailable.
const KNOWN: Duration = Duration::from_secs(1);
const STEP: Duration = Duration::from_millis(50);

impl Poller {
    /// Leaves the group and destroys the consumer, on this thread. Returns its message queue and
    /// the topics it has met, for the next one.
    pub(super) fn end(mut self) -> (Receiver<ToPoller>, HashMap<String, Met>) {
        self.group.set_ready(&[]);
        if self.stop.is_some() {
            self.join_first();
            self.leave_empty_handed();
        }
        self.handle.queue.lock().take();
        let Self {
            commands,
            consumer,
            queue,
            starting,
            inquiry,
            supply,
            ..
        } = self;
        drop(queue);
        drop(inquiry);
        drop(supply);
        drop(consumer);
        (commands, starting.met)
    }

    /// Waits until the group has admitted this member, or, where it was about to leave after a rebalance, until it has. Once librdkafka closes, it drops the answer
    /// to a join request: the coordinator then has a member that never comes, and the group waits
    /// for it until its session times out. A leave request does not help: before the first answer
    /// there is no member id to leave with, and later it waits at the broker behind the join
    /// request, on the same connection, but at most five seconds.
    fn join_first(&mut self) {
        // Static members do not leave, and without a group there is nothing to leave.
        let env = &self.group.env;
        let stays = env.groupless.is_some() || !env.wire_instance.is_empty();
        let is_nowhere = self.subscribed.is_empty() && self.rejoin_at.is_none();
        if is_nowhere || stays {
            return;
        }
        let start = Instant::now();
        let until = self.stop.unwrap_or(start);
        let until = until.clamp(start + JOIN_MIN, start + JOIN_MAX);
        while !self.is_settled() && self.fatal.is_none() && Instant::now() < until {
            let is_known = events::membership(self.consumer.client()).is_known;
            if !is_known && start.elapsed() > KNOWN {
                return;
            }
            // Requests to librdkafka may be logged through this queue, so it is read faster.
            let step = Instant::now() + STEP;
            while !self.is_settled() && self.fatal.is_none() && Instant::now() < step {
                self.answer_one(step.saturating_duration_since(Instant::now()));
            }
        }
    }

    /// When closing a cooperative member without partitions, librdkafka forgets to leave the group, which then waits
    /// for its session to time out. Unsubscribing makes it leave; closing waits for that.
    fn leave_empty_handed(&self) {
        let env = &self.group.env;
        // Static members do not leave.
        if env.groupless.is_some() || !env.wire_instance.is_empty() {
            return;
        }
        let empty = self.consumer.assignment().is_ok_and(|a| a.count() == 0);
        if env.is_cooperative() && empty {
            self.consumer.unsubscribe();
        }
    }

    pub(super) fn has_joined(&self) -> bool {
        self.joined
            || (self.group.env.broker_assigns()
                && events::membership(self.consumer.client()).generation > 0)
    }

    /// Whether no answer to a join request is awaited.
    fn is_settled(&self) -> bool {
        match self.rejoin_at {
            Some(_) => self.has_left(),
            None => self.has_joined(),
        }
    }

    /// Whether librdkafka has left the group after it unsubscribed. In the middle of a rebalance it does so only once that
    /// is over, and forgets it if it is to subscribe before: the group then believes that this member has kept what it
    /// had. With KIP-848 it leaves at once.
    pub(super) fn has_left(&self) -> bool {
        self.group.env.broker_assigns() || !events::membership(self.consumer.client()).is_known
    }

    /// Answers a rebalance; no partition gets a task any more.
    fn answer_one(&mut self, wait: Duration) {
        let (mut given, mut taken, mut fatal) = (false, None, false);
        let drop_record = &mut |_: Message<'_>| {};
        self.queue.poll(
            self.consumer.client(),
            wait,
            drop_record,
            &mut |event| match event {
                Event::Assign(_) => given = true,
                Event::Revoke(partitions) => taken = Some(partitions),
                Event::Error { fatal: true, .. } => fatal = true,
                _ => {}
            },
        );
        if fatal {
            self.fatal = Some(crate::error::Error::new(
                crate::error::ErrorKind::Fatal,
                "leave the group: the consumer is lost",
            ));
        }
        if given {
            self.accept(&TopicPartitionList::new());
        }
        if let Some(partitions) = taken {
            self.give_up(&partitions);
        }
    }
}
