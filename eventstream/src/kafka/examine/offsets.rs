//! Where partitions begin and end, how old waiting records are, and the group's progress.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::RDKafkaErrorCode as Code;

use super::{Examiner, ROUND};
use crate::deadline;
use crate::doctor::facts::{Age, Cluster, Configs, Partition, Topic, near};
use crate::kafka::inspect::{is_open, is_passing, until_passed, wait};
use crate::kafka::list_offsets::{Ask, Found, list_committed, list_offsets};
use crate::kafka::questions::{TopicPartition, Which};

/// How far a clock may be ahead. Each is requested separately, as brokers only report whether such a record exists.
const AHEAD: [Duration; 4] = [
    Duration::from_secs(5),
    Duration::from_secs(60),
    Duration::from_secs(600),
    Duration::from_secs(3600),
];
/// Between two reads of a group's committed offsets; members commit every second.
const LATER: Duration = Duration::from_millis(2500);

/// The purpose of a request.
#[derive(Clone, Copy)]
enum Wanted {
    Low,
    High,
    Younger(Age),
    Ahead(Duration),
}

impl Examiner {
    pub(super) fn offsets(&self, cluster: &mut Cluster, deadline: Instant) {
        let (wanted, asks) = questions(cluster);
        let found = self.ask(&asks, deadline);
        let mut lows = HashMap::new();
        for (wanted, found) in wanted.iter().zip(found) {
            for (name, offset) in found.into_iter().flatten() {
                let Ok(offset) = offset else { continue };
                let Some(partition) = partition(&mut cluster.topics, &name) else {
                    continue;
                };
                match wanted {
                    Wanted::Low => {
                        lows.insert(name, offset);
                    }
                    Wanted::High => {
                        let low = lows.get(&name).copied();
                        partition.ends = low.map(|low| (low, offset));
                    }
                    Wanted::Younger(age) => {
                        partition.younger.insert(*age, offset);
                    }
                    Wanted::Ahead(most) if offset >= 0 => partition.ahead = Some(*most),
                    Wanted::Ahead(_) => {}
                }
            }
        }
        self.committed(cluster, deadline);
    }

    fn ask(&self, asks: &[Ask], deadline: Instant) -> Vec<Result<Found, Code>> {
        let until = Instant::now() + deadline::left(deadline).min(ROUND);
        let passes = |answer: &Result<Found, Code>| match answer {
            Ok(found) => found
                .iter()
                .any(|(_, offset)| offset.as_ref().is_err_and(|code| is_passing(*code))),
            Err(code) => is_passing(*code),
        };
        let client = &self.client;
        until_passed(
            client,
            until,
            || list_offsets(client.client(), asks, deadline::left(until)),
            |found| found.iter().any(passes),
        )
    }

    fn committed(&self, cluster: &mut Cluster, deadline: Instant) {
        let Some(name) = cluster.group.as_ref().map(|group| group.name.clone()) else {
            return;
        };
        let refused = self.look(&name, cluster, deadline, |partition, offset| {
            partition.committed = Some(offset);
        });
        let has_members = |group: &super::Group| {
            let described = group.described.as_ref();
            described.is_ok_and(|group| group.members > 0)
        };
        if let Some(group) = &mut cluster.group {
            group.no_offsets = refused;
            let mut partitions = cluster.topics.iter().flat_map(|topic| &topic.partitions);
            let waits = partitions.any(|p| {
                let mut waiting = p.iter();
                waiting.any(|p| p.waits_longer_than(Age::Minute))
            });
            let left = deadline::left(deadline);
            if waits && has_members(group) && left > LATER + Duration::from_millis(500) {
                wait(&self.client, &mut { LATER });
                self.look(&name, cluster, deadline, |partition, offset| {
                    partition.committed_later = Some(offset);
                });
            }
        }
    }

    /// Requests the committed offsets; returns why they are unknown.
    fn look(
        &self,
        group: &str,
        cluster: &mut Cluster,
        deadline: Instant,
        put: impl Fn(&mut Partition, i64),
    ) -> Option<String> {
        let topics = cluster.topics.iter().filter_map(|topic| {
            let partitions = topic.partitions.as_ref().ok()?;
            Some(partitions.iter().map(|p| (topic.name.clone(), p.id)))
        });
        let asked: Vec<TopicPartition> = topics.flatten().collect();
        if asked.is_empty() {
            return Some("there is no topic to check".to_owned());
        }
        let until = Instant::now() + deadline::left(deadline).min(ROUND);
        let client = &self.client;
        let found = until_passed(
            client,
            until,
            || list_committed(client.client(), group, &asked, deadline::left(until)),
            is_open,
        );
        match found {
            Ok(found) => {
                for found in found {
                    let partition = partition(&mut cluster.topics, &found.partition);
                    if let Some(partition) = partition.filter(|_| found.offset >= 0) {
                        put(partition, found.offset);
                    }
                }
                None
            }
            Err(code) => Some(code.to_string()),
        }
    }
}

fn partition<'a>(topics: &'a mut [Topic], name: &TopicPartition) -> Option<&'a mut Partition> {
    let topic = topics.iter_mut().find(|topic| topic.name == name.0)?;
    let partitions = topic.partitions.as_mut().ok()?;
    partitions.iter_mut().find(|p| p.id == name.1)
}

/// Each leader is asked separately; lows before highs.
fn questions(cluster: &Cluster) -> (Vec<Wanted>, Vec<Ask>) {
    let now = Timestamp::now().as_millisecond();
    let millis = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    let ago = |time: Duration| Which::At(now.saturating_sub(millis(time)));
    let expiry = cluster.broker_configs.as_ref().ok();
    let expiry = expiry.and_then(|configs| number(configs, "offsets.retention.minutes"));
    let (mut wanted, mut asks) = (Vec::new(), Vec::new());
    for topic in &cluster.topics {
        let Ok(partitions) = &topic.partitions else {
            continue;
        };
        let mut by_leader: BTreeMap<i32, Vec<TopicPartition>> = BTreeMap::new();
        for partition in partitions {
            if let Some(leader) = partition.leader {
                let name = (topic.name.clone(), partition.id);
                by_leader.entry(leader).or_default().push(name);
            }
        }
        let mut which = vec![
            (Wanted::Low, Which::Earliest),
            (Wanted::High, Which::Latest),
        ];
        let later = |time: Duration| Which::At(now.saturating_add(millis(time)));
        which.extend(AHEAD.map(|ahead| (Wanted::Ahead(ahead), later(ahead))));
        if cluster.group.is_some() {
            let configs = topic.configs.as_ref().ok();
            let kept = configs.and_then(|configs| number(configs, "retention.ms"));
            let kept = kept.map(|kept| near(Duration::from_millis(kept)));
            let expiry = expiry.map(|minutes| near(Duration::from_secs(minutes * 60)));
            let ages = [
                (Age::Minute, Some(Duration::from_secs(60))),
                (Age::TenMinutes, Some(Duration::from_secs(600))),
                (Age::NearRetention, kept),
                (Age::NearExpiry, expiry),
            ];
            which.extend(
                ages.into_iter()
                    .filter_map(|(age, time)| Some((Wanted::Younger(age), ago(time?)))),
            );
        }
        for partitions in by_leader.into_values() {
            for (what, which) in &which {
                wanted.push(*what);
                asks.push(Ask {
                    partitions: partitions.clone(),
                    which: *which,
                });
            }
        }
    }
    (wanted, asks)
}

/// A whole number other than `-1`, which means unlimited.
fn number(configs: &Configs, property: &str) -> Option<u64> {
    configs.get(property)?.parse().ok()
}
