//! A shop that records a sale and its event in one transaction, and a relay that publishes the
//! event.
//!
//! `DATABASE_URL` is a PostgreSQL; the broker runs inside the process.

use std::time::Duration;

use eventstream::{Client, EventType, Publish};
use eventstream_outbox::{Outbox, Relay};
use serde::Serialize;
use sqlx::PgPool;

#[derive(Serialize)]
struct ItemSold<'a> {
    player: &'a str,
    item: &'a str,
}

impl EventType for ItemSold<'_> {
    const TOPIC: &'static str = "shop";
    const NAME: &'static str = "itemSold";

    fn key(&self) -> Option<std::borrow::Cow<'_, str>> {
        Some(self.player.into())
    }
}

async fn sell(pool: &PgPool, player: &str, item: &str) -> Result<(), Box<dyn std::error::Error>> {
    let mut tx = pool.begin().await?;
    sqlx::query("INSERT INTO sale (player, item) VALUES ($1, $2)")
        .bind(player)
        .bind(item)
        .execute(&mut *tx)
        .await?;
    Outbox::new()
        .enqueue(&mut tx, &Publish::of(&ItemSold { player, item }))
        .await?;
    if item == "moon" {
        return Err("the moon is not for sale".into()); // the transaction is rolled back, with its event
    }
    tx.commit().await?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pool = PgPool::connect(&std::env::var("DATABASE_URL")?).await?;
    eventstream_outbox::migrate(&pool).await?;
    sqlx::query("CREATE TABLE IF NOT EXISTS sale (player text, item text)")
        .execute(&pool)
        .await?;

    let client = Client::embedded().build()?;
    let (told, mut published) = tokio::sync::mpsc::unbounded_channel();
    let relay = Relay::builder(pool.clone(), client)
        .on_published(move |published| drop(told.send(published)))
        .start();

    sell(&pool, "player-7", "sword").await?;
    if let Err(error) = sell(&pool, "player-7", "moon").await {
        println!("{error}");
    }
    sell(&pool, "player-7", "shield").await?;
    for _ in 0..2 {
        if let Some(published) = published.recv().await {
            let event = eventstream::Event::decode(published.event.value())?;
            println!(
                "published at offset {}: {}",
                published.delivery.offset(),
                event.payload().as_str()
            );
        }
    }
    let stopped = relay.stop(Duration::from_secs(10)).await?;
    println!("{} events wait", stopped.depth.waiting);
    Ok(())
}
