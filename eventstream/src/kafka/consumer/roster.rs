use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::routes::{Registration, Route, RouteTable, TopicRoutes};
use crate::delivery::{OnUndecodable, OnUnmatched};
use crate::name::Topic;

/// The registrations of a group, and whether it accepts others: one decision, under the lock of its
/// owner. Every step takes constant time; a table of all routes is built on demand.
#[derive(Default)]
pub(super) struct Roster {
    /// In the order of registering.
    entries: BTreeMap<u32, Entry>,
    topics: HashMap<Topic, Agreed>,
    /// `None` since the last change.
    table: Option<Arc<RouteTable>>,
    over: bool,
}

/// One registration with its routes.
pub(super) struct Entry {
    pub(super) registration: Arc<Registration>,
    pub(super) topic: Topic,
    pub(super) routes: Vec<Arc<Route>>,
}

/// Options on which the registrations of a topic agree.
#[derive(Clone, Copy)]
pub(super) struct Policies {
    pub(super) on_unmatched: OnUnmatched,
    pub(super) on_undecodable: OnUndecodable,
}

struct Agreed {
    policies: Policies,
    registrations: usize,
}

/// What has left the roster. It includes handlers and whatever they hold, perhaps the client
/// itself, so it must be dropped without a lock.
#[must_use = "to be dropped once the lock is released"]
#[derive(Default)]
pub(super) struct Leftovers {
    _entries: Vec<Entry>,
    _table: Option<Arc<RouteTable>>,
}

impl Roster {
    /// Whether no registration is accepted any more.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// Options on which the registrations of a topic agree; `None` without any.
    pub(super) fn policies(&self, topic: &Topic) -> Option<Policies> {
        self.topics.get(topic).map(|agreed| agreed.policies)
    }

    /// Adds a registration. The entry is returned if none is accepted any more.
    pub(super) fn add(&mut self, entry: Entry, policies: Policies) -> Result<Leftovers, Entry> {
        if self.over {
            return Err(entry);
        }
        let agreed = Agreed {
            policies,
            registrations: 0,
        };
        let agreed = self.topics.entry(entry.topic.clone()).or_insert(agreed);
        agreed.registrations += 1;
        self.entries.insert(entry.registration.id, entry);
        Ok(self.changed(Vec::new()))
    }

    /// Removes a registration. With the last one, no other is accepted any more, and its routes stay for what is
    /// queued; `true` if the group must stop.
    pub(super) fn close(&mut self, id: u32) -> (bool, Leftovers) {
        if !self.entries.contains_key(&id) {
            return (false, Leftovers::default());
        }
        if self.over {
            // Possibly with less time than before.
            let mut all = self.entries.values();
            let closing = all.all(|entry| entry.registration.is_closing());
            return (closing, Leftovers::default());
        }
        if self.entries.len() == 1 {
            self.over = true;
            return (true, Leftovers::default());
        }
        let Some(entry) = self.entries.remove(&id) else {
            return (false, Leftovers::default());
        };
        if let Some(agreed) = self.topics.get_mut(&entry.topic) {
            agreed.registrations -= 1;
            if agreed.registrations == 0 {
                self.topics.remove(&entry.topic);
            }
        }
        (false, self.changed(vec![entry]))
    }

    /// Accepts no registration from now on, and returns the current ones.
    pub(super) fn stop(&mut self) -> Vec<Arc<Registration>> {
        self.over = true;
        self.registrations()
    }

    /// The end: nothing is left.
    pub(super) fn clear(&mut self) -> (Vec<Arc<Registration>>, Leftovers) {
        let registrations = self.stop();
        self.topics.clear();
        let entries = std::mem::take(&mut self.entries);
        (registrations, self.changed(entries.into_values().collect()))
    }

    /// The partitions must check something that has changed.
    pub(super) fn touch(&mut self) -> Leftovers {
        self.changed(Vec::new())
    }

    fn changed(&mut self, entries: Vec<Entry>) -> Leftovers {
        Leftovers {
            _entries: entries,
            _table: self.table.take(),
        }
    }

    pub(super) fn registrations(&self) -> Vec<Arc<Registration>> {
        let entries = self.entries.values();
        entries
            .map(|entry| Arc::clone(&entry.registration))
            .collect()
    }

    pub(super) fn registrations_of(&self, topic: &Topic) -> Vec<Arc<Registration>> {
        let entries = self.entries.values().filter(|entry| entry.topic == *topic);
        entries
            .map(|entry| Arc::clone(&entry.registration))
            .collect()
    }

    pub(super) fn topics(&self) -> impl Iterator<Item = &Topic> {
        self.topics.keys()
    }

    /// The current routes; the same table until the next change.
    pub(super) fn table(&mut self) -> Arc<RouteTable> {
        let (entries, topics) = (&self.entries, &self.topics);
        let make = || {
            let mut table = RouteTable::default();
            for entry in entries.values() {
                let Some(agreed) = topics.get(&entry.topic) else {
                    continue;
                };
                let topic = table.topics.entry(entry.topic.clone());
                let topic = topic.or_insert_with(|| TopicRoutes {
                    routes: Vec::new(),
                    on_unmatched: agreed.policies.on_unmatched,
                    on_undecodable: agreed.policies.on_undecodable,
                });
                topic.routes.extend(entry.routes.iter().cloned());
            }
            Arc::new(table)
        };
        Arc::clone(self.table.get_or_insert_with(make))
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;
    use tokio::runtime::Handle;
    use tokio_util::sync::CancellationToken;
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::kafka::consumer::told::Told;
    use crate::observe::trace::Labels;

    const POLICIES: Policies = Policies {
        on_unmatched: OnUnmatched::Acknowledge,
        on_undecodable: OnUndecodable::Skip,
    };

    fn entry(id: u32) -> Entry {
        let labels = Labels::new(None, "".into(), "".into(), None);
        let registration = Registration {
            id,
            labels: Arc::new(labels),
            serial: None,
            flood: None,
            offers: None,
            told: Told::start(&Handle::current(), &TaskTracker::new(), None, None),
            on_dead_letter: None,
            handler_timeout: None,
            working: TaskTracker::new(),
            ended: CancellationToken::new(),
            state: Mutex::default(),
        };
        Entry {
            registration: Arc::new(registration),
            topic: Topic::new("t").expect("valid"),
            routes: Vec::new(),
        }
    }

    #[tokio::test]
    async fn whoever_closes_the_last_one_closes_the_roster_in_the_same_step() {
        let mut roster = Roster::default();
        for id in 0..3 {
            assert!(roster.add(entry(id), POLICIES).is_ok());
        }
        assert!(!roster.close(0).0 && !roster.close(0).0 && !roster.close(2).0);
        assert!(roster.add(entry(3), POLICIES).is_ok() && !roster.close(1).0);
        assert!(roster.close(3).0, "the last one stops the group");
        assert!(roster.is_over() && roster.add(entry(4), POLICIES).is_err());
        assert_eq!(
            roster.registrations().len(),
            1,
            "its routes stay till the end"
        );
        assert_eq!(roster.clear().0.len(), 1);
        assert!(roster.policies(&Topic::new("t").expect("valid")).is_none());
    }

    #[tokio::test]
    async fn a_table_is_made_once_for_any_number_of_changes() {
        let mut roster = Roster::default();
        assert!(roster.add(entry(0), POLICIES).is_ok());
        let table = roster.table();
        assert!(Arc::ptr_eq(&table, &roster.table()));
        drop(roster.touch());
        assert!(!Arc::ptr_eq(&table, &roster.table()));
    }
}
