//! The inbox on a real PostgreSQL.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use eventstream::testing::TestBroker;
use eventstream::{Event, Publish, Retry, StartOffset, State, Subscribe};
use eventstream_harness::shared_postgres;
use eventstream_inbox::{ErrorKind, Inbox, Seen};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

const WITHIN: Duration = Duration::from_secs(60);

async fn database(test: &str) -> PgPool {
    let pool = empty_database(test).await;
    eventstream_inbox::migrate(&pool).await.unwrap();
    sqlx::raw_sql("CREATE TABLE effect (event_id text)")
        .execute(&pool)
        .await
        .unwrap();
    pool
}

async fn empty_database(test: &str) -> PgPool {
    let url = shared_postgres().create_database(test).unwrap();
    PgPoolOptions::new()
        .acquire_timeout(WITHIN)
        .connect(&url)
        .await
        .unwrap()
}

fn event(id: &str) -> Event {
    Event::decode(format!(r#"{{"id":"{id}","name":"coinsEarned"}}"#)).unwrap()
}

async fn effects(pool: &PgPool) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM effect")
        .fetch_one(pool)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_new_until_the_transaction_that_recorded_it_has_committed() {
    let pool = database("new_until_committed").await;
    let inbox = Inbox::new("inventory");
    let mut tx = pool.begin().await.unwrap();
    assert_eq!(inbox.once(&mut tx, &event("1")).await.unwrap(), Seen::Never);
    assert_eq!(
        inbox.once(&mut tx, &event("1")).await.unwrap(),
        Seen::Before
    );
    tx.rollback().await.unwrap();
    let mut tx = pool.begin().await.unwrap();
    assert!(inbox.once(&mut tx, &event("1")).await.unwrap().is_new());
    tx.commit().await.unwrap();
    let mut tx = pool.begin().await.unwrap();
    assert_eq!(
        inbox.once(&mut tx, &event("1")).await.unwrap(),
        Seen::Before
    );
    assert_eq!(
        Inbox::new("other")
            .once(&mut tx, &event("1"))
            .await
            .unwrap(),
        Seen::Never
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_handlers_of_one_event_the_second_waits_for_the_end_of_the_first() {
    let pool = database("second_waits").await;
    for commit in [false, true] {
        let inbox = Inbox::new(format!("group-{commit}"));
        let mut first = pool.begin().await.unwrap();
        assert_eq!(
            inbox.once(&mut first, &event("1")).await.unwrap(),
            Seen::Never
        );
        let second = tokio::spawn({
            let (pool, inbox) = (pool.clone(), inbox.clone());
            async move {
                inbox
                    .once(&mut pool.begin().await.unwrap(), &event("1"))
                    .await
                    .unwrap()
            }
        });
        let waits = "SELECT EXISTS (SELECT FROM pg_stat_activity \
                     WHERE datname = current_database() AND wait_event_type = 'Lock')";
        let deadline = tokio::time::Instant::now() + WITHIN;
        while !sqlx::query_scalar::<_, bool>(waits)
            .fetch_one(&pool)
            .await
            .unwrap()
        {
            assert!(tokio::time::Instant::now() < deadline && !second.is_finished());
        }
        if commit {
            first.commit().await.unwrap();
        } else {
            first.rollback().await.unwrap();
        }
        assert_eq!(second.await.unwrap().is_new(), !commit);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_answered_in_its_order_with_repeats_in_it() {
    let pool = database("batches").await;
    let inbox = Inbox::new("inventory");
    let mut tx = pool.begin().await.unwrap();
    assert!(
        inbox
            .once_each(&mut tx, Vec::<Event>::new())
            .await
            .unwrap()
            .is_empty()
    );
    inbox
        .once(&mut tx, &event("2"))
        .await
        .unwrap()
        .is_new()
        .then_some(())
        .unwrap();
    let events = ["3", "2", "1", "3"].map(event);
    let seen = inbox.once_each(&mut tx, &events).await.unwrap();
    assert_eq!(seen, [Seen::Never, Seen::Before, Seen::Never, Seen::Before]);
    tx.commit().await.unwrap();
    let mut tx = pool.begin().await.unwrap();
    let nameless = inbox
        .once_each(&mut tx, [event("4"), event("")])
        .await
        .unwrap_err();
    assert_eq!(nameless.kind(), ErrorKind::NoId);
    assert_eq!(
        inbox.once(&mut tx, &event("4")).await.unwrap(),
        Seen::Never,
        "the transaction goes on"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_old_is_forgotten_for_the_group_alone() {
    let pool = database("retain").await;
    let (ours, other) = (Inbox::new("ours"), Inbox::new("other"));
    let mut tx = pool.begin().await.unwrap();
    for inbox in [&ours, &other] {
        let seen = inbox
            .once_each(&mut tx, ["old", "new"].map(event))
            .await
            .unwrap();
        assert!(seen.iter().all(|seen| seen.is_new()));
    }
    let age = "UPDATE eventstream_inbox SET handled_at = now() - interval '2 hours' WHERE event_id = 'old'";
    sqlx::query(age).execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(
        ours.retain(&pool, Duration::from_secs(3600)).await.unwrap(),
        1
    );
    let mut tx = pool.begin().await.unwrap();
    let seen = ours
        .once_each(&mut tx, ["old", "new"].map(event))
        .await
        .unwrap();
    assert_eq!(seen, [Seen::Never, Seen::Before]);
    assert_eq!(
        other.once(&mut tx, &event("old")).await.unwrap(),
        Seen::Before
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_table_is_told_with_what_to_run() {
    let pool = empty_database("no_inbox").await;
    let mut tx = pool.begin().await.unwrap();
    let error = Inbox::new("g")
        .once(&mut tx, &event("1"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotMigrated);
    assert!(
        error.to_string().contains("eventstream_inbox::migrate"),
        "{error}"
    );
    drop(tx);
    let (one, other) = tokio::join!(
        eventstream_inbox::migrate(&pool),
        eventstream_inbox::migrate(&pool)
    );
    one.and(other).unwrap();
    let mut tx = pool.begin().await.unwrap();
    assert!(
        Inbox::new("g")
            .once(&mut tx, &event("1"))
            .await
            .unwrap()
            .is_new()
    );
}

/// Its effects are committed, and then it fails: it is called again for what it has done.
async fn fails_after_its_commit(
    event: Event,
    State((pool, inbox)): State<(PgPool, Inbox)>,
) -> anyhow::Result<()> {
    let mut tx = pool.begin().await?;
    if inbox.once(&mut tx, &event).await? == Seen::Before {
        return Ok(());
    }
    sqlx::query("INSERT INTO effect VALUES ($1)")
        .bind(event.id())
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    anyhow::bail!("the answer is lost")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_after_the_commit_and_a_record_that_is_there_twice_have_no_second_effect() {
    let pool = database("attempts").await;
    let broker = TestBroker::start().topic("purse", 1);
    let retry =
        Retry::forever().backoff(eventstream::Backoff::default().initial(Duration::from_millis(1)));
    let subscribe = Subscribe::new("purse")
        .group_id("inventory")
        .offset(StartOffset::Head)
        .retry(retry)
        .state((pool.clone(), Inbox::new("inventory")))
        .on("coinsEarned", fails_after_its_commit);
    let _subscription = broker.client().register(subscribe).await.unwrap();
    for n in 0..20 {
        broker
            .publish(Publish::new("purse", "coinsEarned").id(format!("id-{}", n % 10)))
            .await;
    }
    broker.settled().await;
    assert_eq!(effects(&pool).await, 10);
}
