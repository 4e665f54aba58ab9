//! Where a group starts, and from when on nothing is missed.

use anyhow::{Result, ensure};
use eventstream::{Client, ErrorKind, StartOffset, Subscribe};

use super::seen::{Events, numbers};
use super::setup::{SOON, Setup, end, publish_numbers};
use crate::shared::unique_topic;

const KEYS: [&str; 7] = ["a", "b", "c", "d", "e", "f", "g"];

fn at_the_tail(topic: &str, seen: &Events) -> Subscribe {
    Subscribe::new(topic)
        .group_id(topic)
        .offset(StartOffset::Tail)
        .on_any(seen.handler())
}

/// What is published once a subscription is ready is handled, and nothing older.
///
/// # Errors
/// The behaviour differs.
pub async fn what_is_published_after_ready_is_handled(setup: &Setup) -> Result<()> {
    let topic = setup.create_topic("ready", 4)?;
    let client = setup.client()?;
    publish_numbers(&client, &topic, "e", &KEYS, 0..10).await?;
    let seen = Events::default();
    let subscription = client.register(at_the_tail(&topic, &seen)).await?;
    subscription.ready().await?;
    publish_numbers(&client, &topic, "e", &KEYS, 10..60).await?;
    let all = seen.wait_exactly(50).await?;
    assert_eq!(numbers(&all), (10..60).collect::<Vec<_>>());
    end(&client).await
}

/// A topic that does not exist when its subscription is ready is read from its first event.
///
/// # Errors
/// The behaviour differs.
pub async fn a_topic_that_comes_after_ready_is_handled_from_its_first_event(
    setup: &Setup,
) -> Result<()> {
    let topic = unique_topic("ready_for_none");
    let client = setup.client()?;
    let seen = Events::default();
    let subscription = client.register(at_the_tail(&topic, &seen)).await?;
    subscription.ready().await?;
    ensure!(subscription.health().is_healthy() || !subscription.health().assigned);
    setup.create(&topic, 2)?;
    let publisher = setup.client()?;
    publish_numbers(&publisher, &topic, "e", &KEYS, 0..50).await?;
    let all = seen.wait_exactly(50).await?;
    assert_eq!(numbers(&all), (0..50).collect::<Vec<_>>());
    end(&publisher).await?;
    end(&client).await
}

/// A registration that joins a running group is ready once its own topic is, not before.
///
/// # Errors
/// The behaviour differs.
pub async fn a_second_topic_has_a_ready_of_its_own(setup: &Setup) -> Result<()> {
    let first = setup.create_topic("ready_first", 1)?;
    let second = setup.create_topic("ready_second", 2)?;
    let client = setup.client()?;
    let seen = [Events::default(), Events::default()];
    let register = async |topic: &str, seen: &Events| -> Result<_> {
        let subscribe = at_the_tail(topic, seen).group_id(&first);
        let subscription = client.register(subscribe).await?;
        subscription.ready().await?;
        Ok(subscription)
    };
    let _first = register(&first, &seen[0]).await?;
    let _second = register(&second, &seen[1]).await?;
    publish_numbers(&client, &second, "e", &KEYS, 0..20).await?;
    let all = seen[1].wait_exactly(20).await?;
    assert_eq!(numbers(&all), (0..20).collect::<Vec<_>>());
    end(&client).await
}

/// A subscription that ends before it reads reports that.
///
/// # Errors
/// The behaviour differs.
pub async fn a_subscription_that_ends_is_never_ready(setup: &Setup) -> Result<()> {
    let topic = setup.create_topic("never_ready", 1)?;
    let client: Client = setup.client()?;
    let subscription = client
        .register(at_the_tail(&topic, &Events::default()))
        .await?;
    let (ready, _) = tokio::join!(subscription.ready(), client.shutdown(SOON));
    let error = ready.err().map(|error| error.kind());
    ensure!(error.is_none_or(|kind| kind == ErrorKind::Closed));
    let error = subscription.ready().await.err().map(|error| error.kind());
    ensure!(error == Some(ErrorKind::Closed), "{error:?}");
    Ok(())
}
