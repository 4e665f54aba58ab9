use std::collections::BTreeMap;
use std::time::Duration;

use eventstream::{
    BrokerConfig, CommitPolicy, Context, DeadLetterLimit, EmbeddedBroker, Event, Publish,
    RawRecord, Subscribe,
};

use crate::support::{SOON, channel, client, client_of, next, numbers, publish};

async fn event(_: Context, _: Event) -> Result<(), std::io::Error> {
    Ok(())
}

async fn raw(_: Context, _: RawRecord) -> Result<(), std::io::Error> {
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_deadlines_are_taken() {
    let client = client();
    let (sender, mut numbers_of) = channel();
    let subscribe = numbers(sender).drain_timeout(Duration::MAX);
    let subscription = client.register(subscribe).await.unwrap();
    publish(&client, "t", 1).await;
    assert_eq!(next(&mut numbers_of).await, 1);
    client.metadata(Some("t"), Duration::MAX).await.unwrap();
    subscription.stop(Duration::MAX).await.unwrap();
    let (sender, mut numbers_of) = channel();
    let _second = client.register(numbers(sender)).await.unwrap();
    publish(&client, "t", 2).await;
    while next(&mut numbers_of).await != 2 {}
    client.flush(Duration::MAX).await.unwrap();
    let ended = tokio::time::timeout(SOON, client.shutdown(Duration::MAX)).await;
    assert!(ended.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_over_more_records_than_fit_is_refused() {
    let limit = |window| {
        let (sender, _numbers) = channel();
        numbers(sender).dead_letter_limit(DeadLetterLimit::new(window, 0.5))
    };
    let asked = refused(limit(usize::MAX), BrokerConfig::new()).await;
    assert_eq!(asked, ["dead_letter_limit"]);
    assert!(
        refused(limit(1_000_000), BrokerConfig::new())
            .await
            .is_empty()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocking_call_in_async_code_is_refused_at_once() {
    let client = tokio::task::spawn_blocking(|| {
        let config = BrokerConfig::new();
        eventstream::Client::embedded()
            .prefix("p")
            .config(config)
            .build_blocking()
            .unwrap()
    })
    .await
    .unwrap();
    let own = client.clone();
    let refused = tokio::spawn(async move { own.publish(Publish::new("t", "tested")) }).await;
    assert!(refused.unwrap_err().is_panic());
    // On a thread for blocking work it is allowed.
    tokio::task::spawn_blocking(move || {
        drop(client.publish(Publish::new("t", "tested")).unwrap());
        client.shutdown(SOON)
    })
    .await
    .unwrap();
}

async fn refused(subscribe: Subscribe, config: BrokerConfig) -> Vec<String> {
    let client = client_of(&EmbeddedBroker::start().unwrap(), config);
    let faults = match client.register(subscribe).await {
        Ok(subscription) => {
            drop(subscription);
            Vec::new()
        }
        Err(error) => error.faults().iter().map(|f| f.field.clone()).collect(),
    };
    client.shutdown(SOON).await;
    faults
}

#[tokio::test(flavor = "multi_thread")]
async fn contradictions_of_a_registration_are_refused() {
    let subscribe = || Subscribe::new("t").group_id("g");
    let once = || BrokerConfig::new().commit(CommitPolicy::BeforeProcessing);
    let each = BrokerConfig::new;
    for (subscribe, config, field) in [
        (subscribe().on("a", event).on("a", event), each(), "on"),
        (subscribe().on_any(event).on_any(event), each(), "on_any"),
        (subscribe().on_any(event).on_any(raw), each(), "on_any"),
        (subscribe().on("", event), each(), "event_name"),
        (
            subscribe()
                .on_any(event)
                .offset(BTreeMap::from([(0, 7), (1, -1)])),
            each(),
            "offset",
        ),
        (
            subscribe().on_any(event).handler_timeout(Duration::ZERO),
            each(),
            "handler_timeout",
        ),
        (
            subscribe()
                .on_any(event)
                .commit(CommitPolicy::Interval(Duration::ZERO)),
            each(),
            "commit",
        ),
        (
            subscribe()
                .on_any(event)
                .commit(CommitPolicy::BeforeProcessing)
                .retry(eventstream::Retry::forever()),
            each(),
            "retry",
        ),
        (
            subscribe()
                .on_any(event)
                .retry(eventstream::Retry::forever()),
            once(),
            "retry",
        ),
        (
            subscribe()
                .on_any(event)
                .retry(eventstream::Retry::attempts(2)),
            once(),
            "retry",
        ),
    ] {
        let asked = format!("{subscribe:?}");
        assert_eq!(refused(subscribe, config).await, [field], "{asked}");
    }
    let exactly_once = || subscribe().on_any(event).exactly_once();
    let groupless = Subscribe::new("t").on_any(event).exactly_once();
    assert_eq!(refused(groupless, each()).await, ["group_id"]);
    let embedded = "exactly_once";
    assert_eq!(refused(exactly_once(), each()).await, [embedded]);
    for policy in [
        CommitPolicy::BeforeProcessing,
        CommitPolicy::EachEvent,
        CommitPolicy::Interval(Duration::from_secs(601)),
    ] {
        let faults = refused(exactly_once().commit(policy), each()).await;
        assert_eq!(faults, [embedded, "commit"], "{policy:?}");
    }
    for subscribe in [
        subscribe().on_any(event),
        subscribe().on_any(event).dead_letters(true),
        subscribe()
            .on_any(event)
            .retry(eventstream::Retry::attempts(1)),
        // The subscription's own policy overrides the client's.
        subscribe()
            .on_any(event)
            .commit(CommitPolicy::EachEvent)
            .retry(eventstream::Retry::forever()),
    ] {
        let asked = format!("{subscribe:?}");
        assert!(refused(subscribe, once()).await.is_empty(), "{asked}");
    }
}
