//! A purse that each event fills once, although events arrive twice.
//!
//! `DATABASE_URL` is a PostgreSQL; the broker runs inside the process.

use eventstream::{Client, Context, Event, Publish, StartOffset, State, Subscribe};
use eventstream_inbox::{Inbox, Seen};
use sqlx::PgPool;

#[derive(Clone)]
struct App {
    pool: PgPool,
    inbox: Inbox,
    handled: tokio::sync::mpsc::UnboundedSender<Seen>,
}

async fn coins_earned(event: Event, State(app): State<App>, cx: Context) -> anyhow::Result<()> {
    let mut tx = app.pool.begin().await?;
    let seen = app.inbox.once(&mut tx, &event).await?;
    if seen == Seen::Never {
        sqlx::query("UPDATE purse SET coins = coins + 10")
            .execute(&mut *tx)
            .await?;
    }
    tx.commit().await?;
    // Whatever ends the worker from here on, the event is delivered again.
    anyhow::ensure!(cx.attempt() > 1, "the answer is lost");
    app.handled.send(seen)?;
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let pool = PgPool::connect(&std::env::var("DATABASE_URL")?).await?;
    eventstream_inbox::migrate(&pool).await?;
    let purse = "CREATE TABLE IF NOT EXISTS purse (coins bigint); DELETE FROM purse; INSERT INTO purse VALUES (0)";
    sqlx::raw_sql(purse).execute(&pool).await?;

    let client = Client::embedded().build()?;
    let event = Publish::new("purse", "coinsEarned").id("sale-1");
    client.publish_sync(event.clone()).await?;
    client.publish_sync(event).await?; // as after a publisher that was killed

    let (handled, mut outcomes) = tokio::sync::mpsc::unbounded_channel();
    let app = App {
        pool: pool.clone(),
        inbox: Inbox::new("inventory"),
        handled,
    };
    let subscribe = Subscribe::new("purse")
        .group_id("inventory")
        .offset(StartOffset::Head)
        .state(app)
        .on("coinsEarned", coins_earned);
    let _subscription = client.register(subscribe).await?;
    for _ in 0..2 {
        println!("seen: {:?}", outcomes.recv().await);
    }
    let coins: i64 = sqlx::query_scalar("SELECT coins FROM purse")
        .fetch_one(&pool)
        .await?;
    println!("{coins} coins");
    Ok(())
}
