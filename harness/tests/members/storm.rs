//! A storm over members that are processes: some are killed, and others join and leave, while events are handled by
//! one of the interfaces.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::thread;
use std::time::{Duration, Instant};

use eventstream::BrokerConfig;
use eventstream_harness::{RawRecord, eventually, shared, unique_topic};

use super::Member;
use super::history::{Outcome, Run, judge};
use super::load::Load;
use crate::support::{PREFIX, client, create, wire};

const PARTITIONS: i32 = 12;
const MEMBERS: usize = 3;
const KEYS: usize = 500;

/// What happens, and how events are handled meanwhile.
pub(crate) struct Storm {
    /// The `way` of the member's program.
    pub(crate) way: &'static str,
    /// `partition` or `key`. By key, what is done after a failed event may be handled again after a rebalance; by
    /// partition it may not.
    pub(crate) ordering: &'static str,
    /// How the group assigns partitions.
    pub(crate) assignment: &'static str,
    pub(crate) events: usize,
    /// Events published per second.
    pub(crate) rate: usize,
    /// Members killed with SIGKILL, each followed by a new one.
    pub(crate) kills: usize,
    /// How often the group is rebalanced.
    pub(crate) every: Duration,
    /// One of this many events fails at its first attempt.
    pub(crate) retry_each: usize,
    /// One of this many events is rejected.
    pub(crate) reject_each: usize,
    /// Each event is published again, exactly once.
    pub(crate) copies: bool,
}

/// The current members, and the former ones.
struct Crowd<'a> {
    storm: &'a Storm,
    folder: tempfile::TempDir,
    topic: String,
    copy_to: String,
    members: Vec<Member>,
    runs: Vec<Run>,
}

impl Crowd<'_> {
    fn join(&mut self) {
        let name = format!("member-{}", self.members.len() + self.runs.len());
        let (retry, reject) = (self.storm.retry_each, self.storm.reject_each);
        let (retry, reject) = (retry.to_string(), reject.to_string());
        let mut arguments = vec![
            ("brokers", shared().bootstrap()),
            ("prefix", PREFIX),
            ("topic", &self.topic),
            ("group", &self.topic),
            ("way", self.storm.way),
            ("ordering", self.storm.ordering),
            ("assignment", self.storm.assignment),
            ("handler_ms", "0"),
            ("retry_each", &*retry),
            ("reject_each", &*reject),
        ];
        if self.storm.copies {
            arguments.push(("copy_to", &self.copy_to));
            // Copies of what is done after an event that waits for another attempt have to wait as well.
            arguments.push(("backoff_ms", "300"));
        }
        let member = Member::start(self.folder.path(), &name, &arguments);
        self.members.push(member);
    }

    /// Kills the oldest.
    fn kill(&mut self) {
        let run = self.members.remove(0).kill();
        self.runs.push(run);
        self.join();
    }

    /// An additional member joins, or leaves again.
    fn come_or_go(&mut self) {
        if self.members.len() > MEMBERS {
            let run = self.members.remove(1).leave();
            self.runs.push(run);
        } else {
            self.join();
        }
    }
}

impl Storm {
    /// Runs the storm and judges it: nothing is lost, no key loses its order, and dead letters are the rejected
    /// events.
    pub(crate) fn rage(&self) {
        let topic = unique_topic(self.way);
        create(&topic, PARTITIONS);
        let copy_to = format!("{topic}-copies");
        if self.copies {
            create(&copy_to, PARTITIONS);
        }
        let letters = wire(&format!("{topic}-dlq"));
        let created = shared().admin().create_topic(&letters, 1, 1, &[]);
        created.expect("a topic for dead letters");
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let load = {
            let _inside = runtime.enter();
            Load {
                client: client(BrokerConfig::new()),
                topic: topic.clone(),
                keys: KEYS,
                rate: self.rate,
            }
        };
        let mut crowd = Crowd {
            storm: self,
            folder: tempfile::tempdir().expect("a folder"),
            topic: topic.clone(),
            copy_to: copy_to.clone(),
            members: Vec::new(),
            runs: Vec::new(),
        };
        (0..MEMBERS).for_each(|_| crowd.join());
        let start = Instant::now();
        let events = self.events;
        let loading = runtime.spawn(load.publish(move |n| n < events));
        let mut kills = 0;
        for step in 1.. {
            let at = start + self.every * step;
            thread::sleep(at.saturating_duration_since(Instant::now()));
            if kills < self.kills && step % 3 == 2 {
                crowd.kill();
                kills += 1;
            } else if loading.is_finished() && kills == self.kills {
                break;
            } else {
                crowd.come_or_go();
            }
        }
        runtime.block_on(loading).expect("published");
        let admin = shared().admin();
        eventually("all committed", Duration::from_secs(120), || {
            let committed = admin.committed(&wire(&topic), &wire(&topic))?;
            let sum: i64 = committed.into_iter().flatten().sum();
            Ok((usize::try_from(sum)? == events).then_some(()))
        })
        .expect("all committed");
        let left = crowd.members.into_iter().map(Member::leave);
        crowd.runs.extend(left);
        if self.copies {
            assert_eq!(kills, self.kills);
            self.judge_copies(&copy_to, &letters);
        } else {
            self.judge(&crowd.runs, &letters, kills);
        }
    }

    fn judge(&self, runs: &[Run], letters: &str, kills: usize) {
        let verdict = judge(self.events, runs);
        println!("{} by {}: {verdict}", self.way, self.ordering);
        assert_eq!(verdict.missing, [0; 0]);
        assert_eq!(verdict.at_once, [""; 0]);
        assert_eq!(verdict.overtaken, [""; 0]);
        assert_eq!(verdict.again_without_reason, [""; 0]);
        if self.ordering == "partition" {
            assert_eq!(verdict.out_of_order, [""; 0]);
        }
        assert_eq!(verdict.killed, kills);
        let of = |outcome| {
            let handled = runs.iter().flat_map(|run| &run.handled);
            let handled = handled.filter(move |h| h.end.is_some() && h.outcome == outcome);
            handled.map(|h| h.number).collect::<BTreeSet<_>>()
        };
        let (failed, rejected) = (of(Outcome::Failed), of(Outcome::Rejected));
        let one_of = |each: usize, n: &usize| n % each == each / 2;
        let expected = (0..self.events).filter(|n| one_of(self.reject_each, n));
        assert!(rejected.into_iter().eq(expected.clone()), "the rejected");
        let is_retried = |n: &usize| one_of(self.retry_each, n) && !one_of(self.reject_each, n);
        if self.way == "batch" {
            // An event behind another that failed has its second attempt first.
            assert!(failed.len() > self.events / self.retry_each / 2);
            assert!(failed.iter().all(is_retried), "the retried");
        } else {
            let retried = (0..self.events).filter(is_retried);
            assert!(failed.into_iter().eq(retried), "the retried");
        }
        let numbers: BTreeSet<_> = numbers_in(letters).into_iter().collect();
        assert!(numbers.into_iter().eq(expected), "the dead letters");
    }

    /// Each event has one copy or, if it was rejected, one dead letter; copies of a key are in order.
    fn judge_copies(&self, copies: &str, letters: &str) {
        let is_rejected = |n: &usize| n % self.reject_each == self.reject_each / 2;
        let (rejected, others): (Vec<_>, Vec<_>) = (0..self.events).partition(is_rejected);
        let copies = numbers_once_there(&wire(copies), others.len());
        let mut last = HashMap::new();
        for n in &copies {
            if let Some(before) = last.insert(n % KEYS, *n) {
                assert!(before < *n, "{n} was published after {before} of its key");
            }
        }
        let sorted = |mut numbers: Vec<usize>| {
            numbers.sort_unstable();
            numbers
        };
        println!("{} by {}: {} copies", self.way, self.ordering, copies.len());
        assert_eq!(differences(&sorted(copies), &others), [""; 0], "the copies");
        let letters = sorted(numbers_once_there(letters, rejected.len()));
        assert_eq!(
            differences(&letters, &rejected),
            [""; 0],
            "the dead letters"
        );
    }
}

/// What is missing or there more than once.
pub(crate) fn differences(found: &[usize], expected: &[usize]) -> Vec<String> {
    let count = |numbers: &[usize]| {
        numbers.iter().fold(BTreeMap::new(), |mut counts, n| {
            *counts.entry(*n).or_insert(0) += 1;
            counts
        })
    };
    let (found, expected) = (count(found), count(expected));
    let all: BTreeSet<_> = found.keys().chain(expected.keys()).collect();
    all.into_iter()
        .filter(|n| found.get(n) != expected.get(n))
        .map(|n| format!("{n}: {:?} times", found.get(n).unwrap_or(&0)))
        .collect()
}

/// As [`numbers_in`], once there are so many: a transaction that a kill has left open hides what follows it until
/// the broker aborts it.
pub(crate) fn numbers_once_there(topic: &str, count: usize) -> Vec<usize> {
    let numbers = eventually("all to be visible", Duration::from_secs(60), || {
        let numbers = numbers_in(topic);
        Ok((numbers.len() >= count).then_some(numbers))
    });
    numbers.unwrap_or_else(|_| numbers_in(topic))
}

/// The numbers of a topic's events as a reader of committed transactions sees them, by partition and in order.
fn numbers_in(topic: &str) -> Vec<usize> {
    let records = shared().admin().read_all(topic).expect("records");
    let number = |record: &RawRecord| {
        let value = record.value.as_deref().expect("a value");
        let event: serde_json::Value = serde_json::from_slice(value).expect("an event");
        let number = event["payload"]["n"].as_u64().expect("a number");
        usize::try_from(number).expect("small")
    };
    records.iter().map(number).collect()
}
