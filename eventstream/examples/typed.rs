//! An event with a type of its own, published and handled, on the broker inside the process.

use std::time::Duration;

use eventstream::{Client, EventType, Payload, Publish, StartOffset, Subscribe};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

#[derive(Serialize, Deserialize, EventType)]
#[event(topic = "userAuthentication", name = "userLoggedIn", key = player_id)]
struct LoggedIn {
    player_id: String,
    platform: String,
}

#[tokio::main]
async fn main() -> eventstream::Result<()> {
    // `Client::kafka(["localhost:9092"])` is all that differs for a cluster.
    let client = Client::embedded().prefix("dev").build()?;

    let login = LoggedIn {
        player_id: "player-7".to_owned(),
        platform: "steam".to_owned(),
    };
    let receipt = client
        .publish(Publish::of(&login).namespace("accelbyte"))
        .await?;
    println!("stored at offset {}", receipt.await?.offset());

    let (done, mut handled) = mpsc::unbounded_channel();
    let subscribe = Subscribe::to::<LoggedIn>()
        .group_id("inventory")
        .offset(StartOffset::Head)
        .on_event(move |Payload(login): Payload<LoggedIn>| {
            println!("{} logged in with {}", login.player_id, login.platform);
            let sent = done.send(());
            async move { sent }
        });
    let subscription = client.register(subscribe).await?;
    handled.recv().await;

    subscription.stop(Duration::from_secs(10)).await?;
    client.shutdown(Duration::from_secs(10)).await;
    Ok(())
}
