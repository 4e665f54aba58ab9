//! What is rejected before it is accepted.

use eventstream::{
    BrokerConfig, Client, Context, ErrorKind, Event, Exhausted, OnUnmatched, Publish, Retry,
    Subscribe,
};

use crate::support::{SOON, event, setup};

fn client(config: BrokerConfig) -> Client {
    Client::stdout()
        .writer(std::io::sink())
        .config(config)
        .build()
        .unwrap()
}

async fn faults(client: &Client, event: Publish) -> Vec<String> {
    let error = client.publish(event).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Validation);
    error.faults().iter().map(|f| f.field.clone()).collect()
}

#[tokio::test]
async fn every_bad_field_is_listed_at_once() {
    let client = client(BrokerConfig::new().strict_validation(true));
    let event = Publish::new("a topic", "a name")
        .user_id("u")
        .client_id("c")
        .session_id("s")
        .trace_id("t")
        .timestamp_text("yesterday", 0)
        .payload([1, 2])
        .additional_fields("text");
    assert_eq!(
        faults(&client, event).await,
        [
            "topic",
            "event_name",
            "user_id",
            "client_id",
            "session_id",
            "trace_id",
            "timestamp",
            "payload",
            "additional_fields"
        ]
    );
}

#[tokio::test]
async fn ids_are_free_unless_validation_is_strict() {
    let good = "48bf8a020b584f31bc605bf65d3300ed";
    let lenient = client(BrokerConfig::new());
    lenient
        .publish_sync(event("k").user_id("u").trace_id("t"))
        .await
        .unwrap();
    let strict = client(BrokerConfig::new().strict_validation(true));
    strict
        .publish_sync(event("k").user_id(good).client_id(""))
        .await
        .unwrap();
    for bad in [
        "u",
        "48BF8A020B584F31BC605BF65D3300ED",
        "48bf8a02-0b58-4f31-bc60-5bf65d3300ed",
    ] {
        assert_eq!(faults(&strict, event("k").user_id(bad)).await, ["user_id"]);
        assert_eq!(
            faults(&strict, event("k").client_id(bad)).await,
            ["client_id"]
        );
        assert_eq!(
            faults(&strict, event("k").session_id(bad)).await,
            ["session_id"]
        );
        assert_eq!(
            faults(&strict, event("k").trace_id(bad)).await,
            ["trace_id"]
        );
    }
    strict
        .publish_sync(event("k").span_context("anything"))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_payload_that_cannot_be_json_is_a_fault_and_none_is_nothing() {
    #[derive(serde::Serialize)]
    struct Empty;
    let client = client(BrokerConfig::new());
    let by_bytes: std::collections::HashMap<Vec<u8>, i32> = [(vec![1], 1)].into();
    assert_eq!(
        faults(&client, event("k").payload(&by_bytes)).await,
        ["payload"]
    );
    for list in [r"[]", "1", "\"x\"", "true"] {
        let value: serde_json::Value = serde_json::from_str(list).unwrap();
        assert_eq!(
            faults(&client, event("k").payload(&value)).await,
            ["payload"]
        );
    }
    client
        .publish_sync(event("k").payload(None::<i32>))
        .await
        .unwrap();
    client
        .publish_sync(event("k").payload(&Empty))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_measured_against_the_effective_limit() {
    let large =
        |bytes: usize| event("k").additional_fields(serde_json::json!({"x": "x".repeat(bytes)}));
    for config in [
        BrokerConfig::new().message_max_bytes(20_000usize),
        BrokerConfig::new().base_config("message.max.bytes", "20000"),
        BrokerConfig::new().base_config("message.max.bytes", 20_000),
    ] {
        let s = setup(config);
        s.client.publish_sync(large(19_000)).await.unwrap();
        let error = s.client.publish(large(20_000)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
        assert!(error.to_string().contains("20000"), "{error}");
        assert!(!error.is_retriable());
        let header = event("k").header("h", vec![0; 20_000]);
        let error = s.client.try_publish(&header).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
        // Just below the limit: what passes here must not be rejected by librdkafka or the broker.
        let mut accepted = 0;
        for bytes in (19_300..20_000).step_by(20) {
            match s.client.publish(large(bytes)).await {
                Ok(receipt) => {
                    receipt.await.unwrap();
                    accepted += 1;
                }
                Err(e) => assert_eq!(e.kind(), ErrorKind::TooLarge),
            }
        }
        assert!((1..35).contains(&accepted), "{accepted}");
        assert_eq!(s.failed.count(), 0);
        s.client.shutdown(SOON).await;
    }
}

fn prefixed(prefix: &str) -> Client {
    Client::embedded().prefix(prefix).build().expect("a client")
}

fn to(topic: &str) -> Subscribe {
    Subscribe::new(topic).on("n", |_: Context, _: Event| async {
        Ok::<_, std::io::Error>(())
    })
}

async fn refused(client: &Client, subscribe: Subscribe) -> Option<(String, String)> {
    let error = client.register(subscribe).await.err()?;
    assert_eq!(error.kind(), ErrorKind::Validation);
    let fault = &error.faults()[0];
    Some((fault.field.clone(), fault.allowed.clone()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_kafka_does_not_allow_is_refused_where_the_event_is_made() {
    let plain = prefixed("");
    // The Go SDK allows the apostrophe; Kafka rejects it, and the event would wait forever.
    assert_eq!(faults(&plain, Publish::new("a'b", "n")).await, ["topic"]);
    let with_prefix = prefixed("env");
    let long = "a".repeat(246);
    plain
        .publish_sync(Publish::new(&*long, "n"))
        .await
        .expect("it fits");
    assert_eq!(
        faults(&with_prefix, Publish::new(&*long, "n")).await,
        ["topic"]
    );
    with_prefix
        .publish_sync(Publish::new(&long[1..], "n"))
        .await
        .expect("with prefix and dot it has 249 bytes");
    for client in [plain, with_prefix] {
        client.shutdown(SOON).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_topic_that_kafka_allows_can_be_read_and_no_other() {
    let plain = prefixed("");
    for topic in ["__consumer_offsets", "a--b", "_", "a.", "..."] {
        assert_eq!(refused(&plain, to(topic)).await, None, "{topic}");
    }
    for topic in ["a'b", "", ".", "..", "a b", "é"] {
        let (field, allowed) = refused(&plain, to(topic)).await.expect(topic);
        assert_eq!(field, "topic");
        assert!(allowed.contains("249"), "{allowed}");
    }
    let with_prefix = prefixed("env");
    let topic = "a".repeat(245);
    assert_eq!(refused(&with_prefix, to(&topic)).await, None);
    let (field, allowed) = refused(&with_prefix, to(&"a".repeat(246)))
        .await
        .expect("too long");
    assert_eq!(field, "topic");
    assert!(allowed.contains("\"env\""), "{allowed}");
    // With `-dlq` behind it.
    for dead_lettering in [
        to(&topic).dead_letters(true),
        to(&topic).on_unmatched(OnUnmatched::DeadLetter),
        to(&topic).retry(Retry::attempts(2).then(Exhausted::DeadLetter)),
    ] {
        let (_, allowed) = refused(&with_prefix, dead_lettering)
            .await
            .expect("too long");
        assert!(allowed.contains("dead letter"), "{allowed}");
    }
    for client in [plain, with_prefix] {
        client.shutdown(SOON).await;
    }
}
