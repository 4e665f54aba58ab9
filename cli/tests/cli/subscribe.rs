use rdkafka::config::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use serde_json::{Value, json};

use crate::support::{Broker, SOON, numbered};
use std::io::Write as _;

/// Records that no publisher of events would write.
fn poison(broker: &Broker, topic: &str) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &broker.address)
        .create()
        .unwrap();
    let headers = OwnedHeaders::new()
        .insert(Header {
            key: "h",
            value: Some("text"),
        })
        .insert(Header {
            key: "h",
            value: Some(&b"\xff"[..]),
        })
        .insert(Header {
            key: "null",
            value: None::<&str>,
        });
    let pretty = "{\n  \"name\": \"pretty\",\r\n  \"payload\": {\"a\": \"b  c\"}\n}";
    let send = |record: BaseRecord<'_, [u8], [u8]>| {
        producer.send(record).map_err(|(error, _)| error).unwrap();
    };
    send(
        BaseRecord::to(topic)
            .key(&b"k"[..])
            .payload(pretty.as_bytes())
            .headers(headers),
    );
    send(
        BaseRecord::to(topic)
            .key(&b"\xfe\x01"[..])
            .payload(&b"not json \xff"[..]),
    );
    send(BaseRecord::to(topic).key(&b"gone"[..]));
    send(BaseRecord::to(topic).payload(&b"{\"name\":\"keyless\"}"[..]));
    producer.flush(SOON).unwrap();
}

const NOT_JSON: &str = "bm90IGpzb24g/w==";

#[test]
fn a_line_says_all_that_is_known_of_a_record() {
    let broker = Broker::start(&["t:1"]);
    poison(&broker, "t");
    let lines = broker.read("t", 4);
    assert_eq!(lines[0]["topic"], "t");
    assert_eq!(
        (&lines[0]["partition"], &lines[0]["offset"]),
        (&json!(0), &json!(0))
    );
    assert_eq!(lines[0]["key"], "k");
    let time = lines[0]["timestamp"].as_str().unwrap();
    assert!(time.len() == 24 && time.ends_with('Z'), "{time}");
    assert_eq!(
        lines[0]["headers"],
        json!([["h", "text"], ["h", {"base64": "/w=="}], ["null", null]])
    );
    assert_eq!(
        lines[0]["event"],
        json!({"name": "pretty", "payload": {"a": "b  c"}})
    );
    assert_eq!(lines[1]["key"], json!({"base64": "/gE="}));
    assert_eq!(lines[1]["value"], NOT_JSON);
    assert!(lines[1]["error"].is_string() && lines[1].get("event").is_none());
    assert_eq!(lines[2]["value"], Value::Null);
    assert!(lines[2].as_object().unwrap().contains_key("value"));
    assert_eq!(lines[3]["key"], Value::Null);
    assert_eq!(lines[3]["headers"], json!([]));
}

#[test]
fn what_cannot_be_decoded_is_dead_lettered_and_says_where() {
    let broker = Broker::start(&["t:1", "t-dlq:1"]);
    poison(&broker, "t");
    let args = [
        "subscribe",
        "--topic",
        "t",
        "--from",
        "head",
        "--count",
        "4",
        "--dead-letter",
    ];
    let mut lines = broker.run(&args, "").expect(0).lines();
    lines.sort_by_key(|line| line["offset"].as_i64());
    assert_eq!(
        lines[1]["dead_letter"],
        json!({"topic":"t-dlq","partition":0,"offset":0})
    );
    assert_eq!(lines[1]["value"], NOT_JSON);
    assert!(!lines[1]["error"].as_str().unwrap().is_empty());
    assert_eq!(
        lines[2]["dead_letter"],
        json!({"topic":"t-dlq","partition":0,"offset":1})
    );
    assert!(lines[0].get("dead_letter").is_none() && lines[3]["event"].is_object());
    let letters = broker.read("t-dlq", 2);
    assert_eq!(letters[0]["value"], NOT_JSON);
    assert_eq!(letters[0]["key"], json!({"base64": "/gE="}));
    let reason = json!(["eventstream-dead-letter-reason", "undecodable"]);
    assert!(letters[0]["headers"].as_array().unwrap().contains(&reason));
}

#[test]
fn a_group_goes_on_where_it_was_and_not_before_its_lines_are_written() {
    let broker = Broker::start(&["t:1"]);
    broker.publish("t", &numbered(5));
    let args = [
        "subscribe",
        "--topic",
        "t",
        "--group",
        "g",
        "--from",
        "head",
    ];
    let read = |count: &str| {
        let lines = broker
            .run(&[&args[..], &["--count", count]].concat(), "")
            .expect(0)
            .lines();
        let n = |line: &Value| line["event"]["payload"]["n"].as_i64().unwrap();
        lines.iter().map(n).collect::<Vec<_>>()
    };
    assert_eq!(read("2"), [0, 1]);
    assert_eq!(read("3"), [2, 3, 4]);
    let metadata = broker.run(&["metadata", "--topic", "t", "--group", "g", "--json"], "");
    assert_eq!(
        metadata.expect(0).lines()[0]["topics"][0]["partitions"][0]["lag"],
        0
    );
}

#[test]
fn names_filter_and_an_offset_or_the_tail_is_where_it_starts() {
    let broker = Broker::start(&["t:1"]);
    let lines: String = ["a", "b", "c", "a"]
        .iter()
        .map(|name| format!("{{\"name\":\"{name}\"}}\n"))
        .collect();
    broker.publish("t", &lines);
    let run = |more: &[&str]| {
        let args = [&["subscribe", "--topic", "t", "--idle", "1"], more].concat();
        let lines = broker.run(&args, "").expect(0).lines();
        let name = |line: &Value| line["event"]["name"].as_str().unwrap().to_owned();
        lines.iter().map(name).collect::<Vec<_>>().join("")
    };
    assert_eq!(
        run(&["--from", "head", "--name", "a", "--name", "c"]),
        "aca"
    );
    assert_eq!(run(&["--from", "2"]), "ca");
    assert_eq!(run(&[]), "");
    assert_eq!(run(&["--from", "head", "--ordering", "serial"]), "abca");
    assert_eq!(
        run(&["--from", "head", "--ordering", "key", "--concurrency", "1"]),
        "abca"
    );
    assert_eq!(run(&["--from", "head", "--concurrency", "1"]), "abca");
}

#[test]
fn too_few_events_are_a_failure_that_says_how_many_came() {
    let broker = Broker::start(&["t:2"]);
    broker.publish("t", &numbered(3));
    let args = ["subscribe", "--topic", "t", "--from", "head", "--idle", "1"];
    assert_eq!(broker.run(&args, "").expect(0).lines().len(), 3);
    let ended = broker
        .run(&[&args[..], &["--count", "4"]].concat(), "")
        .expect(1);
    assert_eq!(ended.lines().len(), 3);
    assert!(ended.err.contains("3 of 4"), "{}", ended.err);
}

#[test]
fn a_topic_that_is_not_there_is_told_and_ends_with_the_idle_time() {
    let broker = Broker::start(&[]);
    let ended = broker
        .run(&["subscribe", "--topic", "t", "--idle", "1"], "")
        .expect(0);
    assert!(
        ended.err.contains("topic t does not exist yet"),
        "{}",
        ended.err
    );
}

#[test]
fn the_embedded_broker_says_that_it_finds_no_time() {
    let broker = Broker::start(&["t:2"]);
    broker.publish("t", &numbered(3));
    let args = ["subscribe", "--topic", "t", "--since", "1h", "--idle", "1"];
    let ended = broker.run(&args, "").expect(1);
    assert!(ended.lines().is_empty());
    let told = ended.err.matches("finds no offset by time").count();
    assert_eq!(told, 1, "{}", ended.err);
    // Without a group, the tool asks for the offsets itself.
    for more in [&["--partition", "0"][..], &["--until", "1m"]] {
        let ended = broker.run(&[&args[..5], more].concat(), "").expect(1);
        assert!(ended.lines().is_empty());
        assert!(ended.err.contains("offsets by time"), "{}", ended.err);
    }
}

#[test]
fn a_hundred_thousand_events_pass_in_seconds_and_none_is_missing() {
    let broker = Broker::start(&["t:4"]);
    // The embedded broker keeps 5 MiB of each partition.
    let lines: String = (0..100_000)
        .map(|n| format!("{{\"id\":\"{n}\"}}\n"))
        .collect();
    broker.publish("t", &lines);
    let started = std::time::Instant::now();
    let lines = broker.read("t", 100_000);
    assert!(started.elapsed() < SOON / 2, "{:?}", started.elapsed());
    let mut ids: Vec<u32> = lines
        .iter()
        .map(|line| line["event"]["id"].as_str().unwrap().parse().unwrap())
        .collect();
    ids.sort_unstable();
    assert!(ids.iter().copied().eq(0..100_000));
}

#[test]
fn any_topic_that_kafka_allows_can_be_read() {
    let broker = Broker::start(&["a--b:1", "_x.:1"]);
    for topic in ["a--b", "_x."] {
        poison(&broker, topic);
        assert_eq!(broker.read(topic, 4).len(), 4);
    }
}

#[test]
fn what_is_passed_over_is_no_silence() {
    let broker = Broker::start(&["t:1"]);
    let mut publisher = broker.spawn(&["publish", "--topic", "t", "--name", "other"]);
    let mut lines = publisher.stdin.take().unwrap();
    // Five seconds of other names, and one of ours at the end.
    let writing = std::thread::spawn(move || {
        for _ in 0..25 {
            lines.write_all(b"{}\n").unwrap();
            lines.flush().unwrap();
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
        lines.write_all(b"{\"name\":\"ours\"}\n").unwrap();
    });
    let args = [
        "subscribe",
        "--topic",
        "t",
        "--from",
        "head",
        "--name",
        "ours",
    ];
    let ended = broker
        .run(&[&args[..], &["--idle", "1.5"]].concat(), "")
        .expect(0);
    writing.join().unwrap();
    assert_eq!(publisher.wait().unwrap().code(), Some(0));
    assert_eq!(
        ended.lines().len(),
        1,
        "it ended while records came: {}",
        ended.err
    );
}

#[test]
fn pretty_lets_no_terminal_do_what_a_record_says() {
    let broker = Broker::start(&["t:1"]);
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &broker.address)
        .create()
        .unwrap();
    let headers = OwnedHeaders::new()
        .insert(Header {
            key: "reason\u{1b}[2J",
            value: Some("first\nsecond\u{9b}31m\u{202e}"),
        })
        .insert(Header {
            key: "bytes",
            value: Some(&b"\xff\x07"[..]),
        })
        .insert(Header {
            key: "null",
            value: None::<&str>,
        });
    // A raw DEL and C1 control are valid in JSON strings.
    let value = "{\"name\":\"n\u{7f}\",\"payload\":{\"text\":\"\u{9b}31m \u{e9}\"}}";
    for value in [value, "no event \u{1b}[31m"] {
        let record = BaseRecord::to("t")
            .key("k\u{1b}]0;title\u{7}")
            .payload(value)
            .headers(headers.clone());
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(SOON).unwrap();
    let args = [
        "subscribe",
        "--topic",
        "t",
        "--from",
        "head",
        "--count",
        "2",
    ];
    let out = broker
        .run(&[&args[..], &["--output", "pretty"]].concat(), "")
        .expect(0)
        .out;
    let control = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
    assert!(!out.contains(control), "{out:?}");
    for shown in [
        "key k\\u{1b}]0;title\\u{7}",
        "reason\\u{1b}[2J: first\\nsecond\\u{9b}31m\\u{202e}",
        "bytes: \\xff\\x07",
        "null: null",
        "\"\\u009b31m \u{e9}\"",
    ] {
        assert!(out.contains(shown), "{shown}: {out}");
    }
}

#[test]
fn pretty_shows_why_a_dead_letter_is_one() {
    let broker = Broker::start(&["t:1", "t-dlq:1"]);
    poison(&broker, "t");
    let args = [
        "subscribe",
        "--topic",
        "t",
        "--from",
        "head",
        "--count",
        "4",
        "--dead-letter",
    ];
    broker.run(&args, "").expect(0);
    let args = [
        "subscribe",
        "--topic",
        "t-dlq",
        "--from",
        "head",
        "--count",
        "2",
    ];
    let out = broker
        .run(&[&args[..], &["--output", "pretty"]].concat(), "")
        .expect(0)
        .out;
    assert!(
        out.contains("eventstream-dead-letter-reason: undecodable"),
        "{out}"
    );
}

#[test]
fn pretty_is_for_people() {
    let broker = Broker::start(&["t:1"]);
    poison(&broker, "t");
    let args = [
        "subscribe",
        "--topic",
        "t",
        "--from",
        "head",
        "--count",
        "4",
        "--output",
        "pretty",
    ];
    let out = broker.run(&args, "").expect(0).out;
    assert!(out.contains("t/0@0  key k  "), "{out}");
    assert!(out.contains("  \"name\": \"pretty\",\n"), "{out}");
    assert!(out.contains("not an event: "), "{out}");
}
