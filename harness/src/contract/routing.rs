//! Which handler gets which record.

use std::future::ready;
use std::io;

use anyhow::{Result, ensure};
use eventstream::{Context, OnUnmatched, Publish, RawRecord, StartOffset, Subscribe};
use tokio::time::{Duration, sleep};

use super::seen::{Call, Events, Seen, numbers, until};
use super::setup::{Setup, end, publish_numbers};

/// Each name of a registration gets its events, and no others.
///
/// # Errors
/// The behaviour differs.
pub async fn each_name_has_its_handler(setup: &Setup) -> Result<()> {
    let topic = setup.create_topic("by_name", 2)?;
    let client = setup.client()?;
    publish_numbers(&client, &topic, "a", &["k", "l"], 0..50).await?;
    publish_numbers(&client, &topic, "b", &["k", "l"], 50..80).await?;
    let (a, b) = (Events::default(), Events::default());
    let subscribe = Subscribe::new(&topic)
        .group_id("g")
        .offset(StartOffset::Head)
        .on("a", a.handler())
        .on("b", b.handler());
    let _subscription = client.register(subscribe).await?;
    let (a, b) = (a.wait_exactly(50).await?, b.wait_exactly(30).await?);
    assert_eq!(numbers(&a), (0..50).collect::<Vec<_>>());
    assert_eq!(numbers(&b), (50..80).collect::<Vec<_>>());
    ensure!(a.iter().all(|(_, event)| event.name() == "a"));
    assert_eq!(client.reader_stats().unmatched, 0);
    end(&client).await
}

/// A handler for all names gets every record, including those for a named handler of its group.
///
/// # Errors
/// The behaviour differs.
pub async fn a_catch_all_stands_beside_named_handlers(setup: &Setup) -> Result<()> {
    let topic = setup.create_topic("catch_all", 2)?;
    let client = setup.client()?;
    publish_numbers(&client, &topic, "a", &["k", "l"], 0..20).await?;
    publish_numbers(&client, &topic, "b", &["k", "l"], 20..40).await?;
    let (named, all) = (Events::default(), Events::default());
    let subscribe = || {
        Subscribe::new(&topic)
            .group_id("g")
            .offset(StartOffset::Head)
    };
    let _named = client
        .register(subscribe().on("a", named.handler()))
        .await?;
    let _all = client.register(subscribe().on_any(all.handler())).await?;
    let (named, all) = (named.wait_exactly(20).await?, all.wait_exactly(40).await?);
    assert_eq!(numbers(&named), (0..20).collect::<Vec<_>>());
    assert_eq!(numbers(&all), (0..40).collect::<Vec<_>>());
    end(&client).await
}

/// A group's consumer starts once its registrations have settled: the handler registered last misses nothing.
///
/// # Errors
/// The behaviour differs.
pub async fn a_handler_registered_a_moment_later_misses_nothing(setup: &Setup) -> Result<()> {
    let topic = setup.create_topic("settle", 2)?;
    let config = setup
        .config()
        .registration_settle(Duration::from_millis(400));
    let client = setup.builder().config(config).build()?;
    let seen = [Events::default(), Events::default(), Events::default()];
    for (name, range) in [("a", 0..10), ("b", 10..20), ("c", 20..30)] {
        publish_numbers(&client, &topic, name, &["k"], range).await?;
    }
    let mut subscriptions = Vec::new();
    for (name, seen) in ["a", "b", "c"].into_iter().zip(&seen) {
        let subscribe = Subscribe::new(&topic)
            .group_id("g")
            .offset(StartOffset::Head)
            .on(name, seen.handler());
        subscriptions.push(client.register(subscribe).await?);
        sleep(Duration::from_millis(150)).await;
    }
    for seen in &seen {
        seen.wait_exactly(10).await?;
    }
    assert_eq!(client.reader_stats().unmatched, 0);
    assert_eq!(client.reader_stats().rebalances, 1);
    end(&client).await
}

/// Two subscriptions with the same topic, name and group handle each event once between them.
///
/// # Errors
/// The behaviour differs.
pub async fn workers_of_one_client_share_the_events(setup: &Setup) -> Result<()> {
    let topic = setup.create_topic("workers", 4)?;
    let client = setup.client()?;
    let keys: Vec<_> = (0..40).map(|n| n.to_string()).collect();
    let keys: Vec<_> = keys.iter().map(String::as_str).collect();
    publish_numbers(&client, &topic, "a", &keys, 0..400).await?;
    let seen = Events::default();
    let mut subscriptions = Vec::new();
    for _ in 0..2 {
        let subscribe = Subscribe::new(&topic)
            .group_id("g")
            .offset(StartOffset::Head)
            .on("a", seen.handler());
        subscriptions.push(client.register(subscribe).await?);
    }
    let all = seen.wait_exactly(400).await?;
    assert_eq!(numbers(&all), (0..400).collect::<Vec<_>>());
    end(&client).await
}

/// A record without a handler is acknowledged, counted, and not delivered again.
///
/// # Errors
/// The behaviour differs.
pub async fn unmatched_records_are_acknowledged(setup: &Setup) -> Result<()> {
    let topic = setup.create_topic("unmatched", 1)?;
    let client = setup.client()?;
    publish_numbers(&client, &topic, "other", &["k"], 0..30).await?;
    let seen = Events::default();
    let subscribe = Subscribe::new(&topic)
        .group_id("unmatched")
        .offset(StartOffset::Head)
        .on("wanted", seen.handler());
    let subscription = client.register(subscribe).await?;
    until("30 unmatched records", || {
        client.reader_stats().unmatched == 30
    })
    .await?;
    // They are counted when they are read, and done once the start of the reading is committed.
    subscription.idle().await;
    subscription.stop(Duration::from_secs(10)).await?;
    let metadata = client
        .group_metadata(Some(&topic), Some("unmatched"), Duration::from_secs(10))
        .await?;
    assert_eq!(metadata.topics[0].partitions[0].committed, Some(30));
    ensure!(
        seen.all().is_empty(),
        "handled by a handler of another name"
    );
    end(&client).await
}

/// With the option, a record without a handler is dead-lettered.
///
/// # Errors
/// The behaviour differs.
pub async fn unmatched_records_are_dead_lettered_on_demand(setup: &Setup) -> Result<()> {
    let topic = setup.create_topic("unmatched_letters", 1)?;
    let client = setup.client()?;
    publish_numbers(&client, &topic, "other", &["k"], 0..3).await?;
    let (seen, letters) = (Events::default(), Events::default());
    let subscribe = Subscribe::new(&topic)
        .group_id("g")
        .offset(StartOffset::Head)
        .on_unmatched(OnUnmatched::DeadLetter)
        .on("wanted", seen.handler());
    let _subscription = client.register(subscribe).await?;
    let subscribe = Subscribe::new(format!("{topic}-dlq")).offset(StartOffset::Head);
    let _letters = client.register(subscribe.on_any(letters.handler())).await?;
    for (call, _) in letters.wait_exactly(3).await? {
        let reason = call.header("eventstream-dead-letter-reason");
        assert_eq!(reason.as_deref(), Some("unmatched"));
        let name = call.header("eventstream-dead-letter-event-name");
        assert_eq!(name.as_deref(), Some("other"));
    }
    end(&client).await
}

/// A raw handler for all names gets key and bytes of every record, including those that are not envelopes.
///
/// # Errors
/// The behaviour differs.
pub async fn a_raw_handler_gets_the_bytes(setup: &Setup) -> Result<()> {
    let topic = setup.create_topic("raw", 1)?;
    let client = setup.client()?;
    let junk: &[u8] = b"\xff not an envelope";
    setup.write_raw(&topic, &[Some(junk), None])?;
    let event = Publish::new(&topic, "e").key("key");
    client.publish_sync(event).await?;
    let seen = Seen::default();
    let noted = seen.clone();
    let subscribe = Subscribe::new(&topic)
        .group_id("g")
        .offset(StartOffset::Head)
        .on_any(move |context: Context, record: RawRecord| {
            noted.push((Call::new(&context), record));
            ready(Ok::<_, io::Error>(()))
        });
    let _subscription = client.register(subscribe).await?;
    let all = seen.wait_exactly(3).await?;
    let records: Vec<_> = all.iter().map(|(_, record)| record).collect();
    assert_eq!(records[0].value(), Some(junk));
    ensure!(records[0].decode().is_err(), "decoded");
    assert_eq!(records[1].value(), None);
    assert_eq!(records[1].key(), Some(&b"raw"[..]));
    assert_eq!(records[2].key(), Some(&b"key"[..]));
    assert_eq!(records[2].decode()?.name(), "e");
    let offsets: Vec<_> = all.iter().map(|(call, _)| call.offset).collect();
    assert_eq!(offsets, [0, 1, 2]);
    end(&client).await
}
