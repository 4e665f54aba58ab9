//! Rows written by the batch: up to 500 at once, or what has come within a second.
//!
//! `cargo run --example batch --features derive`

use std::error::Error;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use eventstream::{Batch, BatchResult, Client, Concurrency, EventType, Key, Payload, Publish};
use eventstream::{StartOffset, State, Subscribe};
use tokio::sync::watch;

#[derive(serde::Serialize, serde::Deserialize, EventType)]
#[event(topic = "matches", name = "matchEnded")]
struct MatchEnded {
    score: u32,
}

/// The table of a warehouse; counts its rows and the inserts that wrote them.
#[derive(Clone)]
struct Warehouse {
    table: Arc<Mutex<Vec<(String, u32)>>>,
    inserts: Arc<watch::Sender<(usize, usize)>>,
}

impl Warehouse {
    fn new() -> Self {
        Self {
            table: Arc::default(),
            inserts: Arc::new(watch::Sender::new((0, 0))),
        }
    }

    /// One statement, whatever the number of rows.
    async fn insert(&self, rows: impl Iterator<Item = (String, u32)>) {
        let rows_now = {
            let mut table = self.table.lock().expect("a lock");
            table.extend(rows);
            table.len()
        };
        self.inserts
            .send_modify(|(rows, inserts)| (*rows, *inserts) = (rows_now, *inserts + 1));
    }
}

async fn write_all(
    matches: Vec<(Key<String>, Payload<MatchEnded>)>,
    State(warehouse): State<Warehouse>,
) -> BatchResult {
    let mut result = BatchResult::handled();
    let mut rows = Vec::new();
    for (position, (Key(player), Payload(ended))) in matches.into_iter().enumerate() {
        if ended.score > 1_000 {
            result.reject(position, "no match ends so high");
        } else {
            rows.push((player, ended.score));
        }
    }
    warehouse.insert(rows.into_iter()).await;
    result
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    for keys in [1, 5_000] {
        let client = Client::embedded().build()?;
        for n in 0..5_000 {
            let ended = MatchEnded { score: n % 1_000 };
            let player = format!("player-{}", n % keys);
            let _receipt = client.publish(Publish::of(&ended).key(player)).await?;
        }
        client.flush(Duration::from_secs(30)).await?;

        let warehouse = Warehouse::new();
        let mut written = warehouse.inserts.subscribe();
        let batch = Batch::up_to(500).within(Duration::from_secs(1));
        let subscribe = Subscribe::to::<MatchEnded>()
            .group_id("warehouse")
            .offset(StartOffset::Head)
            .concurrency(Concurrency::PerKey(4))
            .dead_letters(true)
            .state(warehouse)
            .on_batch("matchEnded", batch, write_all);
        let subscription = client.register(subscribe).await?;
        let (rows, inserts) = *written.wait_for(|(rows, _)| *rows == 5_000).await?;
        println!("{keys} keys: {rows} rows in {inserts} inserts");
        subscription.stop(Duration::from_secs(10)).await?;
        client.shutdown(Duration::from_secs(10)).await;
    }
    Ok(())
}
