//! Audit logs.

use std::io::Write;
use std::sync::{Arc, Mutex};

use eventstream::{Actor, AuditLog, BrokerConfig, Client, EmbeddedBroker, ErrorKind};

use crate::support::{SOON, read};

const USER: &str = "e95b150043ff4a2c88427a6eb25e5bc8";
const CLIENT: &str = "7d480ce0e8624b02901bd80d9ba9817c";
const TARGET: &str = "1fe7f425a0e049d29d87ca3d32e45b5a";

fn full() -> AuditLog {
    AuditLog::new("USER_MGMT", "updateUser", Actor::User(USER.into()))
        .ip("127.0.0.1")
        .client_id(CLIENT)
        .actor_namespace("pub")
        .object_id("oid")
        .object_type("otype")
        .object_namespace("ns")
        .target_user_id(TARGET)
        .device_id("dev")
        .content(&serde_json::json!({"a": 1}))
        .diff(serde_json::json!({"x": 1}), serde_json::json!({"x": 2}))
}

/// The golden file's id and time replace the generated ones.
fn as_golden(line: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(line).unwrap();
    let (id, time) = (
        value["_id"].as_str().unwrap(),
        value["timestamp"].as_i64().unwrap(),
    );
    assert_eq!(id.len(), 32);
    assert!(time > 1_700_000_000_000, "milliseconds");
    line.replacen(id, "a1b2c3d4e5f64a7b8c9d0e1f2a3b4c5d", 1)
        .replacen(&time.to_string(), "1730110725123", 1)
}

fn golden(name: &str) -> String {
    let path = format!("{}/tests/wire/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap().trim().to_owned()
}

#[tokio::test]
async fn writes_go_s_bytes_to_the_audit_topic_with_an_empty_key() {
    let broker = EmbeddedBroker::start().unwrap();
    broker.create_topic("dev.audits", 1).unwrap();
    let client = Client::embedded()
        .prefix("dev")
        .embedded_broker(&broker)
        .audit_log_topic("audits")
        .build()
        .unwrap();
    let receipt = client.publish_audit_log(full()).await.unwrap().unwrap();
    let id = receipt.id().to_owned();
    receipt.await.unwrap();
    let keyed = full().key("k").content(&()).diff((), ());
    let receipt = client.publish_audit_log(keyed).await.unwrap().unwrap();
    receipt.await.unwrap();
    let records = read(&broker, "dev.audits", 1, 2);
    let text = String::from_utf8(records[0].value.clone()).unwrap();
    assert_eq!(records[0].json()["_id"], id);
    assert_eq!(as_golden(&text), golden("audit-full.json"));
    assert_eq!(
        records[0].key.as_deref(),
        Some(&b""[..]),
        "as Go: empty, not null"
    );
    assert_eq!(records[1].key.as_deref(), Some(&b"k"[..]));
    let payload = &records[1].json()["payload"];
    assert_eq!(payload.to_string(), r#"{"content":{},"diff":{}}"#);
    client.shutdown(SOON).await;
}

#[tokio::test]
async fn the_smallest_log_and_every_kind_of_actor() {
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);
    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let lines = Lines::default();
    let client = Client::stdout().writer(lines.clone()).build().unwrap();
    let actors = [
        Actor::Client(USER.into()),
        Actor::User(USER.into()),
        Actor::Anonymous(USER.into()),
    ];
    for actor in actors {
        let log = AuditLog::new("c", "a", actor)
            .client_id(CLIENT)
            .actor_namespace("pub")
            .object_namespace("ns");
        let receipt = client.publish_audit_log(log).await.unwrap().unwrap();
        assert_eq!(receipt.topic().as_str(), "auditLog");
        receipt.await.unwrap();
    }
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let logs = text.lines().map(|line| {
        let log = line.strip_prefix(r#"{"topic":"auditLog","key":"","headers":[],"audit_log":"#);
        log.unwrap().strip_suffix('}').unwrap()
    });
    let lines: Vec<_> = logs.map(as_golden).collect();
    let minimal = golden("audit-minimal.json");
    assert_eq!(lines[0], minimal);
    assert_eq!(lines[1], minimal.replace("CLIENT", "USER"));
    assert_eq!(lines[2], minimal.replace("CLIENT", "ANONYMOUS"));
}

#[tokio::test]
async fn every_bad_field_is_listed() {
    let client = Client::stdout().writer(std::io::sink()).build().unwrap();
    let log = AuditLog::new("", "", Actor::User(String::new()))
        .content(&[1])
        .diff(1, "x");
    let error = client.publish_audit_log(log).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Validation);
    let faults: Vec<_> = error.faults().iter().map(ToString::to_string).collect();
    assert_eq!(
        faults,
        [
            "category: is required",
            "action_name: is required",
            "client_id: is required",
            "actor_namespace: is required",
            "object_namespace: is required: use the publisher's namespace if the object has none",
            "actor: is required",
            "content \"[1]\": must be a JSON object",
            "diff.before \"1\": must be a JSON object",
            "diff.after \"\\\"x\\\"\": must be a JSON object",
        ]
    );
    let log = full().client_id("c").target_user_id("t");
    let error = client.publish_audit_log(log).await.unwrap_err();
    let fields: Vec<_> = error.faults().iter().map(|f| f.field.as_str()).collect();
    assert_eq!(fields, ["client_id", "target_user_id"]);
    assert!(
        error.to_string().contains("32 lower-case hex digits"),
        "{error}"
    );
}

#[tokio::test]
async fn disabled_audit_logs_are_checked_and_not_published() {
    let client = Client::embedded()
        .config(BrokerConfig::new())
        .audit_log_enabled(false)
        .build()
        .unwrap();
    assert!(client.publish_audit_log(full()).await.unwrap().is_none());
    let bad = client.publish_audit_log(full().client_id("")).await;
    assert_eq!(bad.unwrap_err().kind(), ErrorKind::Validation);
    assert_eq!(client.writer_stats().accepted, 0);
    client.shutdown(SOON).await;
}
