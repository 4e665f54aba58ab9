//! Events pulled from a stream, each acknowledged, retried or rejected by hand.

use std::time::Duration;

use eventstream::{Client, Publish, StartOffset, Subscribe};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct LevelUp {
    level: u32,
}

#[tokio::main]
async fn main() -> eventstream::Result<()> {
    let client = Client::embedded().prefix("dev").build()?;
    for level in [7, 8, 900] {
        let event = Publish::new("player", "levelUp").key("player-7");
        client
            .publish_sync(event.payload(LevelUp { level }))
            .await?;
    }
    let misfit = Publish::new("player", "levelUp").key("player-7");
    client
        .publish_sync(misfit.payload(serde_json::json!({ "level": "nine" })))
        .await?;

    let subscribe = Subscribe::new("player")
        .events(["levelUp"])
        .group_id("levels")
        .offset(StartOffset::Head)
        .handler_timeout(Duration::from_secs(30))
        .on_dead_letter(|letter| println!("dead letter: {}", letter.error()));
    let mut events = client.consume(subscribe).await?;

    let mut left = 4;
    while left > 0 {
        let Some(event) = events.next().await else {
            break;
        };
        let attempt = event.context().attempt();
        match event.payload::<LevelUp>() {
            Ok(up) if up.level == 8 && attempt == 1 => {
                println!("level 8: later");
                event.retry("the database is away");
                continue;
            }
            Ok(up) if up.level > 100 => event.reject("no such level"),
            Ok(up) => {
                println!("level {} at attempt {attempt}", up.level);
                event.ack()
            }
            Err(misfit) => event.reject(misfit),
        };
        left -= 1;
    }

    events.stop(Duration::from_secs(10)).await?;
    client.shutdown(Duration::from_secs(10)).await;
    Ok(())
}
