mod batch;
mod changeover;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

use super::events::{Outcome, Ticket};
use super::policy::Concurrency;

pub(super) use self::batch::{Answer, Answered};

/// The unit of order inside one route: the partition or a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum LaneKey {
    Whole,
    Key(u64),
    /// A record without a key, which waits for no other.
    Alone(Ticket),
}

/// The queues of one route. Only the head of a lane is ever running, or with batches the head and
/// what follows it, so attempts and state belong to the lane and not to each record.
pub(super) struct Lanes {
    limit: usize,
    running: usize,
    store: Store,
    /// Lanes whose head may start, longest ready first.
    ready: VecDeque<LaneKey>,
    /// Batches: lanes whose head may be retried, alone.
    again: VecDeque<LaneKey>,
    /// Batches: records not done in one, behind an earlier unfinished record of their lane.
    answered: BTreeMap<Ticket, (u32, Outcome)>,
    batches: bool,
    /// Records that wait for another worker. Only while workers change.
    shut: BTreeSet<Ticket>,
}

enum Store {
    Whole(Lane),
    /// Empty lanes are removed, so memory grows with the buffered records, not with the keys seen.
    Keyed(HashMap<LaneKey, Lane, BuildHasherDefault<Mix>>),
}

struct Lane {
    state: State,
    head: Ticket,
    rest: VecDeque<Ticket>,
    /// How many of the rest are running together with the head.
    taken: usize,
    attempts: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Empty,
    Ready,
    /// Another worker has unfinished records of it.
    Shut,
    Running,
    /// For the next attempt.
    Waiting,
    /// For the acknowledgement of its dead letter, or permanently if the subscription stops.
    Held,
}

impl Lanes {
    pub(super) fn new(concurrency: Concurrency, batches: bool) -> Self {
        let (limit, store) = match concurrency {
            Concurrency::PerPartition | Concurrency::Serial => (1, Store::Whole(Lane::empty())),
            Concurrency::PerKey(limit) => (limit.max(1), Store::Keyed(HashMap::default())),
        };
        Self {
            limit,
            running: 0,
            store,
            ready: VecDeque::new(),
            again: VecDeque::new(),
            answered: BTreeMap::new(),
            batches,
            shut: BTreeSet::new(),
        }
    }

    pub(super) fn is_whole(&self) -> bool {
        matches!(self.store, Store::Whole(_))
    }

    pub(super) fn key_of(&self, ticket: Ticket, key: Option<u64>) -> LaneKey {
        match (&self.store, key) {
            (Store::Whole(_), _) => LaneKey::Whole,
            (Store::Keyed(_), Some(key)) => LaneKey::Key(key),
            (Store::Keyed(_), None) => LaneKey::Alone(ticket),
        }
    }

    pub(super) fn push(&mut self, key: LaneKey, ticket: Ticket) {
        let lane = match &mut self.store {
            Store::Whole(lane) => lane,
            Store::Keyed(lanes) => lanes.entry(key).or_insert_with(Lane::empty),
        };
        if lane.state != State::Empty {
            lane.rest.push_back(ticket);
            return;
        }
        lane.head = ticket;
        if !self.shut.is_empty() && self.shut.contains(&ticket) {
            lane.state = State::Shut;
        } else {
            lane.state = State::Ready;
            self.ready.push_back(key);
        }
    }

    /// The record that [`start`](Self::start) would start.
    pub(super) fn next(&self) -> Option<Ticket> {
        if self.running >= self.limit {
            return None;
        }
        let key = *self.again.front().or_else(|| self.ready.front())?;
        self.lane(key).map(|lane| lane.head)
    }

    /// Starts the next attempt of the lane that has been ready longest; returns its record and the
    /// number of the attempt.
    pub(super) fn start(&mut self) -> Option<(Ticket, u32)> {
        if self.running >= self.limit {
            return None;
        }
        let again = self.again.pop_front();
        let key = again.or_else(|| self.ready.pop_front())?;
        self.running += 1;
        let lane = self.lane_mut(key).expect("a ready lane exists");
        lane.state = State::Running;
        lane.attempts = lane.attempts.saturating_add(1);
        Some((lane.head, lane.attempts))
    }

    /// Ends the attempt of `ticket` and holds its lane; returns how many attempts there were.
    /// `None` if it is not running.
    pub(super) fn stop(&mut self, key: LaneKey, ticket: Ticket) -> Option<u32> {
        let lane = self.lane_mut(key)?;
        if lane.state != State::Running || lane.head != ticket {
            return None;
        }
        lane.state = State::Held;
        let attempts = lane.attempts;
        self.running -= 1;
        Some(attempts)
    }

    /// There will be no further attempt.
    pub(super) fn hold(&mut self, key: LaneKey) {
        if let Some(lane) = self.lane_mut(key)
            && lane.state == State::Waiting
        {
            lane.state = State::Held;
        }
    }

    /// Whether a lane waits for the next attempt at a record below `fence`.
    pub(super) fn waits_below(&self, key: LaneKey, fence: Ticket) -> bool {
        self.lane(key)
            .is_some_and(|lane| lane.state == State::Waiting && lane.head < fence)
    }

    /// A held lane waits for its next attempt.
    pub(super) fn wait(&mut self, key: LaneKey) {
        if let Some(lane) = self.lane_mut(key) {
            lane.state = State::Waiting;
        }
    }

    /// The wait is over.
    pub(super) fn wake(&mut self, key: LaneKey) {
        if let Some(lane) = self.lane_mut(key)
            && lane.state == State::Waiting
        {
            lane.state = State::Ready;
            if self.batches {
                self.again.push_back(key);
            } else {
                self.ready.push_back(key);
            }
        }
    }

    /// The head of a lane is done; the next record moves up. If that already has an answer, the
    /// lane is held for it.
    pub(super) fn finish(&mut self, key: LaneKey) -> Option<Answered> {
        let lane = match &mut self.store {
            Store::Whole(lane) => lane,
            Store::Keyed(lanes) => lanes.get_mut(&key)?,
        };
        lane.attempts = 0;
        lane.taken = 0;
        if let Some(head) = lane.rest.pop_front() {
            lane.head = head;
            if !self.answered.is_empty()
                && let Some((attempts, outcome)) = self.answered.remove(&head)
            {
                lane.attempts = attempts;
                lane.state = State::Held;
                return Some(Answered {
                    lane: key,
                    ticket: head,
                    attempts,
                    outcome,
                });
            }
            if self.shut.is_empty() || !self.shut.contains(&head) {
                lane.state = State::Ready;
                self.ready.push_back(key);
            } else {
                lane.state = State::Shut;
            }
            return None;
        }
        lane.state = State::Empty;
        if let Store::Keyed(lanes) = &mut self.store {
            lanes.remove(&key);
        }
        None
    }

    /// Whether a record of this lane would start at once.
    pub(super) fn is_free(&self, key: LaneKey) -> bool {
        self.running + self.ready.len() < self.limit
            && self.lane(key).is_none_or(|lane| lane.state == State::Empty)
    }

    /// Drops lanes that are ready with a record from `fence` on.
    pub(super) fn keep_ready_below(&mut self, fence: Ticket) {
        let mut ready = std::mem::take(&mut self.ready);
        let mut again = std::mem::take(&mut self.again);
        for keys in [&mut ready, &mut again] {
            keys.retain(|key| self.lane(*key).is_some_and(|lane| lane.head < fence));
        }
        (self.ready, self.again) = (ready, again);
    }

    /// The first record that a drain will not finish: it is held, and not for a dead letter that is
    /// about to be `written`; if nothing `starts` any more, the first that is not running.
    pub(super) fn first_stuck(
        &self,
        starts: bool,
        written: impl Fn(Ticket) -> bool,
    ) -> Option<Ticket> {
        let stuck = |lane: &Lane| {
            let moves_on = match lane.state {
                State::Empty => return None,
                State::Held => written(lane.head),
                State::Running => true,
                State::Ready | State::Shut | State::Waiting => starts,
            };
            if moves_on {
                let next = lane.rest.get(lane.taken).copied();
                next.filter(|_| !starts)
            } else {
                Some(lane.head)
            }
        };
        match &self.store {
            Store::Whole(lane) => stuck(lane),
            Store::Keyed(lanes) => lanes.values().filter_map(stuck).min(),
        }
    }

    pub(super) fn running(&self) -> Vec<Ticket> {
        let at_work = |lane: &Lane| {
            let taken = lane.rest.iter().take(lane.taken).copied();
            let tickets: Vec<_> = [lane.head].into_iter().chain(taken).collect();
            (lane.state == State::Running).then_some(tickets)
        };
        match &self.store {
            Store::Whole(lane) => at_work(lane).unwrap_or_default(),
            Store::Keyed(lanes) => {
                let mut running: Vec<_> = lanes.values().filter_map(at_work).flatten().collect();
                // The map's order varies between runs, but a simulation must be reproducible.
                running.sort_unstable();
                running
            }
        }
    }

    fn lane(&self, key: LaneKey) -> Option<&Lane> {
        match &self.store {
            Store::Whole(lane) => Some(lane),
            Store::Keyed(lanes) => lanes.get(&key),
        }
    }

    fn lane_mut(&mut self, key: LaneKey) -> Option<&mut Lane> {
        match &mut self.store {
            Store::Whole(lane) => Some(lane),
            Store::Keyed(lanes) => lanes.get_mut(&key),
        }
    }
}

impl Lane {
    fn empty() -> Self {
        Self {
            state: State::Empty,
            head: Ticket::first(0),
            rest: VecDeque::new(),
            taken: 0,
            attempts: 0,
        }
    }
}

/// Spreads a lane's key. Keys are already hashes, so a multiplication suffices, while the standard
/// hasher would cost more than the rest of the machine.
#[derive(Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0 ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_isize(&mut self, value: isize) {
        self.write_u64(value as u64);
    }

    fn finish(&self) -> u64 {
        // The table uses both ends; the good bits are the upper ones.
        self.0.rotate_left(26)
    }
}
