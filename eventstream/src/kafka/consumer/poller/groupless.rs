//! Reading without a group: the consumer assigns itself every partition of its topics, including
//! new ones, and what a member would commit stays in the process's memory.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode as Code;

use super::Poller;
use super::starting::LOOK;
use crate::error::{Error, ErrorKind};
use crate::kafka::consumer::events::TopicPartition;
use crate::kafka::error::from_code;

/// If a topic does not exist yet.
const SOON: Duration = Duration::from_secs(1);

impl Poller {
    /// Reads these topics, which are sorted, from now on, and no others.
    pub(super) fn look_at(&mut self, topics: Vec<String>) {
        let mut gone = self.all_names();
        gone.retain(|(topic, _)| topics.binary_search(topic).is_err());
        if !gone.is_empty() {
            self.revoke(&gone);
        }
        self.subscribed = topics;
        // Nobody else assigns partitions, so it has all there are.
        self.joined = true;
        self.is_given = true;
        self.starting.look_now();
    }

    /// When to check the topics again.
    pub(super) fn look_again_after(&self) -> Duration {
        let groupless = self.group.env.groupless.is_some();
        if groupless && self.assigned.is_empty() {
            SOON
        } else {
            LOOK
        }
    }

    /// Takes the partitions that the brokers have described and this consumer does not have.
    pub(super) fn take_all(&mut self) {
        if self.group.env.groupless.is_none() {
            return;
        }
        let (mut new, mut refused) = (Vec::<TopicPartition>::new(), Vec::new());
        for facts in self.described() {
            if !self.subscribed.contains(&facts.name) {
                continue;
            }
            if let Some(code) = facts.error {
                refused.push((code, facts.name.clone()));
                continue;
            }
            let all = facts.partitions.keys();
            let all = all.map(|partition| (facts.name.clone(), *partition));
            new.extend(all.filter(|name| !self.has(name)));
        }
        self.give_up_shrunken();
        for (code, topic) in refused {
            let error = from_code(format!("consume: topic {topic}"), code);
            self.tell_refused(code, &topic, error);
        }
        if !new.is_empty() {
            self.take_in(&new);
        }
    }

    /// A recreated topic may have fewer partitions than before, and nobody revokes the others.
    fn give_up_shrunken(&mut self) {
        let remade = &self.starting.remade;
        let found = self.described();
        let found = found.filter(|facts| facts.error.is_none() && remade.contains(&facts.name));
        let sizes: HashMap<_, _> = found
            .map(|facts| (&facts.name, &facts.partitions))
            .collect();
        let mut gone = self.all_names();
        gone.retain(|(topic, number)| {
            sizes
                .get(topic)
                .is_some_and(|partitions| !partitions.contains_key(number))
        });
        if !gone.is_empty() {
            self.revoke(&gone);
            // librdkafka may have missed them.
            self.group.set_problem(None);
        }
    }

    /// Repeatedly reports a topic that does not exist, or that may not be read, as a member would.
    fn tell_refused(&mut self, code: Code, topic: &str, error: Error) {
        let lasts = matches!(
            error.kind(),
            ErrorKind::UnknownTopic | ErrorKind::Unauthorized | ErrorKind::Validation
        );
        if lasts && self.repeats.is_new(code, topic, Instant::now()) {
            self.tell_error(error);
        }
    }
}
