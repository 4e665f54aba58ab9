use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use eventstream::{Client, EventType, Payload, State, Subscribe, Subscription};
use serde::{Deserialize, Serialize};

#[derive(Debug, PartialEq, Serialize, Deserialize, EventType)]
#[event(topic = "userAuthentication", name = "userLoggedIn", key = player_id)]
pub struct LoggedIn {
    pub player_id: String,
    pub platform: String,
}

/// Stands for a database.
#[derive(Clone, Default)]
pub struct Db(Arc<Mutex<BTreeSet<String>>>);

impl Db {
    fn insert(&self, player: &str) -> Result<(), String> {
        let mut players = self.0.lock().map_err(|error| error.to_string())?;
        players.insert(player.to_owned());
        Ok(())
    }
}

async fn greet(Payload(login): Payload<LoggedIn>, State(db): State<Db>) -> Result<(), String> {
    db.insert(&login.player_id)?;
    println!("Hello, {}!", login.player_id);
    Ok(())
}

pub async fn start(client: &Client, db: Db) -> eventstream::Result<Subscription> {
    let subscribe = Subscribe::to::<LoggedIn>()
        .group_id("greeter")
        .state(db)
        .on_event(greet);
    client.register(subscribe).await
}
