//! The tool against real Kafka, as a user runs it.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use harness::{Guarded, shared, unique_topic, workspace};
use serde_json::{Value, json};

use super::support::{lines, tool};

fn eventstream(arguments: &[&str]) -> Command {
    let mut command = tool(arguments);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn run(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = eventstream(arguments).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    output
}

/// The samples that are envelopes: 21 is a flat object without one, 25 and 28 belong to other
/// systems, 30 is an audit log.
fn sample_envelopes() -> Vec<Value> {
    let folder = workspace().join("eventstream/tests/wire/samples");
    let not_envelopes = ["21-", "25-", "28-", "30-"];
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .filter(|path| {
            let name = file_name(path);
            !not_envelopes.iter().any(|prefix| name.starts_with(prefix))
        })
        .collect();
    files.sort();
    assert_eq!(files.len(), 26);
    files
        .iter()
        .map(|path| serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap())
        .collect()
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

#[test]
fn every_sample_envelope_comes_out_as_it_went_in() {
    let topic = unique_topic("samples");
    shared().admin().create_topic(&topic, 3, 1, &[]).unwrap();
    let mut events = sample_envelopes();
    events.push(json!({
        "id": "exact", "name": "exact", "version": 1, "timestamp": "2024-10-28T10:18:45Z",
        "payload": {"above": 9_007_199_254_740_993_u64, "most": u64::MAX, "least": i64::MIN},
    }));
    let input: String = events.iter().map(|event| format!("{event}\n")).collect();
    let receipts = lines(&run(
        &[
            "publish",
            "--topic",
            &topic,
            "--name",
            "unnamed",
            "--receipts",
        ],
        input.as_bytes(),
    ));
    let count = events.len().to_string();
    let seen = lines(&run(
        &[
            "subscribe",
            "--topic",
            &topic,
            "--from",
            "head",
            "--output",
            "json",
            "--count",
            &count,
        ],
        b"",
    ));
    let place = |line: &Value| (line["partition"].as_i64(), line["offset"].as_i64());
    let by_place: HashMap<_, _> = seen.iter().map(|line| (place(line), line)).collect();
    assert_eq!(by_place.len(), events.len());
    for (event, receipt) in events.iter().zip(&receipts) {
        let came = &by_place[&place(receipt)]["event"];
        assert_eq!(came["id"], receipt["id"]);
        for (field, value) in event.as_object().unwrap() {
            // Empty fields are not written: the envelope means the same without them.
            let empty = matches!(value, Value::Null)
                || [json!(""), json!(0), json!(false), json!([]), json!({})].contains(value);
            if !empty {
                assert_eq!(&came[field], value, "{field} of {}", event["name"]);
            }
        }
    }
}

#[test]
fn a_hundred_thousand_events_pass_between_two_processes() {
    const EVENTS: usize = 100_000;
    let topic = unique_topic("hundred_thousand");
    shared().admin().create_topic(&topic, 4, 1, &[]).unwrap();
    let count = EVENTS.to_string();
    let subscriber = eventstream(&[
        "subscribe",
        "--topic",
        &topic,
        "--group",
        "readers",
        "--from",
        "head",
        "--output",
        "json",
        "--count",
        &count,
    ])
    .spawn()
    .unwrap();
    let reading = std::thread::spawn(move || subscriber.wait_with_output().unwrap());
    let input: String = (0..EVENTS)
        .map(|i| format!("{{\"key\":\"k{}\",\"payload\":{{\"n\":{i}}}}}\n", i % 500))
        .collect();
    let receipts = lines(&run(
        &[
            "publish",
            "--topic",
            &topic,
            "--name",
            "counted",
            "--receipts",
        ],
        input.as_bytes(),
    ));
    let sent: HashSet<_> = receipts.iter().map(|r| r["id"].to_string()).collect();
    assert_eq!(sent.len(), EVENTS);
    let seen = lines(&reading.join().unwrap());
    assert_eq!(seen.len(), EVENTS);
    let ids: HashSet<_> = seen.iter().map(|l| l["event"]["id"].to_string()).collect();
    assert_eq!(ids, sent);
    let mut last: HashMap<String, i64> = HashMap::new();
    for line in &seen {
        let n = line["event"]["payload"]["n"].as_i64().unwrap();
        let before = last.insert(line["key"].to_string(), n);
        assert!(before.is_none_or(|before| before < n), "order within a key");
    }
}

/// The brokers' own topic: it has no events, and cannot be inspected otherwise.
#[test]
fn the_committed_offsets_can_be_looked_at() {
    let topic = unique_topic("looked_at");
    shared().admin().create_topic(&topic, 1, 1, &[]).unwrap();
    let of_topic = ["subscribe", "--topic", &topic, "--group", &topic];
    let idle = ["--from", "head", "--idle", "1"];
    assert_eq!(
        lines(&run(&[of_topic.as_slice(), &idle].concat(), b"")).len(),
        0
    );
    let args = ["subscribe", "--topic", "__consumer_offsets"];
    let seen = lines(&run(&[args.as_slice(), &idle].concat(), b""));
    let group = format!(".{topic}");
    let names_it = |line: &Value| {
        // Most of these keys happen to be UTF-8.
        let key = STANDARD.decode(line["key"]["base64"].as_str().unwrap_or_default());
        let key = String::from_utf8_lossy(&key.unwrap()).into_owned();
        (key + line["key"].as_str().unwrap_or_default()).contains(&group)
    };
    assert!(seen.iter().any(names_it), "{} records", seen.len());
    let args = ["metadata", "--topic", "__consumer_offsets", "--json"];
    assert_eq!(
        lines(&run(&args, b""))[0]["topics"][0]["name"],
        "__consumer_offsets"
    );
}

/// No group is left behind, and existing ones are unchanged.
#[test]
fn reading_without_a_group_leaves_none() {
    // Its own, as other tests make groups meanwhile.
    let prefix = unique_topic("alone");
    let topic = format!("{prefix}.read");
    shared().admin().create_topic(&topic, 2, 1, &[]).unwrap();
    let input: String = (0..10).map(|i| format!("{{\"key\":\"k{i}\"}}\n")).collect();
    let publish = [
        "publish", "--prefix", &prefix, "--topic", "read", "--name", "n",
    ];
    assert!(run(&publish, input.as_bytes()).status.success());
    let args = [
        "subscribe",
        "--prefix",
        &prefix,
        "--topic",
        "read",
        "--from",
        "head",
        "--count",
        "10",
    ];
    assert_eq!(lines(&run(&args, b"")).len(), 10);
    let names = shared().admin().groups().unwrap().into_iter();
    let left: Vec<_> = names.filter(|name| name.starts_with(&prefix)).collect();
    assert_eq!(left, [""; 0]);
}

/// One process of `subscribe`, from start to end.
struct Reading {
    /// When each line arrived, and its value.
    lines: Vec<(Instant, Value)>,
    killed: Instant,
}

/// Reads lines, at most about 20,000 per second, and kills the tool after this many.
fn read_and_kill(topic: &str, after: usize) -> Reading {
    let arguments = subscribe_arguments(topic);
    let program = Path::new(env!("CARGO_BIN_EXE_eventstream"));
    let errors = File::create("/dev/null").unwrap();
    let mut tool = Guarded::spawn(program, &arguments, None, Stdio::piped(), errors).unwrap();
    let mut lines = Vec::new();
    let mut killed = None;
    for line in BufReader::new(tool.take_stdout().unwrap()).split(b'\n') {
        // The kill may tear the last line, which then was not written.
        let Ok(line) = serde_json::from_slice(&line.unwrap()) else {
            assert!(killed.is_some(), "a torn line before the kill");
            continue;
        };
        lines.push((Instant::now(), line));
        if lines.len() == after {
            killed = Some(Instant::now());
            tool.kill();
        }
        if lines.len().is_multiple_of(500) {
            std::thread::sleep(Duration::from_millis(25));
        }
    }
    let killed = killed.expect("it ended by itself");
    Reading { lines, killed }
}

fn subscribe_arguments(topic: &str) -> Vec<String> {
    let brokers = shared().bootstrap();
    [
        "--brokers",
        brokers,
        "-X",
        "session.timeout.ms=6000",
        "subscribe",
        "--topic",
        topic,
        "--group",
        topic,
        "--from",
        "head",
        "--output",
        "json",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// The commit interval is a second; what was written in it before a kill may be repeated.
#[test]
fn killed_three_times_it_misses_nothing() {
    const EVENTS: usize = 200_000;
    let topic = unique_topic("killed");
    shared().admin().create_topic(&topic, 4, 1, &[]).unwrap();
    let input: String = (0..EVENTS)
        .map(|i| format!("{{\"key\":\"k{}\",\"payload\":{{\"n\":{i}}}}}\n", i % 500))
        .collect();
    let publish = ["publish", "--topic", &topic, "--name", "counted"];
    assert!(run(&publish, input.as_bytes()).status.success());
    let mut runs = Vec::new();
    for after in [50_000, 40_000, 60_000] {
        runs.push(read_and_kill(&topic, after));
    }
    let mut arguments = subscribe_arguments(&topic);
    arguments.extend(["--idle", "10"].map(str::to_owned));
    let rest = Command::new(env!("CARGO_BIN_EXE_eventstream"))
        .args(arguments)
        .output()
        .unwrap();
    let ended = Instant::now();
    let rest = lines(&rest).into_iter().map(|line| (ended, line));
    runs.push(Reading {
        lines: rest.collect(),
        killed: ended,
    });
    let mut seen: HashMap<u64, (Instant, Instant)> = HashMap::new();
    let (mut again, mut oldest) = (Vec::new(), Duration::ZERO);
    for reading in &runs {
        let mut last: HashMap<String, u64> = HashMap::new();
        let mut twice = 0;
        for (at, line) in &reading.lines {
            let n = line["event"]["payload"]["n"].as_u64().unwrap();
            let before = last.insert(line["key"].to_string(), n);
            assert!(before.is_none_or(|before| before < n), "order within a key");
            if let Some((written, killed)) = seen.insert(n, (*at, reading.killed)) {
                twice += 1;
                oldest = oldest.max(killed.saturating_duration_since(written));
            }
        }
        again.push(twice);
    }
    println!(
        "lines {:?}, again {again:?}, the oldest written {oldest:?} before its kill",
        runs.iter().map(|run| run.lines.len()).collect::<Vec<_>>()
    );
    assert_eq!(seen.len(), EVENTS, "missing");
    assert!(
        oldest < Duration::from_secs(3),
        "more than a commit interval"
    );
}
