#![deny(unused_must_use)]

use eventstream::{Events, PulledEvent};

async fn next(events: &mut Events) -> PulledEvent {
    match events.next().await {
        Some(event) => event,
        None => std::process::exit(0),
    }
}

async fn pull(events: &mut Events) {
    next(events).await;
}

fn main() {
    let _ = pull;
}
