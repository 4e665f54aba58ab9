//! `dlq` on real Kafka: many dead letters, a replay that is killed, and records dead-lettered
//! again.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use eventstream::{Client, Event, Reject, StartOffset, Subscribe};
use harness::{Guarded, RawRecord, shared, unique_topic};
use serde_json::{Value, json};

use super::letters::{self, Letter};
use super::support::lines;

const PATIENCE: Duration = Duration::from_secs(60);
/// The number of dead letters and of causes; a fifth is selected.
const LETTERS: usize = 10_000;
const CAUSES: usize = 40;
const SELECTED: usize = LETTERS / 5;
/// Every this many-th was replayed too often; it is among those selected.
const WORN_OUT: usize = 2_500;
/// Within which time a hundred thousand are listed; unoptimised code takes longer.
const LISTED: Duration = Duration::from_secs(if cfg!(debug_assertions) { 30 } else { 5 });
const REASONS: [&str; 4] = ["exhausted", "rejected", "undecodable", "unmatched"];
/// What a killed run may repeat.
const IN_FLIGHT: usize = eventstream::dead_letters::IN_FLIGHT;

fn arguments(args: &[&str]) -> Vec<String> {
    let brokers = ["--brokers", shared().bootstrap(), "dlq"];
    let all = brokers.iter().chain(args);
    all.map(|word| (*word).to_owned()).collect()
}

fn dlq(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_eventstream"));
    let command = command.args(arguments(args)).stdin(Stdio::null());
    command.output().unwrap()
}

/// Of 40 causes in turn; those of "paid" are selected.
fn letter(source: &str, n: usize) -> Letter {
    let cause = n % CAUSES;
    let names = ["paid", "won", "lost", "joined", "left"];
    let words = [
        "amber", "birch", "cedar", "dune", "ember", "fjord", "grove", "heath",
    ];
    Letter {
        reason: Some(REASONS[cause % REASONS.len()]),
        name: names[cause % names.len()].to_owned(),
        error: format!(
            "{} shard {n} at 10.0.0.{}:5432 refused",
            words[cause / names.len()],
            n % 200
        ),
        replays: if n.is_multiple_of(WORN_OUT) { 3 } else { 0 },
        ..Letter::new(source, n)
    }
}

/// Source and dead-letter topic, both without deletion by age.
fn source(topic: &str) -> String {
    let source = unique_topic(topic);
    for topic in [source.clone(), format!("{source}-dlq")] {
        let kept = [("retention.ms", "-1")];
        shared().admin().create_topic(&topic, 4, 1, &kept).unwrap();
    }
    source
}

#[test]
fn killed_in_the_middle_a_replay_goes_on_and_loses_nothing() {
    let source = source("replay_killed");
    let dead = format!("{source}-dlq");
    letters::write(
        shared().bootstrap(),
        &dead,
        (0..LETTERS).map(|n| letter(&source, n)),
    );
    let began = Instant::now();
    let causes = lines(&dlq(&["list", "--topic", &source, "--output", "json"]));
    println!(
        "{LETTERS} dead letters of {} causes listed in {:?}",
        causes.len(),
        began.elapsed()
    );
    assert_eq!(causes.len(), CAUSES);
    for cause in &causes {
        assert_eq!(cause["count"], LETTERS / CAUSES, "{cause}");
    }

    let args = [
        "replay", "--topic", &source, "--name", "paid", "--rate", "1000", "--yes", "--output",
        "json",
    ];
    let parked = LETTERS / WORN_OUT;
    let program = Path::new(env!("CARGO_BIN_EXE_eventstream"));
    let errors = File::create("/dev/null").unwrap();
    let mut tool = Guarded::spawn(program, &arguments(&args), None, Stdio::null(), errors).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let sent = || usize::try_from(shared().admin().count_records(&source).unwrap()).unwrap();
    while sent() < SELECTED / 3 {
        assert!(Instant::now() < deadline, "nothing was replayed");
    }
    tool.kill();
    let before = sent();
    assert!(
        before < SELECTED - parked,
        "it was done before it was killed"
    );
    let second = lines(&dlq(&args)).remove(0);
    let third = lines(&dlq(&args)).remove(0);
    assert_eq!(second["selected"], SELECTED);
    assert_eq!(second["failed"], 0);
    assert_eq!(
        third,
        json!({"selected": SELECTED, "replayed": 0, "parked": 0, "already_replayed": SELECTED, "failed": 0})
    );

    let came = shared().admin().read_all(&source).unwrap();
    let repeated = came.len() - (SELECTED - parked);
    println!("{before} were there at the kill, {repeated} came twice");
    assert!(repeated <= IN_FLIGHT, "{repeated}");
    check(&source, &came, SELECTED - parked);
    // A record that was parked may have been in flight too.
    let set_aside = shared()
        .admin()
        .read_all(&format!("{source}-parked"))
        .unwrap();
    let numbers: HashSet<_> = set_aside.iter().map(number).collect();
    assert_eq!(numbers.len(), parked);
    for record in &set_aside {
        let why = header(record, "eventstream-dead-letter-parked");
        assert_eq!(why, Some(b"replayed 3 times".as_slice()));
        assert!(header(record, "eventstream-dead-letter-error").is_some());
    }
    let left = lines(&dlq(&[
        "list", "--topic", &source, "--by", "name", "--output", "json",
    ]));
    assert_eq!(left.len(), 4);
}

/// Of four reasons and 40 causes, and a fifth of them written by another program, which gives no reason.
#[test]
fn a_hundred_thousand_are_listed_in_seconds() {
    const MANY: usize = 100_000;
    const OURS: usize = 80_000;
    let source = source("list_many");
    let many = (0..MANY).map(|n| match letter(&source, n) {
        ours if n < OURS => ours,
        other => Letter {
            reason: None,
            ..other
        },
    });
    letters::write(shared().bootstrap(), &format!("{source}-dlq"), many);
    let began = Instant::now();
    let causes = lines(&dlq(&["list", "--topic", &source, "--output", "json"]));
    let took = began.elapsed();
    println!(
        "{MANY} dead letters of {} causes listed in {took:?}",
        causes.len()
    );
    let (ours, others): (Vec<_>, Vec<_>) = causes.iter().partition(|c| !c["reason"].is_null());
    assert_eq!(ours.len(), CAUSES);
    for cause in &ours {
        assert_eq!(cause["count"], OURS / CAUSES, "{cause}");
    }
    let reasons: HashSet<_> = ours.iter().map(|cause| cause["reason"].clone()).collect();
    assert_eq!(reasons.len(), REASONS.len());
    assert_eq!(others.len(), 1);
    assert_eq!(others[0]["count"], MANY - OURS);
    assert!(took < LISTED, "{took:?}");
}

/// Each has the bytes, key, headers and timestamp of its original, in order within its key.
fn check(source: &str, came: &[RawRecord], count: usize) {
    let mut first = HashMap::new();
    let mut last: HashMap<Vec<u8>, usize> = HashMap::new();
    for record in came {
        let n = number(record);
        let original = letter(source, n);
        assert_eq!(record.value.as_deref(), Some(original.value().as_bytes()));
        assert_eq!(record.key.as_deref(), Some(original.key().as_bytes()));
        assert_eq!(record.timestamp, Some(original.timestamp));
        let headers = [
            ("own".to_owned(), Some(format!("h{n}").into_bytes())),
            (
                "eventstream-dead-letter-replays".to_owned(),
                Some(b"1".to_vec()),
            ),
        ];
        assert_eq!(record.headers, headers);
        // Repeats come as a whole batch, so only first occurrences are in order.
        if first.insert(n, ()).is_none() {
            let before = last.insert(record.key.clone().unwrap(), n);
            assert!(before.is_none_or(|before| before < n), "order within a key");
        }
    }
    assert_eq!(first.len(), count, "missing");
}

fn number(record: &RawRecord) -> usize {
    let value: Value = serde_json::from_slice(record.value.as_ref().unwrap()).unwrap();
    usize::try_from(value["payload"]["n"].as_u64().unwrap()).unwrap()
}

fn header<'a>(record: &'a RawRecord, name: &str) -> Option<&'a [u8]> {
    let (_, value) = record.headers.iter().find(|(found, _)| found == name)?;
    value.as_deref()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_replayed_and_fails_again_is_told_by_cause() {
    let source = source("replay_follow");
    let group = format!(".{source}");
    let dead = (0..20).map(|n| Letter {
        group: group.clone(),
        ..Letter::new(&source, n)
    });
    letters::write(shared().bootstrap(), &format!("{source}-dlq"), dead);
    let client = Client::kafka([shared().bootstrap()]).build().unwrap();
    let subscribe = Subscribe::new(&source)
        .group_id(&source)
        .offset(StartOffset::Head)
        .on("paid", async |event: Event| {
            let n = event.payload().to_value().unwrap()["n"].as_u64().unwrap();
            if n < 5 {
                Err(Reject::new(format!("no player {n}")))
            } else {
                Ok(())
            }
        });
    let subscription = client.register(subscribe).await.unwrap();
    subscription.ready().await.unwrap();
    let args = [
        "replay", "--topic", &source, "--yes", "--follow", "60", "--output", "json",
    ]
    .map(str::to_owned);
    let replayed = tokio::task::spawn_blocking(move || dlq(&args.each_ref().map(|arg| &**arg)));
    let replayed = replayed.await.unwrap();
    assert_eq!(
        lines(&replayed),
        [
            json!({"selected": 20, "replayed": 20, "parked": 0, "already_replayed": 0, "failed": 0, "dead_lettered_again": 5})
        ]
    );
    let told = String::from_utf8(replayed.stderr).unwrap();
    assert!(told.contains("no player <n>"), "{told}");
    assert!(
        told.contains(&format!("group {group}: 20 of 20 replayed records passed")),
        "{told}"
    );
    client.shutdown(PATIENCE).await;
}
