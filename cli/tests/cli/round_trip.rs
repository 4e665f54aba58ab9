//! What goes in comes out: through `publish`, a broker and `subscribe`.

use std::path::PathBuf;

use serde_json::{Map, Value, json};

use crate::support::Broker;

/// Each file's name, its text as one line, and its value.
fn wire(folder: &str) -> Vec<(String, String, Value)> {
    let mut path = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    path.push("../eventstream/tests/wire");
    path.push(folder);
    let mut files: Vec<_> = std::fs::read_dir(&path)
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .collect();
    files.sort();
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let line = text.replace('\n', "");
        let event = serde_json::from_str(&line).unwrap();
        (name, line, event)
    };
    files.into_iter().map(read).collect()
}

/// The fields that the wire format distinguishes from absent ones, without the position.
fn told(event: &Value) -> Map<String, Value> {
    let empty = [
        json!(""),
        json!(0),
        json!(false),
        json!(null),
        json!([]),
        json!({}),
    ];
    let place = ["Partition", "Offset", "Key"];
    let fields = event.as_object().unwrap().iter();
    fields
        .filter(|(name, value)| !empty.contains(value) && !place.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// Samples that are not envelopes, and the field that shows it.
const OTHERS: &[(&str, &str)] = &[
    ("21-groupCreated", "groupId"),
    ("28-analytics-telemetry-realmoneyTransaction", "EventName"),
    ("30-sdk-emitted-auditlog", "_id"),
];

#[test]
fn every_sample_envelope_comes_out_with_equal_fields() {
    let broker = Broker::start(&["t:1"]);
    let samples = wire("samples");
    assert!(samples.len() >= 30);
    let input: String = samples
        .iter()
        .map(|(_, line, _)| format!("{line}\n"))
        .collect();
    let args = ["publish", "--topic", "t", "--name", "given", "--receipts"];
    let receipts = broker.run(&args, &input).expect(1).lines();
    let mut sent = Vec::new();
    for ((name, _, event), receipt) in samples.iter().zip(&receipts) {
        let other = OTHERS.iter().find(|(other, _)| other == name);
        if let Some(message) = receipt["error"]["message"].as_str() {
            let foreign = other.map(|(_, field)| *field).or_else(|| {
                // The snake_case one, through any field that it has.
                name.contains("snakecase").then_some("user_id")
            });
            let field = foreign.unwrap_or_else(|| panic!("{name}: {message}"));
            assert!(message.contains(field), "{name}: {message}");
        } else {
            assert!(other.is_none(), "{name} was taken");
            sent.push((name, event));
        }
    }
    assert!(sent.len() >= 26, "{}", sent.len());
    for ((name, sent), line) in sent.iter().zip(broker.read("t", sent.len())) {
        let mut expected = told(sent);
        expected.entry("name").or_insert_with(|| json!("given"));
        expected
            .entry("timestamp")
            .or_insert_with(|| line["event"]["timestamp"].clone());
        assert_eq!(told(&line["event"]), expected, "{name}");
    }
}

#[test]
fn every_golden_envelope_comes_out_with_equal_fields() {
    let broker = Broker::start(&["t:1"]);
    let golden: Vec<_> = wire("golden")
        .into_iter()
        .filter(|(name, ..)| !name.starts_with("audit"))
        .collect();
    let input: String = golden
        .iter()
        .map(|(_, line, _)| format!("{line}\n"))
        .collect();
    broker
        .run(&["publish", "--topic", "t", "--name", "given"], &input)
        .expect(0);
    for ((name, _, sent), line) in golden.iter().zip(broker.read("t", golden.len())) {
        let mut expected = told(sent);
        expected.entry("name").or_insert_with(|| json!("given"));
        expected.entry("version").or_insert_with(|| json!(1));
        if !expected.contains_key("timestamp") {
            for field in ["timestamp", "timestampUnixNano"] {
                expected.insert(field.to_owned(), line["event"][field].clone());
            }
        }
        assert_eq!(told(&line["event"]), expected, "{name}");
        if let Some(key) = sent.get("Key") {
            assert_eq!(&line["key"], key, "{name}");
        }
    }
}

#[test]
fn digits_escapes_and_odd_text_survive() {
    let broker = Broker::start(&["t:1"]);
    let payload = concat!(
        r#"{"big":9007199254740993,"bigger":123456789012345678901234567890,"neg":-0.0,"exp":1E400,"#,
        r#""text":"\u0000 \ud83d\ude00 \u2028 <&> \" \\ 😀","a":{"":[[],{}]},"dup":1,"dup":2}"#
    );
    let line = format!(
        r#"{{"id":"é\"\\","name":"n","userId":"a\tb","timestamp":"2024-10-28T12:18:45.123456789+02:00","payload":{payload}}}"#
    );
    broker.run(&["publish", "--topic", "t"], &line).expect(0);
    let args = [
        "subscribe",
        "--topic",
        "t",
        "--from",
        "head",
        "--count",
        "1",
    ];
    let payload_out = broker
        .run(&[&args[..], &["--output", "payload"]].concat(), "")
        .expect(0);
    assert_eq!(payload_out.out.trim_end(), payload);
    let out = broker.run(&args, "").expect(0).out;
    assert!(out.contains(payload), "{out}");
    assert!(
        out.contains(r#""timestamp":"2024-10-28T12:18:45.123456789+02:00""#),
        "{out}"
    );
    // And once more: the copy equals the original.
    let event = out.trim_end().rsplit_once(",\"event\":").unwrap().1;
    let event = &event[..event.len() - 1];
    broker.run(&["publish", "--topic", "copy"], event).expect(0);
    let args = [
        "subscribe",
        "--topic",
        "copy",
        "--from",
        "head",
        "--count",
        "1",
    ];
    let copy = broker.run(&args, "").expect(0).out;
    assert!(copy.contains(event), "{copy}\n{event}");
}
