//! Groups: who reads what, from where, and until when.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use anyhow::{Result, ensure};
use eventstream::{CommitPolicy, ErrorKind, StartOffset, Subscribe};
use tokio::time::sleep;

use super::seen::{Events, numbers, until};
use super::setup::{SOON, Setup, end, publish_numbers};

const KEYS: [&str; 7] = ["a", "b", "c", "d", "e", "f", "g"];

/// Two clients in one group handle each event once between them, and both get some.
///
/// # Errors
/// The behaviour differs.
pub async fn workers_of_two_clients_share_the_events(setup: &Setup) -> Result<()> {
    let topic = setup.create_topic("two_clients", 4)?;
    let clients = [setup.client()?, setup.client()?];
    let seen = [Events::default(), Events::default()];
    let mut subscriptions = Vec::new();
    for (client, seen) in clients.iter().zip(&seen) {
        let subscribe = Subscribe::new(&topic)
            .group_id(&topic)
            .offset(StartOffset::Head)
            .on_any(seen.handler());
        subscriptions.push(client.register(subscribe).await?);
    }
    until("two partitions each", || {
        clients
            .iter()
            .all(|client| client.reader_stats().partitions == 2)
    })
    .await?;
    let keys: Vec<_> = (0..100).map(|n| n.to_string()).collect();
    let keys: Vec<_> = keys.iter().map(String::as_str).collect();
    publish_numbers(&clients[0], &topic, "e", &keys, 0..500).await?;
    until("500 events", || {
        seen.iter().map(|seen| seen.all().len()).sum::<usize>() >= 500
    })
    .await?;
    sleep(Duration::from_millis(200)).await;
    let [first, second] = seen.map(|seen| seen.all());
    ensure!(
        !first.is_empty() && !second.is_empty(),
        "{} and {}",
        first.len(),
        second.len()
    );
    let all = [first, second].concat();
    assert_eq!(numbers(&all), (0..500).collect::<Vec<_>>());
    for client in &clients {
        end(client).await?;
    }
    Ok(())
}

/// What a client handled before its shutdown is committed: the next one of its group gets all of the rest, and
/// nothing else.
///
/// # Errors
/// The behaviour differs.
pub async fn a_second_client_goes_on_where_the_first_stopped(setup: &Setup) -> Result<()> {
    let topic = setup.create_topic("goes_on", 3)?;
    let (first, second) = (setup.client()?, setup.client()?);
    publish_numbers(&first, &topic, "e", &KEYS, 0..100).await?;
    let subscribe = |seen: &Events| {
        Subscribe::new(&topic)
            .group_id(&topic)
            .offset(StartOffset::Head)
            .on_any(seen.handler())
    };
    let (before, after) = (Events::default(), Events::default());
    let _first = first.register(subscribe(&before)).await?;
    before.wait_exactly(100).await?;
    end(&first).await?;
    publish_numbers(&second, &topic, "e", &KEYS, 100..150).await?;
    let _second = second.register(subscribe(&after)).await?;
    let after = after.wait_exactly(50).await?;
    assert_eq!(numbers(&after), (100..150).collect::<Vec<_>>());
    assert_eq!(before.all().len(), 100);
    end(&second).await
}

/// Subscriptions without a group id each get every event from their start on, and nothing older.
///
/// # Errors
/// The behaviour differs.
pub async fn a_group_without_a_name_sees_all_from_its_start(setup: &Setup) -> Result<()> {
    let topic = setup.create_topic("generated", 3)?;
    let client = setup.client()?;
    publish_numbers(&client, &topic, "old", &KEYS, 0..20).await?;
    let seen = [Events::default(), Events::default()];
    let mut subscriptions = Vec::new();
    for seen in &seen {
        let subscribe = Subscribe::new(&topic).on_any(seen.handler());
        subscriptions.push(client.register(subscribe).await?);
    }
    until("both to be assigned", || {
        subscriptions.iter().all(|one| one.health().assigned)
    })
    .await?;
    publish_numbers(&client, &topic, "new", &KEYS, 20..60).await?;
    for seen in &seen {
        let all = seen.wait_exactly(40).await?;
        assert_eq!(numbers(&all), (20..60).collect::<Vec<_>>());
    }
    end(&client).await
}

/// Two groups with different names each get every event.
///
/// # Errors
/// The behaviour differs.
pub async fn two_named_groups_see_everything_each(setup: &Setup) -> Result<()> {
    let topic = setup.create_topic("two_groups", 2)?;
    let client = setup.client()?;
    publish_numbers(&client, &topic, "e", &KEYS, 0..50).await?;
    let seen = [Events::default(), Events::default()];
    for (group, seen) in ["one", "two"].into_iter().zip(&seen) {
        let subscribe = Subscribe::new(&topic)
            .group_id(group)
            .offset(StartOffset::Head)
            .on_any(seen.handler());
        client.register(subscribe).await?.detach();
    }
    for seen in &seen {
        assert_eq!(
            numbers(&seen.wait_exactly(50).await?),
            (0..50).collect::<Vec<_>>()
        );
    }
    end(&client).await
}

/// A group without committed offsets starts at the given offset.
///
/// # Errors
/// The behaviour differs.
pub async fn a_group_starts_at_the_offset_it_is_given(setup: &Setup) -> Result<()> {
    let topic = setup.create_topic("at_offset", 1)?;
    let client = setup.client()?;
    publish_numbers(&client, &topic, "e", &KEYS, 0..20).await?;
    let seen = Events::default();
    let subscribe = Subscribe::new(&topic)
        .group_id("g")
        .offset(15)
        .on_any(seen.handler());
    let _subscription = client.register(subscribe).await?;
    let all = seen.wait_exactly(5).await?;
    assert_eq!(numbers(&all), (15..20).collect::<Vec<_>>());
    end(&client).await
}

/// Partitions start at the offsets that a program has stored itself, with a group and without; one that is not listed
/// starts at its head.
///
/// # Errors
/// The behaviour differs.
pub async fn each_partition_starts_at_the_offset_it_is_given(setup: &Setup) -> Result<()> {
    let topic = setup.create_topic("at_each", 3)?;
    let client = setup.client()?;
    let keys = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
    publish_numbers(&client, &topic, "e", &keys, 0..60).await?;
    let all = client.metadata(Some(&topic), SOON).await?;
    let partitions = &all.topics[0].partitions;
    let ends: BTreeMap<_, _> = partitions
        .iter()
        .filter_map(|partition| Some((partition.id, partition.high?)))
        .collect();
    ensure!(ends.values().all(|end| *end >= 5), "{ends:?}");
    // Partition 0 was read except for its last three events, partition 1 to its end, partition 2 not at all.
    let next = BTreeMap::from([(0, ends[&0] - 3), (1, ends[&1])]);
    for group in ["g", ""] {
        let seen = Events::default();
        let subscribe = Subscribe::new(&topic)
            .group_id(group)
            .offset(next.clone())
            .on_any(seen.handler());
        let _subscription = client.register(subscribe).await?;
        let expected = usize::try_from(ends[&2] + 3)?;
        let all = seen.wait_exactly(expected).await?;
        let first = |partition| {
            let of = all.iter().filter(|(call, _)| call.partition == partition);
            of.map(|(call, _)| call.offset).min()
        };
        let firsts = [first(0), first(1), first(2)];
        assert_eq!(firsts, [Some(ends[&0] - 3), None, Some(0)], "{group:?}");
    }
    end(&client).await
}

/// A group without committed offsets starts at the given time.
///
/// # Errors
/// The behaviour differs.
pub async fn a_group_starts_at_the_time_it_is_given(setup: &Setup) -> Result<()> {
    let topic = setup.create_topic("at_time", 2)?;
    let client = setup.client()?;
    publish_numbers(&client, &topic, "e", &KEYS, 0..20).await?;
    sleep(Duration::from_millis(20)).await;
    let time = SystemTime::now();
    sleep(Duration::from_millis(20)).await;
    publish_numbers(&client, &topic, "e", &KEYS, 20..50).await?;
    let seen = Events::default();
    let subscribe = Subscribe::new(&topic)
        .group_id("g")
        .offset(time)
        .on_any(seen.handler());
    let _subscription = client.register(subscribe).await?;
    let all = seen.wait_exactly(30).await?;
    assert_eq!(numbers(&all), (20..50).collect::<Vec<_>>());
    end(&client).await
}

/// A paused subscription starts no handler, keeps its place in the group, and resumes without losing anything.
///
/// # Errors
/// The behaviour differs.
pub async fn a_paused_subscription_goes_on_when_resumed(setup: &Setup) -> Result<()> {
    let topic = setup.create_topic("pause", 2)?;
    let client = setup.client()?;
    publish_numbers(&client, &topic, "e", &KEYS, 0..20).await?;
    let seen = Events::default();
    let subscribe = Subscribe::new(&topic)
        .group_id("g")
        .offset(StartOffset::Head)
        .on_any(seen.handler());
    let subscription = client.register(subscribe).await?;
    seen.wait_exactly(20).await?;
    subscription.pause();
    publish_numbers(&client, &topic, "e", &KEYS, 20..50).await?;
    sleep(Duration::from_millis(700)).await;
    assert_eq!(seen.all().len(), 20, "handled while paused");
    subscription.resume();
    let all = seen.wait_exactly(50).await?;
    assert_eq!(numbers(&all), (0..50).collect::<Vec<_>>());
    assert_eq!(client.reader_stats().rebalances, 1);
    end(&client).await
}

/// A subscription stops when its context is cancelled, and its client continues.
///
/// # Errors
/// The behaviour differs.
pub async fn a_cancelled_context_stops_the_subscription(setup: &Setup) -> Result<()> {
    let topic = setup.create_topic("context", 1)?;
    let client = setup.client()?;
    publish_numbers(&client, &topic, "e", &KEYS, 0..5).await?;
    let seen = Events::default();
    let context = tokio_util::sync::CancellationToken::new();
    let subscribe = Subscribe::new(&topic)
        .group_id("g")
        .offset(StartOffset::Head)
        .cancel_on(context.clone())
        .on_any(seen.handler());
    let subscription = client.register(subscribe).await?;
    seen.wait_exactly(5).await?;
    ensure!(!subscription.is_ended(), "ended by itself");
    context.cancel();
    tokio::time::timeout(SOON, subscription.ended()).await?;
    publish_numbers(&client, &topic, "e", &KEYS, 5..10).await?;
    sleep(Duration::from_millis(300)).await;
    assert_eq!(seen.all().len(), 5, "handled after the end");
    end(&client).await
}

/// Subscriptions of a group with different options for its consumer are rejected, and the error says which differ.
///
/// # Errors
/// The behaviour differs.
pub async fn disagreeing_options_are_refused(setup: &Setup) -> Result<()> {
    let topic = setup.create_topic("disagree", 1)?;
    let client = setup.client()?;
    let seen = Events::default();
    let subscribe = || {
        Subscribe::new(&topic)
            .group_id("g")
            .offset(StartOffset::Head)
            .on_any(seen.handler())
    };
    let _subscription = client.register(subscribe()).await?;
    let other = subscribe()
        .offset(StartOffset::Tail)
        .commit(CommitPolicy::EachEventAsync);
    let Err(error) = client.register(other).await else {
        anyhow::bail!("registered")
    };
    assert_eq!(error.kind(), ErrorKind::Validation);
    let fields: Vec<_> = error.faults().iter().map(|fault| &*fault.field).collect();
    assert_eq!(fields, ["offset", "commit"]);
    let _agreeing = client.register(subscribe()).await?;
    end(&client).await
}
