//! Effects equal events, although events are duplicated, workers are killed and the group is moved back.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::env;
use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use eventstream::{
    Batch, BrokerConfig, Client, Concurrency, Event, Publish, StartOffset, State, Subscribe,
};
use eventstream_harness::{Guarded, Kafka, eventually, shared_postgres, unique_topic};
use eventstream_inbox::{Inbox, Seen};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

/// Set for further runs of this program, which are the workers: database, brokers, topic and group.
const WORKER: &str = "EVENTSTREAM_INBOX_WORKER";
const NAME: &str = "effects_in_the_database_happen_once_under_kills_and_rewinds";
const WITHIN: Duration = Duration::from_secs(180);
const EVENTS: i64 = 3000;

type App = (PgPool, Inbox);

#[tokio::test(flavor = "multi_thread")]
async fn effects_in_the_database_happen_once_under_kills_and_rewinds() {
    if let Ok(addresses) = env::var(WORKER) {
        return work(&addresses).await;
    }
    let kafka = Kafka::builder().start().unwrap();
    let url = shared_postgres().create_database("effects").unwrap();
    let pool = PgPoolOptions::new().connect(&url).await.unwrap();
    eventstream_inbox::migrate(&pool).await.unwrap();
    let tables =
        "CREATE TABLE effect (event_id text, kind text); CREATE TABLE call (event_id text)";
    sqlx::raw_sql(tables).execute(&pool).await.unwrap();
    let topic = unique_topic("inbox");
    let admin = kafka.admin().unwrap();
    admin.create_topic(&topic, 4, 1, &[]).unwrap();

    let client = Client::kafka([kafka.bootstrap()]).build().unwrap();
    for n in 0..EVENTS {
        let name = if n % 2 == 0 { "single" } else { "batched" };
        let event = Publish::new(&topic, name)
            .id(format!("id-{n}"))
            .key(format!("player-{}", n % 50));
        // Every tenth is there twice, as after a relay was killed.
        for _ in 0..if n % 10 < 2 { 2 } else { 1 } {
            drop(client.publish(event.clone()).await.unwrap());
        }
    }
    client.flush(WITHIN).await.unwrap();

    let worker = |group: &str| {
        let program = env::current_exe().unwrap().display().to_string();
        let addresses = format!("{WORKER}={url} {} {topic} {group}", kafka.bootstrap());
        let arguments = [&addresses, &program, "--exact", "--nocapture", NAME].map(str::to_owned);
        let null = File::options().write(true).open("/dev/null").unwrap();
        Guarded::spawn(Path::new("env"), &arguments, None, Stdio::null(), null).unwrap()
    };
    let database = url.rsplit('/').next().unwrap();
    let count = |sql: &str| {
        shared_postgres()
            .sql(database, sql)
            .unwrap()
            .parse::<i64>()
            .unwrap()
    };
    let mut running = worker("first");
    for third in [1, 2] {
        let effects =
            || Ok((count("SELECT count(*) FROM effect") >= EVENTS * third / 3).then_some(()));
        eventually("effects", WITHIN, effects).unwrap();
        // Replacing it kills it.
        running = worker("first");
    }
    let finished = |group: &str| {
        let ends = admin.end_offsets(&topic).unwrap();
        let committed = admin.committed(group, &topic).unwrap();
        let ends = ends
            .into_iter()
            .map(|(_, end)| Some(end))
            .collect::<Vec<_>>();
        Ok((committed == ends).then_some(()))
    };
    eventually("the group to be done", WITHIN, || finished(".first")).unwrap();
    drop(running);
    let calls = count("SELECT count(*) FROM call");
    // The whole topic again, as for a group that is moved back to the head.
    let again = worker("again");
    eventually("the rewound group to be done", WITHIN, || {
        finished(".again")
    })
    .unwrap();
    drop(again);

    assert_eq!(count("SELECT count(*) FROM effect"), EVENTS);
    assert_eq!(count("SELECT count(DISTINCT event_id) FROM effect"), EVENTS);
    assert_eq!(
        count("SELECT count(*) FROM effect WHERE kind = 'batched'"),
        EVENTS / 2
    );
    let all = count("SELECT count(*) FROM call");
    assert!(
        calls >= EVENTS * 6 / 5 && all >= 2 * EVENTS * 6 / 5,
        "{calls}, then {all} calls"
    );
    println!(
        "{EVENTS} events, {} records, {all} calls, {EVENTS} effects",
        EVENTS * 6 / 5
    );
}

async fn work(addresses: &str) {
    let words: Vec<_> = addresses.split(' ').collect();
    let [url, brokers, topic, group] = words[..] else {
        panic!("{addresses}");
    };
    let pool = PgPoolOptions::new()
        .max_connections(8)
        .connect(url)
        .await
        .unwrap();
    let config = BrokerConfig::default().session_timeout(Duration::from_secs(6));
    let client = Client::kafka([brokers]).config(config).build().unwrap();
    let subscribe = Subscribe::new(topic)
        .group_id(group)
        .offset(StartOffset::Head)
        .concurrency(Concurrency::PerKey(8))
        .state((pool, Inbox::new("inventory")))
        .on("single", one)
        .on_batch(
            "batched",
            Batch::up_to(50).within(Duration::from_millis(50)),
            several,
        );
    let subscription = client.register(subscribe).await.unwrap();
    std::future::pending::<()>().await;
    drop(subscription);
}

/// Effects outside the transaction are repeated.
async fn call(pool: &PgPool, ids: &[&str]) -> sqlx::Result<()> {
    let insert = sqlx::query("INSERT INTO call SELECT unnest($1::text[])").bind(ids);
    insert.execute(pool).await.map(drop)
}

async fn one(event: Event, State((pool, inbox)): State<App>) -> anyhow::Result<()> {
    call(&pool, &[event.id()]).await?;
    let mut tx = pool.begin().await?;
    if inbox.once(&mut tx, &event).await? == Seen::Never {
        sqlx::query("INSERT INTO effect VALUES ($1, 'single')")
            .bind(event.id())
            .execute(&mut *tx)
            .await?;
    }
    tx.commit().await?;
    Ok(())
}

async fn several(events: Vec<Event>, State((pool, inbox)): State<App>) -> anyhow::Result<()> {
    call(&pool, &events.iter().map(Event::id).collect::<Vec<_>>()).await?;
    let mut tx = pool.begin().await?;
    let seen = inbox.once_each(&mut tx, &events).await?;
    let new = events.iter().zip(seen).filter(|(_, seen)| seen.is_new());
    let ids: Vec<_> = new.map(|(event, _)| event.id()).collect();
    let insert = sqlx::query("INSERT INTO effect SELECT unnest($1::text[]), 'batched'").bind(ids);
    insert.execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(())
}
