//! The partitions of a consumer.

use std::collections::{BTreeSet, HashMap};
use std::ops::{Deref, DerefMut};

use super::assigned::{Assigned, Bodies};
use crate::kafka::consumer::assignment::Start;
use crate::kafka::consumer::events::{Message, TopicPartition};
use crate::kafka::questions::TopicId;

/// The assigned partitions, in the order of their numbers. There may be thousands, and each record, commit and end
/// concerns one: it is found without a search, and whatever is done in each turn of the polling thread looks at those
/// that need it only.
#[derive(Default)]
pub(super) struct Partitions {
    list: Vec<Assigned>,
    /// By topic and number.
    places: HashMap<String, HashMap<i32, usize>>,
    /// The partition of the last record, as records usually come in runs.
    last: usize,
    /// Those with something that was not passed on yet.
    unsent: Vec<usize>,
    /// Those that may be full, or whose fetching is paused.
    pressed: BTreeSet<usize>,
    /// This many of the first ones have started; none ever ceases to.
    started: usize,
    bodies: Bodies,
}

impl Deref for Partitions {
    type Target = [Assigned];

    fn deref(&self) -> &[Assigned] {
        &self.list
    }
}

impl DerefMut for Partitions {
    fn deref_mut(&mut self) -> &mut [Assigned] {
        &mut self.list
    }
}

impl Partitions {
    pub(super) fn push(&mut self, assigned: Assigned) {
        debug_assert!(self.list.last().is_none_or(|a| a.number < assigned.number));
        let at = self.list.len();
        self.place(&assigned.name, at);
        self.list.push(assigned);
    }

    fn place(&mut self, (topic, partition): &TopicPartition, at: usize) {
        match self.places.get_mut(topic) {
            Some(of_topic) => of_topic.insert(*partition, at),
            None => (self.places.entry(topic.clone()).or_default()).insert(*partition, at),
        };
    }

    pub(super) fn retain(&mut self, keep: impl FnMut(&Assigned) -> bool) {
        let mut list = std::mem::take(self).list;
        list.retain(keep);
        for assigned in list {
            let at = self.list.len();
            if assigned.has_unsent() {
                self.unsent.push(at);
            }
            if assigned.is_pressed() {
                self.pressed.insert(at);
            }
            self.push(assigned);
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Where a partition is in the list.
    pub(super) fn position(&self, topic: &str, partition: i32) -> Option<usize> {
        self.places.get(topic)?.get(&partition).copied()
    }

    pub(super) fn named(&mut self, (topic, partition): &TopicPartition) -> Option<&mut Assigned> {
        let at = self.position(topic, *partition)?;
        self.list.get_mut(at)
    }

    pub(super) fn numbered(&mut self, number: u64) -> Option<&mut Assigned> {
        let at = self.list.binary_search_by_key(&number, |a| a.number).ok()?;
        self.list.get_mut(at)
    }

    pub(super) fn topics(&self) -> impl Iterator<Item = &String> {
        self.places.keys()
    }

    /// Calls with each partition of a topic.
    pub(super) fn each_of(&mut self, topic: &str, mut call: impl FnMut(&mut Assigned)) {
        for at in self.places.get(topic).into_iter().flat_map(HashMap::values) {
            call(&mut self.list[*at]);
        }
    }

    pub(super) fn have_started(&mut self) -> bool {
        let started = self.list[self.started..]
            .iter()
            .take_while(|a| a.is_started);
        self.started += started.count();
        self.started == self.list.len()
    }

    /// Adds a record to its partition's batch. A record of a partition no longer assigned is dropped: its next owner
    /// reads it. `false` if its offset was read before, so the partition's offsets have restarted.
    pub(super) fn take(&mut self, message: Message<'_>) -> bool {
        let at = match self.list.get(self.last) {
            Some(a) if message.is_of(&a.name) => self.last,
            _ => match self.position(message.topic(), message.partition()) {
                Some(at) => at,
                None => return true,
            },
        };
        self.last = at;
        self.add(at, |assigned, bodies| assigned.take(message, bodies))
    }

    /// Everything of a partition below this offset was read.
    pub(super) fn read_to(&mut self, at: usize, offset: i64) {
        self.add(at, |assigned, bodies| assigned.read_to(offset, bodies));
    }

    /// A partition continues from another position.
    pub(super) fn go_on(&mut self, at: usize, start: &Start, topic_id: Option<TopicId>) {
        self.add(at, |assigned, bodies| {
            assigned.go_on(start, topic_id, bodies);
        });
    }

    /// Does something that may add to what is to be passed on.
    fn add<T>(&mut self, at: usize, add: impl FnOnce(&mut Assigned, &mut Bodies) -> T) -> T {
        let assigned = &mut self.list[at];
        let had = assigned.has_unsent();
        let added = add(assigned, &mut self.bodies);
        if !had && assigned.has_unsent() {
            self.unsent.push(at);
        }
        added
    }

    /// Passes on what was read, and returns how many records and bytes; what does not fit stays.
    pub(super) fn flush(&mut self) -> (usize, usize) {
        let (mut records, mut bytes) = (0, 0);
        let (list, pressed) = (&mut self.list, &mut self.pressed);
        let bodies = &mut self.bodies;
        self.unsent.retain(|at| {
            let handed = list[*at].flush(bodies);
            records += handed.0;
            bytes += handed.1;
            let is_left = list[*at].has_unsent();
            if is_left {
                pressed.insert(*at);
            }
            is_left
        });
        (records, bytes)
    }

    /// Nothing is read at present, so nothing is kept for what comes.
    pub(super) fn rest(&mut self) {
        self.bodies.clear();
    }

    /// Whether something waits for a partition's task to take what it has.
    pub(super) fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// A partition's machine is full, or no longer is.
    pub(super) fn set_machine_full(&mut self, number: u64, is_full: bool) {
        let Ok(at) = self.list.binary_search_by_key(&number, |a| a.number) else {
            return;
        };
        self.list[at].machine_full = is_full;
        self.pressed.insert(at);
    }

    /// Calls with each partition that may have become full or is no longer, or is paused.
    pub(super) fn each_pressed(&mut self, mut call: impl FnMut(&mut Assigned)) {
        let list = &mut self.list;
        self.pressed.retain(|at| {
            call(&mut list[*at]);
            list[*at].is_pressed()
        });
    }
}
