//! A relay's state in memory, and what may start: without a database, a broker or a clock.
//!
//! Rows are in lanes, one for each topic and key. The front of a lane is published, and the next row starts when the
//! broker has acknowledged it: if both were sent together, the later one could be stored where the earlier one has
//! failed.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use eventstream::SealedEvent;

const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// A waiting row.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) id: i64,
    pub(crate) slot: i16,
    pub(crate) lane: Lane,
    /// How long it had been waiting when it was read.
    pub(crate) age: Duration,
    pub(crate) event: SealedEvent,
}

/// Rows that are published in order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Lane {
    pub(crate) topic: Arc<str>,
    pub(crate) key: Arc<[u8]>,
}

/// How an attempt ended.
#[derive(Debug)]
pub(crate) enum Verdict {
    Stored,
    /// It can never be published.
    Rejected(String),
    /// The broker refused it, possibly because of another event in the same batch.
    Suspect(String),
    /// Not the event's fault.
    Later,
}

/// What happens to the later events of a key when one can never be published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FailedKey {
    /// They continue: the failed event is missing among them, like one that was dead-lettered. The default.
    #[default]
    GoesOn,
    /// They wait until the failed event is [retried](crate::Outbox::retry) or [discarded](crate::Outbox::discard).
    Waits,
}

#[derive(Debug, Default)]
pub(crate) struct Board {
    failed_key: FailedKey,
    /// The slots whose rows may start.
    slots: HashSet<i16>,
    lanes: HashMap<Lane, VecDeque<Row>>,
    topics: HashMap<Arc<str>, Topic>,
    /// Lanes whose front is in flight.
    flying: HashMap<Lane, Flight>,
    /// All rows here, and those that are done but not marked yet: not to be read again.
    known: HashSet<i64>,
    stored: Vec<i64>,
    rejected: Vec<(i64, String)>,
    /// Increases when rows are forgotten: see [`add`](Self::add).
    epoch: u64,
}

#[derive(Debug)]
struct Flight {
    slot: i16,
    alone: bool,
    /// Its slot was given up meanwhile, even if it is back: what is behind it may have been published.
    lost: bool,
}

#[derive(Debug, Default)]
struct Topic {
    ready: VecDeque<Lane>,
    /// Lanes whose front is a suspect: each is tried when nothing else of its topic is in flight.
    suspects: VecDeque<Lane>,
    /// A suspect is in flight, and nothing else may be.
    alone: bool,
    flying: usize,
    held: Option<Hold>,
}

/// A topic that cannot be published to: one event at a time probes whether it can.
#[derive(Debug)]
struct Hold {
    until: Instant,
    wait: Duration,
    probing: bool,
}

impl Board {
    pub(crate) fn new(failed_key: FailedKey) -> Self {
        Self {
            failed_key,
            ..Self::default()
        }
    }

    /// The epoch in which rows are read, for [`add`](Self::add).
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Adds rows, in order of their ids. They were read without those that were `known` at that epoch: if any of
    /// those was forgotten since, a lane may have a gap, so no row is added, and they are read again. Returns whether
    /// they were added.
    pub(crate) fn add(&mut self, rows: impl IntoIterator<Item = Row>, epoch: u64) -> bool {
        if epoch != self.epoch {
            return false;
        }
        for row in rows {
            if !self.slots.contains(&row.slot) || !self.known.insert(row.id) {
                continue;
            }
            let topic = self.topics.entry(Arc::clone(&row.lane.topic)).or_default();
            let lane = self.lanes.entry(row.lane.clone()).or_default();
            if lane.is_empty() {
                topic.ready.push_back(row.lane.clone());
            }
            lane.push_back(row);
        }
        true
    }

    /// What may be published now; each row must be settled.
    pub(crate) fn start(&mut self) -> Vec<Row> {
        let mut started = Vec::new();
        for topic in self.topics.values_mut() {
            while let Some((lane, alone)) = topic.next() {
                let Some(row) = self.lanes.get(&lane).and_then(VecDeque::front) else {
                    continue;
                };
                topic.flying += 1;
                topic.alone = alone;
                let flight = Flight {
                    slot: row.slot,
                    alone,
                    lost: false,
                };
                self.flying.insert(lane, flight);
                started.push(row.clone());
            }
        }
        started
    }

    /// The outcome of a started attempt.
    pub(crate) fn settle(&mut self, lane: &Lane, verdict: Verdict, now: Instant) {
        let flight = self
            .flying
            .remove(lane)
            .expect("only what flies is settled");
        let topic = self.topics.entry(Arc::clone(&lane.topic)).or_default();
        topic.flying -= 1;
        topic.alone = false;
        match verdict {
            Verdict::Stored => {
                topic.held = None;
                let row = self.pop(lane);
                self.stored.push(row);
                self.go_on(lane);
            }
            Verdict::Suspect(_) if flight.lost => self.forget_lanes(|other, _| other == lane),
            Verdict::Suspect(_) if !flight.alone => topic.suspects.push_back(lane.clone()),
            Verdict::Rejected(error) | Verdict::Suspect(error) => {
                if let Some(hold) = &mut topic.held {
                    (hold.probing, hold.until) = (false, now);
                }
                let row = self.pop(lane);
                self.rejected.push((row, error));
                match self.failed_key {
                    FailedKey::GoesOn => self.go_on(lane),
                    FailedKey::Waits => {
                        self.forget(lane);
                    }
                }
            }
            Verdict::Later => {
                topic.hold(now);
                self.forget_topic(&lane.topic);
            }
        }
        debug_assert!(self.is_sound());
    }

    fn pop(&mut self, lane: &Lane) -> i64 {
        let row = self.lanes.get_mut(lane).and_then(VecDeque::pop_front);
        row.expect("what flies is the front of its lane").id
    }

    fn go_on(&mut self, lane: &Lane) {
        if self.lanes.get(lane).is_none_or(VecDeque::is_empty) {
            self.lanes.remove(lane);
        } else if let Some(topic) = self.topics.get_mut(&lane.topic) {
            topic.ready.push_back(lane.clone());
        }
    }

    /// Removes the lane; its rows are read again, except a rejected one, which the table knows by then.
    fn forget(&mut self, lane: &Lane) {
        self.epoch += 1;
        for row in self.lanes.remove(lane).into_iter().flatten() {
            self.known.remove(&row.id);
        }
    }

    fn forget_topic(&mut self, topic: &str) {
        self.forget_lanes(|lane, _| &*lane.topic == topic);
    }

    /// Forgets rows of these lanes that are not in flight.
    fn forget_lanes(&mut self, which: impl Fn(&Lane, i16) -> bool) {
        self.epoch += 1;
        let lanes = self.lanes.iter();
        let lanes =
            lanes.filter(|(lane, rows)| rows.front().is_some_and(|row| which(lane, row.slot)));
        let lanes: Vec<_> = lanes.map(|(lane, _)| lane.clone()).collect();
        for lane in &lanes {
            if self.flying.contains_key(lane) {
                let rows = self.lanes.get_mut(lane).expect("listed above");
                for row in rows.split_off(1) {
                    self.known.remove(&row.id);
                }
            } else {
                self.forget(lane);
            }
        }
        for topic in self.topics.values_mut() {
            topic.ready.retain(|lane| self.lanes.contains_key(lane));
            topic.suspects.retain(|lane| self.lanes.contains_key(lane));
            topic.end_empty_probe();
        }
    }

    /// Accepts rows of these slots, and starts no more of others.
    pub(crate) fn keep_slots(&mut self, slots: HashSet<i16>) {
        if slots != self.slots {
            self.forget_lanes(|_, slot| !slots.contains(&slot));
            for flight in self.flying.values_mut() {
                flight.lost |= !slots.contains(&flight.slot);
            }
            self.slots = slots;
        }
    }

    /// Whether a row of a slot is in flight.
    pub(crate) fn flies_in(&self, slot: i16) -> bool {
        self.flying.values().any(|flight| flight.slot == slot)
    }

    pub(crate) fn flying(&self) -> usize {
        self.flying.len()
    }

    /// The rows that must not be read again.
    pub(crate) fn known(&self) -> Vec<i64> {
        self.known.iter().copied().collect()
    }

    pub(crate) fn known_count(&self) -> usize {
        self.known.len()
    }

    /// Whether anything waits to be marked.
    pub(crate) fn has_done(&self) -> bool {
        !self.stored.is_empty() || !self.rejected.is_empty()
    }

    /// The stored and rejected rows to mark; afterwards, call `marked`.
    pub(crate) fn take_done(&mut self) -> (Vec<i64>, Vec<(i64, String)>) {
        (
            std::mem::take(&mut self.stored),
            std::mem::take(&mut self.rejected),
        )
    }

    pub(crate) fn marked(&mut self, ids: impl IntoIterator<Item = i64>) {
        for id in ids {
            self.known.remove(&id);
        }
    }

    /// The held topics, whose rows are not read.
    pub(crate) fn held(&self) -> Vec<String> {
        let topics = self.topics.iter().filter(|(_, topic)| topic.held.is_some());
        topics.map(|(name, _)| name.to_string()).collect()
    }

    /// Whether it is this board that waits until the topic can be published to.
    pub(crate) fn holds(&self, topic: &str) -> bool {
        let held = |topic: &Topic| topic.held.is_some();
        !self.slots.is_empty() && self.topics.get(topic).is_some_and(held)
    }

    /// The held topics of which to read one row now.
    pub(crate) fn probes(&mut self, now: Instant) -> Vec<String> {
        let mut probes = Vec::new();
        for (name, topic) in &mut self.topics {
            let idle = topic.flying == 0;
            if let Some(hold) = &mut topic.held
                && !hold.probing
                && idle
                && hold.until <= now
            {
                hold.probing = true;
                probes.push(name.to_string());
            }
        }
        probes
    }

    /// The result of a probe's read: without a row there is nothing to hold.
    pub(crate) fn probed(&mut self, topic: String, row: Option<Row>, epoch: u64) {
        let Some(row) = row else {
            if let Some(topic) = self.topics.get_mut(&*topic) {
                topic.held = None;
            }
            return;
        };
        let id = row.id;
        if !self.add([row], epoch) || !self.known.contains(&id) {
            self.unprobed(&[topic]);
        }
    }

    /// The read failed and is to be retried.
    pub(crate) fn unprobed(&mut self, topics: &[String]) {
        for topic in topics {
            if let Some(hold) = self
                .topics
                .get_mut(&**topic)
                .and_then(|topic| topic.held.as_mut())
            {
                hold.probing = false;
            }
        }
    }

    /// When to probe the next held topic.
    pub(crate) fn next_probe(&self) -> Option<Instant> {
        let topics = self.topics.values().filter(|topic| topic.flying == 0);
        let holds = topics.filter_map(|topic| topic.held.as_ref());
        holds
            .filter(|hold| !hold.probing)
            .map(|hold| hold.until)
            .min()
    }

    /// The invariants: each flight is the front of its lane, and a topic counts its flights.
    fn is_sound(&self) -> bool {
        let fronts = self
            .flying
            .keys()
            .all(|lane| self.lanes.get(lane).is_some_and(|rows| !rows.is_empty()));
        let count = |name: &Arc<str>| {
            self.flying
                .keys()
                .filter(|lane| lane.topic == *name)
                .count()
        };
        // Counting all is for small tests.
        fronts
            && (self.flying.len() > 64
                || self
                    .topics
                    .iter()
                    .all(|(name, topic)| topic.flying == count(name)))
    }
}

impl Topic {
    /// The next lane to start, and whether it is a suspect.
    fn next(&mut self) -> Option<(Lane, bool)> {
        if self.alone {
            return None;
        }
        if self.suspects.is_empty() {
            return self.ready.pop_front().map(|lane| (lane, false));
        }
        let lane = if self.flying == 0 {
            self.suspects.pop_front()
        } else {
            None
        };
        lane.map(|lane| (lane, true))
    }

    /// The row of a probe was forgotten: another one is to be read.
    fn end_empty_probe(&mut self) {
        let empty = self.flying == 0 && self.ready.is_empty() && self.suspects.is_empty();
        if let Some(hold) = &mut self.held
            && empty
        {
            hold.probing = false;
        }
    }

    fn hold(&mut self, now: Instant) {
        // The failures of one outage arrive together, and count once.
        let wait = match &self.held {
            Some(hold) if !hold.probing => return,
            Some(hold) => (hold.wait * 2).min(LONGEST_WAIT),
            None => FIRST_WAIT,
        };
        self.held = Some(Hold {
            until: now + wait,
            wait,
            probing: false,
        });
    }
}

#[cfg(test)]
mod tests;
