//! The Rust code of the guide. Each page is the documentation of a module, so that its blocks are doctests; what they
//! share stands here.

use std::time::SystemTime;

use eventstream::EventType;
use serde::{Deserialize, Serialize};

/// Makes a module of each page, for rustdoc's tests alone.
macro_rules! pages {
    ($($page:ident = $file:literal;)*) => {
        $(
            #[cfg(doctest)]
            #[doc = include_str!(concat!("src/", $file))]
            pub mod $page {}
        )*
    };
}

pages! {
    introduction = "introduction.md";
    getting_started = "getting-started.md";
    concepts = "concepts.md";
    publishing = "publishing.md";
    handling = "handling.md";
    ordering = "ordering.md";
    retries = "retries.md";
    batches = "batches.md";
    pulling = "pulling.md";
    guarantees = "guarantees.md";
    exactly_once = "exactly-once.md";
    testing = "testing.md";
    operations = "operations.md";
    doctor = "doctor.md";
    security = "security.md";
    tuning = "tuning.md";
    builds = "builds.md";
    configuration = "configuration.md";
    other_tools = "other-tools.md";
    from_go = "from-go.md";
    from_rdkafka = "from-rdkafka.md";
    faq = "faq.md";
}

/// The same for the pages that the published crates show.
macro_rules! readmes {
    ($($crate_name:ident: $file:literal;)*) => {
        $(
            #[cfg(doctest)]
            #[doc = include_str!($file)]
            pub mod $crate_name {}
        )*
    };
}

readmes! {
    readme_of_derive: "../../derive/README.md";
    readme_of_eventstream: "../../eventstream/README.md";
    readme_of_inbox: "../../inbox/README.md";
    readme_of_outbox: "../../outbox/README.md";
}

#[expect(
    missing_docs,
    reason = "it is the package that a page builds, and stands there as it is here"
)]
pub mod greeter;

/// Somebody logged in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, EventType)]
#[event(topic = "userAuthentication", name = "userLoggedIn", key = player_id)]
pub struct LoggedIn {
    /// The player.
    pub player_id: String,
    /// Where: `steam`.
    pub platform: String,
}

/// A player has reached a level.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, EventType)]
#[event(topic = "player", name = "levelUp", key = player_id)]
pub struct LevelUp {
    /// The player.
    pub player_id: String,
    /// The new level.
    pub level: u32,
}

/// Stands for a database.
#[derive(Clone, Debug, Default)]
pub struct Db;

/// An error of [`Db`].
#[derive(Debug)]
pub struct DbError;

impl std::fmt::Display for DbError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the database is unavailable")
    }
}

impl std::error::Error for DbError {}

impl Db {
    /// Writes a row.
    ///
    /// # Errors
    ///
    /// Never.
    pub async fn insert(&self, _: &impl Serialize, _: Option<SystemTime>) -> Result<(), DbError> {
        Ok(())
    }

    /// Writes several.
    ///
    /// # Errors
    ///
    /// Never.
    pub async fn insert_all<T>(&self, _: &[T]) -> Result<(), DbError> {
        Ok(())
    }
}

/// A login of the examples.
pub fn login() -> LoggedIn {
    LoggedIn {
        player_id: "player-7".to_owned(),
        platform: "steam".to_owned(),
    }
}
