//! Metadata, audit logs, and the end of a client.

use std::future::ready;
use std::io;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use eventstream::{
    Actor, AuditLog, Context, ErrorKind, MetadataQuery, PartitionMetadata, Publish, RawRecord,
    StartOffset, Subscribe,
};
use serde_json::{Value, json};

use super::seen::{Events, Seen};
use super::setup::{SOON, Setup, end, publish_numbers};

/// Metadata shows partitions, ends and a group's lag: everything before it commits, the rest
/// afterwards.
///
/// # Errors
/// The behaviour differs.
pub async fn metadata_has_the_lag_of_a_group(setup: &Setup) -> Result<()> {
    let topic = setup.create_topic("metadata", 2)?;
    let client = setup.client()?;
    publish_numbers(&client, &topic, "e", &["a", "b", "c"], 0..30).await?;
    let query = MetadataQuery::new().topic(&topic).watermarks();
    let ask = async || -> Result<(i64, i64)> {
        let query = query.clone().group(&topic);
        let metadata = client.query_metadata(query, SOON).await?;
        ensure!(!metadata.brokers.is_empty(), "no broker");
        let [found] = &*metadata.topics else {
            anyhow::bail!("{:?}", metadata.topics)
        };
        assert_eq!(found.name, setup.on_broker(&topic));
        ensure!(found.error.is_none(), "{:?}", found.error);
        let partitions = &found.partitions;
        assert_eq!(partitions.len(), 2);
        ensure!(partitions.iter().all(|one| one.leader.is_some()));
        let count = |one: &PartitionMetadata| Some(one.high? - one.low?);
        let counts: Option<Vec<_>> = partitions.iter().map(count).collect();
        let lags: Option<Vec<_>> = partitions.iter().map(PartitionMetadata::lag).collect();
        let sum = |numbers: Option<Vec<i64>>| Some(numbers?.iter().sum());
        sum(counts).zip(sum(lags)).context("offsets not known")
    };
    assert_eq!(ask().await?, (30, 30));
    let seen = Events::default();
    let subscribe = Subscribe::new(&topic)
        .group_id(&topic)
        .offset(StartOffset::Head)
        .on_any(seen.handler());
    let subscription = client.register(subscribe).await?;
    seen.wait_exactly(30).await?;
    subscription.stop(SOON).await?;
    assert_eq!(ask().await?, (30, 0));
    publish_numbers(&client, &topic, "e", &["a", "b", "c"], 30..37).await?;
    assert_eq!(ask().await?, (37, 7));
    end(&client).await
}

/// A group's name has the client's prefix and a dot, unless it is given exactly; both ways lead to the same offsets.
/// A group that does not exist is unknown.
///
/// # Errors
/// The behaviour differs.
pub async fn a_group_can_be_named_as_on_the_broker(setup: &Setup) -> Result<()> {
    let topic = setup.create_topic("exact_group", 1)?;
    let client = setup.client()?;
    publish_numbers(&client, &topic, "e", &["a"], 0..10).await?;
    let exact = format!("other.{topic}");
    let query = MetadataQuery::new().topic(&topic);
    let ask = async |query| -> Result<_> {
        let metadata = client.query_metadata(query, SOON).await?;
        let group = metadata.group.context("no group")?;
        let committed = metadata.topics[0].partitions[0].committed;
        Ok((group.name, group.is_known, committed))
    };
    let found = ask(query.clone().exact_group(&exact)).await?;
    assert_eq!(found, (exact.clone(), false, None));
    let seen = Events::default();
    let subscribe = Subscribe::new(&topic)
        .exact_group_id(&exact)
        .offset(StartOffset::Head)
        .on_any(seen.handler());
    let subscription = client.register(subscribe).await?;
    seen.wait_exactly(10).await?;
    subscription.stop(SOON).await?;
    let found = ask(query.clone().exact_group(&exact)).await?;
    assert_eq!(found, (exact, true, Some(10)));
    let (name, is_known, committed) = ask(query.group(&topic)).await?;
    assert_eq!(name, setup.on_broker(&topic));
    assert_eq!((is_known, committed), (false, None));
    end(&client).await
}

/// Metadata of a topic that does not exist says so, and does not create it.
///
/// # Errors
/// The behaviour differs.
pub async fn asking_for_an_unknown_topic_does_not_create_it(setup: &Setup) -> Result<()> {
    let client = setup.client()?;
    let topic = crate::unique_topic("unknown");
    for _ in 0..2 {
        let metadata = client.metadata(Some(&topic), SOON).await?;
        let found = metadata.topics.first().context("no entry")?;
        let kind = found.error.as_ref().map(eventstream::Error::kind);
        assert_eq!(kind, Some(ErrorKind::UnknownTopic));
        ensure!(found.partitions.is_empty(), "{:?}", found.partitions);
    }
    let all = client.metadata(None, SOON).await?;
    let name = setup.on_broker(&topic);
    ensure!(all.topics.iter().all(|one| one.name != name), "created");
    end(&client).await
}

fn log() -> AuditLog {
    AuditLog::new(
        "userBan",
        "banUser",
        Actor::User("e95b150043ff4a2c88427a6eb25e5bc8".to_owned()),
    )
    .client_id("7d480ce0e8624b02901bd80d9ba9817c")
    .actor_namespace("accelbyte")
    .object_namespace("game")
    .object_id("42")
    .key("key")
    .content(&json!({ "reason": "cheating", "n": u64::MAX }))
    .diff(json!({ "banned": false }), json!({ "banned": true }))
}

/// An audit log arrives at its topic under its key, with its fields.
///
/// # Errors
/// The behaviour differs.
pub async fn audit_logs_arrive(setup: &Setup) -> Result<()> {
    let topic = setup.create_topic("audit", 2)?;
    let client = setup.builder().audit_log_topic(&topic).build()?;
    let receipt = client.publish_audit_log(log()).await?;
    let receipt = receipt.context("audit logs are enabled")?;
    let id = receipt.id().to_owned();
    let delivery = receipt.await?;
    let seen = Seen::default();
    let noted = seen.clone();
    let subscribe = Subscribe::new(&topic).offset(StartOffset::Head).on_any(
        move |context: Context, record: RawRecord| {
            noted.push((context.partition(), context.offset(), record));
            ready(Ok::<_, io::Error>(()))
        },
    );
    let _subscription = client.register(subscribe).await?;
    let all = seen.wait_exactly(1).await?;
    let (partition, offset, record) = &all[0];
    assert_eq!(
        (*partition, *offset),
        (delivery.partition(), delivery.offset())
    );
    assert_eq!(record.key(), Some(&b"key"[..]));
    let stored: Value = serde_json::from_slice(record.value().context("no value")?)?;
    assert_eq!(stored["_id"], json!(id));
    assert_eq!(stored["category"], "userBan");
    assert_eq!(stored["actionName"], "banUser");
    let payload = &stored["payload"];
    assert_eq!(payload["content"]["n"], json!(u64::MAX), "{stored}");
    assert_eq!(payload["diff"]["after"]["banned"], json!(true), "{stored}");
    end(&client).await
}

/// With audit logs disabled nothing is written, but an invalid one is still rejected.
///
/// # Errors
/// The behaviour differs.
pub async fn disabled_audit_logs_are_checked_and_not_written(setup: &Setup) -> Result<()> {
    let topic = setup.create_topic("no_audit", 1)?;
    let builder = setup.builder().audit_log_topic(&topic);
    let client = builder.audit_log_enabled(false).build()?;
    ensure!(client.publish_audit_log(log()).await?.is_none(), "accepted");
    let bad = client.publish_audit_log(log().client_id("")).await;
    let kind = bad.err().map(|error| error.kind());
    assert_eq!(kind, Some(ErrorKind::Validation));
    let metadata = client.metadata(Some(&topic), SOON).await?;
    assert_eq!(metadata.topics[0].partitions[0].high, Some(0));
    end(&client).await
}

/// A shutdown delivers accepted events; a second one does nothing and succeeds. Afterwards everything is rejected as
/// closed, by clones too.
///
/// # Errors
/// The behaviour differs.
pub async fn a_second_shutdown_does_nothing(setup: &Setup) -> Result<()> {
    let topic = setup.create_topic("shutdown", 1)?;
    let client = setup.client()?;
    let seen = Events::default();
    let subscribe = || {
        Subscribe::new(&topic)
            .group_id("g")
            .offset(StartOffset::Head)
            .on_any(seen.handler())
    };
    let subscription = client.register(subscribe()).await?;
    let receipt = client.publish(Publish::new(&topic, "e")).await?;
    let clone = client.clone();
    end(&client).await?;
    ensure!(receipt.is_done(), "not delivered by the shutdown");
    assert_eq!(receipt.await?.offset(), 0);
    ensure!(subscription.is_ended(), "still subscribed");
    let second = tokio::time::timeout(Duration::from_secs(1), end(&clone));
    second.await??;
    let publish = clone.publish(Publish::new(&topic, "e")).await;
    assert_eq!(
        publish.err().map(|error| error.kind()),
        Some(ErrorKind::Closed)
    );
    let register = clone.register(subscribe()).await;
    assert_eq!(
        register.err().map(|error| error.kind()),
        Some(ErrorKind::Closed)
    );
    subscription.stop(SOON).await?;
    Ok(())
}
