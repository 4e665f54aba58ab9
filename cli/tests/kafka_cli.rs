//! The tool against real Kafka, as a user runs it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use harness::{shared, unique_topic, workspace};
use serde_json::{Value, json};

fn eventstream(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_eventstream"));
    command
        .args(["--brokers", shared().bootstrap()])
        .args(arguments)
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

fn lines(output: &Output) -> Vec<Value> {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout.clone())
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
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
            // What is empty is not written: the envelope means the same without it.
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
