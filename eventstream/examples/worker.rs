//! A worker with three event names, shared state, errors of its own and of `anyhow`, retries, a
//! timeout and dead letters by name, and a tower layer around all of it.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use eventstream::{
    Backoff, Client, Concurrency, Context, Event, Exhausted, FromRef, Handler as _, Payload,
    Publish, Reject, Retry, StartOffset, State, Subscribe,
};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, mpsc};
use tower_layer::layer_fn;
use tower_service::Service;

/// What the service's handlers share, whole or in parts.
#[derive(Clone, Default)]
struct App {
    purses: Purses,
    audit_from: u64,
}

type Purses = Arc<Mutex<HashMap<String, u64>>>;

impl FromRef<App> for Purses {
    fn from_ref(app: &App) -> Self {
        Arc::clone(&app.purses)
    }
}

#[derive(Serialize, Deserialize)]
struct Coins {
    player: String,
    coins: u64,
}

/// An error of the service's own.
#[derive(Debug)]
enum PurseError {
    TooPoor { has: u64 },
}

impl fmt::Display for PurseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooPoor { has } => write!(f, "the purse holds only {has}"),
        }
    }
}

impl std::error::Error for PurseError {}

/// The first attempt hangs: it is given up after the handler's timeout.
async fn earned(Payload(earned): Payload<Coins>, State(purses): State<Purses>, context: Context) {
    if context.attempt() == 1 {
        std::future::pending::<()>().await;
    }
    *purses.lock().await.entry(earned.player).or_default() += earned.coins;
}

async fn spent(
    Payload(spent): Payload<Coins>,
    State(purses): State<Purses>,
    context: Context,
) -> Result<(), PurseError> {
    let mut purses = purses.lock().await;
    let purse = purses.entry(spent.player).or_default();
    let has = *purse;
    *purse = has.checked_sub(spent.coins).ok_or_else(|| {
        println!("attempt {}: not enough coins", context.attempt());
        PurseError::TooPoor { has }
    })?;
    Ok(())
}

/// A player who does not exist is no matter of another attempt.
async fn closed(event: Event, State(app): State<App>) -> anyhow::Result<()> {
    let mut purses = app.purses.lock().await;
    let coins = purses.remove(event.user_id());
    let coins = coins.ok_or_else(|| Reject::new("no such player"))?;
    anyhow::ensure!(coins < app.audit_from, "an audit comes first");
    Ok(())
}

/// Middleware: says which event is called a second time.
#[derive(Clone)]
struct Watched<S>(S);

impl<S: Service<Context>> Service<Context> for Watched<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, context: Context) -> S::Future {
        if let (Some(event), 2) = (context.event(), context.attempt()) {
            println!("{} at attempt 2", event.name());
        }
        self.0.call(context)
    }
}

#[tokio::main]
async fn main() -> eventstream::Result<()> {
    let client = Client::embedded().prefix("dev").build()?;
    let coins = |name: &str, coins| {
        let player = "player-7".to_owned();
        let payload = Coins { player, coins };
        Publish::new("purse", name).key("player-7").payload(payload)
    };
    for event in [
        coins("coinsEarned", 100),
        coins("coinsSpent", 30),
        coins("coinsSpent", 500),
        Publish::new("purse", "purseClosed")
            .key("player-7")
            .user_id("nobody"),
    ] {
        client.publish_sync(event).await?;
    }

    let app = App {
        audit_from: 1_000_000,
        ..App::default()
    };
    let (letters, mut dead_letters) = mpsc::unbounded_channel();
    let backoff = Backoff::default().initial(Duration::from_millis(50));
    let three = Retry::attempts(3)
        .backoff(backoff)
        .then(Exhausted::DeadLetter);
    let subscribe = Subscribe::new("purse")
        .group_id("purses")
        .offset(StartOffset::Head)
        .concurrency(Concurrency::PerKey(64))
        .handler_timeout(Duration::from_secs(5))
        .retry(Retry::forever().backoff(backoff))
        .on_dead_letter(move |letter| drop(letters.send(letter)))
        .state(app.clone())
        .layer(layer_fn(Watched))
        .on("coinsEarned", earned.timeout(Duration::from_millis(100)))
        .on("coinsSpent", spent.retry(three))
        .on("purseClosed", closed);
    let subscription = client.register(subscribe).await?;
    for _ in 0..2 {
        if let Some(letter) = dead_letters.recv().await {
            println!("{}: {}", letter.reason(), letter.error());
        }
    }

    subscription.stop(Duration::from_secs(10)).await?;
    client.shutdown(Duration::from_secs(10)).await;
    println!("{:?}", app.purses.lock().await);
    Ok(())
}
