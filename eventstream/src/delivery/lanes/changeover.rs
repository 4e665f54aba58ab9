use super::{Lane, LaneKey, Lanes, State, Store};
use crate::delivery::events::Ticket;

/// What happens only while workers change or routes are abandoned.
impl Lanes {
    /// The record waits for another worker. Must be called before it arrives.
    pub(in crate::delivery) fn shut(&mut self, ticket: Ticket) {
        self.shut.insert(ticket);
    }

    /// It no longer waits.
    pub(in crate::delivery) fn open(&mut self, key: LaneKey, ticket: Ticket) {
        self.shut.remove(&ticket);
        if let Some(lane) = self.lane_mut(key)
            && lane.state == State::Shut
            && lane.head == ticket
        {
            lane.state = State::Ready;
            self.ready.push_back(key);
        }
    }

    /// Inserts a record from another worker. Running records stay ahead of it.
    pub(in crate::delivery) fn insert(&mut self, key: LaneKey, ticket: Ticket) {
        let shut = self.shut.contains(&ticket);
        let earliest = self.lane(key).map_or(0, |lane| self.earliest(lane));
        let lane = match &mut self.store {
            Store::Whole(lane) => lane,
            Store::Keyed(lanes) => lanes.entry(key).or_insert_with(Lane::empty),
        };
        let waits = matches!(lane.state, State::Ready | State::Shut) && lane.attempts == 0;
        if lane.state == State::Empty {
            self.push(key, ticket);
        } else if waits && ticket < lane.head {
            lane.rest.push_front(lane.head);
            lane.head = ticket;
            let was_shut = lane.state == State::Shut;
            if shut && !was_shut {
                lane.state = State::Shut;
                self.ready.retain(|ready| *ready != key);
            } else if was_shut && !shut {
                lane.state = State::Ready;
                self.ready.push_back(key);
            }
        } else {
            let after = lane.rest.iter().skip(earliest);
            let at = earliest + after.take_while(|earlier| **earlier < ticket).count();
            lane.rest.insert(at, ticket);
        }
    }

    /// Whether an unfinished record of another worker's lane, before `ticket`, is here.
    pub(in crate::delivery) fn owes_before(&self, lane: LaneKey, ticket: Ticket) -> bool {
        let owes = |lane: &Lane| {
            let mut rest = lane.rest.iter();
            let next = if self.batches {
                rest.min()
            } else {
                rest.next()
            };
            let first = next.map_or(lane.head, |next| lane.head.min(*next));
            lane.state != State::Empty && first < ticket
        };
        match (&self.store, lane) {
            (Store::Whole(whole), _) => owes(whole),
            (Store::Keyed(lanes), LaneKey::Whole) => lanes.values().any(owes),
            (Store::Keyed(lanes), LaneKey::Key(_)) => lanes.get(&lane).is_some_and(owes),
            (Store::Keyed(_), LaneKey::Alone(_)) => false,
        }
    }

    /// The last record of a lane here; the lane may be another worker's.
    pub(in crate::delivery) fn last_of(&self, lane: LaneKey) -> Option<Ticket> {
        let last = |lane: &Lane| {
            let mut rest = lane.rest.iter();
            let last = if self.batches {
                rest.max()
            } else {
                rest.next_back()
            };
            last.copied().unwrap_or(lane.head)
        };
        match (&self.store, lane) {
            (Store::Whole(whole), _) => (whole.state != State::Empty).then(|| last(whole)),
            (Store::Keyed(lanes), LaneKey::Whole) => lanes.values().map(last).max(),
            (Store::Keyed(lanes), key) => lanes.get(&key).map(last),
        }
    }

    /// Records held for a dead letter or permanently, with the number of their attempts.
    pub(in crate::delivery) fn held(&self) -> Vec<(Ticket, u32)> {
        let held = |lane: &Lane| (lane.state == State::Held).then_some((lane.head, lane.attempts));
        let mut held: Vec<_> = match &self.store {
            Store::Whole(lane) => held(lane).into_iter().collect(),
            Store::Keyed(lanes) => lanes.values().filter_map(held).collect(),
        };
        held.sort_unstable();
        held
    }

    /// Removes everything that is not running, with the number of its attempts. Records held for a
    /// dead letter or permanently stay.
    pub(in crate::delivery) fn take_queued(&mut self) -> Vec<(Ticket, u32)> {
        self.ready.clear();
        self.again.clear();
        self.shut.clear();
        let mut queued = Vec::new();
        match &mut self.store {
            Store::Whole(lane) => lane.take_queued(&mut queued),
            Store::Keyed(lanes) => lanes.retain(|_, lane| {
                lane.take_queued(&mut queued);
                lane.state != State::Empty
            }),
        }
        for (ticket, attempts) in &mut queued {
            if let Some((before, _)) = self.answered.remove(ticket) {
                *attempts = before;
            }
        }
        // The map's order varies between runs, but a simulation must be reproducible.
        queued.sort_unstable();
        queued
    }
}

impl Lane {
    fn take_queued(&mut self, queued: &mut Vec<(Ticket, u32)>) {
        if matches!(self.state, State::Ready | State::Shut | State::Waiting) {
            queued.push((self.head, self.attempts));
            self.state = State::Empty;
            self.attempts = 0;
        }
        let waiting = self.rest.drain(self.taken..);
        queued.extend(waiting.map(|ticket| (ticket, 0)));
    }
}
