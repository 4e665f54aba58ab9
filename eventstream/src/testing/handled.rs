use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::changes::deadline;
use super::ledger::{Handled, Ledger};
use super::listed;
use super::published::line;
use crate::event::Event;
use crate::guard::with_causes;

/// The events of a name that handlers of a [`TestBroker`](super::TestBroker)'s clients have handled
/// without an error. One handled by two groups, or twice by one group, appears twice.
pub struct HandledEvents {
    ledger: Arc<Ledger>,
    name: String,
    /// As named on the broker.
    group: Option<String>,
    prefix: String,
    bound: Duration,
}

impl HandledEvents {
    pub(super) fn new(ledger: &Arc<Ledger>, name: &str, prefix: &str, bound: Duration) -> Self {
        Self {
            ledger: Arc::clone(ledger),
            name: name.to_owned(),
            group: None,
            prefix: prefix.to_owned(),
            bound,
        }
    }

    /// Only those handled by this group, by its name without the prefix.
    pub fn by(mut self, group: &str) -> Self {
        self.group = Some(crate::kafka::wire_group(&self.prefix, group));
        self
    }

    /// How many there are so far.
    pub fn count(&self) -> usize {
        self.events().len()
    }

    /// The events so far, in the order in which they were handled.
    pub fn events(&self) -> Vec<Event> {
        let handled = self.ledger.handled().into_iter();
        handled
            .filter(|handled| self.is_one(handled))
            .map(|handled| handled.event)
            .collect()
    }

    /// The payloads so far.
    ///
    /// # Panics
    ///
    /// If one does not fit the type, with the event.
    #[track_caller]
    pub fn payloads<T: DeserializeOwned>(&self) -> Vec<T> {
        let decode = |event: &Event| event.payload().decode::<T>();
        let mut payloads = Vec::new();
        for event in self.events() {
            match decode(&event) {
                Ok(payload) => payloads.push(payload),
                Err(error) => panic!("{}\n  {}", with_causes(&error), line(&event)),
            }
        }
        payloads
    }

    /// Waits until there are this many or more, and returns all of them.
    ///
    /// # Panics
    ///
    /// When the broker's bound has passed, with what was handled instead and what is not done.
    pub async fn await_count(&self, count: usize) -> Vec<Event> {
        let enough = || Some(self.events()).filter(|events| events.len() >= count);
        let found = self
            .ledger
            .changes
            .until(deadline(self.bound), enough)
            .await;
        match found {
            Some(events) => events,
            None => panic!("after {:?}: {}", self.bound, self.instead(count)),
        }
    }

    /// Exactly this many.
    ///
    /// # Panics
    ///
    /// If there are fewer or more, with what was handled instead and what is not done.
    #[track_caller]
    pub fn expect_count(&self, count: usize) -> Vec<Event> {
        let events = self.events();
        assert!(events.len() == count, "{}", self.instead(count));
        events
    }

    fn is_one(&self, handled: &Handled) -> bool {
        let group = self.group.as_ref();
        handled.event.name() == self.name && group.is_none_or(|group| **group == *handled.group)
    }

    fn instead(&self, expected: usize) -> String {
        let all = self.ledger.handled();
        let found = all.iter().filter(|handled| self.is_one(handled)).count();
        let handled = all
            .iter()
            .map(|h| format!("{} by group {:?}", line(&h.event), &*h.group));
        let group = self
            .group
            .as_ref()
            .map_or_else(String::new, |group| format!(" by group {group:?}"));
        format!(
            "expected {expected} of {} to be handled{group}, found {found}; handled was:{}\nnot done is:{}",
            self.name,
            listed(handled),
            listed(self.ledger.outstanding())
        )
    }
}

impl fmt::Debug for HandledEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandledEvents")
            .field("name", &self.name)
            .field("group", &self.group)
            .field("count", &self.count())
            .finish_non_exhaustive()
    }
}
