//! The outbox, from PostgreSQL to Kafka: rows per second with a backlog, and the latency from commit to
//! acknowledgement.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use eventstream::Client;
use eventstream_outbox::{Outbox, Published, Relay};
use harness::{Admin, Kafka, Postgres};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::event;
use crate::measure::quantile;

const WRITERS: u64 = 4;
const STOP: Duration = Duration::from_secs(30);

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Rows that wait when the relays start.
    #[arg(long, default_value_t = 200_000)]
    rows: u64,
    /// Relays side by side.
    #[arg(long, default_value_t = 1)]
    relays: usize,
    /// Transactions a second, of one event each, while the latency is taken.
    #[arg(long, default_value_t = 500)]
    rate: u64,
    /// Transactions of the latency's span.
    #[arg(long, default_value_t = 10_000)]
    transactions: u64,
}

/// When each event was acknowledged.
type Acknowledged = Arc<Mutex<HashMap<String, Instant>>>;

pub(crate) fn run(options: &Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(measure(options))
}

async fn measure(options: &Options) -> Result<()> {
    let kafka = Kafka::builder().for_throughput().start()?;
    let postgres = Postgres::start_durable()?;
    let topic = harness::unique_topic("bench-outbox");
    Admin::new(&kafka.bootstrap())?.create_topic(&topic, 12, 1, &[])?;
    let pool = PgPoolOptions::new().max_connections(20);
    let pool = pool.connect(&postgres.create_database("bench")?).await?;
    eventstream_outbox::migrate(&pool).await?;

    let began = Instant::now();
    fill(&pool, &topic, options.rows).await?;
    report(
        "enqueued, 100 rows a transaction",
        options.rows,
        began.elapsed(),
    );

    let acknowledged = Acknowledged::default();
    let began = Instant::now();
    let mut relays = Vec::new();
    for _ in 0..options.relays {
        let acknowledged = Arc::clone(&acknowledged);
        let note = move |published: Published| {
            let now = Instant::now();
            lock(&acknowledged).insert(published.event.id().to_owned(), now);
        };
        let client = Client::kafka([kafka.bootstrap()]).build()?;
        relays.push(
            Relay::builder(pool.clone(), client)
                .on_published(note)
                .start(),
        );
    }
    empty(&pool).await?;
    report(
        "published, marked and deleted",
        options.rows,
        began.elapsed(),
    );
    ensure!(
        lock(&acknowledged).len() as u64 == options.rows,
        "not every row was published"
    );

    let committed = write(&pool, &topic, options).await?;
    empty(&pool).await?;
    let acknowledged = std::mem::take(&mut *lock(&acknowledged));
    let mut latencies = Vec::with_capacity(committed.len());
    for (id, committed) in committed {
        let acknowledged = acknowledged
            .get(&id)
            .context("an event was not published")?;
        latencies.push(acknowledged.saturating_duration_since(committed));
    }
    latencies.sort_unstable();
    println!(
        "commit to acknowledgement at {} a second: p50 {:.1} ms, p99 {:.1} ms",
        options.rate,
        quantile(&latencies, 0.5) / 1e3,
        quantile(&latencies, 0.99) / 1e3,
    );
    for relay in relays {
        relay.stop(STOP).await?;
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn report(what: &str, rows: u64, took: Duration) {
    println!(
        "{what}: {rows} rows in {took:.1?}, {:.0} rows/s",
        rows as f64 / took.as_secs_f64()
    );
}

async fn fill(pool: &PgPool, topic: &str, rows: u64) -> Result<()> {
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let (pool, topic) = (pool.clone(), topic.to_owned());
        writers.spawn(async move {
            let mut key = String::new();
            let own: Vec<u64> = (0..rows).filter(|n| n % WRITERS == writer).collect();
            for part in own.chunks(100) {
                let events: Vec<_> = part
                    .iter()
                    .map(|n| event::publish(&topic, *n, &mut key))
                    .collect();
                let mut tx = pool.begin().await?;
                Outbox::new().enqueue_all(&mut tx, &events).await?;
                tx.commit().await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(writer) = writers.join_next().await {
        writer??;
    }
    Ok(())
}

/// Commits one event per transaction at the requested rate, and returns when each was committed.
async fn write(pool: &PgPool, topic: &str, options: &Options) -> Result<Vec<(String, Instant)>> {
    let mut ticks = interval(Duration::from_secs(1) / u32::try_from(options.rate.max(1))?);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut writers = JoinSet::new();
    let mut key = String::new();
    for n in 0..options.transactions {
        ticks.tick().await;
        let (pool, event) = (pool.clone(), event::publish(topic, n, &mut key));
        writers.spawn(async move {
            let mut tx = pool.begin().await?;
            let id = Outbox::new().enqueue(&mut tx, &event).await?;
            tx.commit().await?;
            anyhow::Ok((id, Instant::now()))
        });
    }
    let mut committed = Vec::new();
    while let Some(writer) = writers.join_next().await {
        committed.push(writer??);
    }
    Ok(committed)
}

/// Waits until the outbox is empty.
async fn empty(pool: &PgPool) -> Result<()> {
    let sql = "SELECT EXISTS (SELECT FROM eventstream_outbox)";
    while sqlx::query_scalar::<_, bool>(sql).fetch_one(pool).await? {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

fn lock(acknowledged: &Acknowledged) -> std::sync::MutexGuard<'_, HashMap<String, Instant>> {
    acknowledged.lock().unwrap_or_else(PoisonError::into_inner)
}
