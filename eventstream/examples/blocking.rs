//! Publishing and handling in a program without an async runtime.

use std::sync::mpsc;
use std::time::Duration;

use eventstream::blocking::handler;
use eventstream::{Client, Event, Publish, StartOffset, Subscribe};

fn main() -> eventstream::Result<()> {
    let client = Client::embedded().prefix("dev").build_blocking()?;
    let delivery = client.publish_sync(Publish::new("player", "levelUp").user_id("player-7"))?;
    println!("stored at offset {}", delivery.offset());

    let (done, handled) = mpsc::channel();
    let subscribe = Subscribe::new("player")
        .group_id("levels")
        .offset(StartOffset::Head)
        .on(
            "levelUp",
            handler(move |event: Event| done.send(event.user_id().to_owned())),
        );
    let subscription = client.register(subscribe)?;
    println!(
        "{} has a new level",
        handled.recv().expect("the client lives")
    );

    subscription.stop(Duration::from_secs(10))?;
    client.shutdown(Duration::from_secs(10));
    Ok(())
}
