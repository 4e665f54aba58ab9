//! What a relay does beside publishing: it counts the outbox and deletes old rows.

use std::time::Duration;

use eventstream::testing::Recorder;
use eventstream_outbox::Outbox;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

use crate::support::{WITHIN, database, enqueue, event, eventually, numbers, relay};

/// Rows that were published an hour ago.
async fn publish_before(pool: &PgPool, rows: i32) {
    let sql = "INSERT INTO eventstream_outbox (slot, event_id, topic, key, value, published_at) \
        SELECT 0, n::text, 'purse', '', repeat('x', 500), now() - interval '1 hour' FROM generate_series(1, $1) AS n";
    sqlx::query(sql).bind(rows).execute(pool).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_depth_is_read_from_indexes_however_many_rows_are_kept() {
    let pool = database("depth_by_index").await;
    publish_before(&pool, 5000).await;
    enqueue(&pool, &[event("a", 1), event("a", 2), event("b", 3)]).await;
    let sql = "UPDATE eventstream_outbox SET failed_at = now() WHERE convert_from(key, 'UTF8') = 'b'; ANALYZE";
    sqlx::raw_sql(sql).execute(&pool).await.unwrap();
    // This connection's, and not told to others before the transaction ends.
    let scans = "SELECT coalesce(sum(seq_scan), 0)::int8 FROM pg_stat_xact_user_tables WHERE relname = 'eventstream_outbox'";
    let mut tx = pool.begin().await.unwrap();
    let before: i64 = sqlx::query_scalar(scans).fetch_one(&mut *tx).await.unwrap();
    let depth = Outbox::new().depth(&mut *tx).await.unwrap();
    assert_eq!((depth.waiting, depth.failed), (2, 1));
    assert!(depth.oldest.unwrap() < WITHIN, "{depth:?}");
    let after: i64 = sqlx::query_scalar(scans).fetch_one(&mut *tx).await.unwrap();
    assert_eq!(after, before, "the whole table was read");
}

/// Whether a statement that starts with this sleeps.
async fn sleeps(pool: &PgPool, statement: &str) -> bool {
    let sql = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() \
        AND wait_event = 'PgSleep' AND starts_with(query, $1))";
    sqlx::query_scalar(sql)
        .bind(statement)
        .fetch_one(pool)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_count_or_a_cleaning_that_takes_long_holds_up_nothing_and_is_given_up() {
    // Only the count takes a minimum, and only the cleaning deletes.
    let slow = "
        CREATE FUNCTION sleep(timestamptz, timestamptz) RETURNS timestamptz LANGUAGE plpgsql
            AS 'BEGIN PERFORM pg_sleep(600); RETURN $2; END';
        CREATE AGGREGATE public.min(timestamptz) (sfunc = sleep, stype = timestamptz);
        CREATE FUNCTION sleep() RETURNS trigger LANGUAGE plpgsql
            AS 'BEGIN PERFORM pg_sleep(600); RETURN OLD; END';
        CREATE TRIGGER sleep BEFORE DELETE ON eventstream_outbox FOR EACH ROW EXECUTE FUNCTION sleep();
        DO $$ BEGIN
            EXECUTE format('ALTER DATABASE %I SET search_path = public, pg_catalog', current_database());
        END $$";
    let before = database("slow_chores").await;
    sqlx::raw_sql(slow).execute(&before).await.unwrap();
    let pool = PgPoolOptions::new().acquire_timeout(WITHIN);
    let pool = pool.connect_with((*before.connect_options()).clone());
    let pool = pool.await.unwrap();
    publish_before(&pool, 1).await;

    let recorder = Recorder::new();
    recorder.hold();
    // What waits is counted.
    enqueue(&pool, &[event("a", 0)]).await;
    let relay = relay(&pool, &recorder)
        .keep_published(Duration::from_secs(60))
        .start();
    let mut n = 0;
    for statement in ["SELECT", "DELETE"] {
        eventually("it to take long", async || sleeps(&pool, statement).await).await;
        recorder.release_all();
        while sleeps(&pool, statement).await {
            n += 1;
            enqueue(&pool, &[event("a", n)]).await;
            eventually("the event", async || {
                numbers(&recorder, "a").last().copied() == i64::try_from(n).ok()
            })
            .await;
            assert!(relay.health().is_healthy(), "{:?}", relay.health());
            eventually("all slots", async || relay.stats().slots == 64).await;
        }
    }
    assert!(n > 0);
    relay.stop(WITHIN).await.unwrap();
}
