//! A handler tested without a broker: what it takes from its event and its state, and what becomes of the event.
//!
//! In a service the functions of `main` are `#[tokio::test]`s.

use std::collections::HashMap;
use std::sync::Arc;

use eventstream::testing::Consumed;
use eventstream::{Context, EventType, Payload, Publish, Reject, State};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

#[derive(Serialize, Deserialize, EventType)]
#[event(topic = "purse", name = "coinsSpent", key = player)]
struct CoinsSpent {
    player: String,
    coins: u64,
}

type Purses = Arc<Mutex<HashMap<String, u64>>>;

/// The handler under test.
async fn spent(
    Payload(spent): Payload<CoinsSpent>,
    State(purses): State<Purses>,
    context: Context,
) -> anyhow::Result<()> {
    let mut purses = purses.lock().await;
    let purse = purses.get_mut(&spent.player);
    let purse = purse.ok_or_else(|| Reject::new("no such player"))?;
    let left = purse.checked_sub(spent.coins);
    *purse =
        left.ok_or_else(|| anyhow::anyhow!("attempt {}: only {purse} coins", context.attempt()))?;
    Ok(())
}

fn event(player: &str, coins: u64) -> Publish {
    let player = player.to_owned();
    Publish::of(&CoinsSpent { player, coins })
}

fn purses() -> Purses {
    Arc::new(Mutex::new(HashMap::from([("player-7".to_owned(), 100)])))
}

async fn coins_are_spent() {
    let purses = purses();
    let event = Consumed::new(event("player-7", 30)).state(Arc::clone(&purses));
    event.call(spent).await.expect_handled();
    assert_eq!(purses.lock().await["player-7"], 70);
}

async fn a_purse_that_is_too_small_may_be_filled_by_the_next_attempt() {
    let event = Consumed::new(event("player-7", 500))
        .attempt(3)
        .state(purses());
    let error = event.call(spent).await.expect_failed();
    assert_eq!(error.to_string(), "attempt 3: only 100 coins");
}

async fn a_player_who_does_not_exist_is_rejected() {
    let event = Consumed::new(event("nobody", 1)).state(purses());
    let reason = event.call(spent).await.expect_rejected();
    assert_eq!(reason.to_string(), "no such player");
}

async fn a_payload_that_does_not_fit_is_rejected() {
    let event = Publish::new("purse", "coinsSpent").payload(serde_json::json!({"coins": -1}));
    let reason = Consumed::new(event)
        .state(purses())
        .call(spent)
        .await
        .expect_rejected();
    println!("{reason}");
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    coins_are_spent().await;
    a_purse_that_is_too_small_may_be_filled_by_the_next_attempt().await;
    a_player_who_does_not_exist_is_rejected().await;
    a_payload_that_does_not_fit_is_rejected().await;
    println!("4 tests passed");
}
