//! From `Publish` to the receipt and the handler.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use eventstream::{Event, Publish, StartOffset, Subscribe};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::seen::{Events, number, numbers};
use super::setup::{Setup, end, publish_numbers};
use crate::paths::workspace;

/// Telemetry and an audit log: not envelopes.
const NO_ENVELOPES: [&str; 2] = [
    "28-analytics-telemetry-realmoneyTransaction.json",
    "30-sdk-emitted-auditlog.json",
];

/// The sample envelopes, by file name.
///
/// # Errors
/// A file cannot be read, or is no envelope.
pub fn samples() -> Result<Vec<(String, Event)>> {
    let folder = workspace().join("eventstream/tests/wire/samples");
    let mut samples = Vec::new();
    for file in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let path = file?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if !name.ends_with(".json") || NO_ENVELOPES.contains(&&*name) {
            continue;
        }
        let event = Event::decode(fs::read(&path)?).with_context(|| name.clone())?;
        samples.push((name, event));
    }
    samples.sort_by(|(a, _), (b, _)| a.cmp(b));
    ensure!(samples.len() >= 28, "{} samples", samples.len());
    Ok(samples)
}

/// An event to publish with every field of the given one.
///
/// # Errors
/// It is no object.
pub fn copy(topic: &str, event: &Event) -> Result<Publish> {
    // An event needs a name, which some samples lack.
    if event.name().is_empty() {
        let open = event
            .json()
            .trim_end()
            .strip_suffix('}')
            .context("no object")?;
        let named = Event::decode(format!("{open},\"name\":\"unnamed\"}}"))?;
        return Ok(Publish::from(&named).topic(topic));
    }
    Ok(Publish::from(event).topic(topic))
}

/// The event's fields, except those for the broker's position.
///
/// # Errors
/// The library wrote no JSON.
pub fn fields(event: &Event) -> Result<BTreeMap<String, Value>> {
    let mut fields: BTreeMap<String, Value> = serde_json::from_str(&event.to_json())?;
    for place in ["topic", "Partition", "Offset", "Key"] {
        fields.remove(place);
    }
    Ok(fields)
}

/// Every sample, published with all its fields, reaches the handler with the same fields.
///
/// # Errors
/// The behaviour differs.
pub async fn every_sample_arrives_with_equal_fields(setup: &Setup) -> Result<()> {
    let topic = setup.create_topic("every_sample", 1)?;
    let client = setup.client()?;
    let samples = samples()?;
    for (file, sample) in &samples {
        let publish = copy(&topic, sample)?;
        client
            .publish_sync(publish)
            .await
            .with_context(|| file.clone())?;
    }
    let seen = Events::default();
    let subscribe = Subscribe::new(&topic).offset(StartOffset::Head);
    let _subscription = client.register(subscribe.on_any(seen.handler())).await?;
    let arrived = seen.wait_exactly(samples.len()).await?;
    for ((file, sent), (call, event)) in samples.iter().zip(&arrived) {
        let (mut expected, mut fields) = (fields(sent)?, fields(event)?);
        // Publishing adds what the sample leaves out.
        for (absent, added) in [
            (sent.id().is_empty(), "id"),
            (sent.name().is_empty(), "name"),
            (sent.time().is_none(), "timestamp"),
        ] {
            if absent {
                expected.remove(added);
                ensure!(fields.remove(added).is_some(), "{file}: {added}");
            }
        }
        if sent.time().is_none() {
            fields.remove("timestampUnixNano");
        }
        assert_eq!(fields, expected, "{file}");
        assert_eq!(event.topic(), topic, "{file}");
        assert_eq!(call.key.as_deref(), Some(event.id()), "{file}");
    }
    end(&client).await
}

#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Large {
    unsigned: u64,
    signed: i64,
    just_above: u64,
}

/// Integers that do not fit into a double keep every digit, typed and as text.
///
/// # Errors
/// The behaviour differs.
pub async fn integers_above_2_to_the_53_stay_exact(setup: &Setup) -> Result<()> {
    let topic = setup.create_topic("integers", 1)?;
    let client = setup.client()?;
    let sent = Large {
        unsigned: u64::MAX,
        signed: i64::MIN,
        just_above: (1 << 53) + 1,
    };
    let publish = Publish::new(&topic, "large")
        .event_id(i64::MAX)
        .additional_fields(json!({ "n": u64::MAX - 1 }))
        .payload(&sent);
    client.publish_sync(publish).await?;
    let seen = Events::default();
    let subscribe = Subscribe::new(&topic).offset(StartOffset::Head);
    let _subscription = client.register(subscribe.on_any(seen.handler())).await?;
    let arrived = seen.wait(1).await?;
    let event = &arrived[0].1;
    assert_eq!(event.payload().decode::<Large>()?, sent);
    assert_eq!(event.event_id(), i64::MAX);
    assert_eq!(
        event.additional_fields().as_str(),
        r#"{"n":18446744073709551614}"#
    );
    end(&client).await
}

/// The receipt's partition and offset are those the handler sees, in its context and in the event.
///
/// # Errors
/// The behaviour differs.
pub async fn the_receipt_says_where_the_handler_finds_the_event(setup: &Setup) -> Result<()> {
    let topic = setup.create_topic("receipts", 4)?;
    let client = setup.client()?;
    let mut receipts = Vec::new();
    for _ in 0..100 {
        receipts.push(client.publish(Publish::new(&topic, "e")).await?);
    }
    let mut told = BTreeMap::new();
    for receipt in receipts {
        let id = receipt.id().to_owned();
        let delivery = receipt.await?;
        assert_eq!(delivery.topic().as_str(), topic);
        told.insert(id, (delivery.partition(), delivery.offset()));
    }
    let seen = Events::default();
    let subscribe = Subscribe::new(&topic).offset(StartOffset::Head);
    let _subscription = client.register(subscribe.on_any(seen.handler())).await?;
    let mut found = BTreeMap::new();
    for (call, event) in seen.wait_exactly(100).await? {
        assert_eq!(call.topic, topic);
        assert_eq!(event.partition(), Some(call.partition));
        assert_eq!(event.offset(), Some(call.offset));
        assert_eq!(event.key(), Some(event.id()));
        found.insert(event.id().to_owned(), (call.partition, call.offset));
    }
    assert_eq!(told, found);
    end(&client).await
}

/// The receipt has exactly the timestamp that the handler sees.
///
/// # Errors
/// The behaviour differs.
pub async fn the_receipt_has_the_timestamp_of_the_record(setup: &Setup) -> Result<()> {
    let topic = setup.create_topic("receipt_timestamp", 1)?;
    let client = setup.client()?;
    let delivery = client.publish_sync(Publish::new(&topic, "e")).await?;
    let seen = Events::default();
    let subscribe = Subscribe::new(&topic).offset(StartOffset::Head);
    let _subscription = client.register(subscribe.on_any(seen.handler())).await?;
    let arrived = seen.wait(1).await?;
    assert_eq!(arrived[0].0.timestamp, Some(delivery.timestamp()));
    end(&client).await
}

/// Events of one key are handled in the order in which they were published.
///
/// # Errors
/// The behaviour differs.
pub async fn events_of_a_key_stay_in_order(setup: &Setup) -> Result<()> {
    let topic = setup.create_topic("key_order", 4)?;
    let client = setup.client()?;
    let keys = ["a", "b", "c", "d", "e", "f", "g"];
    publish_numbers(&client, &topic, "e", &keys, 0..1000).await?;
    let seen = Events::default();
    let subscribe = Subscribe::new(&topic).offset(StartOffset::Head);
    let _subscription = client.register(subscribe.on_any(seen.handler())).await?;
    let arrived = seen.wait_exactly(1000).await?;
    assert_eq!(numbers(&arrived), (0..1000).collect::<Vec<_>>());
    let mut last: BTreeMap<Option<String>, (u64, i32)> = BTreeMap::new();
    for (call, event) in arrived {
        let now = (number(&event), call.partition);
        if let Some(before) = last.insert(call.key, now) {
            ensure!(before.0 < now.0, "{before:?} before {now:?}");
            assert_eq!(before.1, now.1, "one key, one partition");
        }
    }
    end(&client).await
}

/// Headers arrive in order, including repeated ones and bytes that are not text; the event keeps its given time, and
/// the record has the time it was written.
///
/// # Errors
/// The behaviour differs.
pub async fn headers_and_timestamps_arrive(setup: &Setup) -> Result<()> {
    let topic = setup.create_topic("headers", 1)?;
    let client = setup.client()?;
    let time = SystemTime::UNIX_EPOCH + Duration::from_nanos(1_730_110_725_123_456_789);
    let before = SystemTime::now();
    let publish = Publish::new(&topic, "e")
        .timestamp(time)
        .header("a", "1")
        .header("b", [0xff, 0])
        .header("a", "");
    client.publish_sync(publish).await?;
    let seen = Events::default();
    let subscribe = Subscribe::new(&topic).offset(StartOffset::Head);
    let _subscription = client.register(subscribe.on_any(seen.handler())).await?;
    let arrived = seen.wait(1).await?;
    let (call, event) = &arrived[0];
    let header = |name: &str, value: &[u8]| (name.to_owned(), Some(value.to_vec()));
    let expected = [header("a", b"1"), header("b", &[0xff, 0]), header("a", b"")];
    assert_eq!(call.headers, expected);
    assert_eq!(event.time(), Some(time));
    assert_eq!(event.timestamp(), "2024-10-28T10:18:45Z");
    let stored = call.timestamp.context("the record has no timestamp")?;
    // The record's timestamp has whole milliseconds.
    ensure!(stored + Duration::from_millis(1) >= before, "{stored:?}");
    ensure!(stored <= SystemTime::now(), "{stored:?}");
    end(&client).await
}
