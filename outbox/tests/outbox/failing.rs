//! Events that cannot be published, now or ever.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use eventstream::testing::Recorder;
use eventstream::{BrokerConfig, ErrorKind as Kind, Publish, Publisher, Receipt};
use eventstream_outbox::{ErrorKind, FailedKey, Outbox, Relay};
use tokio::time::Instant;

use crate::support::{WITHIN, database, enqueue, event, eventually, numbers, relay, waiting};

fn huge(key: &str) -> Publish {
    event(key, 99).payload(serde_json::json!({"text": "x".repeat(5000)}))
}

fn small() -> Recorder {
    Recorder::with(&BrokerConfig::default().message_max_bytes(2000))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_never_be_published_is_set_apart_and_its_key_goes_on() {
    let pool = database("set_apart").await;
    let ids = enqueue(
        &pool,
        &[event("a", 1), huge("a"), event("a", 2), event("b", 3)],
    )
    .await;
    let recorder = small();
    let relay = relay(&pool, &recorder).start();
    eventually("the others", async || waiting(&pool).await == 0).await;
    assert_eq!(numbers(&recorder, "a"), [1, 2]);
    assert_eq!(numbers(&recorder, "b"), [3]);
    let outbox = Outbox::new();
    let failed = outbox.failed(&pool, 10).await.unwrap();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].event.id(), ids[1]);
    assert!(failed[0].error.contains("2000"), "{}", failed[0].error);
    assert_eq!(failed[0].decode().unwrap().event_id(), 99);
    assert!(relay.health().is_healthy());
    assert_eq!(outbox.depth(&pool).await.unwrap().failed, 1);
    assert_eq!(outbox.discard(&pool, &ids).await.unwrap(), 1);
    relay.stop(WITHIN).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_may_wait_for_its_failed_event() {
    let pool = database("key_waits").await;
    let ids = enqueue(
        &pool,
        &[event("a", 1), huge("a"), event("a", 2), event("b", 3)],
    )
    .await;
    let recorder = small();
    let relay = relay(&pool, &recorder).failed_key(FailedKey::Waits).start();
    eventually("the failure", async || {
        Outbox::new().failed(&pool, 1).await.unwrap().len() == 1
    })
    .await;
    enqueue(&pool, &[event("b", 4)]).await;
    eventually("another key", async || numbers(&recorder, "b") == [3, 4]).await;
    assert_eq!(numbers(&recorder, "a"), [1]);
    eventually("the rest to be marked", async || waiting(&pool).await == 1).await;
    // As if somebody had fixed it: the next attempt is within bounds.
    sqlx::query("UPDATE eventstream_outbox SET value = replace(value, repeat('x', 5000), '') WHERE event_id = $1")
        .bind(&ids[1])
        .execute(&pool)
        .await
        .unwrap();
    assert_eq!(Outbox::new().retry(&pool, &ids).await.unwrap(), 1);
    eventually("the rest", async || waiting(&pool).await == 0).await;
    assert_eq!(numbers(&recorder, "a"), [1, 99, 2]);
    relay.stop(WITHIN).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_no_event_is_set_apart() {
    let pool = database("no_event").await;
    enqueue(&pool, &[event("a", 1), event("b", 2), event("c", 3)]).await;
    let spoil = "UPDATE eventstream_outbox SET value = 'spoilt' WHERE id = 1; \
                 UPDATE eventstream_outbox SET headers = 'spoilt' WHERE id = 2";
    sqlx::raw_sql(spoil).execute(&pool).await.unwrap();
    let recorder = Recorder::new();
    let relay = relay(&pool, &recorder).start();
    eventually("the rest", async || waiting(&pool).await == 0).await;
    assert_eq!(recorder.all().len(), 1);
    assert_eq!(Outbox::new().failed(&pool, 10).await.unwrap().len(), 2);
    relay.stop(WITHIN).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_of_the_broker_is_tried_again_in_order_told_and_holds_up_no_other_topic() {
    let pool = database("tried_again").await;
    let recorder = Recorder::new();
    for n in 1..=4 {
        recorder.fail_nth(n, Kind::UnknownTopic);
    }
    enqueue(&pool, &[event("a", 1), event("a", 2), event("a", 3)]).await;
    let relay = relay(&pool, &recorder).start();
    eventually("the failure to be told", async || {
        !relay.health().is_healthy()
    })
    .await;
    let problem = relay.health().problems.remove(0);
    assert_eq!(problem.error().kind(), ErrorKind::Publish);
    assert!(problem.to_string().contains("topic purse"), "{problem}");
    assert!(problem.remedy().contains("create the topic"), "{problem}");
    eventually("all", async || waiting(&pool).await == 0).await;
    assert_eq!(recorder.failed().len(), 4);
    assert_eq!(numbers(&recorder, "a"), [1, 2, 3]);
    assert!(relay.health().is_healthy());
    relay.stop(WITHIN).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_refuses_everything_for_a_while_sets_nothing_apart() {
    let pool = database("refuses_for_a_while").await;
    let recorder = Recorder::new();
    for n in 1..=6 {
        recorder.fail_nth(n, Kind::Broker);
    }
    enqueue(
        &pool,
        &[event("a", 1), event("b", 2), event("a", 3), event("b", 4)],
    )
    .await;
    let relay = relay(&pool, &recorder).start();
    eventually("all", async || waiting(&pool).await == 0).await;
    assert_eq!(Outbox::new().depth(&pool).await.unwrap().failed, 0);
    assert_eq!(recorder.failed().len(), 6);
    assert_eq!(numbers(&recorder, "a"), [1, 3]);
    assert_eq!(numbers(&recorder, "b"), [2, 4]);
    relay.stop(WITHIN).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_of_which_nothing_waits_any_more_is_no_problem() {
    let pool = database("nothing_waits").await;
    let recorder = Recorder::new();
    for n in 1..=1000 {
        recorder.fail_nth(n, Kind::UnknownTopic);
    }
    enqueue(&pool, &[event("a", 1)]).await;
    let relay = relay(&pool, &recorder).start();
    eventually("the failure to be told", async || {
        !relay.health().is_healthy()
    })
    .await;
    // By hand, or by another relay that could publish it.
    sqlx::query("DELETE FROM eventstream_outbox")
        .execute(&pool)
        .await
        .unwrap();
    eventually("health", async || relay.health().is_healthy()).await;
    relay.stop(WITHIN).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_refuses_an_event_is_asked_again_with_it_alone() {
    let pool = database("alone").await;
    let recorder = Recorder::new();
    recorder.fail_nth(1, Kind::TooLarge);
    recorder.fail_nth(2, Kind::InvalidRecord);
    recorder.fail_nth(4, Kind::TooLarge);
    enqueue(&pool, &[event("a", 1), event("b", 2)]).await;
    let relay = relay(&pool, &recorder).start();
    eventually("both", async || waiting(&pool).await == 0).await;
    // Both failed once; the first that was tried alone was stored, and the other one failed again.
    assert_eq!(recorder.all().len(), 1);
    assert_eq!(Outbox::new().failed(&pool, 10).await.unwrap().len(), 1);
    relay.stop(WITHIN).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_marks_what_is_acknowledged_in_time_and_tells_what_is_left() {
    let pool = database("stops").await;
    let recorder = Recorder::new();
    recorder.hold();
    enqueue(&pool, &[event("a", 1), event("a", 2), event("b", 3)]).await;
    let held = relay(&pool, &recorder).start();
    eventually("two on their way", async || recorder.held() == 2).await;
    let started = Instant::now();
    let unfinished = held.stop(Duration::from_millis(200)).await.unwrap_err();
    assert!(started.elapsed() < WITHIN);
    assert_eq!(unfinished.kind(), ErrorKind::Unfinished);
    assert!(unfinished.to_string().contains("2 events"), "{unfinished}");
    recorder.release_all();

    // Events in flight are awaited at a stop, and the next one of the key stays.
    let recorder = Recorder::new();
    recorder.hold();
    let relay = relay(&pool, &recorder).start();
    eventually("two on their way", async || recorder.held() == 2).await;
    let mut stop = Box::pin(relay.stop(WITHIN));
    let waits = poll_fn(|cx| Poll::Ready(stop.as_mut().poll(cx).is_pending()));
    assert!(waits.await);
    recorder.release(2);
    let stopped = stop.await.unwrap();
    assert_eq!(stopped.depth.waiting, 1);
    assert!(stopped.depth.oldest.unwrap() > Duration::ZERO);
    assert_eq!(recorder.all().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_that_panics_costs_nothing() {
    let pool = database("callback_panics").await;
    let recorder = Recorder::new();
    let relay = relay(&pool, &recorder)
        .on_published(|_| panic!("a bug of the user's"))
        .start();
    enqueue(&pool, &[event("a", 1), event("a", 2)]).await;
    eventually("both", async || waiting(&pool).await == 0).await;
    assert_eq!(numbers(&recorder, "a"), [1, 2]);
    assert!(relay.health().is_healthy());
    relay.stop(WITHIN).await.unwrap();
}

/// A publisher that panics.
struct Broken;

type Boxed<'a, T> = Pin<Box<dyn Future<Output = eventstream::Result<T>> + Send + 'a>>;

impl Publisher for Broken {
    fn publish(&self, _: Publish) -> Boxed<'_, Receipt> {
        panic!("a bug of the user's")
    }

    fn try_publish(&self, _: Publish) -> eventstream::Result<Receipt> {
        unreachable!("a relay waits for room")
    }

    fn flush(&self, _: Duration) -> Boxed<'_, ()> {
        unreachable!("a relay has receipts")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_has_ended_says_since_when_and_its_stop_is_no_success() {
    let pool = database("has_ended").await;
    enqueue(&pool, &[event("a", 1)]).await;
    let relay = Relay::builder(pool.clone(), Broken).start();
    eventually("the relay to end", async || !relay.health().is_healthy()).await;
    let since = relay.health().problems[0].since();
    let problem = relay.health().problems.remove(0);
    assert_eq!(problem.error().kind(), ErrorKind::Ended);
    assert_eq!(problem.since(), since);
    let error = relay.stop(WITHIN).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Ended);
}
