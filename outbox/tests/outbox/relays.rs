//! Several concurrent relays, and what they leave behind.

use std::time::Duration;

use eventstream::prometheus::{Registry, TextEncoder};
use eventstream::testing::Recorder;
use eventstream_outbox::{Metrics, Outbox};

use crate::support::{WITHIN, database, enqueue, event, eventually, numbers, relay, waiting};

#[tokio::test(flavor = "multi_thread")]
async fn relays_share_the_outbox_and_take_over_from_each_other_in_order() {
    let pool = database("share").await;
    let recorder = Recorder::new();
    let first = relay(&pool, &recorder).start();
    eventually("all slots", async || first.stats().slots == 64).await;
    let second = relay(&pool, &recorder).start();
    let third = relay(&pool, &recorder).start();
    let keys: Vec<_> = (0..20).map(|n| format!("player-{n}")).collect();
    let all = |n: u64| keys.iter().map(|key| event(key, n)).collect::<Vec<_>>();
    for n in 0..50 {
        enqueue(&pool, &all(n)).await;
    }
    eventually("fair shares", async || {
        let shares = [&first, &second, &third].map(|relay| relay.stats().slots);
        shares.iter().sum::<usize>() == 64 && shares.iter().all(|share| *share >= 20)
    })
    .await;
    // One is killed, one leaves: the third has all slots in the end.
    drop(second);
    third.stop(WITHIN).await.unwrap();
    for n in 50..60 {
        enqueue(&pool, &all(n)).await;
    }
    eventually("all slots again", async || first.stats().slots == 64).await;
    eventually("the outbox to be empty", async || waiting(&pool).await == 0).await;
    for key in &keys {
        let mut numbers = numbers(&recorder, key);
        // Nothing was delayed here, so the killed one had nothing in flight for long; what it had may be duplicated.
        let mut seen = std::collections::HashSet::new();
        numbers.retain(|n| seen.insert(*n));
        assert_eq!(numbers, (0..60).collect::<Vec<_>>(), "{key}");
    }
    let published = first.stats().published;
    assert!(published > 0);
    first.stop(WITHIN).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn published_rows_stay_as_long_as_asked() {
    let pool = database("kept").await;
    let recorder = Recorder::new();
    let count = async || {
        let sql = "SELECT count(*) FROM eventstream_outbox WHERE published_at IS NOT NULL";
        sqlx::query_scalar::<_, i64>(sql)
            .fetch_one(&pool)
            .await
            .unwrap()
    };
    let long = relay(&pool, &recorder)
        .keep_published(Duration::from_secs(3600))
        .start();
    enqueue(&pool, &[event("a", 1), event("b", 2)]).await;
    eventually("both to be marked", async || count().await == 2).await;
    long.stop(WITHIN).await.unwrap();
    let short = relay(&pool, &recorder)
        .keep_published(Duration::from_millis(1))
        .start();
    eventually("both to be deleted", async || count().await == 0).await;
    short.stop(WITHIN).await.unwrap();
    assert_eq!(recorder.all().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn any_duration_and_any_batch_is_taken() {
    let pool = database("any_duration").await;
    let recorder = Recorder::new();
    let relay = relay(&pool, &recorder)
        .poll_interval(Duration::MAX)
        .lease(Duration::MAX)
        .keep_published(Duration::MAX)
        .batch(usize::MAX)
        .start();
    enqueue(&pool, &[event("a", 1), event("a", 2)]).await;
    eventually("both", async || waiting(&pool).await == 0).await;
    assert!(relay.health().is_healthy(), "{:?}", relay.health());
    relay.stop(Duration::MAX).await.unwrap();
    assert_eq!(numbers(&recorder, "a"), [1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_tell_what_is_published_and_what_waits() {
    let pool = database("metrics").await;
    let recorder = Recorder::new();
    recorder.hold();
    enqueue(&pool, &[event("a", 1), event("a", 2)]).await;
    let relay = relay(&pool, &recorder).start();
    let registry = Registry::new();
    registry
        .register(Box::new(Metrics::of(&relay).unwrap()))
        .unwrap();
    let has = |line: &str| {
        let text = TextEncoder::new()
            .encode_to_string(&registry.gather())
            .unwrap();
        text.lines().any(|l| l == line)
    };
    eventually("what waits", async || {
        has("outbox_waiting 2") && has("outbox_in_flight 1")
    })
    .await;
    assert!(has("outbox_published_total 0") && has("outbox_slots 64") && has("outbox_failed 0"));
    recorder.release_all();
    eventually("what is published", async || {
        has("outbox_published_total 2")
    })
    .await;
    eventually("an empty outbox", async || {
        Outbox::new().depth(&pool).await.unwrap().oldest.is_none()
    })
    .await;
    relay.stop(WITHIN).await.unwrap();
}
