//! A private database for each test, and waits.

use std::future::Future;
use std::time::Duration;

use eventstream::Publish;
use eventstream::testing::Recorder;
use eventstream_harness::shared_postgres;
use eventstream_outbox::{Outbox, Relay, RelayBuilder};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::time::{Instant, sleep};

/// Generous, for machines busy with other tests.
pub(crate) const WITHIN: Duration = Duration::from_secs(60);

/// A new database with the outbox's tables.
pub(crate) async fn database(test: &str) -> PgPool {
    let pool = empty_database(test).await;
    eventstream_outbox::migrate(&pool).await.unwrap();
    pool
}

pub(crate) async fn empty_database(test: &str) -> PgPool {
    let url = shared_postgres().create_database(test).unwrap();
    let options = PgPoolOptions::new()
        .max_connections(8)
        .acquire_timeout(WITHIN);
    options.connect(&url).await.unwrap()
}

/// A relay with short leases.
pub(crate) fn relay(pool: &PgPool, recorder: &Recorder) -> RelayBuilder {
    Relay::builder(pool.clone(), recorder.clone()).lease(Duration::from_secs(2))
}

pub(crate) fn event(key: &str, n: u64) -> Publish {
    Publish::new("purse", "coinsEarned")
        .key(key)
        .event_id(i64::try_from(n).unwrap())
}

/// Enqueues events in their own transaction.
pub(crate) async fn enqueue(pool: &PgPool, events: &[Publish]) -> Vec<String> {
    let mut tx = pool.begin().await.unwrap();
    let ids = Outbox::new().enqueue_all(&mut tx, events).await.unwrap();
    tx.commit().await.unwrap();
    ids
}

/// The numbers of a key's published events, in order of arrival.
pub(crate) fn numbers(recorder: &Recorder, key: &str) -> Vec<i64> {
    let published = recorder.published_with_key(key);
    published
        .iter()
        .map(|event| event.event().event_id())
        .collect()
}

pub(crate) async fn waiting(pool: &PgPool) -> u64 {
    Outbox::new().depth(pool).await.unwrap().waiting
}

/// Polls until the answer is yes, for conditions in another process that cannot be awaited.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut ask: impl FnMut() -> F) {
    let deadline = Instant::now() + WITHIN;
    while !ask().await {
        assert!(Instant::now() < deadline, "still waiting for {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// Whether a statement in this database waits for a lock.
pub(crate) async fn something_waits_for_a_lock(pool: &PgPool) -> bool {
    let sql = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')";
    sqlx::query_scalar(sql).fetch_one(pool).await.unwrap()
}
