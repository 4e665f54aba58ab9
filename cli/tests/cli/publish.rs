use std::io::Write;

use serde_json::json;

use crate::support::{Broker, numbered, run};

const BAD: &str = r#"{"id":"1","name":"a","key":"k"}

{"nam":"x","name":"b"}
not json
{"name":"c","version":"1"}
{"id":"2","name":"d","payload":{"n":1}}
"#;

#[test]
fn receipts_come_in_the_order_of_the_input_bad_lines_among_them() {
    let broker = Broker::start(&["t:1"]);
    let ended = broker
        .run(&["publish", "--topic", "t", "--receipts"], BAD)
        .expect(1);
    let lines = ended.lines();
    assert_eq!(
        lines[0],
        json!({"line":1,"id":"1","topic":"t","key":"k","partition":0,"offset":0})
    );
    let numbers: Vec<_> = lines
        .iter()
        .map(|line| line["line"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, [1, 3, 4, 5, 6]);
    assert_eq!(lines[1]["error"]["kind"], "validation");
    assert!(
        lines[1]["error"]["message"]
            .as_str()
            .unwrap()
            .contains("\"nam\"")
    );
    assert_eq!(lines[2]["error"]["kind"], "decode");
    assert!(
        lines[3]["error"]["message"]
            .as_str()
            .unwrap()
            .starts_with("version:")
    );
    // Without a key, the id is the key.
    assert_eq!(
        lines[4],
        json!({"line":6,"id":"2","topic":"t","key":"2","partition":0,"offset":1})
    );
    for told in [
        "line 3: ",
        "line 4: ",
        "line 5: version",
        "5 read, 2 stored, 3 failed",
    ] {
        assert!(ended.err.contains(told), "{told} is not in\n{}", ended.err);
    }
}

#[test]
fn strict_stops_at_the_first_bad_line_and_delivers_what_came_before() {
    let broker = Broker::start(&["t:1"]);
    let ended = broker
        .run(&["publish", "--topic", "t", "--receipts", "--strict"], BAD)
        .expect(1);
    assert_eq!(ended.lines().len(), 2);
    assert!(
        ended.err.contains("2 read, 1 stored, 1 failed"),
        "{}",
        ended.err
    );
    assert_eq!(broker.read("t", 1)[0]["event"]["id"], "1");
}

#[test]
fn many_lines_of_a_file_are_all_stored_with_receipts_in_order() {
    let broker = Broker::start(&["t:4"]);
    let mut file = std::env::temp_dir();
    file.push(format!("eventstream-cli-{}.ndjson", std::process::id()));
    std::fs::write(&file, numbered(30_000)).unwrap();
    let path = file.to_str().unwrap();
    let ended = broker
        .run(
            &["publish", "--topic", "t", "--name", "n", "--receipts", path],
            "",
        )
        .expect(0);
    std::fs::remove_file(&file).unwrap();
    let lines = ended.lines();
    assert_eq!(lines.len(), 30_000);
    for (i, line) in lines.iter().enumerate() {
        assert_eq!(line["line"], i + 1);
        assert!(line["offset"].is_i64());
    }
}

#[test]
fn a_receipt_comes_as_soon_as_it_is_known() {
    let broker = Broker::start(&["t:1"]);
    let mut child = broker.spawn(&["publish", "--topic", "t", "--name", "n", "--receipts"]);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"{}\n").unwrap();
    let mut line = String::new();
    let stdout = child.stdout.as_mut().unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).unwrap();
    assert!(line.starts_with("{\"line\":1,"), "{line}");
    drop(stdin);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn options_fill_in_and_payload_only_takes_the_line_as_it_is() {
    let broker = Broker::start(&["t:1"]);
    let args = [
        "publish",
        "--topic",
        "t",
        "--name",
        "n",
        "--namespace",
        "ns",
        "--key",
        "k",
    ];
    let args = [&args[..], &["--payload-only"]].concat();
    broker.run(&args, "{\"b\":1,\"a\":2}\r\n[1]\n").expect(1);
    let line = &broker.read("t", 1)[0];
    assert_eq!(line["key"], "k");
    assert_eq!(line["event"]["name"], "n");
    assert_eq!(line["event"]["namespace"], "ns");
    assert_eq!(line["event"]["payload"], json!({"b":1,"a":2}));
}

#[test]
fn the_stdout_stream_prints_what_would_be_sent() {
    let ended = run(
        &["publish", "--stream", "stdout", "--topic", "t"],
        r#"{"id":"1","name":"n","timestamp":"2024-10-28T10:18:45Z"}"#,
    )
    .expect(0);
    assert_eq!(
        ended.out,
        "{\"topic\":\"t\",\"key\":\"1\",\"headers\":[],\"event\":{\"id\":\"1\",\"name\":\"n\",\"timestamp\":\"2024-10-28T10:18:45Z\",\"version\":1}}\n"
    );
}

#[test]
fn no_lines_are_no_failure_and_a_missing_file_is_one() {
    let broker = Broker::start(&[]);
    broker.run(&["publish", "--topic", "t"], "\n \n").expect(0);
    let ended = broker
        .run(&["publish", "--topic", "t", "/no/such/file"], "")
        .expect(1);
    assert!(ended.err.contains("/no/such/file"), "{}", ended.err);
}

#[test]
fn an_event_that_is_too_large_is_reported_with_its_line() {
    let broker = Broker::start(&[]);
    let line = format!(
        "{{\"name\":\"n\",\"payload\":{{\"x\":\"{}\"}}}}",
        "x".repeat(1_000_000)
    );
    let input = format!("{{\"name\":\"n\"}}\n{line}\n{{\"name\":\"n\"}}\n");
    let ended = broker
        .run(&["publish", "--topic", "t", "--receipts"], &input)
        .expect(1);
    assert_eq!(ended.lines()[1]["error"]["kind"], "too_large");
    assert!(ended.lines()[2]["offset"].is_i64());
}
