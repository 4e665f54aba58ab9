//! What a copy keeps, and topics that are created.

use std::time::{Duration, SystemTime};

use eventstream::{Actor, AuditLog, BrokerConfig, Client, EmbeddedBroker, ErrorKind, Publish};

use crate::support::{SOON, read, setup};

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_keeps_its_topic_field_and_goes_where_it_is_sent() {
    let s = setup(BrokerConfig::new());
    let copy = Publish::new("t", "tested").event_topic("origin");
    s.client.publish_sync(copy).await.unwrap();
    let record = read(&s.broker, "t", 1, 1).remove(0);
    let json: serde_json::Value = serde_json::from_slice(&record.value).unwrap();
    assert_eq!(json["topic"], "origin");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copied_audit_log_keeps_its_id_and_time() {
    let broker = EmbeddedBroker::start().unwrap();
    broker.create_topic("audits", 1).unwrap();
    let client = Client::embedded()
        .embedded_broker(&broker)
        .audit_log_topic("audits")
        .audit_log_enabled(true)
        .build()
        .unwrap();
    let id = "a1b2c3d4e5f64a7b8c9d0e1f2a3b4c5d";
    let log = || {
        AuditLog::new(
            "c",
            "a",
            Actor::User("e95b150043ff4a2c88427a6eb25e5bc8".into()),
        )
        .client_id("7d480ce0e8624b02901bd80d9ba9817c")
        .actor_namespace("n")
        .object_namespace("n")
        .id(id)
    };
    let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_730_110_725_123);
    let receipt = client.publish_audit_log(log().timestamp(at)).await.unwrap();
    receipt.unwrap().await.unwrap();
    let record = read(&broker, "audits", 1, 1).remove(0);
    let json: serde_json::Value = serde_json::from_slice(&record.value).unwrap();
    assert_eq!(json["_id"], id);
    assert_eq!(json["timestamp"], 1_730_110_725_123_i64);

    let early = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
    let error = client
        .publish_audit_log(log().timestamp(early))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Validation);
    assert_eq!(error.faults()[0].field, "timestamp");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_is_created_once_with_its_partitions() {
    let client = Client::embedded().prefix("p").build().unwrap();
    assert!(client.create_topic("made", 7, 1, SOON).await.unwrap());
    assert!(!client.create_topic("made", 3, 1, SOON).await.unwrap());
    let metadata = client.metadata(Some("made"), SOON).await.unwrap();
    assert_eq!(metadata.topics[0].name, "p.made");
    assert_eq!(metadata.topics[0].partitions.len(), 7);
    for (topic, partitions) in [("bad name", 1), ("none", 0)] {
        let error = client
            .create_topic(topic, partitions, 1, SOON)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Validation, "{topic}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_embedded_broker_elsewhere_creates_no_topics_and_says_so_at_once() {
    let broker = EmbeddedBroker::start().unwrap();
    let client = Client::kafka([broker.address()]).build().unwrap();
    let started = std::time::Instant::now();
    let error = client.create_topic("t", 1, 1, SOON).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(started.elapsed() < SOON / 2);
}
