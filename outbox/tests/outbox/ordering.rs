//! Which events are published, and in which order.

use std::time::Duration;

use eventstream::Publish;
use eventstream::testing::Recorder;
use eventstream_outbox::{ErrorKind, KeyOrder, Outbox};

use crate::support::{
    WITHIN, database, enqueue, event, eventually, numbers, relay, something_waits_for_a_lock,
    waiting,
};

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_published_as_it_was_enqueued_and_never_after_a_rollback() {
    let pool = database("published_as_enqueued").await;
    let outbox = Outbox::new();
    let mut tx = pool.begin().await.unwrap();
    let given = event("player-7", 1)
        .namespace("a")
        .header("h", [0xff])
        .payload(serde_json::json!({"n": u64::MAX}));
    let id = outbox.enqueue(&mut tx, &given).await.unwrap();
    let mut rolled_back = pool.begin().await.unwrap();
    outbox
        .enqueue(&mut rolled_back, &event("other", 2))
        .await
        .unwrap();
    rolled_back.rollback().await.unwrap();
    tx.commit().await.unwrap();

    let recorder = Recorder::new();
    let relay = relay(&pool, &recorder).start();
    eventually("the outbox to be empty", async || waiting(&pool).await == 0).await;
    relay.stop(WITHIN).await.unwrap();
    let published = recorder.all();
    assert_eq!(published.len(), 1);
    let event = published[0].event();
    assert_eq!(
        (event.id(), event.namespace(), published[0].key()),
        (&*id, "a", "player-7")
    );
    assert_eq!(event.payload().as_str(), r#"{"n":18446744073709551615}"#);
    assert_eq!(event.headers().next(), Some(("h", Some(&[0xff][..]))));
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_of_one_key_come_in_the_order_of_their_commits() {
    let pool = database("order_of_commits").await;
    let outbox = Outbox::new();
    let mut first = pool.begin().await.unwrap();
    outbox.enqueue(&mut first, &event("a", 1)).await.unwrap();
    let second = tokio::spawn({
        let pool = pool.clone();
        async move {
            let mut tx = pool.begin().await.unwrap();
            // Its events are in the order of the calls, even if one call waits.
            outbox.enqueue(&mut tx, &event("b", 3)).await.unwrap();
            outbox.enqueue(&mut tx, &event("a", 3)).await.unwrap();
            outbox
                .enqueue_all(&mut tx, [&event("b", 4), &event("a", 4)])
                .await
                .unwrap();
            tx.commit().await.unwrap();
        }
    });
    eventually("the second to wait", async || {
        something_waits_for_a_lock(&pool).await
    })
    .await;
    outbox.enqueue(&mut first, &event("a", 2)).await.unwrap();
    first.commit().await.unwrap();
    second.await.unwrap();

    let recorder = Recorder::new();
    let relay = relay(&pool, &recorder).start();
    eventually("the outbox to be empty", async || waiting(&pool).await == 0).await;
    assert_eq!(numbers(&recorder, "a"), [1, 2, 3, 4]);
    assert_eq!(numbers(&recorder, "b"), [3, 4]);
    relay.stop(WITHIN).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_whose_transaction_commits_late_is_published_though_later_ones_were() {
    let pool = database("late_commit").await;
    let outbox = Outbox::new().key_order(KeyOrder::Unlocked);
    let recorder = Recorder::new();
    let relay = relay(&pool, &recorder).start();
    let mut late = pool.begin().await.unwrap();
    outbox.enqueue(&mut late, &event("late", 1)).await.unwrap();
    // Without locks nothing waits, even for the same key.
    let mut tx = pool.begin().await.unwrap();
    outbox.enqueue(&mut tx, &event("late", 2)).await.unwrap();
    tx.commit().await.unwrap();
    let ids = enqueue(
        &pool,
        &(0..100).map(|n| event("early", n)).collect::<Vec<_>>(),
    )
    .await;
    assert_eq!(ids.len(), 100);
    eventually("the early ones", async || waiting(&pool).await == 0).await;
    assert_eq!(numbers(&recorder, "late"), [2]);
    late.commit().await.unwrap();
    eventually("the late one", async || recorder.all().len() == 102).await;
    assert_eq!(numbers(&recorder, "early"), (0..100).collect::<Vec<_>>());
    assert_eq!(numbers(&recorder, "late"), [2, 1]);
    relay.stop(WITHIN).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_lock_before_the_enqueue_orders_a_key_without_locks_of_ours() {
    let pool = database("row_locks").await;
    sqlx::raw_sql("CREATE TABLE purse (coins bigint); INSERT INTO purse VALUES (0)")
        .execute(&pool)
        .await
        .unwrap();
    let outbox = Outbox::new().key_order(KeyOrder::Unlocked);
    let recorder = Recorder::new();
    let relay = relay(&pool, &recorder).start();
    let writers = (0..4).map(|_| {
        let pool = pool.clone();
        tokio::spawn(async move {
            for _ in 0..25 {
                let mut tx = pool.begin().await.unwrap();
                let sql = "UPDATE purse SET coins = coins + 1 RETURNING coins";
                let coins: i64 = sqlx::query_scalar(sql).fetch_one(&mut *tx).await.unwrap();
                outbox
                    .enqueue(&mut tx, &event("a", coins.try_into().unwrap()))
                    .await
                    .unwrap();
                tx.commit().await.unwrap();
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    eventually("all", async || recorder.all().len() == 100).await;
    assert_eq!(numbers(&recorder, "a"), (1..=100).collect::<Vec<_>>());
    relay.stop(WITHIN).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_wakes_a_relay_that_polls_seldom() {
    let pool = database("wakes").await;
    let recorder = Recorder::new();
    let relay = relay(&pool, &recorder)
        .poll_interval(Duration::from_secs(3600))
        .start();
    eventually("the first", async || {
        // Before it listens, it receives nothing.
        enqueue(&pool, &[event("a", 1)]).await;
        !recorder.all().is_empty()
    })
    .await;
    eventually("all of it", async || waiting(&pool).await == 0).await;
    let before = recorder.all().len();
    enqueue(&pool, &[event("a", 2)]).await;
    eventually("the next", async || recorder.all().len() == before + 1).await;
    relay.stop(WITHIN).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_notifications_polling_finds_the_rows() {
    let pool = database("polls").await;
    let recorder = Recorder::new();
    let relay = relay(&pool, &recorder)
        .listen(false)
        .poll_interval(Duration::from_millis(20))
        .start();
    let mut tx = pool.begin().await.unwrap();
    Outbox::new()
        .notify(false)
        .enqueue(&mut tx, &event("a", 1))
        .await
        .unwrap();
    tx.commit().await.unwrap();
    eventually("the event", async || recorder.all().len() == 1).await;
    relay.stop(WITHIN).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_allowed_is_refused_and_leaves_the_transaction_usable() {
    let pool = database("refused").await;
    let mut tx = pool.begin().await.unwrap();
    let bad = Publish::new("no topic", "name");
    let refused = Outbox::new().enqueue(&mut tx, &bad).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Event);
    let strict = Outbox::new().strict_validation(true);
    assert!(
        strict
            .enqueue(&mut tx, &event("a", 1).user_id("u"))
            .await
            .is_err()
    );
    Outbox::new()
        .enqueue(&mut tx, &event("a", 1))
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(waiting(&pool).await, 1);
}
