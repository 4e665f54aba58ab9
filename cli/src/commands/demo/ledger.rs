//! What happened, and whether that is what was expected.

use std::collections::BTreeMap;
use std::fmt;

use eventstream::{Context, DeadLetter, DeadLetterOrigin, Event, RawRecord};
use serde_json::Value;

use super::samples::{Fate, Sample};

/// One thing that a handler did.
pub(super) struct Happened {
    what: What,
    /// For people.
    text: String,
}

enum What {
    Handled {
        id: String,
        attempt: u32,
    },
    /// A failed attempt, which is retried.
    Failed,
    DeadLettered {
        id: String,
    },
    LetterRead {
        id: String,
    },
    AuditRead,
}

impl fmt::Display for Happened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Happened {
    pub(super) fn handled(group: &str, context: &Context, event: &Event) -> Self {
        let (id, attempt) = (event.id().to_owned(), context.attempt());
        let how = if attempt > 1 {
            format!("handled at attempt {attempt}")
        } else {
            "handled".to_owned()
        };
        Self {
            what: What::Handled { id, attempt },
            text: told(group, context, event, &how),
        }
    }

    pub(super) fn failed(context: &Context, event: &Event, reason: &str) -> Self {
        let attempt = context.attempt();
        let how = format!("attempt {attempt} failed ({reason}), to be retried");
        Self {
            what: What::Failed,
            text: told("rewards", context, event, &how),
        }
    }

    pub(super) fn rejected(context: &Context, event: &Event, reason: &str) -> Self {
        let how = format!("rejected, not retried: {reason}");
        Self {
            what: What::Failed,
            text: told("rewards", context, event, &how),
        }
    }

    pub(super) fn dead_lettered(letter: &DeadLetter) -> Self {
        let (context, place) = (letter.context(), letter.delivery());
        let event = letter.record().decode().ok();
        let name = event.as_ref().map_or("", Event::name);
        let how = format!(
            "dead letter stored at {}/{}@{}; now its offset can advance",
            place.topic(),
            place.partition(),
            place.offset()
        );
        Self {
            what: What::DeadLettered {
                id: event.as_ref().map_or("", Event::id).to_owned(),
            },
            text: row("rewards", name, context, &how),
        }
    }

    pub(super) fn letter_read(context: &Context, event: &Event) -> Self {
        let how = match DeadLetterOrigin::read(context.headers()) {
            Ok(Some(origin)) => format!(
                "read from the dead letters, {}: {}",
                origin.reason(),
                origin.error()
            ),
            Ok(None) => "not a dead letter".to_owned(),
            Err(error) => error.to_string(),
        };
        Self {
            what: What::LetterRead {
                id: event.id().to_owned(),
            },
            text: told("support", context, event, &how),
        }
    }

    pub(super) fn audit_read(
        context: &Context,
        record: &RawRecord,
    ) -> Result<Self, serde_json::Error> {
        let log: Value = serde_json::from_slice(record.value().unwrap_or_default())?;
        let text = |pointer: &str| {
            log.pointer(pointer)
                .map_or_else(String::new, Value::to_string)
        };
        let how = format!(
            "audit log: {} of {} from {} to {}",
            text("/actionName"),
            text("/objectId"),
            text("/payload/diff/before"),
            text("/payload/diff/after")
        );
        Ok(Self {
            what: What::AuditRead,
            text: row("compliance", "", context, &how),
        })
    }
}

fn told(group: &str, context: &Context, event: &Event, how: &str) -> String {
    row(group, event.name(), context, how)
}

fn row(group: &str, name: &str, context: &Context, how: &str) -> String {
    let key = String::from_utf8_lossy(context.key().unwrap_or_default()).into_owned();
    format!("{group:<10} {name:<11} {key:<9} {how}")
}

/// Every published event, and its outcome.
#[derive(Default)]
pub(super) struct Ledger {
    events: BTreeMap<String, Entry>,
    audits: Audits,
    unmatched: u64,
}

struct Entry {
    fate: Fate,
    outcomes: Vec<Fate>,
    letter_read: bool,
}

#[derive(Default)]
struct Audits {
    published: u64,
    read: u64,
}

impl Ledger {
    pub(super) fn published(&mut self, sample: &Sample, id: &str) {
        let entry = Entry {
            fate: sample.fate,
            outcomes: Vec::new(),
            letter_read: false,
        };
        self.events.insert(id.to_owned(), entry);
    }

    pub(super) fn audit_published(&mut self) {
        self.audits.published += 1;
    }

    pub(super) fn unmatched(&mut self, count: u64) {
        self.unmatched = count;
    }

    pub(super) fn enter(&mut self, happened: Happened) {
        match happened.what {
            What::Handled { id, attempt } => {
                let fate = if attempt == 3 {
                    Fate::Retried
                } else {
                    Fate::Handled
                };
                self.outcome(&id, fate);
            }
            What::DeadLettered { id } => self.outcome(&id, Fate::DeadLettered),
            What::LetterRead { id } => {
                if let Some(entry) = self.events.get_mut(&id) {
                    entry.letter_read = true;
                }
            }
            What::AuditRead => self.audits.read += 1,
            What::Failed => {}
        }
    }

    fn outcome(&mut self, id: &str, fate: Fate) {
        if let Some(entry) = self.events.get_mut(id) {
            entry.outcomes.push(fate);
        }
    }

    /// Whether the handlers have done everything expected of them.
    pub(super) fn is_handled(&self) -> bool {
        let done = |entry: &Entry| match entry.fate {
            Fate::Unmatched => entry.outcomes.is_empty(),
            Fate::DeadLettered => entry.letter_read && entry.outcomes == [Fate::DeadLettered],
            fate => entry.outcomes == [fate],
        };
        self.events.values().all(done) && self.audits.read == self.audits.published
    }

    /// Whether every event had the expected outcome, exactly once.
    pub(super) fn is_complete(&self) -> bool {
        self.is_handled()
            && self.unmatched == self.expected(Fate::Unmatched)
            && self.audits.published == 1
    }

    fn expected(&self, fate: Fate) -> u64 {
        self.events.values().filter(|e| e.fate == fate).count() as u64
    }

    fn had(&self, fate: Fate) -> usize {
        let outcomes = self.events.values().flat_map(|entry| &entry.outcomes);
        outcomes.filter(|outcome| **outcome == fate).count()
    }

    pub(super) fn summary(&self) -> String {
        let verdict = if self.is_complete() {
            "Every event is accounted for."
        } else {
            "NOT every event is accounted for."
        };
        format!(
            "\n3. {} events published = {} handled + {} handled after a retry + {} dead letter \
             + {} without a handler;\n   {} audit log published, {} read. {verdict}\n\n\
             Next: `eventstream broker` keeps such a broker running for other processes, and\n\
             `eventstream publish --help` and `eventstream subscribe --help` show how to use it.",
            self.events.len(),
            self.had(Fate::Handled),
            self.had(Fate::Retried),
            self.had(Fate::DeadLettered),
            self.unmatched,
            self.audits.published,
            self.audits.read,
        )
    }
}
