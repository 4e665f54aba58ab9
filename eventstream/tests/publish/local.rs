//! The backends without a broker.

use std::io::Write;
use std::sync::{Arc, Mutex};

use eventstream::{BrokerConfig, Client, ErrorKind, Publish};

use crate::support::{SOON, event};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        // In small pieces: a line must not depend on one call.
        self.0.lock().unwrap().write(&bytes[..bytes.len().min(7)])
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stdout_writes_whole_lines_with_the_given_id_and_every_field() {
    let lines = Lines::default();
    let client = Client::stdout()
        .writer(lines.clone())
        .config(BrokerConfig::new().strict_validation(true))
        .build()
        .unwrap();
    let mut tasks = Vec::new();
    for task in 0..8 {
        let client = client.clone();
        tasks.push(tokio::spawn(async move {
            for i in 0..50 {
                let event = event("k")
                    .id(format!("{task}-{i}"))
                    .namespace("a\nb")
                    .header("h", "v")
                    .header("h", *b"\xff");
                let delivery = client.publish_sync(event).await.unwrap();
                assert_eq!(delivery.partition(), 0);
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let mut ids: Vec<_> = text
        .lines()
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!((&line["topic"], &line["key"]), (&"t".into(), &"k".into()));
            let headers = serde_json::json!([["h", "v"], ["h", {"base64": "/w=="}]]);
            assert_eq!(line["headers"], headers);
            let value = &line["event"];
            assert_eq!(value["namespace"], "a\nb");
            assert_eq!(value["version"], 1);
            assert_eq!(value["payload"]["a"], 1);
            assert!(value["timestamp"].is_string() && value["timestampUnixNano"].is_i64());
            value["id"].as_str().unwrap().to_owned()
        })
        .collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 400);
    assert_eq!(client.writer_stats().stored, 400);
    let bad = client.publish(event("k").user_id("no")).await.unwrap_err();
    assert_eq!(bad.kind(), ErrorKind::Validation);
    assert!(client.shutdown(SOON).await.is_empty());
}

#[tokio::test]
async fn a_payload_with_line_breaks_is_one_line() {
    let lines = Lines::default();
    let client = Client::stdout().writer(lines.clone()).build().unwrap();
    let json = "{\n  \"a\": \"b\\nc\"\r\n}".to_owned();
    let payload = serde_json::value::RawValue::from_string(json).unwrap();
    client
        .publish_sync(event("k").payload(payload))
        .await
        .unwrap();
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    let line: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(line["event"]["payload"]["a"], "b\nc");
}

#[tokio::test]
async fn stdout_refuses_what_kafka_would_and_tells_a_writer_s_error() {
    struct Broken;
    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("the pipe is gone"))
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let client = Client::stdout().writer(Broken).build().unwrap();
    let error = client.publish(event("k")).await.unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(
        (error.kind(), &*source),
        (ErrorKind::Broker, "the pipe is gone")
    );
    let large = event("k").additional_fields(serde_json::json!({"x": "x".repeat(1_000_000)}));
    let error = client.publish(large).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
}

#[tokio::test]
async fn none_accepts_anything_and_forgets_it() {
    let client = Client::none().build().unwrap();
    let nonsense = Publish::new("not a topic", "").id("mine");
    let receipt = client.publish(nonsense).await.unwrap();
    assert_eq!(receipt.id(), "mine");
    receipt.await.unwrap();
    let receipt = client.try_publish(event("k")).unwrap();
    assert!(receipt.is_done());
    assert_eq!(receipt.id().len(), 32);
    assert_eq!(client.writer_stats().stored, 2);
    client.flush(SOON).await.unwrap();
    assert!(client.shutdown(SOON).await.is_empty());
}
