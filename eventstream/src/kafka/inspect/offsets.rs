//! Watermarks and committed offsets of described partitions.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode as Code;

use super::{AGAIN, Asking, described, fetch, until_passed, wait};
use crate::error::{Error, ErrorKind, Result};
use crate::kafka::context::Reporter;
use crate::kafka::error::{classify, from_code, from_kafka};
use crate::kafka::list_offsets::{Ask, list_committed, list_offsets};
use crate::kafka::questions::{Committed, Which, is_embedded};
use crate::metadata::{Metadata, PartitionMetadata, TopicMetadata};

/// How long to wait for a leader. An election takes less if another replica is in sync; otherwise
/// it may take any time.
const ELECTION: Duration = Duration::from_secs(3);
/// The time limit of one round: an unavailable broker's partitions move to another, which only a
/// new round can ask.
const ROUND: Duration = Duration::from_secs(5);

/// The first and next offsets, by topic and partition.
type Answers = [HashMap<(String, i32), Result<i64, Code>>; 2];

const ENDS: [Which; 2] = [Which::Earliest, Which::Latest];

/// Requests that need an answer for each partition.
pub(super) struct Offsets<'a> {
    pub(super) client: &'a BaseConsumer<Asking>,
    pub(super) reporter: &'a Reporter,
    pub(super) topic: Option<&'a str>,
    pub(super) deadline: Instant,
}

impl Offsets<'_> {
    /// Fills in the watermarks. Temporary errors are retried until the deadline: a leader that does
    /// not know yet that it is one, an election. Permanent ones are stored with their partition.
    pub(super) fn watermarks(&self, found: &mut Metadata) -> Result<()> {
        let elected = self.deadline.min(Instant::now() + ELECTION);
        let mut pause = AGAIN.0;
        loop {
            self.ask(found)?;
            let until = open(found).map(|(_, partition)| match partition.leader {
                Some(_) => self.deadline,
                None => elected,
            });
            if until.max().is_none_or(|until| Instant::now() >= until) {
                return Ok(());
            }
            wait(self.client, &mut pause);
            let anew = fetch(self.client, self.reporter, self.topic, self.deadline);
            // What is already known matters more than that nobody answers now.
            if let Ok(anew) = anew {
                take_leaders(found, described(self.reporter, &anew, self.topic));
            }
        }
    }

    /// Asks once for each partition that has a leader and unknown watermarks.
    fn ask(&self, found: &mut Metadata) -> Result<()> {
        for (topic, partition) in open(found) {
            if partition.leader.is_none() {
                let text = format!("partition {} of {topic} has no leader", partition.id);
                partition.error = Some(Error::new(ErrorKind::Broker, text).with_retriable(true));
            }
        }
        let mut answers = self.list(found)?;
        for (topic, partition) in open(found).filter(|(_, p)| p.leader.is_some()) {
            let name = (topic.to_owned(), partition.id);
            let ends = answers.each_mut().map(|end| {
                let answer = end.remove(&name);
                answer.unwrap_or(Err(Code::RequestTimedOut))
            });
            match (ends[0], ends[1]) {
                (Ok(low), Ok(high)) => {
                    (partition.low, partition.high) = (Some(low), Some(high));
                    partition.error = None;
                }
                (Err(code), _) | (_, Err(code)) => {
                    let doing = format!("watermarks of {topic} partition {}", partition.id);
                    let error = from_code(doing, code).with_retriable(is_passing(code));
                    partition.error = Some(error);
                }
            }
        }
        Ok(())
    }

    /// Both offsets of the partitions with a leader, from all leaders at once.
    fn list(&self, found: &mut Metadata) -> Result<Answers> {
        let unknown = open(found).map(|(topic, partition)| (topic, &*partition));
        let asks = by_leader(unknown).flat_map(|partitions| {
            ENDS.map(|which| Ask {
                partitions: partitions.clone(),
                which,
            })
        });
        let asks: Vec<_> = asks.collect();
        let timeout = self.left().min(ROUND);
        let answers = list_offsets(self.client.client(), &asks, timeout);
        let mut found = Answers::default();
        for (number, answers) in answers.into_iter().enumerate() {
            match answers {
                Ok(answers) => found[number % ENDS.len()].extend(answers),
                // No answer in time, or no leader known any more: the next round will show.
                Err(code) if is_passing(code) => {}
                Err(code) => return Err(from_code("watermarks", code)),
            }
        }
        Ok(found)
    }

    /// Fills in the first record at or after a time, if the end is known. The embedded broker answers
    /// the end whatever is stored, so it is not asked.
    pub(super) fn at_time(&self, topics: &mut [TopicMetadata], millis: i64) -> Result<()> {
        if is_embedded(self.client.client()) {
            let text = "look up offsets by time: the embedded broker finds none";
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        let known = topics.iter().flat_map(|topic| {
            let known = topic.partitions.iter().filter(|p| p.high.is_some());
            known.map(|partition| (&*topic.name, partition))
        });
        let asks = by_leader(known).map(|partitions| Ask {
            partitions,
            which: Which::At(millis),
        });
        let asks: Vec<_> = asks.collect();
        let ask = || -> Result<HashMap<_, _>, Code> {
            let found = list_offsets(self.client.client(), &asks, self.left().min(ROUND));
            let found = found.into_iter().flat_map(|one| match one {
                Ok(found) => found,
                Err(code) => vec![((String::new(), 0), Err(code))],
            });
            found.map(|(name, offset)| Ok((name, offset?))).collect()
        };
        let passes = |found: &Result<_, Code>| found.as_ref().is_err_and(|code| is_passing(*code));
        let found = until_passed(self.client, self.deadline, ask, passes).map_err(|code| {
            let doing = match self.topic {
                Some(topic) => format!("look up offsets by time in {topic}"),
                None => "look up offsets by time".to_owned(),
            };
            from_code(doing, code)
        })?;
        for topic in topics {
            for partition in &mut topic.partitions {
                let offset = found.get(&(topic.name.clone(), partition.id));
                partition.at_time = offset.and_then(|offset| match offset {
                    0.. => Some(*offset),
                    _ => partition.high,
                });
            }
        }
        Ok(())
    }

    /// Fills in the group's committed offsets. Returns whether the brokers know the group.
    pub(super) fn committed(&self, group: &str, found: &mut Metadata) -> Result<bool> {
        let mut asked = Vec::new();
        for topic in found.topics.iter().filter(|topic| topic.error.is_none()) {
            let partitions = topic.partitions.iter();
            asked.extend(partitions.map(|p| (topic.name.clone(), p.id)));
        }
        if !asked.is_empty() {
            let answers = self.fetch_committed(group, &asked)?;
            let answers = answers.into_iter().map(|a| (a.partition.clone(), a));
            let answers: HashMap<_, _> = answers.collect();
            for topic in &mut found.topics {
                for partition in &mut topic.partitions {
                    let name = (topic.name.clone(), partition.id);
                    let Some(answer) = answers.get(&name) else {
                        continue;
                    };
                    match answer.error {
                        Some(code) => {
                            let (topic, id) = name;
                            let doing =
                                format!("committed offset of {group} in {topic} partition {id}");
                            partition.error.get_or_insert(from_code(doing, code));
                        }
                        None => {
                            partition.committed = (answer.offset >= 0).then_some(answer.offset);
                        }
                    }
                }
            }
        }
        let mut partitions = found.topics.iter().flat_map(|topic| &topic.partitions);
        Ok(partitions.any(|p| p.committed.is_some()) || self.is_listed(group)?)
    }

    fn fetch_committed(&self, group: &str, asked: &[(String, i32)]) -> Result<Vec<Committed>> {
        let ask = || {
            let timeout = self.left().min(ROUND);
            list_committed(self.client.client(), group, asked, timeout)
        };
        let answers = until_passed(self.client, self.deadline, ask, is_open);
        answers.map_err(|code| from_code(format!("committed offsets of group {group}"), code))
    }

    /// Whether a broker lists the group. The embedded broker does not support this request.
    fn is_listed(&self, group: &str) -> Result<bool> {
        match self.client.fetch_group_list(Some(group), self.left()) {
            Ok(list) => Ok(list.groups().iter().any(|found| found.name() == group)),
            Err(error) => match error.rdkafka_error_code() {
                Some(Code::UnsupportedFeature | Code::Partial) => Ok(false),
                _ => Err(from_kafka(format!("find group {group}"), error)),
            },
        }
    }

    fn left(&self) -> Duration {
        self.deadline
            .saturating_duration_since(Instant::now())
            .max(Duration::from_millis(100))
    }
}

/// The partitions whose watermarks are unknown and may still become known.
fn open(found: &mut Metadata) -> impl Iterator<Item = (&str, &mut PartitionMetadata)> {
    let topics = found.topics.iter_mut().filter(|t| t.error.is_none());
    let partitions = topics.flat_map(|topic| {
        let name = topic.name.as_str();
        topic.partitions.iter_mut().map(move |p| (name, p))
    });
    partitions.filter(|(_, partition)| {
        let error = partition.error.as_ref();
        partition.low.is_none() && error.is_none_or(Error::is_retriable)
    })
}

/// Those that have a leader, the partitions of each together.
fn by_leader<'a>(
    partitions: impl Iterator<Item = (&'a str, &'a PartitionMetadata)>,
) -> impl Iterator<Item = Vec<(String, i32)>> {
    let mut leaders: HashMap<i32, Vec<_>> = HashMap::new();
    for (topic, partition) in partitions {
        if let Some(leader) = partition.leader {
            let of_leader = leaders.entry(leader).or_default();
            of_leader.push((topic.to_owned(), partition.id));
        }
    }
    leaders.into_values()
}

/// Updates leaders and replicas; adds new partitions.
fn take_leaders(found: &mut Metadata, anew: Metadata) {
    for topic in anew.topics.into_iter().filter(|t| t.error.is_none()) {
        let Some(known) = found.topics.iter_mut().find(|t| t.name == topic.name) else {
            continue;
        };
        for partition in topic.partitions {
            match known.partitions.iter_mut().find(|p| p.id == partition.id) {
                Some(known) => {
                    known.leader = partition.leader;
                    known.in_sync = partition.in_sync;
                }
                None => known.partitions.push(partition),
            }
        }
        known.partitions.sort_by_key(|partition| partition.id);
    }
}

/// Whether the committed offset is still unknown but will become known.
pub(crate) fn is_open(answers: &Result<Vec<Committed>, Code>) -> bool {
    match answers {
        Ok(answers) => answers.iter().any(|a| a.error.is_some_and(is_passing)),
        Err(code) => is_passing(*code),
    }
}

/// Whether an error is temporary: brokers that do not agree yet, or one that is unavailable.
pub(crate) fn is_passing(code: Code) -> bool {
    matches!(
        code,
        Code::NotLeaderForPartition
            | Code::LeaderNotAvailable
            | Code::ReplicaNotAvailable
            | Code::UnknownTopicOrPartition
            | Code::UnknownPartition
            | Code::UnknownTopic
            | Code::FencedLeaderEpoch
            | Code::UnknownLeaderEpoch
            | Code::OffsetNotAvailable
            | Code::NoEnt
            | Code::CoordinatorLoadInProgress
            | Code::NotCoordinator
            | Code::UnstableOffsetCommit
            | Code::KafkaStorageError
    ) || classify(code).1
}
