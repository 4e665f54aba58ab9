use std::time::{Duration, Instant};

use eventstream::testing::{Refusal, TestBroker};
use eventstream::{ErrorKind, Event, Publish, StartOffset, Subscribe, Subscription};

use super::up;

async fn subscribed(broker: &TestBroker) -> Subscription {
    let subscribe = Subscribe::new("player")
        .group_id("g")
        .offset(StartOffset::Head)
        .on("levelUp", async |_: Event| {});
    let subscription = broker.client().register(subscribe).await.unwrap();
    subscription.ready().await.unwrap();
    subscription
}

#[tokio::test]
async fn a_broker_that_is_down_stores_nothing_until_it_is_up() {
    let broker = TestBroker::start().topic("player", 1);
    let _subscription = subscribed(&broker).await;
    broker.publish(up(1)).await;
    broker.down();
    let brief = up(2).timeout(Duration::from_millis(300));
    let failed = broker.client().publish_sync(brief).await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Timeout, "{failed}");
    let receipt = broker.client().publish(up(3)).await.unwrap();
    assert!(!receipt.is_done());
    broker.up();
    receipt.await.unwrap();
    broker.settled().await;
    let handled = broker.handled("levelUp").payloads::<super::LevelUp>();
    assert!(handled.iter().any(|up| up.level == 1) && handled.iter().any(|up| up.level == 3));
}

#[tokio::test]
async fn a_slow_broker_takes_its_time() {
    let broker = TestBroker::start().topic("player", 1);
    broker.publish(up(1)).await;
    let delay = Duration::from_millis(400);
    broker.slow(delay);
    let begun = Instant::now();
    broker.publish(up(2)).await;
    let slow = begun.elapsed();
    assert!(slow >= delay, "{slow:?}");
    broker.slow(Duration::ZERO);
    broker.publish(up(3)).await;
}

#[tokio::test]
async fn a_refusal_that_passes_is_tried_again() {
    let broker = TestBroker::start().topic("player", 1);
    broker.publish(up(1)).await;
    for (offset, refusal) in [(1, Refusal::NotEnoughReplicas), (2, Refusal::NotLeader)] {
        broker.refuse_publishing(3, refusal);
        let begun = Instant::now();
        assert_eq!(broker.publish(up(2)).await.offset(), offset);
        // Three waits before another attempt, the first of 10 ms less a fifth.
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(24), "{refusal:?}: {took:?}");
    }
}

#[tokio::test]
async fn a_refusal_for_good_fails_the_event() {
    let broker = TestBroker::start().topic("player", 1);
    broker.publish(up(1)).await;
    for (refusal, kind) in [
        (Refusal::TooLarge, ErrorKind::TooLarge),
        (Refusal::Unauthorized, ErrorKind::Unauthorized),
    ] {
        broker.refuse_publishing(1, refusal);
        let failed = broker.client().publish_sync(up(2)).await.unwrap_err();
        assert_eq!(failed.kind(), kind, "{failed}");
    }
    let other = broker.builder().build().unwrap();
    assert_eq!(other.publish_sync(up(3)).await.unwrap().offset(), 1);
}

#[tokio::test]
async fn refused_reading_is_told_and_goes_on() {
    let broker = TestBroker::start().topic("player", 1);
    let (errors, mut told) = tokio::sync::mpsc::unbounded_channel();
    let subscribe = Subscribe::new("player")
        .group_id("g")
        .on_error(move |error| drop(errors.send(error)))
        .on("levelUp", async |_: Event| {});
    let subscription = broker.client().register(subscribe).await.unwrap();
    subscription.ready().await.unwrap();
    broker.refuse_reading(1, Refusal::Unauthorized);
    let error = told.recv().await.unwrap();
    assert_eq!(error.kind(), ErrorKind::Unauthorized, "{error}");
    broker.refuse_reading(3, Refusal::NotLeader);
    broker.publish(up(1)).await;
    broker.settled().await;
    broker.handled("levelUp").expect_count(1);
}

#[tokio::test]
async fn without_a_coordinator_events_are_handled_and_nobody_joins() {
    let broker = TestBroker::start().topic("player", 1);
    let _subscription = subscribed(&broker).await;
    broker.lose_coordinator();
    broker.publish(up(1)).await;
    broker.settled().await;
    broker.handled("levelUp").expect_count(1);
    let other = Subscribe::new("player").group_id("other");
    let other = other.on("levelUp", async |_: Event| {});
    let other = broker.client().register(other).await.unwrap();
    let ready = tokio::time::timeout(Duration::from_millis(500), other.ready());
    assert!(ready.await.is_err(), "there is nobody to join at");
    broker.restore_coordinator();
    other.ready().await.unwrap();
    broker.publish(up(2)).await;
    broker.settled().await;
    broker.handled("levelUp").by("other").expect_count(1);
    let seen = broker
        .handled("levelUp")
        .by("g")
        .payloads::<super::LevelUp>();
    assert!(seen.iter().any(|up| up.level == 2));
}

#[tokio::test]
async fn a_further_member_takes_its_share_and_gives_it_back() {
    let broker = TestBroker::start().topic("player", 2);
    let subscription = subscribed(&broker).await;
    let before = broker.client().reader_stats();
    assert_eq!(before.partitions, 2);
    let member = broker.join("player", "g").await;
    while broker.client().reader_stats().partitions != 1 {
        tokio::task::yield_now().await;
    }
    for key in 0..20 {
        let event = Publish::new("player", "levelUp").key(key.to_string());
        broker.publish(event).await;
    }
    let some = broker.handled("levelUp").await_count(1).await.len();
    assert!(some < 20);
    member.leave().await;
    broker.settled().await;
    let keys: std::collections::BTreeSet<_> = broker
        .handled("levelUp")
        .events()
        .iter()
        .map(|event| event.key().unwrap().to_owned())
        .collect();
    assert_eq!(keys.len(), 20);
    assert_eq!(broker.client().reader_stats().partitions, 2);
    assert!(subscription.health().is_ready());
}
