//! A service moves from Go to Rust and back by the guide's steps (*Moving a service* in `docs/guide/src/from-go.md`),
//! while events come at a steady rate.
//!
//! With 200,000 events each:
//!
//! ```console
//! $ cargo test --release --workspace --test storms moving:: -- --ignored --nocapture --test-threads 1
//! ```

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use eventstream::{BrokerConfig, Event};
use eventstream_harness::{GoPeer, PeerConsumer, PeerRecord, eventually, shared, unique_topic};

use crate::members::Member;
use crate::members::history::{Fate, Handled, Outcome, Run, judge};
use crate::members::load::Load;
use crate::support::{PREFIX, client, create, number, wire};

const PARTITIONS: i32 = 6;
const INSTANCES: usize = 2;
const KEYS: usize = 500;
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Clone, Copy, Debug)]
enum Language {
    Go,
    Rust,
}

/// How the instances in one language make room for those in the other.
#[derive(Clone, Copy, Debug)]
enum Move {
    OneByOne,
    AllAtOnce,
}

enum Instance {
    Go {
        name: String,
        consumer: PeerConsumer,
        /// Those that were read while it waited for partitions.
        records: Vec<PeerRecord>,
    },
    Rust(Member),
}

impl Instance {
    /// Lets it commit and leave the group.
    fn stop(self) -> Run {
        match self {
            Self::Rust(member) => member.leave(),
            Self::Go {
                name,
                consumer,
                mut records,
            } => {
                records.extend(consumer.stop().expect("it ends"));
                Run {
                    member: name,
                    fate: Fate::Left,
                    handled: records.into_iter().map(handled).collect(),
                }
            }
        }
    }
}

fn handled(record: PeerRecord) -> Handled {
    let event = Event::decode(record.value.expect("a value")).expect("an event");
    Handled {
        start: record.begun.into(),
        end: Some(record.ended.into()),
        partition: record.partition,
        offset: record.offset,
        number: number(&event),
        key: record.key.expect("a key"),
        outcome: Outcome::Done,
    }
}

/// A group with its instances, the oldest first.
struct Service {
    peer: GoPeer,
    folder: tempfile::TempDir,
    topic: String,
    running: VecDeque<Instance>,
    runs: Vec<Run>,
}

impl Service {
    fn new(topic: &str) -> Self {
        Self {
            peer: GoPeer::find().expect("the peer"),
            folder: tempfile::tempdir().expect("a folder"),
            topic: topic.to_owned(),
            running: VecDeque::new(),
            runs: Vec::new(),
        }
    }

    /// Starts an instance, and waits until the group has given it its share of the partitions.
    fn start(&mut self, language: Language) {
        let name = format!("{language:?}-{}", self.running.len() + self.runs.len());
        let instance = match language {
            Language::Go => {
                let group = wire(&self.topic);
                let consumer = self.peer.consume(shared().bootstrap(), &group, &group);
                let mut consumer = consumer.start().expect("an instance");
                let partitions = usize::try_from(PARTITIONS).expect("positive");
                let share = partitions / (self.running.len() + 1);
                let records = consumer.wait_for_partitions(share, PATIENCE);
                Instance::Go {
                    name,
                    records: records.expect("its share"),
                    consumer,
                }
            }
            Language::Rust => {
                let arguments = [
                    ("brokers", shared().bootstrap()),
                    ("prefix", PREFIX),
                    ("topic", &self.topic),
                    ("group", &self.topic),
                ];
                let member = Member::start(self.folder.path(), &name, &arguments);
                member.wait_until_ready(PATIENCE);
                Instance::Rust(member)
            }
        };
        self.running.push_back(instance);
    }

    /// Stops the oldest instance.
    fn stop(&mut self) {
        let oldest = self.running.pop_front().expect("an instance");
        self.runs.push(oldest.stop());
    }

    fn replace(&mut self, language: Language, how: Move) {
        match how {
            Move::OneByOne => {
                for _ in 0..INSTANCES {
                    self.start(language);
                    self.stop();
                }
            }
            Move::AllAtOnce => {
                (0..INSTANCES).for_each(|_| self.stop());
                let group = wire(&self.topic);
                eventually("the group to be empty", PATIENCE, || {
                    Ok((shared().admin().members(&group)? == 0).then_some(()))
                })
                .expect("an empty group");
                (0..INSTANCES).for_each(|_| self.start(language));
            }
        }
    }

    /// How many events the group has committed.
    fn committed(&self) -> usize {
        let group = wire(&self.topic);
        let committed = shared().admin().committed(&group, &group);
        let sum: i64 = committed.expect("offsets").into_iter().flatten().sum();
        usize::try_from(sum).expect("positive")
    }

    /// Waits until so many are committed.
    fn wait_for(&self, events: usize) {
        eventually("events to be committed", PATIENCE, || {
            Ok((self.committed() >= events).then_some(()))
        })
        .expect("committed");
    }
}

/// From Go to Rust and back, with a quarter of the events at least for each of the three.
fn there_and_back(how: Move, events: usize, rate: usize) {
    let topic = unique_topic("moving");
    create(&topic, PARTITIONS);
    let mut service = Service::new(&topic);
    (0..INSTANCES).for_each(|_| service.start(Language::Go));

    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let load = {
        let _inside = runtime.enter();
        Load {
            client: client(BrokerConfig::new()),
            topic: topic.clone(),
            keys: KEYS,
            rate,
        }
    };
    let (published, done) = (Arc::new(AtomicUsize::new(0)), Arc::default());
    let goes_on = {
        let (published, done) = (Arc::clone(&published), Arc::<AtomicBool>::clone(&done));
        move |n| {
            published.store(n, Ordering::Relaxed);
            n < events || !done.load(Ordering::Relaxed)
        }
    };
    let loading = runtime.spawn(load.publish(goes_on));
    let a_quarter_more = |service: &Service| {
        let target = service.committed() + events / 4;
        eventually("events", PATIENCE, || {
            Ok((published.load(Ordering::Relaxed) >= target).then_some(()))
        })
        .expect("published");
        service.wait_for(target);
    };
    a_quarter_more(&service);
    service.replace(Language::Rust, how);
    a_quarter_more(&service);
    service.replace(Language::Go, how);
    a_quarter_more(&service);
    done.store(true, Ordering::Relaxed);
    let published = runtime.block_on(loading).expect("published");
    service.wait_for(published);
    (0..INSTANCES).for_each(|_| service.stop());

    let verdict = judge(published, &service.runs);
    let stages = service.runs.chunks(INSTANCES);
    let stages: Vec<usize> = stages
        .map(|runs| runs.iter().map(|run| run.handled.len()).sum())
        .collect();
    println!("{how:?}: {verdict}; Go, Rust, Go: {stages:?}");
    assert_eq!(verdict.missing, [0; 0]);
    assert_eq!(verdict.again_without_reason, [""; 0]);
    assert_eq!(verdict.at_once, [""; 0]);
    assert_eq!(verdict.out_of_order, [""; 0]);
    assert_eq!(verdict.overtaken, [""; 0]);
    assert_eq!(verdict.handled, published);
    assert!(stages.iter().all(|handled| *handled >= events / 4));
}

macro_rules! moves {
    ($($short:ident, $long:ident: $how:ident;)*) => {$(
        #[test]
        fn $short() {
            there_and_back(Move::$how, 12_000, 1_500);
        }

        #[test]
        #[ignore = "takes a minute or two; the head of this file has the command"]
        fn $long() {
            there_and_back(Move::$how, 200_000, 4_000);
        }
    )*};
}

moves! {
    nothing_is_lost_or_repeated_one_by_one, nothing_of_200_000_is_lost_or_repeated_one_by_one: OneByOne;
    nothing_is_lost_or_repeated_all_at_once, nothing_of_200_000_is_lost_or_repeated_all_at_once: AllAtOnce;
}
