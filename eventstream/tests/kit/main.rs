//! The test kit: the recorder, the broker that knows what is done, and each of its faults.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod faults;
mod publisher;
mod recorder;
mod settling;

use eventstream::{EventType, Publish};
use futures_util::FutureExt;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, EventType, PartialEq, Debug)]
#[event(topic = "player", name = "levelUp", key = player)]
struct LevelUp {
    player: String,
    level: u32,
}

fn up(level: u32) -> Publish {
    let player = "player-7".to_owned();
    Publish::of(&LevelUp { player, level })
}

/// The message of the panic that this must end with.
async fn panic_of<T>(future: impl Future<Output = T>) -> String {
    let caught = std::panic::AssertUnwindSafe(future).catch_unwind().await;
    let panic = caught.err().expect("a panic");
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => (*panic.downcast::<&str>().unwrap()).to_owned(),
    }
}
