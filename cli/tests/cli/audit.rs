use serde_json::{Value, json};

use crate::support::{Broker, run_command};

const ACTOR: &str = "e95b150043ff4a2c88427a6eb25e5bc8";
const CLIENT: &str = "7d480ce0e8624b02901bd80d9ba9817c";

const ONE: &[&str] = &[
    "audit",
    "--category",
    "userBan",
    "--action-name",
    "banUser",
    "--actor",
    ACTOR,
    "--actor-type",
    "user",
    "--client-id",
    CLIENT,
    "--actor-namespace",
    "an",
    "--object-namespace",
    "on",
];

/// An audit log is not an event, and is shown as an audit log.
fn value_of(line: &Value) -> Value {
    assert!(
        line.get("error").is_none() && line.get("event").is_none(),
        "{line}"
    );
    line["audit_log"].clone()
}

#[test]
fn they_are_read_as_what_they_are() {
    let broker = Broker::start(&["auditLog:1"]);
    broker
        .run(&[ONE, &["--content", "{\"n\":1.50}"]].concat(), "")
        .expect(0);
    let read = |format: &str| {
        let args = [
            "subscribe",
            "--topic",
            "auditLog",
            "--from",
            "head",
            "--count",
            "1",
        ];
        broker
            .run(&[&args[..], &["--output", format]].concat(), "")
            .expect(0)
            .out
    };
    let line = read("json");
    assert!(line.contains(r#","audit_log":{"_id":""#), "{line}");
    assert!(
        line.contains(r#""payload":{"content":{"n":1.50},"#),
        "{line}"
    );
    let people = read("pretty");
    assert!(people.contains("audit log: userBan banUser"), "{people}");
    assert!(people.contains("  \"actorType\": \"USER\",\n"), "{people}");
    assert_eq!(read("payload"), "{\"content\":{\"n\":1.50},\"diff\":{}}\n");
}

#[test]
fn one_from_options() {
    let broker = Broker::start(&["auditLog:1"]);
    let more = [
        "--content",
        r#"{"n":9007199254740993}"#,
        "--after",
        "{\"x\":1}",
        "--receipts",
        "--key",
        "k",
    ];
    let ended = broker.run(&[ONE, &more].concat(), "").expect(0);
    let receipt = &ended.lines()[0];
    assert_eq!(
        (&receipt["topic"], &receipt["offset"], &receipt["key"]),
        (&json!("auditLog"), &json!(0), &json!("k"))
    );
    let log = value_of(&broker.read("auditLog", 1)[0]);
    assert_eq!(log["_id"], receipt["id"]);
    assert_eq!(log["actorType"], "USER");
    assert_eq!(
        log["payload"],
        json!({"content":{"n":9_007_199_254_740_993_i64},"diff":{"after":{"x":1}}})
    );
}

#[test]
fn many_from_ndjson_keep_what_they_give() {
    let broker = Broker::start(&["logs:1"]);
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../eventstream/tests/wire/golden/audit-full.json"
    );
    let golden = std::fs::read_to_string(path).unwrap();
    let foreign = r#"{"actr":"x"}"#;
    let mut command = broker.tool(&["audit", "--receipts"]);
    command.env("APP_EVENT_STREAM_AUDIT_LOG_TOPIC", "logs");
    let ended = run_command(command, &format!("{}\n{foreign}\n", golden.trim())).expect(1);
    assert!(
        ended.lines()[1]["error"]["message"]
            .as_str()
            .unwrap()
            .contains("\"actr\"")
    );
    let stored = value_of(&broker.read("logs", 1)[0]);
    assert_eq!(stored, serde_json::from_str::<Value>(&golden).unwrap());
}

#[test]
fn options_fill_in_what_lines_leave_out() {
    let broker = Broker::start(&["auditLog:1"]);
    let line = r#"{"actionName":"unban"}"#;
    broker.run(&[ONE, &["-"]].concat(), line).expect(0);
    let log = value_of(&broker.read("auditLog", 1)[0]);
    assert_eq!(
        (&log["actionName"], &log["category"]),
        (&json!("unban"), &json!("userBan"))
    );
}

#[test]
fn disabled_audit_logs_are_checked_and_said_to_be_disabled() {
    let broker = Broker::start(&[]);
    let mut command = broker.tool(&[ONE, &["--receipts"]].concat());
    command.env("APP_EVENT_STREAM_AUDIT_LOG_ENABLED", "false");
    let ended = run_command(command, "").expect(0);
    assert_eq!(ended.lines()[0], json!({"line":1,"disabled":true}));
    assert!(ended.err.contains("disabled"), "{}", ended.err);
}
