//! The contents of the record.

use std::time::{Duration, SystemTime};

use eventstream::{BrokerConfig, Client, EmbeddedBroker, Publish};
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};

use crate::support::{SOON, event, read, setup};

#[tokio::test(flavor = "multi_thread")]
async fn a_record_has_the_fields_the_key_and_the_headers() {
    let s = setup(BrokerConfig::new());
    let full = Publish::new("t", "tested")
        .id("i")
        .key("k")
        .namespace("n")
        .parent_namespace("pn")
        .union_namespace("un")
        .source_namespace("sn")
        .target_namespace("tn")
        .client_id("c")
        .trace_id("t")
        .span_context("sc")
        .user_id("u")
        .session_id("s")
        .version(2)
        .event_id(3)
        .event_type(4)
        .event_level(5)
        .service("svc")
        .client_ids(["c1", "c\"2"])
        .target_user_ids(["u1"])
        .privacy(true)
        .additional_fields(serde_json::json!({"f": 1}))
        .payload(serde_json::json!({"n": 12_345_678_901_234_567_890_u64}))
        .header("h", "1")
        .header("h", vec![0xff])
        .header("empty", "");
    s.client.publish_sync(full).await.unwrap();
    let record = read(&s.broker, "t", 1, 1).remove(0);
    assert_eq!(record.key.as_deref(), Some(&b"k"[..]));
    let headers = [
        ("h".to_owned(), Some(b"1".to_vec())),
        ("h".to_owned(), Some(vec![0xff])),
        ("empty".to_owned(), Some(Vec::new())),
    ];
    assert_eq!(record.headers, headers);
    let event = eventstream::Event::decode(&record.value).unwrap();
    assert_eq!(
        (event.id(), event.name(), event.namespace()),
        ("i", "tested", "n")
    );
    assert_eq!(
        (event.parent_namespace(), event.union_namespace()),
        ("pn", "un")
    );
    assert_eq!(
        (event.source_namespace(), event.target_namespace()),
        ("sn", "tn")
    );
    assert_eq!(
        (event.client_id(), event.trace_id(), event.span_context()),
        ("c", "t", "sc")
    );
    assert_eq!(
        (event.user_id(), event.session_id(), event.service()),
        ("u", "s", "svc")
    );
    let numbers = (
        event.version(),
        event.event_id(),
        event.event_type(),
        event.event_level(),
    );
    assert_eq!(numbers, (2, 3, 4, 5));
    assert!(event.privacy());
    let json = record.json();
    assert_eq!(json["client_ids"], serde_json::json!(["c1", "c\"2"]));
    assert_eq!(json["target_user_ids"], serde_json::json!(["u1"]));
    assert_eq!(json["additional_fields"]["f"], 1);
    assert_eq!(json["payload"]["n"], 12_345_678_901_234_567_890_u64);
    s.client.shutdown(SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_is_the_id_unless_there_is_one() {
    let s = setup(BrokerConfig::new());
    let chosen = Publish::new("t", "tested").id("chosen");
    s.client.publish_sync(chosen).await.unwrap();
    let receipt = s.client.publish(Publish::new("t", "tested")).await.unwrap();
    let id = receipt.id().to_owned();
    receipt.await.unwrap();
    let records = read(&s.broker, "t", 1, 2);
    assert_eq!(records[0].key.as_deref(), Some(&b"chosen"[..]));
    assert_eq!(records[1].key.as_deref(), Some(id.as_bytes()));
    assert_eq!(records[1].json()["id"], id);
    s.client.shutdown(SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn times_are_now_or_as_they_were_given() {
    let s = setup(BrokerConfig::new());
    let before = SystemTime::now();
    s.client.publish_sync(event("now")).await.unwrap();
    let time = SystemTime::UNIX_EPOCH + Duration::new(1_730_110_725, 123_456_789);
    s.client
        .publish_sync(event("at").timestamp(time))
        .await
        .unwrap();
    let text = event("text").timestamp_text("2024-10-28T17:18:45.5+07:00", 0);
    s.client.publish_sync(text).await.unwrap();
    let records = read(&s.broker, "t", 1, 3);
    let nanos = records[0].json()["timestampUnixNano"].as_i64().unwrap();
    let now = SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos.cast_unsigned());
    assert!(now >= before && now <= SystemTime::now());
    assert_eq!(records[1].json()["timestamp"], "2024-10-28T10:18:45Z");
    assert_eq!(
        records[1].json()["timestampUnixNano"],
        1_730_110_725_123_456_789_i64
    );
    assert_eq!(
        records[2].json()["timestamp"],
        "2024-10-28T17:18:45.5+07:00"
    );
    assert!(records[2].json().get("timestampUnixNano").is_none());
    s.client.shutdown(SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_lands_where_consistent_random_puts_it() {
    const KEYS: usize = 500;
    let broker = EmbeddedBroker::start().unwrap();
    broker.create_topic("dev.ours", 7).unwrap();
    broker.create_topic("bare", 7).unwrap();
    let client = Client::embedded()
        .prefix("dev")
        .embedded_broker(&broker)
        .build()
        .unwrap();
    let bare: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
        .set("bootstrap.servers", broker.address())
        .set("partitioner", "consistent_random")
        .create()
        .unwrap();
    for i in 0..KEYS {
        let key = format!("player-{i}");
        drop(
            client
                .publish(Publish::new("ours", "tested").key(&key))
                .await
                .unwrap(),
        );
        bare.send(BaseRecord::to("bare").key(&key).payload(""))
            .map_err(|(e, _)| e)
            .unwrap();
    }
    client.flush(SOON).await.unwrap();
    bare.flush(SOON).unwrap();
    let places = |topic| {
        let mut places: Vec<_> = read(&broker, topic, 7, KEYS)
            .into_iter()
            .map(|r| (r.key.unwrap(), r.partition))
            .collect();
        places.sort_unstable();
        places
    };
    assert_eq!(places("dev.ours"), places("bare"));
    client.shutdown(SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_trace_nothing_travels_beside_the_event() {
    let s = setup(BrokerConfig::new());
    s.client.publish_sync(event("k")).await.unwrap();
    let record = read(&s.broker, "t", 1, 1).remove(0);
    assert_eq!(record.headers, []);
    assert_eq!(record.json().get("spanContext"), None);
}
