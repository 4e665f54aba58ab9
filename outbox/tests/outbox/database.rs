//! A database without the tables, or unavailable.

use std::error::Error as _;

use eventstream::testing::Recorder;
use eventstream_harness::Postgres;
use eventstream_outbox::{ErrorKind, Outbox};
use sqlx::postgres::PgPoolOptions;

use crate::support::{WITHIN, empty_database, enqueue, event, eventually, relay, waiting};

#[tokio::test(flavor = "multi_thread")]
async fn missing_tables_are_told_with_what_to_run_and_a_relay_goes_on_once_they_are_there() {
    let pool = empty_database("not_migrated").await;
    let mut tx = pool.begin().await.unwrap();
    let error = Outbox::new()
        .enqueue(&mut tx, &event("a", 1))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotMigrated);
    assert!(
        error.to_string().contains("eventstream_outbox::migrate"),
        "{error}"
    );
    assert!(error.source().is_some());
    drop(tx);
    let recorder = Recorder::new();
    let relay = relay(&pool, &recorder).start();
    eventually("the relay to tell", async || !relay.health().is_healthy()).await;
    let problem = relay.health().problems.remove(0);
    assert_eq!(problem.error().kind(), ErrorKind::NotMigrated);
    // By several at once, and again.
    let (one, other) = tokio::join!(
        eventstream_outbox::migrate(&pool),
        eventstream_outbox::migrate(&pool)
    );
    one.and(other).unwrap();
    enqueue(&pool, &[event("a", 1)]).await;
    eventually("the event", async || recorder.all().len() == 1).await;
    eventually("health", async || relay.health().is_healthy()).await;
    relay.stop(WITHIN).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_is_told_and_waited_for() {
    let postgres = Postgres::start().unwrap();
    let pool = PgPoolOptions::new().acquire_timeout(std::time::Duration::from_secs(5));
    let pool = pool
        .connect(&postgres.create_database("away").unwrap())
        .await
        .unwrap();
    eventstream_outbox::migrate(&pool).await.unwrap();
    let recorder = Recorder::new();
    recorder.hold();
    let relay = relay(&pool, &recorder).start();
    enqueue(&pool, &[event("a", 1), event("a", 2)]).await;
    eventually("the first", async || recorder.held() == 1).await;
    postgres.kill();
    // It is acknowledged while it cannot be marked, and the next one of its key is published all the same.
    recorder.release_all();
    eventually("the relay to tell", async || !relay.health().is_healthy()).await;
    let problem = relay.health().problems.remove(0);
    assert!(
        matches!(
            problem.error().kind(),
            ErrorKind::Database | ErrorKind::Timeout
        ),
        "{problem}"
    );
    postgres.restart().unwrap();
    eventually("both to be marked", async || waiting(&pool).await == 0).await;
    eventually("health", async || relay.health().is_healthy()).await;
    assert_eq!(
        recorder.all().len(),
        2,
        "nothing twice: the relay remembers what was acknowledged"
    );
    // Silent instead of gone.
    postgres.pause().unwrap();
    eventually("the relay to tell", async || !relay.health().is_healthy()).await;
    postgres.resume().unwrap();
    enqueue(&pool, &[event("a", 3)]).await;
    eventually("the third", async || recorder.all().len() == 3).await;
    relay.stop(WITHIN).await.unwrap();
}
