//! The requests of one call, each retried until the call's deadline if its error is temporary.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode as Code;

use super::super::config::ClientConfigs;
use super::super::consumer::commit_mark;
use super::super::context::Reporter;
use super::super::denied::{Operation, Resource, is_denied};
use super::super::error::{from_code, from_kafka};
use super::super::inspect::{self, Asker, is_passing};
use super::super::list_offsets::answers;
use super::super::questions::{Answer, Committed as Answered, TopicPartition};
use super::ages::ages;
use super::calls::{Calls, Facts, ToCommit};
use super::{Committed, fault, has_members, of_topic};
use crate::deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::groups::{GroupListing, GroupOffset, GroupPartition, check_empty, not_empty};
use crate::metadata::{PartitionMetadata, TopicMetadata};

/// The time limit for reading records' timestamps, which only show how far a group is behind.
const AGES: Duration = Duration::from_secs(5);

pub(super) struct Session {
    client: Asker,
    configs: Arc<ClientConfigs>,
    reporter: Arc<Reporter>,
    doing: &'static str,
    pub(super) group: String,
    deadline: Instant,
}

impl Session {
    /// Waits until a broker has answered, which is when rejected credentials are noticed.
    pub(super) fn start(
        configs: &Arc<ClientConfigs>,
        reporter: Arc<Reporter>,
        doing: &'static str,
        group: String,
        timeout: Duration,
    ) -> Result<Self> {
        let client = Asker::new(&configs.admin, &reporter).map_err(|e| from_kafka(doing, e))?;
        let session = Self {
            client,
            configs: Arc::clone(configs),
            reporter,
            doing,
            group,
            deadline: deadline::after(timeout),
        };
        inspect::fetch(&session.client, &session.reporter, None, session.deadline)?;
        Ok(session)
    }

    pub(super) fn list(&self) -> Result<Vec<GroupListing>> {
        self.repeat(Operation::Describe, || self.calls().list())
    }

    /// By name; deleted groups are left out.
    pub(super) fn describe_all(&self, names: &[String]) -> Result<HashMap<String, Facts>> {
        if names.is_empty() {
            return Ok(HashMap::new());
        }
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let groups = self.repeat(Operation::Describe, || {
            let groups = self.calls().describe(&names)?;
            let passing = groups.iter().filter_map(|group| group.as_ref().err());
            match passing.copied().find(|code| is_passing(*code)) {
                Some(code) => Err(code),
                None => Ok(groups),
            }
        })?;
        let groups = groups.into_iter().filter_map(Result::ok);
        Ok(groups.map(|group| (group.name.clone(), group)).collect())
    }

    /// `None` if the group is unknown.
    pub(super) fn describe(&self) -> Result<Option<Facts>> {
        let facts = self.repeat(Operation::Describe, || {
            match self.calls().describe(&[&self.group])?.into_iter().next() {
                Some(Err(Code::GroupIdNotFound)) | None => Ok(None),
                Some(facts) => facts.map(Some),
            }
        })?;
        Ok(facts)
    }

    /// Fails while the group has members.
    pub(super) fn check_empty(&self) -> Result<()> {
        let members = self.describe()?.map(|facts| facts.members);
        check_empty(self.doing, &self.group, &members.unwrap_or_default())
    }

    pub(super) fn committed(&self) -> Result<Committed> {
        let offsets = self.committed_with_metadata()?.into_iter();
        Ok(offsets
            .map(|one| ((one.topic, one.partition), one.offset))
            .collect())
    }

    pub(super) fn committed_with_metadata(&self) -> Result<Vec<GroupOffset>> {
        let found = self.repeat(Operation::Describe, || {
            checked(self.calls().committed(&self.group)?)
        })?;
        let found = found.into_iter().filter(|one| one.offset >= 0);
        let mut offsets: Vec<_> = found
            .map(|one| GroupOffset {
                topic: one.partition.0,
                partition: one.partition.1,
                offset: one.offset,
                metadata: one.metadata,
            })
            .collect();
        offsets.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
        Ok(offsets)
    }

    /// A topic with its watermarks, and each partition's offset at a time.
    pub(super) fn topic(&self, name: &str, at: Option<i64>) -> Result<TopicMetadata> {
        let mut found = inspect::with_watermarks(
            &self.client,
            &self.reporter,
            &[name],
            |_, _| true,
            at,
            self.deadline,
        )?;
        let unknown = || {
            let text = format!("{}: there is no topic {name}", self.doing());
            Error::new(ErrorKind::UnknownTopic, text)
        };
        found.pop().ok_or_else(unknown).and_then(of_topic)
    }

    /// These partitions with their watermarks, except those that do not exist.
    pub(super) fn logs(
        &self,
        asked: &[TopicPartition],
    ) -> Result<HashMap<TopicPartition, Result<PartitionMetadata>>> {
        let mut names: Vec<&str> = asked.iter().map(|(topic, _)| topic.as_str()).collect();
        names.dedup();
        let wanted = |topic: &str, id: i32| {
            asked
                .binary_search_by(|(t, p)| (t.as_str(), *p).cmp(&(topic, id)))
                .is_ok()
        };
        let found = inspect::with_watermarks(
            &self.client,
            &self.reporter,
            &names,
            wanted,
            None,
            self.deadline,
        )?;
        let mut logs = HashMap::new();
        for topic in found {
            if let Some(error) = &topic.error {
                let of_it = asked.iter().filter(|(name, _)| *name == topic.name);
                logs.extend(of_it.map(|one| (one.clone(), Err(error.clone()))));
            }
            for partition in topic.partitions {
                logs.insert((topic.name.clone(), partition.id), Ok(partition));
            }
        }
        Ok(logs)
    }

    /// The metadata for commits in a topic; empty if the brokers have no topic ids.
    pub(super) fn mark(&self, topic: &str) -> Result<String> {
        let facts = self.repeat(Operation::Describe, || {
            let left = self.left();
            let answer = answers(self.client.client(), left, 1, |questions| {
                questions.topics(&[topic], 0);
            });
            match answer.into_iter().next() {
                Some((_, Answer::Topics(found))) => found.map_err(|refused| refused.code),
                _ => Err(Code::OperationTimedOut),
            }
        })?;
        let id = facts.into_iter().find_map(|facts| facts.id);
        Ok(id.map(commit_mark).unwrap_or_default())
    }

    pub(super) fn ages(&self, partitions: &mut [GroupPartition]) {
        let until = self.deadline.min(Instant::now() + AGES);
        ages(&self.configs, &self.reporter, partitions, until);
    }

    /// Commits for the group, and reads the offsets back.
    pub(super) fn commit(&self, offsets: &[ToCommit]) -> Result<()> {
        self.check_empty()?;
        self.change(Operation::Read, || {
            checked(self.calls().commit(&self.group, offsets)?)
        })?;
        let now = self.committed()?;
        for wanted in offsets {
            let (topic, partition) = &wanted.partition;
            let found = now.get(&wanted.partition).copied();
            if found != Some(wanted.offset) {
                let found = found.map_or_else(|| "nothing".to_owned(), |found| found.to_string());
                let text = format!(
                    "{}: {} was committed for {topic}/{partition}, but the broker has {found}: \
                     another client commits for the group",
                    self.doing(),
                    wanted.offset
                );
                return Err(Error::new(ErrorKind::Broker, text));
            }
        }
        Ok(())
    }

    pub(super) fn delete(&self) -> Result<()> {
        self.change(Operation::Delete, || self.calls().delete(&self.group))
    }

    pub(super) fn delete_offsets(&self, offsets: &[GroupOffset]) -> Result<()> {
        let partitions = offsets.iter().map(|one| (one.topic.clone(), one.partition));
        let partitions: Vec<_> = partitions.collect();
        self.change(Operation::Delete, || {
            checked(self.calls().delete_offsets(&self.group, &partitions)?)
        })
        .map(drop)
    }

    fn calls(&self) -> Calls<'_> {
        Calls {
            client: self.client.client(),
            deadline: self.deadline,
        }
    }

    /// Like [`repeat`](Self::repeat); an error because of members names them.
    fn change<T>(&self, operation: Operation, call: impl FnMut() -> Result<T, Code>) -> Result<T> {
        self.repeat_or(operation, call, |code| {
            if !has_members(code) {
                return None;
            }
            let members = self.describe().ok().flatten().map(|facts| facts.members);
            Some(not_empty(
                self.doing,
                &self.group,
                &members.unwrap_or_default(),
            ))
        })
    }

    fn repeat<T>(&self, operation: Operation, call: impl FnMut() -> Result<T, Code>) -> Result<T> {
        self.repeat_or(operation, call, |_| None)
    }

    fn repeat_or<T>(
        &self,
        operation: Operation,
        call: impl FnMut() -> Result<T, Code>,
        explained: impl Fn(Code) -> Option<Error>,
    ) -> Result<T> {
        let passes =
            |answer: &Result<T, Code>| answer.as_ref().is_err_and(|code| is_passing(*code));
        inspect::until_passed(&self.client, self.deadline, call, passes)
            .map_err(|code| explained(code).unwrap_or_else(|| self.refused(operation, code)))
    }

    fn refused(&self, operation: Operation, code: Code) -> Error {
        let on = Resource::Group(&self.group);
        match code {
            Code::GroupIdNotFound => self.unknown(),
            Code::UnsupportedFeature => from_code(
                format!("{}: these brokers do not support it", self.doing()),
                code,
            ),
            code if is_denied(code) => self.reporter.denied(self.doing, operation, on, code),
            code => from_code(self.doing(), code),
        }
    }

    pub(super) fn unknown(&self) -> Error {
        let text = format!(
            "{}: it is not known to the brokers: it has no members and no committed offsets",
            self.doing()
        );
        Error::new(ErrorKind::UnknownGroup, text)
    }

    pub(super) fn no_offsets(&self, topic: &str, partition: &PartitionMetadata) -> Error {
        let text = format!(
            "{}: the watermarks of {topic}/{} are unknown",
            self.doing(),
            partition.id
        );
        let error = Error::new(ErrorKind::Broker, text).with_retriable(true);
        match &partition.error {
            Some(cause) => error.with_source(cause.clone()),
            None => error,
        }
    }

    pub(super) fn fault(&self, field: &str, value: String, allowed: &str) -> Error {
        fault(&self.doing(), field, value, allowed)
    }

    fn doing(&self) -> String {
        match &*self.group {
            "" => self.doing.to_owned(),
            group => format!("{} group {group}", self.doing),
        }
    }

    fn left(&self) -> Duration {
        self.deadline
            .saturating_duration_since(Instant::now())
            .max(Duration::from_millis(100))
    }
}

/// The first error of a partition, if any.
fn checked(found: Vec<Answered>) -> Result<Vec<Answered>, Code> {
    match found.iter().find_map(|one| one.error) {
        Some(code) => Err(code),
        None => Ok(found),
    }
}
