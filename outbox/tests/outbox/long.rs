//! A backlog of a million rows: takes minutes, so it only runs on demand.

use std::time::{Duration, Instant};

use eventstream::Client;
use eventstream_outbox::{Outbox, Relay};

use crate::support::{WITHIN, database, enqueue, event, eventually, waiting};

const ROWS: u64 = 1_000_000;

/// `cargo test --release --workspace --test outbox -- --ignored --nocapture a_million`
#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes"]
async fn a_million_waiting_rows_are_told_and_published_in_bounded_memory() {
    let pool = database("million").await;
    let fill = "INSERT INTO eventstream_outbox (slot, event_id, topic, key, value) \
        SELECT n % 5000 % 64, n::text, 'purse', convert_to((n % 5000)::text, 'UTF8'), \
               '{\"id\":\"' || n || '\",\"name\":\"coinsEarned\",\"payload\":{\"text\":\"' || repeat('x', 500) || '\"}}' \
        FROM generate_series(1, $1::bigint) AS n";
    sqlx::query(fill)
        .bind(i64::try_from(ROWS).unwrap())
        .execute(&pool)
        .await
        .unwrap();
    let asked = Instant::now();
    let depth = Outbox::new().depth(&pool).await.unwrap();
    println!(
        "{} rows wait, counted in {:?}",
        depth.waiting,
        asked.elapsed()
    );
    assert_eq!(depth.waiting, ROWS);

    let (first, mut published) = tokio::sync::mpsc::unbounded_channel();
    let started = Instant::now();
    let relay = Relay::builder(pool.clone(), Client::none().build().unwrap());
    let relay = relay
        .on_published(move |_| {
            // Receives only the first.
            let _ = first.send(());
        })
        .start();
    published.recv().await.unwrap();
    println!("the first was published after {:?}", started.elapsed());
    eventually("the depth", async || relay.stats().depth.waiting > 0).await;
    // Enqueueing continues meanwhile.
    enqueue(&pool, &[event("late", 1)]).await;
    while waiting(&pool).await > 0 {
        assert!(relay.stats().in_flight <= 2000, "{:?}", relay.stats());
        assert!(started.elapsed() < 20 * WITHIN, "{:?}", relay.stats());
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let took = started.elapsed();
    assert_eq!(relay.stats().published, ROWS + 1);
    println!("{ROWS} rows in {took:?}");
    relay.stop(WITHIN).await.unwrap();
}
