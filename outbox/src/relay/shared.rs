//! What a relay reports about itself: health, figures, the log.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;

use crate::error::{Error, ErrorKind, with_causes};
use crate::failed::Depth;

/// A problem that lasts is logged again after a minute.
const LOG_AGAIN: Duration = Duration::from_secs(60);

/// What is logged.
pub(super) enum Told<'a> {
    Database(Error),
    Publish(&'a str, eventstream::Error),
    /// It hinders no event, so it is no problem of [`Health`].
    Chore(Error),
}

/// Whether a relay can do its work, and if not, why.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Health {
    /// What prevents it; empty if nothing does.
    pub problems: Vec<Problem>,
}

/// What prevents a relay from working: the error, since when, and what to do.
///
/// `Display` has the error with its causes and the remedy in one line.
#[derive(Clone, Debug)]
pub struct Problem {
    error: Arc<Error>,
    since: SystemTime,
}

/// Statistics of a relay.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct RelayStats {
    /// Events that the broker has acknowledged, including repeats.
    pub published: u64,
    /// Events in flight to the broker.
    pub in_flight: usize,
    /// The parts of the outbox that this relay publishes, of 64.
    pub slots: usize,
    /// How much is in the outbox: counted every 10 s, and older if that takes the database more than 5 s.
    pub depth: Depth,
}

#[derive(Debug, Default)]
pub(crate) struct Shared {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    database: Option<Standing>,
    topics: HashMap<String, Standing>,
    chores: Option<Standing>,
    ended: Option<Problem>,
    stats: RelayStats,
}

#[derive(Debug)]
struct Standing {
    problem: Problem,
    logged: Instant,
}

impl Health {
    /// Whether no problem is known.
    pub fn is_healthy(&self) -> bool {
        self.problems.is_empty()
    }
}

impl Problem {
    /// What is wrong.
    pub fn error(&self) -> &Error {
        &self.error
    }

    /// When it began, by this machine's clock.
    pub fn since(&self) -> SystemTime {
        self.since
    }

    /// What to do about it: [`Error::remedy`].
    pub fn remedy(&self) -> &str {
        self.error.remedy()
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}; {}", with_causes(&*self.error), self.remedy())
    }
}

impl Standing {
    /// The current problem, with the start of the earlier one; logged if it is new or different, and once a minute.
    fn renew(before: Option<Self>, error: Error) -> Self {
        let since = before
            .as_ref()
            .map_or_else(SystemTime::now, |before| before.problem.since);
        let other = |before: &Self| with_causes(&*before.problem.error) != with_causes(&error);
        let problem = |error| Problem {
            error: Arc::new(error),
            since,
        };
        match before {
            Some(before) if !other(&before) && before.logged.elapsed() < LOG_AGAIN => Self {
                problem: problem(error),
                logged: before.logged,
            },
            _ => {
                let problem = problem(error);
                tracing::warn!("outbox relay: {problem}");
                Self {
                    problem,
                    logged: Instant::now(),
                }
            }
        }
    }
}

impl Shared {
    pub(super) fn tell(&self, told: Told<'_>) {
        let mut state = self.state.lock();
        match told {
            Told::Database(error) => {
                let before = state.database.take();
                state.database = Some(Standing::renew(before, error));
            }
            Told::Chore(error) => {
                let before = state.chores.take();
                state.chores = Some(Standing::renew(before, error));
            }
            Told::Publish(topic, error) => {
                let before = state.topics.remove(topic);
                let message = format!("publish the outbox's events to topic {topic}");
                let error = Error::new(ErrorKind::Publish, message).with_source(error);
                state
                    .topics
                    .insert(topic.to_owned(), Standing::renew(before, error));
            }
        }
    }

    pub(super) fn database_is_well(&self) {
        if self.state.lock().database.take().is_some() {
            tracing::info!("outbox relay: the database is reachable again");
        }
    }

    pub(super) fn chores_are_well(&self) {
        self.state.lock().chores = None;
    }

    /// Forgets the problems of all other topics: they could be published to, or nothing of them waits here any more.
    pub(super) fn keep_topics(&self, held: impl Fn(&str) -> bool) {
        self.state.lock().topics.retain(|topic, _| {
            let held = held(topic);
            if !held {
                tracing::info!("outbox relay: no event waits for topic {topic} to work again");
            }
            held
        });
    }

    pub(super) fn end(&self) {
        self.state.lock().ended = Some(Problem {
            error: Arc::new(ended("publish the outbox's events")),
            since: SystemTime::now(),
        });
    }

    pub(super) fn published(&self) {
        self.state.lock().stats.published += 1;
    }

    pub(super) fn set_in_flight(&self, in_flight: usize) {
        self.state.lock().stats.in_flight = in_flight;
    }

    pub(super) fn set_slots(&self, slots: usize) {
        self.state.lock().stats.slots = slots;
    }

    pub(super) fn set_depth(&self, depth: Depth) {
        self.state.lock().stats.depth = depth;
    }

    pub(crate) fn stats(&self) -> RelayStats {
        self.state.lock().stats
    }

    pub(super) fn health(&self) -> Health {
        let state = self.state.lock();
        let standing = state.database.iter().chain(state.topics.values());
        let problems = standing.map(|standing| &standing.problem);
        let problems = problems.chain(&state.ended).cloned().collect();
        Health { problems }
    }
}

/// Whatever was to be done, the relay cannot.
pub(super) fn ended(doing: &str) -> Error {
    let message = format!("{doing}: the relay ended with its runtime or with a panic");
    Error::new(ErrorKind::Ended, message)
}
