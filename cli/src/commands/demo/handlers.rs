//! The services that consume.

use std::time::Duration;

use eventstream::{Backoff, Context, Event, RawRecord, Retry, StartOffset, Subscribe};
use tokio::sync::mpsc::UnboundedSender;

use super::ledger::Happened;
use super::samples::{HARD_QUEST, NO_ITEM};
use super::{AUDIT, DEAD_LETTERS, MATCH, PLAYER};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Pays for levels, quests and items. Three names of one topic, in one registration.
pub(super) fn rewards(happened: UnboundedSender<Happened>) -> Subscribe {
    let (letters, levels, quests, items) = (
        happened.clone(),
        happened.clone(),
        happened.clone(),
        happened,
    );
    Subscribe::new(PLAYER)
        .group_id("rewards")
        .offset(StartOffset::Head)
        .retry(Retry::attempts(5).backoff(Backoff::default().initial(Duration::from_millis(100))))
        .send_error_dlq(true)
        .on_dead_letter(move |letter| tell(&letters, Happened::dead_lettered(&letter)))
        .on("levelUp", move |context: Context, event: Event| {
            let happened = levels.clone();
            async move {
                tell(&happened, Happened::handled("rewards", &context, &event));
                Ok::<_, BoxError>(())
            }
        })
        .on("questDone", move |context: Context, event: Event| {
            let happened = quests.clone();
            async move {
                if text(&event, "quest") == HARD_QUEST && context.attempt() < 3 {
                    let reason = "the bank does not answer";
                    tell(&happened, Happened::failed(&context, &event, reason));
                    return Err(BoxError::from(reason));
                }
                tell(&happened, Happened::handled("rewards", &context, &event));
                Ok(())
            }
        })
        .on("itemBought", move |context: Context, event: Event| {
            let happened = items.clone();
            async move {
                let item = text(&event, "item");
                if item == NO_ITEM {
                    let reason = format!("nobody sells a {item}");
                    tell(&happened, Happened::rejected(&context, &event, &reason));
                    // No attempt will mend that: straight to the dead letters.
                    return Err(BoxError::from(context.dead_letter(reason)));
                }
                tell(&happened, Happened::handled("rewards", &context, &event));
                Ok(())
            }
        })
}

/// Takes every event of its topic.
pub(super) fn analytics(happened: UnboundedSender<Happened>) -> Subscribe {
    Subscribe::new(MATCH)
        .group_id("analytics")
        .offset(StartOffset::Head)
        .callback(move |context: Context, event: Event| {
            let happened = happened.clone();
            async move {
                tell(&happened, Happened::handled("analytics", &context, &event));
                Ok::<_, BoxError>(())
            }
        })
}

/// Reads the dead letters.
pub(super) fn support(happened: UnboundedSender<Happened>) -> Subscribe {
    Subscribe::new(DEAD_LETTERS)
        .group_id("support")
        .offset(StartOffset::Head)
        .callback(move |context: Context, event: Event| {
            let happened = happened.clone();
            async move {
                tell(&happened, Happened::letter_read(&context, &event));
                Ok::<_, BoxError>(())
            }
        })
}

/// Reads the audit logs, which are no events.
pub(super) fn compliance(happened: UnboundedSender<Happened>) -> Subscribe {
    Subscribe::new(AUDIT)
        .group_id("compliance")
        .offset(StartOffset::Head)
        .callback_raw(move |context: Context, record: RawRecord| {
            let happened = happened.clone();
            async move {
                tell(&happened, Happened::audit_read(&context, &record)?);
                Ok::<_, BoxError>(())
            }
        })
}

/// When the demo has given up, nobody listens.
fn tell(happened: &UnboundedSender<Happened>, what: Happened) {
    let _ = happened.send(what);
}

/// A text of the payload; empty where there is none.
fn text(event: &Event, name: &str) -> String {
    let value = event.payload().get(name);
    value
        .and_then(|value| value.decode().ok())
        .unwrap_or_default()
}
