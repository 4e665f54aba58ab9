//! Writes the history of a made-up run without anomalies, to measure the checker and to look at its
//! page: `cargo run --release -p eventstream-checker --example generate -- DIR EVENTS`.

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use eventstream_checker::history::{
    Accepted, Committed, Ended, Entry, Event, Fault, Handle, Handled, Joined, Left, Order, Outcome,
    Phase, Process, Publish, Record, Run, Sample, Stored,
};

const BEGIN: u64 = 1_764_029_494_000_000_000;
const SECOND: u64 = 1_000_000_000;
/// Events per second, except for the pauses.
const RATE: u64 = 25_000;
const PARTITIONS: u64 = 12;
const KEYS: u64 = 10_000;
const GROUPS: [&str; 2] = ["inventory", "audit"];
const TOPIC: &str = "orders";

struct Out(BufWriter<File>);

impl Out {
    fn new(directory: &Path, name: &str) -> Result<Self> {
        let file = File::create(directory.join(format!("{name}.ndjson")))?;
        let mut out = Self(BufWriter::new(file));
        out.say(BEGIN, Event::Process(Process { name }))?;
        Ok(out)
    }

    fn say(&mut self, at: u64, event: Event<'_>) -> Result<()> {
        serde_json::to_writer(&mut self.0, &Entry { at, event })?;
        Ok(self.0.write_all(b"\n")?)
    }
}

/// When the event is published: every 20th second pauses for its second half.
fn time(id: u64) -> u64 {
    let even = id * (SECOND / RATE);
    let rounds = even / (20 * SECOND);
    BEGIN + SECOND + even + rounds * SECOND / 2
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let directory = PathBuf::from(arguments.next().context("a directory")?);
    let events: u64 = arguments.next().context("how many events")?.parse()?;
    std::fs::create_dir_all(&directory)?;
    publish(&directory, events)?;
    for group in GROUPS {
        handle(&directory, group, events)?;
    }
    observe(&directory, events)
}

fn place(id: u64) -> (i32, i64) {
    ((id % PARTITIONS) as i32, (id / PARTITIONS) as i64)
}

fn key(id: u64) -> Option<u64> {
    Some(id % PARTITIONS + PARTITIONS * (id / PARTITIONS % KEYS))
}

fn publish(directory: &Path, events: u64) -> Result<()> {
    let mut out = Out::new(directory, "publisher#0")?;
    for id in 0..events {
        let (at, (partition, offset)) = (time(id), place(id));
        let publish = Publish {
            id,
            topic: TOPIC,
            key: key(id),
            seq: id,
        };
        out.say(at, Event::Publish(publish))?;
        out.say(at + 1, Event::Accepted(Accepted { id }))?;
        out.say(
            at + 2,
            Event::Stored(Stored {
                id,
                partition,
                offset,
            }),
        )?;
        if id % RATE == 0 {
            let in_flight = 100 + id / RATE % 7 * 30;
            let rss = (30 << 20) + id / RATE * 1_000;
            let sample = Sample {
                published: id,
                in_flight,
                rss,
                ..Sample::default()
            };
            out.say(at + 3, Event::Sample(sample))?;
        }
    }
    out.say(time(events), Event::Ended(Ended {}))
}

/// Two members, each with half the partitions.
fn handle(directory: &Path, group: &str, events: u64) -> Result<()> {
    for half in 0..2 {
        let member = format!("{group}-m{half}#0");
        let member = member.as_str();
        let mut out = Out::new(directory, member)?;
        let topics = vec![TOPIC];
        let joined = Joined {
            member,
            group,
            topics,
            order: Order::Key,
            output: None,
        };
        out.say(BEGIN + half * SECOND, Event::Joined(joined))?;
        let mut last = 0;
        for id in (0..events).filter(|id| id % 2 == half) {
            let (at, (partition, offset)) = (time(id) + 1_000_000, place(id));
            let (topic, attempt) = (TOPIC, 1);
            let handle = Handle {
                member,
                topic,
                partition,
                offset,
                id,
                key: key(id),
                attempt,
            };
            out.say(at, Event::Handle(handle))?;
            let outcome = Outcome::Ok;
            let handled = Handled {
                member,
                topic,
                partition,
                offset,
                outcome,
            };
            out.say(at + 10, Event::Handled(handled))?;
            if id % RATE <= 1 {
                let lag = 50 + id / RATE % 11 * 20;
                out.say(
                    at + 11,
                    Event::Sample(Sample {
                        handled: id / 2,
                        lag,
                        in_flight: 8,
                        ..Sample::default()
                    }),
                )?;
            }
            last = at + SECOND;
        }
        out.say(
            last,
            Event::Left(Left {
                member,
                clean: true,
            }),
        )?;
        out.say(last, Event::Ended(Ended {}))?;
    }
    Ok(())
}

fn observe(directory: &Path, events: u64) -> Result<()> {
    let mut out = Out::new(directory, "observer")?;
    let (config, off) = (
        Cow::Borrowed("made up: 1 publisher, 2 groups of 2"),
        Vec::new(),
    );
    out.say(
        BEGIN,
        Event::Run(Run {
            seed: 7,
            config,
            off,
        }),
    )?;
    let end = time(events) + 2 * SECOND;
    let kinds = ["broker-killed", "member-paused", "network-cut"];
    for (round, kind) in (1..).zip(kinds.iter().cycle()) {
        let begin = BEGIN + round * 20 * SECOND + (round - 1) * SECOND / 2 + SECOND;
        if begin + SECOND > end {
            break;
        }
        for (at, phase) in [(begin, Phase::Begin), (begin + SECOND / 2, Phase::End)] {
            let (kind, target) = (Cow::Borrowed(*kind), Cow::Borrowed("broker-1"));
            out.say(
                at,
                Event::Fault(Fault {
                    kind,
                    target,
                    phase,
                    clean: false,
                }),
            )?;
        }
    }
    for group in GROUPS {
        for number in 0..PARTITIONS {
            let count = (events + PARTITIONS - 1 - number) / PARTITIONS;
            let (topic, partition, offset) = (TOPIC, number as i32, count as i64);
            let committed = Committed {
                group,
                topic,
                partition,
                offset,
            };
            out.say(end, Event::Committed(committed))?;
        }
    }
    for id in 0..events {
        let (topic, (partition, offset)) = (TOPIC, place(id));
        let record = Record {
            topic,
            partition,
            offset,
            id: Some(id),
            key: key(id),
        };
        out.say(end, Event::Record(record))?;
    }
    out.say(end, Event::Ended(Ended {}))
}
