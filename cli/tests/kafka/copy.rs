//! `copy --exactly-once` on one node of real Kafka: killed again and again, each record is there once.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use harness::{Guarded, RawRecord, eventually, shared, unique_topic};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use super::support::{MINUTE, transactional};

const PARTITIONS: i32 = 3;

/// How much is copied, how fast, and how often the copy is killed.
struct Plan {
    records: usize,
    rate: u32,
    kills: usize,
}

#[test]
fn a_copy_that_is_killed_writes_each_record_once() {
    let plan = Plan {
        records: 9_000,
        rate: 450,
        kills: 2,
    };
    plan.carry_out();
}

#[test]
#[ignore = "takes minutes: 300,000 records, killed four times"]
fn a_long_copy_that_is_killed_writes_each_record_once() {
    let plan = Plan {
        records: 300_000,
        rate: 10_000,
        kills: 4,
    };
    plan.carry_out();
}

#[test]
fn an_end_without_records_is_reached() {
    let topic = unique_topic("markers");
    for name in [&topic, &format!("{topic}-copy"), &format!("{topic}-once")] {
        shared().admin().create_topic(name, 2, 1, &[]).unwrap();
    }
    let producer = transactional(&topic);
    let write = |partition, records| {
        producer.begin_transaction().unwrap();
        for _ in 0..records {
            let record = BaseRecord::<[u8], str>::to(&topic).partition(partition);
            producer.send(record.payload("value")).unwrap();
        }
        producer.flush(MINUTE).unwrap();
    };
    let copied = |target: &str, more: &[&str]| {
        let target = format!("{topic}-{target}");
        let args = ["--brokers", shared().bootstrap(), "copy", "--topic", &topic];
        let mut copy = start(&[&args[..], &["--to", &target, "--until-end"], more].concat());
        let ended = eventually("a copy to end", MINUTE, || copy.exit_status());
        assert!(ended.unwrap().success());
        shared().admin().read_all(&target).unwrap().len()
    };
    // No record can be read.
    for partition in [0, 1] {
        write(partition, 3);
        producer.abort_transaction(MINUTE).unwrap();
    }
    assert_eq!(copied("copy", &[]), 0);
    assert_eq!(copied("once", &["--exactly-once"]), 0);
    // The last ones cannot.
    write(1, 5);
    producer.commit_transaction(MINUTE).unwrap();
    write(1, 3);
    producer.abort_transaction(MINUTE).unwrap();
    assert_eq!(copied("copy", &[]), 5);
    assert_eq!(copied("once", &["--exactly-once"]), 5);
}

/// The ends that it had can never be reached.
#[test]
fn a_source_that_is_recreated_ends_a_copy_with_an_error() {
    let topic = unique_topic("recreated");
    let target = format!("{topic}-copy");
    let admin = shared().admin();
    for name in [&topic, &target] {
        admin.create_topic(name, PARTITIONS, 1, &[]).unwrap();
    }
    fill(&topic, 3_000);
    let args = ["--brokers", shared().bootstrap(), "copy", "--until-end"];
    let slowly = ["--topic", &topic, "--to", &target, "--rate", "20"];
    let mut copy = start(&[&args[..], &slowly].concat());
    eventually("a part to be copied", MINUTE, || {
        Ok((written(&target) > 0).then_some(()))
    })
    .unwrap();
    admin.delete_topic(&topic).unwrap();
    // Whoever asks for it on this broker creates it, too.
    drop(admin.create_topic(&topic, PARTITIONS, 1, &[]));
    let ended = eventually("the copy to end", MINUTE, || copy.exit_status());
    assert_eq!(ended.unwrap().code(), Some(1));
}

#[test]
fn what_cannot_be_exactly_once_is_refused_by_name() {
    let run = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_eventstream"))
            .args(["copy", "--topic", "a", "--to", "b", "--exactly-once"])
            .args(args)
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), error)
    };
    let (code, error) = run(&["--to-brokers", "127.0.0.1:1"]);
    assert_eq!(code, Some(2));
    assert!(error.contains("--to-brokers"), "{error}");
    let (code, error) = run(&["--stream", "embedded"]);
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("--exactly-once"), "{error}");
}

impl Plan {
    fn carry_out(&self) {
        let topic = unique_topic("once");
        let target = format!("{topic}-copy");
        for name in [&topic, &target] {
            let admin = shared().admin();
            admin.create_topic(name, PARTITIONS, 1, &[]).unwrap();
        }
        fill(&topic, self.records);
        let rate = self.rate.to_string();
        let mut args = vec!["--brokers", shared().bootstrap(), "copy", "--until-end"];
        args.extend(["--topic", &topic, "--to", &target, "--exactly-once"]);
        args.extend([
            "-X",
            "session.timeout.ms=1500",
            "-X",
            "heartbeat.interval.ms=500",
        ]);
        let slowly = [&args[..], &["--rate", &rate]].concat();
        // Four fifths are left at the last kill, so that it comes before the end on a slow machine too.
        let each = self.records / (5 * self.kills);
        for kill in 1..=self.kills {
            let mut copy = start(&slowly);
            let enough = (each * kill).max(come(&topic, &target) + 1);
            eventually("a part to be copied", 3 * MINUTE, || {
                Ok((come(&topic, &target) >= enough).then_some(()))
            })
            .unwrap();
            let before = written(&target);
            eventually("more than is committed", MINUTE, || {
                Ok((written(&target) > before + 50).then_some(()))
            })
            .unwrap();
            copy.kill();
        }
        assert!(come(&topic, &target) < self.records, "done before the kill");
        let started = Instant::now();
        let ended = Command::new(env!("CARGO_BIN_EXE_eventstream"))
            .args(&args)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success(), "{said}");
        println!("{} after {:?}", said.trim(), started.elapsed());
        self.judge(&topic, &target);
    }

    /// Each record once, in order, to a reader of committed transactions.
    fn judge(&self, topic: &str, target: &str) {
        // What a kill has left open hides what follows it until the broker aborts it.
        let copies = eventually("all to be visible", MINUTE, || {
            let copies = shared().admin().read_all(target)?;
            Ok((copies.len() >= self.records).then_some(copies))
        })
        .unwrap();
        println!(
            "{} copies, {} offsets written",
            copies.len(),
            written(target)
        );
        let by_key = |records: Vec<RawRecord>| {
            let mut by_key: BTreeMap<_, Vec<_>> = BTreeMap::new();
            for record in records {
                let of_key = by_key.entry(record.key).or_default();
                of_key.push((record.value, record.headers, record.timestamp));
            }
            by_key
        };
        let originals = by_key(shared().admin().read_all(topic).unwrap());
        let copies = by_key(copies);
        assert_eq!(originals.len(), copies.len());
        for (key, of_key) in originals {
            assert!(copies[&key] == of_key, "the records of key {key:?} differ");
        }
    }
}

/// How many records the copy has come past.
fn come(topic: &str, target: &str) -> usize {
    let group = format!(".copy-{topic}-{target}");
    // The group's coordinator may just be made.
    let committed = shared().admin().committed(&group, topic);
    let sum: i64 = committed.map_or(0, |offsets| offsets.into_iter().flatten().sum());
    usize::try_from(sum).unwrap()
}

/// How many offsets of a topic are taken, by whatever.
fn written(topic: &str) -> i64 {
    let ends = shared().admin().end_offsets(topic).unwrap();
    ends.iter().map(|(_, end)| end).sum()
}

fn start(arguments: &[&str]) -> Guarded {
    let program = Path::new(env!("CARGO_BIN_EXE_eventstream"));
    let arguments: Vec<_> = arguments.iter().map(|&word| word.to_owned()).collect();
    let errors = File::create("/dev/null").unwrap();
    Guarded::spawn(program, &arguments, None, Stdio::null(), errors).unwrap()
}

fn fill(topic: &str, records: usize) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", shared().bootstrap())
        .create()
        .unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now = i64::try_from(now.as_millis()).unwrap() - 3_600_000;
    for n in 0..records {
        let (key, value) = (format!("k{}", n % 100), format!("value {n}"));
        // Not older than the broker keeps records.
        let timestamp = now + i64::try_from(n).unwrap();
        loop {
            let record = BaseRecord::to(topic).key(&key).payload(&value);
            match producer.send(record.timestamp(timestamp)) {
                Ok(()) => break,
                // Its queue is full.
                Err(_) => producer.poll(Duration::from_millis(10)),
            }
        }
    }
    producer.flush(MINUTE).unwrap();
}
