//! The consuming services.

use std::time::Duration;

use eventstream::{
    Backoff, Context, Event, RawRecord, Reject, Retry, StartOffset, State, Subscribe,
};
use tokio::sync::mpsc::UnboundedSender;

use super::ledger::Happened;
use super::samples::{HARD_QUEST, NO_ITEM};
use super::{AUDIT, DEAD_LETTERS, MATCH, PLAYER};

type Log = UnboundedSender<Happened>;

/// Pays for levels, quests and items: three names of one topic in one registration.
pub(super) fn rewards(happened: Log) -> Subscribe<Log> {
    let letters = happened.clone();
    Subscribe::new(PLAYER)
        .group_id("rewards")
        .offset(StartOffset::Head)
        .retry(Retry::attempts(5).backoff(Backoff::default().initial(Duration::from_millis(100))))
        .dead_letters(true)
        .on_dead_letter(move |letter| tell(&letters, Happened::dead_lettered(&letter)))
        .state(happened)
        .on("levelUp", level_up)
        .on("questDone", quest_done)
        .on("itemBought", item_bought)
}

async fn level_up(event: Event, context: Context, State(happened): State<Log>) {
    tell(&happened, Happened::handled("rewards", &context, &event));
}

async fn quest_done(
    event: Event,
    context: Context,
    State(happened): State<Log>,
) -> Result<(), String> {
    if text(&event, "quest") == HARD_QUEST && context.attempt() < 3 {
        let reason = "bank: connection refused";
        tell(&happened, Happened::failed(&context, &event, reason));
        return Err(reason.to_owned());
    }
    tell(&happened, Happened::handled("rewards", &context, &event));
    Ok(())
}

async fn item_bought(
    event: Event,
    context: Context,
    State(happened): State<Log>,
) -> Result<(), Reject> {
    let item = text(&event, "item");
    if item == NO_ITEM {
        let reason = format!("nobody sells a {item}");
        tell(&happened, Happened::rejected(&context, &event, &reason));
        // No retry can fix that, so the event is dead-lettered at once.
        return Err(Reject::new(reason));
    }
    tell(&happened, Happened::handled("rewards", &context, &event));
    Ok(())
}

/// Handles every event of its topic.
pub(super) fn analytics(happened: Log) -> Subscribe<Log> {
    let handler = async |event: Event, context: Context, State(happened): State<Log>| {
        tell(&happened, Happened::handled("analytics", &context, &event));
    };
    Subscribe::new(MATCH)
        .group_id("analytics")
        .offset(StartOffset::Head)
        .state(happened)
        .on_any(handler)
}

/// Reads the dead letters.
pub(super) fn support(happened: Log) -> Subscribe<Log> {
    let handler = async |event: Event, context: Context, State(happened): State<Log>| {
        tell(&happened, Happened::letter_read(&context, &event));
    };
    Subscribe::new(DEAD_LETTERS)
        .group_id("support")
        .offset(StartOffset::Head)
        .state(happened)
        .on_any(handler)
}

/// Reads the audit logs, which are not events.
pub(super) fn compliance(happened: Log) -> Subscribe<Log> {
    let handler = async |record: RawRecord, context: Context, State(happened): State<Log>| {
        let read = Happened::audit_read(&context, &record);
        read.map(|read| tell(&happened, read))
    };
    Subscribe::new(AUDIT)
        .group_id("compliance")
        .offset(StartOffset::Head)
        .state(happened)
        .on_any(handler)
}

/// The receiver is gone once the demo has given up.
fn tell(happened: &Log, what: Happened) {
    let _ = happened.send(what);
}

/// A string of the payload; empty if it is missing.
fn text(event: &Event, name: &str) -> String {
    let value = event.payload().get(name);
    value
        .and_then(|value| value.decode().ok())
        .unwrap_or_default()
}
