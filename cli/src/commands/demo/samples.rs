//! The events of the game.

use eventstream::Publish;
use serde_json::value::RawValue;

use super::{MATCH, PLAYER};

/// An event of the game.
pub(super) struct Sample {
    pub(super) topic: &'static str,
    pub(super) name: &'static str,
    pub(super) key: &'static str,
    /// A JSON object.
    pub(super) payload: &'static str,
    /// Its expected outcome.
    pub(super) fate: Fate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Handled,
    /// Handled at the third attempt.
    Retried,
    DeadLettered,
    /// There is no handler for its name.
    Unmatched,
}

impl Sample {
    const fn new(
        topic: &'static str,
        name: &'static str,
        key: &'static str,
        payload: &'static str,
        fate: Fate,
    ) -> Self {
        Self {
            topic,
            name,
            key,
            payload,
            fate,
        }
    }

    pub(super) fn event(&self) -> Publish {
        let payload: &RawValue =
            serde_json::from_str(self.payload).expect("a literal that is valid JSON");
        Publish::new(self.topic, self.name)
            .namespace("demo")
            .key(self.key)
            .payload(payload)
    }
}

/// The quest whose reward is paid only at the third attempt.
pub(super) const HARD_QUEST: &str = "dragon";
/// The item that is not for sale.
pub(super) const NO_ITEM: &str = "flying pig";

pub(super) const EVENTS: &[Sample] = &[
    Sample::new(PLAYER, "levelUp", "ann", r#"{"level":2}"#, Fate::Handled),
    Sample::new(
        PLAYER,
        "questDone",
        "ann",
        r#"{"quest":"wolves","gold":50}"#,
        Fate::Handled,
    ),
    Sample::new(
        PLAYER,
        "itemBought",
        "ben",
        r#"{"item":"sword","gold":120}"#,
        Fate::Handled,
    ),
    Sample::new(
        PLAYER,
        "playerMoved",
        "cem",
        r#"{"x":17,"y":-4}"#,
        Fate::Unmatched,
    ),
    Sample::new(
        PLAYER,
        "questDone",
        "cem",
        r#"{"quest":"dragon","gold":900}"#,
        Fate::Retried,
    ),
    Sample::new(
        PLAYER,
        "questDone",
        "cem",
        r#"{"quest":"goblins","gold":30}"#,
        Fate::Handled,
    ),
    Sample::new(
        PLAYER,
        "itemBought",
        "dee",
        r#"{"item":"flying pig","gold":1}"#,
        Fate::DeadLettered,
    ),
    Sample::new(PLAYER, "levelUp", "dee", r#"{"level":5}"#, Fate::Handled),
    Sample::new(
        PLAYER,
        "playerMoved",
        "ann",
        r#"{"x":3,"y":9}"#,
        Fate::Unmatched,
    ),
    Sample::new(
        MATCH,
        "matchFound",
        "match-1",
        r#"{"players":["ann","ben"]}"#,
        Fate::Handled,
    ),
    Sample::new(
        MATCH,
        "matchEnded",
        "match-1",
        r#"{"winner":"ben"}"#,
        Fate::Handled,
    ),
    Sample::new(
        MATCH,
        "matchFound",
        "match-2",
        r#"{"players":["cem","dee"]}"#,
        Fate::Handled,
    ),
];
