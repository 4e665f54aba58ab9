//! The peer in Go: what it reads and writes, directly and through Kafka.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use eventstream::{Event, Publish, StartOffset, Subscribe};
use eventstream_harness::contract::publishing::{copy, fields, samples};
use eventstream_harness::contract::{Setup, end};
use eventstream_harness::{GoPeer, eventually, shared, unique_topic, workspace};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn decodes_as_go_does() -> Result<()> {
    let peer = GoPeer::find()?;
    let lines = [
        r#"{"id":"a","NAME":"n","unknown":1,"payload":{"n":12345678901234567890,"a":"<"},"client_ids":null}"#,
        "null",
        r#"{"version":"1"}"#,
    ];
    let answers = peer.decode(&lines)?;
    let [event, null, mistyped] = answers.as_slice() else {
        anyhow::bail!("three lines, {answers:?}")
    };
    let expected = r#"{"id":"a","name":"n","payload":{"a":"\u003c","n":12345678901234567000}}"#;
    assert_eq!(event.as_deref(), Ok(expected));
    assert_eq!(null.clone(), Err("the event is null".to_owned()));
    ensure!(
        mistyped
            .as_ref()
            .is_err_and(|text| text.contains("version")),
        "{mistyped:?}"
    );
    Ok(())
}

#[test]
fn encodes_with_what_publishing_adds() -> Result<()> {
    let peer = GoPeer::find()?;
    let lines = peer.encode(&[json!({ "name": "n", "payload": { "n": u64::MAX } })])?;
    let line = lines.first().context("no line")?;
    ensure!(line.starts_with(r#"{"id":""#), "{line}");
    ensure!(
        line.ends_with(r#","version":1,"payload":{"n":18446744073709551615}}"#),
        "{line}"
    );
    Ok(())
}

#[test]
fn shares_a_group_and_commits_when_stopped() -> Result<()> {
    let peer = GoPeer::find()?;
    let (bootstrap, admin) = (shared().bootstrap(), shared().admin());
    let topic = unique_topic("shares_a_group");
    admin.create_topic(&topic, 4, 1, &[])?;
    let records: Vec<_> = ["a", "b", "c", "a"]
        .map(|key| (Some(key), Some("{}")))
        .to_vec();
    let stored = peer.produce(bootstrap, &topic, &records, &[])?;
    assert_eq!(stored.len(), 4);
    assert_eq!(stored[0].0, stored[3].0, "one key, one partition");

    let group = format!("{topic}-group");
    let mut first = peer.consume(bootstrap, &topic, &group).start()?;
    for _ in &records {
        first
            .next_record(PATIENCE)?
            .context("a record is missing")?;
    }
    let mut second = peer.consume(bootstrap, &topic, &group).start()?;
    second.wait_for_partitions(2, PATIENCE)?;
    first.wait_for_partitions(2, PATIENCE)?;
    assert_eq!(admin.members(&group)?, 2);
    ensure!(second.stop()?.is_empty(), "a record was handled twice");
    ensure!(first.stop()?.is_empty(), "a record was handled twice");
    eventually("the group to be empty", PATIENCE, || {
        Ok((admin.members(&group)? == 0).then_some(()))
    })?;
    let committed: i64 = admin.committed(&group, &topic)?.into_iter().flatten().sum();
    assert_eq!(committed, 4);

    let all = peer
        .consume(bootstrap, &topic, &format!("{topic}-other"))
        .count(4)
        .start()?
        .finish(PATIENCE)?;
    assert_eq!(all.len(), 4);
    Ok(())
}

const GOLDEN: [&str; 7] = [
    "escaping",
    "head-minimal",
    "head-v4-full",
    "reserialised-by-consumer",
    "v3.20plus-full-with-sourceNamespace",
    "v3.8-v3.19.0_v4.0-v4.2.0-full-rfc3339",
    "v4.2.1-v4.2.2_v3.19.1-v3.19.2-full-rfc3339nano",
];

fn golden(name: &str) -> Result<Vec<u8>> {
    let folder = workspace().join("eventstream/tests/wire/golden");
    let mut bytes = fs::read(folder.join(format!("{name}.json")))?;
    ensure!(bytes.pop() == Some(b'\n'), "{name} is one line");
    Ok(bytes)
}

/// Without fields that a consumer adds, and with every number as a double, as in Go's maps.
fn as_go_has_it(value: &mut Value) {
    match value {
        Value::Object(members) => members.values_mut().for_each(as_go_has_it),
        Value::Array(elements) => elements.iter_mut().for_each(as_go_has_it),
        Value::Number(number) => *value = json!(number.as_f64()),
        _ => {}
    }
}

fn fields_of(text: &str) -> Result<Value> {
    let mut value = serde_json::to_value(fields(&Event::decode(text)?)?)?;
    as_go_has_it(&mut value);
    Ok(value)
}

#[test]
fn golden_bytes_are_the_same_event_to_go_and_to_us() -> Result<()> {
    let lines: Vec<_> = GOLDEN
        .iter()
        .map(|name| golden(name))
        .collect::<Result<_>>()?;
    let answers = GoPeer::find()?.decode(&lines)?;
    for ((name, line), answer) in GOLDEN.iter().zip(lines).zip(answers) {
        let go = answer.map_err(|error| anyhow::anyhow!("{name}: {error}"))?;
        assert_eq!(
            fields_of(std::str::from_utf8(&line)?)?,
            fields_of(&go)?,
            "{name}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_we_publish_go_decodes_as_what_it_was() -> Result<()> {
    let setup = Setup::kafka(shared().bootstrap(), shared().admin());
    let topic = setup.create_topic("to_go", 1)?;
    let client = setup.client()?;
    let mut originals = samples()?;
    for name in GOLDEN {
        originals.push((name.to_owned(), Event::decode(golden(name)?)?));
    }
    let mut lines = Vec::new();
    for (name, event) in &originals {
        let published = client.publish_sync(copy(&topic, event)?).await;
        published.with_context(|| name.clone())?;
        lines.push(event.to_json().into_bytes());
    }
    let stored =
        tokio::task::block_in_place(|| shared().admin().read_all(&setup.on_broker(&topic)))?;
    let stored: Vec<_> = stored
        .into_iter()
        .filter_map(|record| record.value)
        .collect();
    let peer = GoPeer::find()?;
    // Payloads keep the line breaks between their members.
    let one_line = |bytes: &Vec<u8>| -> Vec<u8> {
        let blank = |byte: &u8| if *byte == b'\n' { b' ' } else { *byte };
        bytes.iter().map(blank).collect()
    };
    let lines: Vec<_> = lines.iter().map(one_line).collect();
    let stored: Vec<_> = stored.iter().map(one_line).collect();
    let (expected, found) = (peer.decode(&lines)?, peer.decode(&stored)?);
    assert_eq!(found.len(), originals.len());
    for (((name, event), expected), found) in originals.iter().zip(expected).zip(found) {
        let read = |answer: Result<String, String>| -> Result<Value> {
            let text = answer.map_err(|error| anyhow::anyhow!("{name}: {error}"))?;
            let mut value: Value = serde_json::from_str(&text)?;
            let fields = value.as_object_mut().context("no object")?;
            // The broker's position, and fields that publishing adds if the original has none.
            for place in ["topic", "Partition", "Offset", "Key"] {
                fields.remove(place);
            }
            if event.id().is_empty() {
                fields.remove("id");
            }
            if event.name().is_empty() {
                fields.remove("name");
            }
            if event.time().is_none() {
                fields.remove("timestamp");
                fields.remove("timestampUnixNano");
            }
            Ok(value)
        };
        assert_eq!(read(found)?, read(expected)?, "{name}");
    }
    end(&client).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_has_one_partition_whoever_publishes() -> Result<()> {
    let setup = Setup::kafka(shared().bootstrap(), shared().admin());
    let topic = setup.create_topic("same_partition", 7)?;
    let client = setup.client()?;
    let keys: Vec<_> = (0..200)
        .map(|number| format!("key {number} \u{e9}"))
        .collect();
    let records: Vec<_> = keys.iter().map(|key| (Some(&**key), Some("{}"))).collect();
    let theirs = tokio::task::block_in_place(|| {
        GoPeer::find()?.produce(
            shared().bootstrap(),
            &setup.on_broker(&topic),
            &records,
            &[],
        )
    })?;
    let mut used = BTreeSet::new();
    for (key, (partition, _)) in keys.iter().zip(theirs) {
        let ours = client
            .publish_sync(Publish::new(&topic, "e").key(key))
            .await?;
        assert_eq!(ours.partition(), partition, "{key}");
        used.insert(partition);
    }
    assert_eq!(used.len(), 7, "the keys spread over all partitions");
    end(&client).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_consumes_what_the_other_publishes() -> Result<()> {
    let setup = Setup::kafka(shared().bootstrap(), shared().admin());
    let topic = setup.create_topic("both_ways", 3)?;
    let (bootstrap, on_broker) = (shared().bootstrap(), setup.on_broker(&topic));
    let client = setup.client()?;
    let peer = GoPeer::find()?;
    let (sender, mut received) = tokio::sync::mpsc::unbounded_channel();
    let subscribe = Subscribe::new(&topic)
        .offset(StartOffset::Head)
        .on_any(move |event: Event| std::future::ready(sender.send(event)));
    let _subscription = client.register(subscribe).await?;
    let mut ids = BTreeSet::new();
    for number in 0..20 {
        let event = Publish::new(&topic, "ours").payload(json!({ "n": number }));
        let receipt = client.publish(event).await?;
        ids.insert(receipt.id().to_owned());
        receipt.await?;
    }
    let theirs: Vec<_> = (0..20)
        .map(|n| json!({ "name": "theirs", "payload": { "n": n } }))
        .collect();
    let theirs = peer.encode(&theirs)?;
    for line in &theirs {
        ids.insert(Event::decode(line)?.id().to_owned());
    }
    let records: Vec<_> = theirs
        .iter()
        .map(|line| (Some("key"), Some(&**line)))
        .collect();
    let consumed = tokio::task::block_in_place(|| {
        peer.produce(bootstrap, &on_broker, &records, &[])?;
        peer.consume(bootstrap, &on_broker, &format!("{topic}-go"))
            .count(40)
            .start()?
            .finish(PATIENCE)
    })?;
    let bodies: Vec<_> = consumed
        .into_iter()
        .filter_map(|record| record.value)
        .collect();
    let mut seen_by_go = BTreeSet::new();
    for answer in peer.decode(&bodies)? {
        let text = answer.map_err(anyhow::Error::msg)?;
        seen_by_go.insert(Event::decode(text)?.id().to_owned());
    }
    let mut seen_by_us = BTreeSet::new();
    for _ in 0..40 {
        let event = tokio::time::timeout(PATIENCE, received.recv()).await?;
        seen_by_us.insert(event.context("no more events")?.id().to_owned());
    }
    assert_eq!(seen_by_go, ids);
    assert_eq!(seen_by_us, ids);
    end(&client).await
}
