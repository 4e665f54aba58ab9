//! Rows equal records, whatever is killed: relays as processes, the database, the broker.
//!
//! `EVENTSTREAM_OUTBOX_ROWS` is the number of rows committed, by default 20,000.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{HashMap, HashSet};
use std::env;
use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use eventstream::{Client, Event, Publish};
use eventstream_harness::{Admin, Guarded, Kafka, Postgres, eventually, unique_topic};
use eventstream_outbox::{Outbox, Relay};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

/// Set for further runs of this program, which are the relays: the database and the brokers.
const RELAY: &str = "EVENTSTREAM_OUTBOX_RELAY";
const NAME: &str = "every_committed_row_is_published_in_order_under_kills";
const WITHIN: Duration = Duration::from_secs(300);
const BATCH: usize = 200;
const PER_TRANSACTION: u64 = 20;
const KEYS: u64 = 100;
const WRITERS: u64 = 4;

#[tokio::test(flavor = "multi_thread")]
async fn every_committed_row_is_published_in_order_under_kills() {
    if let Ok(addresses) = env::var(RELAY) {
        return be_a_relay(&addresses).await;
    }
    let rows = env::var("EVENTSTREAM_OUTBOX_ROWS").map_or(20_000, |rows| rows.parse().unwrap());
    let mut run = Run::start(rows).await;
    let began = Instant::now();
    let writers: Vec<_> = (0..WRITERS).map(|writer| run.write(writer)).collect();

    for (part, relay) in [(1, 0), (2, 1), (3, 0)] {
        run.wait_for_part(part);
        run.relays[relay] = run.relay();
    }
    run.wait_for_part(4);
    run.postgres.restart().unwrap();
    run.wait_for_part(5);
    run.kafka.kill(1).unwrap();
    run.kafka.restart(1).unwrap();
    for writer in writers {
        writer.await.unwrap();
    }
    let outbox = Outbox::new();
    loop {
        let depth = outbox.depth(&run.pool).await.unwrap();
        if depth.waiting == 0 {
            assert_eq!(depth.failed, 0);
            break;
        }
        assert!(began.elapsed() < WITHIN, "{depth:?} after {WITHIN:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let took = began.elapsed();
    let repeats = run.check().await;
    println!(
        "{rows} rows in {took:?}, under three killed relays, a killed database and a killed broker; {repeats} repeats"
    );
}

async fn be_a_relay(addresses: &str) {
    let (url, brokers) = addresses.split_once(' ').unwrap();
    let client = Client::kafka([brokers]).build().unwrap();
    let relay = Relay::builder(pool(url).await, client)
        .batch(BATCH)
        .lease(Duration::from_secs(2))
        .start();
    std::future::pending::<()>().await;
    drop(relay);
}

async fn pool(url: &str) -> PgPool {
    let options = PgPoolOptions::new()
        .max_connections(8)
        .acquire_timeout(Duration::from_secs(5));
    options.connect(url).await.unwrap()
}

struct Run {
    rows: u64,
    kafka: Kafka,
    postgres: Postgres,
    admin: Admin,
    url: String,
    topic: String,
    pool: PgPool,
    relays: Vec<Guarded>,
    written: Arc<AtomicU64>,
}

impl Run {
    async fn start(rows: u64) -> Self {
        let kafka = Kafka::builder().start().unwrap();
        let postgres = Postgres::start().unwrap();
        let url = postgres.create_database("kills").unwrap();
        let pool = pool(&url).await;
        eventstream_outbox::migrate(&pool).await.unwrap();
        let tables = "CREATE TABLE counter (key text PRIMARY KEY, n bigint NOT NULL); \
                      CREATE TABLE sent (event_id text PRIMARY KEY, key text NOT NULL, n bigint NOT NULL)";
        sqlx::raw_sql(tables).execute(&pool).await.unwrap();
        let topic = unique_topic("outbox_kills");
        let admin = Admin::new(&kafka.bootstrap()).unwrap();
        admin.create_topic(&topic, 4, 1, &[]).unwrap();
        let mut run = Self {
            rows,
            kafka,
            postgres,
            admin,
            url,
            topic,
            pool,
            relays: Vec::new(),
            written: Arc::default(),
        };
        run.relays = vec![run.relay(), run.relay()];
        run
    }

    /// A relay as a process; replacing it kills it.
    fn relay(&self) -> Guarded {
        let program = env::current_exe().unwrap().display().to_string();
        let addresses = format!("{RELAY}={} {}", self.url, self.kafka.bootstrap());
        let arguments = [&addresses, &program, "--exact", "--nocapture", NAME].map(str::to_owned);
        let null = File::options().write(true).open("/dev/null").unwrap();
        Guarded::spawn(Path::new("env"), &arguments, None, Stdio::null(), null).unwrap()
    }

    /// Waits until that many sevenths of the records are stored.
    fn wait_for_part(&self, part: u64) {
        let stored = || {
            Ok(self
                .admin
                .count_records(&self.topic)
                .ok()
                .filter(|n| *n >= self.rows * part / 7))
        };
        eventually("records", WITHIN, stored).unwrap();
    }

    /// Writes this writer's share in transactions, every tenth of which is rolled back. A transaction that fails with
    /// the database is retried; the table shows what was committed.
    fn write(&self, writer: u64) -> tokio::task::JoinHandle<()> {
        let (pool, topic, written) = (
            self.pool.clone(),
            self.topic.clone(),
            Arc::clone(&self.written),
        );
        let rows = self.rows;
        tokio::spawn(async move {
            for turn in writer.. {
                if written.load(Ordering::SeqCst) >= rows {
                    break;
                }
                let key = format!("player-{}", (turn * 7 + writer) % KEYS);
                match transaction(&pool, &topic, &key, turn % 10 == 9).await {
                    Ok(true) => drop(written.fetch_add(PER_TRANSACTION, Ordering::SeqCst)),
                    Ok(false) => {}
                    // The database is unavailable.
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                }
            }
        })
    }

    /// Compares the table with the topic, and counts duplicate records.
    async fn check(&self) -> usize {
        let sql = "SELECT event_id, key, n FROM sent";
        let sent: Vec<(String, String, i64)> =
            sqlx::query_as(sql).fetch_all(&self.pool).await.unwrap();
        assert!(sent.len() as u64 >= self.rows);
        let sent: HashMap<_, _> = sent
            .into_iter()
            .map(|(id, key, n)| (id, (key, n)))
            .collect();
        let mut first: HashMap<String, String> = HashMap::new();
        let mut last: HashMap<String, i64> = HashMap::new();
        let mut repeats = 0;
        for record in self.admin.read_all(&self.topic).unwrap() {
            let value = String::from_utf8(record.value.unwrap()).unwrap();
            let event = Event::decode(&value).unwrap();
            let (key, n) = sent
                .get(event.id())
                .expect("only what was committed is published");
            assert_eq!(
                (record.key.as_deref(), event.event_id()),
                (Some(key.as_bytes()), *n)
            );
            if let Some(before) = first.get(event.id()) {
                assert_eq!(*before, value, "a repeat is the same event");
                repeats += 1;
                continue;
            }
            let before = last.insert(key.clone(), *n).unwrap_or(0);
            assert_eq!(*n, before + 1, "{key}");
            first.insert(event.id().to_owned(), value);
        }
        let published: HashSet<_> = first.keys().collect();
        let missing = sent.keys().filter(|id| !published.contains(id)).count();
        assert_eq!(missing, 0, "of {}", sent.len());
        // Three relays were killed, and during the database's outage both may have lost their leases.
        assert!(repeats <= 5 * 2 * BATCH, "{repeats}");
        repeats
    }
}

/// Whether it was committed.
async fn transaction(
    pool: &PgPool,
    topic: &str,
    key: &str,
    roll_back: bool,
) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
    let mut tx = pool.begin().await?;
    let count = "INSERT INTO counter VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET n = counter.n + $2 RETURNING n";
    let step = i64::try_from(PER_TRANSACTION)?;
    let n: i64 = sqlx::query_scalar(count)
        .bind(key)
        .bind(step)
        .fetch_one(&mut *tx)
        .await?;
    let numbers: Vec<i64> = (n - step + 1..=n).collect();
    let events: Vec<_> = numbers
        .iter()
        .map(|n| Publish::new(topic, "coinsEarned").key(key).event_id(*n))
        .collect();
    let ids = Outbox::new().enqueue_all(&mut tx, &events).await?;
    let sent = "INSERT INTO sent (event_id, key, n) SELECT id, $2, n FROM unnest($1::text[], $3::bigint[]) AS s (id, n)";
    sqlx::query(sent)
        .bind(ids)
        .bind(key)
        .bind(numbers)
        .execute(&mut *tx)
        .await?;
    if roll_back {
        tx.rollback().await?;
    } else {
        tx.commit().await?;
    }
    Ok(!roll_back)
}
