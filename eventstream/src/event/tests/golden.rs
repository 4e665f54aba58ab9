//! We read what Go writes, and write what Go writes.

use std::sync::Arc;

use super::super::{AuditEnvelope, Envelope, Event, Place, timestamp};
use super::file;
use crate::Topic;

/// 2024-10-28T10:18:45.123456789Z
const NANOS: i64 = 1_730_110_725_123_456_789;

fn bytes(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/wire/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    let mut bytes = std::fs::read(path).unwrap();
    assert_eq!(bytes.pop(), Some(b'\n'));
    bytes
}

fn full() -> Envelope<'static> {
    Envelope {
        id: "0af7651916cd43dd8448eb211c80319c",
        name: "testEvent",
        namespace: "event",
        parent_namespace: "parent",
        union_namespace: "union",
        client_id: "7d480ce0e8624b02901bd80d9ba9817c",
        trace_id: "01c34ec3b07f4bfaa59ba0184a3de14d",
        span_context: "00f067aa0ba902b7:00f067aa0ba902b7:0000000000000000:1",
        span: None,
        user_id: "e95b150043ff4a2c88427a6eb25e5bc8",
        session_id: "c1ab4f754acc4cb48a8f68dd25cfca21",
        timestamp: "2024-10-28T10:18:45Z",
        timestamp_unix_nano: NANOS,
        version: 1,
        event_id: 3,
        event_type: 301,
        event_level: 3,
        service: "test",
        client_ids: r#"["7d480ce0e8624b02901bd80d9ba9817c"]"#,
        target_user_ids: r#"["1fe7f425a0e049d29d87ca3d32e45b5a"]"#,
        target_namespace: "publisher",
        privacy: true,
        topic: "",
        source_namespace: "",
        additional_fields: r#"{"summary":"user:_failed"}"#,
        payload: r#"{"testPayload":{"friendId":"user456"}}"#,
    }
}

#[track_caller]
fn assert_bytes(write: impl Fn(&mut Vec<u8>), golden: &str) {
    // Appending must not change existing text.
    let mut out = b"before".to_vec();
    write(&mut out);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    assert_eq!(text(&out[6..]), text(&bytes(golden)));
    assert_eq!(&out[..6], b"before");
}

#[track_caller]
fn assert_full(event: &Event, golden: &str) {
    let full = full();
    assert_eq!(event.id(), full.id, "{golden}");
    assert_eq!(event.name(), full.name);
    assert_eq!(event.namespace(), full.namespace);
    assert_eq!(event.parent_namespace(), full.parent_namespace);
    assert_eq!(event.union_namespace(), full.union_namespace);
    assert_eq!(event.client_id(), full.client_id);
    assert_eq!(event.trace_id(), full.trace_id);
    assert_eq!(event.span_context(), full.span_context);
    assert_eq!(event.user_id(), full.user_id);
    assert_eq!(event.session_id(), full.session_id);
    assert_eq!(event.version(), 1);
    assert_eq!(event.event_id(), 3);
    assert_eq!(event.event_type(), 301);
    assert_eq!(event.event_level(), 3);
    assert_eq!(event.service(), full.service);
    assert_eq!(event.client_ids(), ["7d480ce0e8624b02901bd80d9ba9817c"]);
    assert_eq!(
        event.target_user_ids(),
        ["1fe7f425a0e049d29d87ca3d32e45b5a"]
    );
    assert_eq!(event.target_namespace(), full.target_namespace);
    assert!(event.privacy());
    assert_eq!(event.additional_fields().as_str(), full.additional_fields);
    assert_eq!(event.payload().as_str(), full.payload);
}

#[test]
fn reads_every_release_of_the_go_sdk() {
    let whole = NANOS - NANOS % 1_000_000_000;
    for (golden, nanos, source) in [
        ("head-v4-full.json", NANOS, ""),
        ("v3.20plus-full-with-sourceNamespace.json", NANOS, "source"),
        (
            "v4.2.1-v4.2.2_v3.19.1-v3.19.2-full-rfc3339nano.json",
            NANOS,
            "",
        ),
        ("v3.8-v3.19.0_v4.0-v4.2.0-full-rfc3339.json", whole, ""),
    ] {
        let event = file(&format!("golden/{golden}"));
        assert_full(&event, golden);
        assert_eq!(
            event.time(),
            Some(timestamp::from_unix_nanos(nanos)),
            "{golden}"
        );
        assert_eq!(event.source_namespace(), source);
        assert_eq!(event.topic(), "");
        assert_eq!(
            (event.partition(), event.offset(), event.key()),
            (None, None, None)
        );
    }
}

#[test]
fn ignores_where_the_text_says_it_was_stored() {
    let event = file("golden/reserialised-by-consumer.json");
    assert_full(&event, "reserialised-by-consumer.json");
    assert_eq!(event.topic(), "topic");
    assert_eq!(
        (event.partition(), event.offset(), event.key()),
        (None, None, None)
    );
}

#[test]
fn reads_gos_escapes() {
    let event = file("golden/escaping.json");
    assert_eq!(event.namespace(), "<n>&'\"\\/");
    let payload = event.payload();
    let nasty: String = payload.get("<k>").unwrap().decode().unwrap();
    assert_eq!(
        nasty,
        "\u{2028}\u{2029}\0\u{1f}\u{7f}\u{80}é😀\n\r\t\u{8}\u{c}"
    );
    let keys: serde_json::Map<String, serde_json::Value> = payload.decode().unwrap();
    assert_eq!(keys.len(), 10);
    assert_eq!(payload.get("f").unwrap().to_value().unwrap()[10], u64::MAX);
}

#[test]
fn writes_gos_bytes() {
    let minimal = Envelope {
        id: full().id,
        name: "e",
        timestamp: "2024-10-28T10:18:45Z",
        timestamp_unix_nano: NANOS,
        version: 1,
        payload: "{}",
        client_ids: "[]",
        ..Envelope::default()
    };
    assert_bytes(|out| minimal.write(out), "head-minimal.json");
    assert_bytes(|out| full().write(out), "head-v4-full.json");
    let with_source = Envelope {
        source_namespace: "source",
        ..full()
    };
    assert_bytes(
        |out| with_source.write(out),
        "v3.20plus-full-with-sourceNamespace.json",
    );
}

#[test]
fn an_empty_envelope_is_an_empty_object() {
    let mut out = Vec::new();
    Envelope::default().write(&mut out);
    assert_eq!(out, b"{}");
    assert_eq!(super::event("{}").to_json(), "{}");
}

#[test]
fn rewrites_a_consumed_event_as_go_does() {
    let mut record = bytes("head-v4-full.json");
    let value = 0..record.len();
    record.push(b'k');
    let key = value.end..record.len();
    let place = Place {
        topic: Topic::new("topic").unwrap(),
        partition: 3,
        offset: 42,
        key: Some(key),
        headers: None,
    };
    let event = Event::decode_record(&Arc::from(record), value, place).unwrap();
    assert_eq!((event.partition(), event.offset()), (Some(3), Some(42)));
    assert_eq!((event.key(), event.topic()), (Some("k"), "topic"));
    let golden = String::from_utf8(bytes("reserialised-by-consumer.json")).unwrap();
    assert_eq!(event.to_json(), golden);
    assert_eq!(serde_json::to_string(&event).unwrap(), golden);
}

#[test]
fn keeps_the_key_of_a_record_that_is_not_utf_8() {
    let record: Arc<[u8]> = Arc::from(&b"\xffkey{\"id\":\"a\xff\xfeb\"}"[..]);
    let place = Place {
        topic: Topic::new("topic").unwrap(),
        partition: 0,
        offset: 0,
        key: Some(0..4),
        headers: None,
    };
    let event = Event::decode_record(&record, 4..record.len(), place).unwrap();
    assert_eq!(event.key_bytes(), Some(&b"\xffkey"[..]));
    assert_eq!(event.key(), None);
    assert_eq!(event.id(), "a\u{fffd}\u{fffd}b");
    assert_eq!(event.as_bytes(), &record[4..]);
    assert_eq!(event.json(), "{\"id\":\"a\u{fffd}\u{fffd}b\"}");
}

#[test]
fn writes_gos_audit_bytes() {
    let minimal = AuditEnvelope {
        id: "a1b2c3d4e5f64a7b8c9d0e1f2a3b4c5d",
        category: "c",
        action_name: "a",
        timestamp_millis: 1_730_110_725_123,
        actor: "e95b150043ff4a2c88427a6eb25e5bc8",
        actor_type: "CLIENT",
        client_id: "7d480ce0e8624b02901bd80d9ba9817c",
        actor_namespace: "pub",
        object_namespace: "ns",
        ..AuditEnvelope::default()
    };
    assert_bytes(|out| minimal.write(out), "audit-minimal.json");
    let empty = AuditEnvelope {
        content: "{ }",
        before: "null",
        after: "{}",
        ..minimal
    };
    assert_bytes(|out| empty.write(out), "audit-minimal.json");
    let full = AuditEnvelope {
        category: "USER_MGMT",
        action_name: "updateUser",
        ip: "127.0.0.1",
        actor_type: "USER",
        object_id: "oid",
        object_type: "otype",
        target_user_id: "1fe7f425a0e049d29d87ca3d32e45b5a",
        device_id: "dev",
        content: r#"{"a":1}"#,
        before: r#"{"x":1}"#,
        after: r#"{"x":2}"#,
        ..minimal
    };
    assert_bytes(|out| full.write(out), "audit-full.json");
}

#[test]
fn escapes_an_audit_log_as_go_does() {
    let audit = AuditEnvelope {
        category: "<\"&>\u{2028}\n\0",
        content: "{\"<a>\":\"\u{2029}é&\"}",
        ..AuditEnvelope::default()
    };
    let mut out = Vec::new();
    audit.write(&mut out);
    let out = String::from_utf8(out).unwrap();
    let category = r#""category":"\u003c\"\u0026\u003e\u2028\n\u0000","#;
    assert!(out.contains(category), "{out}");
    let content = r#""content":{"\u003ca\u003e":"\u2029é\u0026"},"diff":{}}}"#;
    assert!(out.ends_with(content), "{out}");
}
