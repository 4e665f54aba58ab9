//! A storm over members that are processes: some are killed, and others join and leave, while events are handled by
//! one of the interfaces.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use eventstream::{BrokerConfig, Client, Publish};
use eventstream_harness::{eventually, shared, unique_topic};

use super::Member;
use super::history::{Outcome, Run, judge};
use crate::support::{END, PREFIX, client, create, wire};

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
}

/// The current members, and the former ones.
struct Crowd<'a> {
    storm: &'a Storm,
    folder: tempfile::TempDir,
    topic: String,
    members: Vec<Member>,
    runs: Vec<Run>,
}

impl Crowd<'_> {
    fn join(&mut self) {
        let name = format!("member-{}", self.members.len() + self.runs.len());
        let (retry, reject) = (self.storm.retry_each, self.storm.reject_each);
        let arguments = [
            ("brokers", shared().bootstrap()),
            ("prefix", PREFIX),
            ("topic", &self.topic),
            ("group", &self.topic),
            ("way", self.storm.way),
            ("ordering", self.storm.ordering),
            ("handler_ms", "0"),
            ("retry_each", &retry.to_string()),
            ("reject_each", &reject.to_string()),
        ];
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
        let letters = wire(&format!("{topic}-dlq"));
        let created = shared().admin().create_topic(&letters, 1, 1, &[]);
        created.expect("a topic for dead letters");
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let publisher = {
            let _inside = runtime.enter();
            client(BrokerConfig::new())
        };
        let mut crowd = Crowd {
            storm: self,
            folder: tempfile::tempdir().expect("a folder"),
            topic: topic.clone(),
            members: Vec::new(),
            runs: Vec::new(),
        };
        (0..MEMBERS).for_each(|_| crowd.join());
        let start = Instant::now();
        let loading = runtime.spawn(load(publisher, topic.clone(), self.events, self.rate));
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
        let events = self.events;
        eventually("all committed", Duration::from_secs(120), || {
            let committed = admin.committed(&wire(&topic), &wire(&topic))?;
            let sum: i64 = committed.into_iter().flatten().sum();
            Ok((usize::try_from(sum)? == events).then_some(()))
        })
        .expect("all committed");
        let left = crowd.members.into_iter().map(Member::leave);
        crowd.runs.extend(left);
        self.judge(&crowd.runs, &letters, kills);
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
        let letters = shared().admin().read_all(letters).expect("dead letters");
        let numbers = letters.iter().map(|letter| {
            let value = letter.value.as_deref().expect("a value");
            let event: serde_json::Value = serde_json::from_slice(value).expect("an event");
            let number = event["payload"]["n"].as_u64().expect("a number");
            usize::try_from(number).expect("small")
        });
        let numbers: BTreeSet<_> = numbers.collect();
        assert!(numbers.into_iter().eq(expected), "the dead letters");
    }
}

async fn load(client: Client, topic: String, events: usize, rate: usize) {
    let start = Instant::now();
    for n in 0..events {
        let event = Publish::new(&topic, "e")
            .key(format!("k{}", n % KEYS))
            .payload(serde_json::json!({ "n": n }));
        drop(client.publish(event).await.expect("accepted"));
        if n % 100 == 0 {
            let due = start
                + Duration::from_secs(1) * u32::try_from(n).expect("small")
                    / u32::try_from(rate).expect("small");
            tokio::time::sleep_until(due.into()).await;
        }
    }
    client.flush(END).await.expect("stored");
    client.shutdown(END).await;
}
