//! The peer in Go: what it reads and writes, alone and through Kafka.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use eventstream_harness::{GoPeer, eventually, shared, unique_topic};
use serde_json::json;

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
