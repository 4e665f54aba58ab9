use std::collections::VecDeque;

use super::{Lane, LaneKey, Lanes, State};
use crate::delivery::events::{Outcome, Ticket};

/// A record whose answer waited for its turn in the lane.
#[derive(Clone, Copy, Debug)]
pub(in crate::delivery) struct Answered {
    pub(in crate::delivery) lane: LaneKey,
    pub(in crate::delivery) ticket: Ticket,
    pub(in crate::delivery) attempts: u32,
    pub(in crate::delivery) outcome: Outcome,
}

/// A running record and its outcome; `None` if that no longer counts.
pub(in crate::delivery) type Answer = (LaneKey, Ticket, Option<Outcome>);

/// A lane's part in a batch that ended.
pub(in crate::delivery) struct Part {
    pub(in crate::delivery) handled: Vec<Ticket>,
    /// The first that was not: its lane is held for it.
    pub(in crate::delivery) first_undone: Option<Answered>,
    /// What moved up instead, if all were handled.
    pub(in crate::delivery) moved_up: Option<Answered>,
}

/// Batches: several records of a lane running at once, and their results.
impl Lanes {
    /// How many records could start together, at most `most`, from before `until`.
    pub(in crate::delivery) fn startable(&self, most: usize, until: Option<Ticket>) -> usize {
        if self.running >= self.limit {
            return 0;
        }
        let mut found = 0;
        for lane in self.ready.iter().filter_map(|key| self.lane(*key)) {
            if found >= most {
                break;
            }
            found += self.run_of(lane, most - found, until);
        }
        found
    }

    /// How many records at the front of a lane could start together.
    fn run_of(&self, lane: &Lane, most: usize, until: Option<Ticket>) -> usize {
        let early = |ticket: &Ticket| until.is_none_or(|until| *ticket < until);
        let free = |ticket: &&Ticket| {
            early(ticket)
                && (self.shut.is_empty() || !self.shut.contains(ticket))
                && (self.answered.is_empty() || !self.answered.contains_key(ticket))
        };
        if !early(&lane.head) {
            return 0;
        }
        if until.is_none() && self.shut.is_empty() && self.answered.is_empty() {
            return most.min(1 + lane.rest.len());
        }
        1 + lane.rest.iter().take(most - 1).take_while(free).count()
    }

    /// Whether the next to start has been tried before, in a batch.
    pub(in crate::delivery) fn starts_again(&self) -> bool {
        !self.again.is_empty()
    }

    /// Starts the lane that has waited longest to retry its head.
    pub(in crate::delivery) fn start_again(&mut self) -> Option<(Ticket, u32)> {
        if !self.starts_again() {
            return None;
        }
        self.start()
    }

    /// Starts the first attempt at this many records, as one call: in order, and of each lane as
    /// many as there are.
    pub(in crate::delivery) fn start_batch(
        &mut self,
        most: usize,
        until: Option<Ticket>,
    ) -> Vec<(Ticket, u32)> {
        let mut started = Vec::new();
        let mut left = VecDeque::new();
        while started.len() < most
            && let Some(key) = self.ready.pop_front()
        {
            let run = self
                .lane(key)
                .map_or(0, |lane| self.run_of(lane, most - started.len(), until));
            let Some(lane) = self.lane_mut(key).filter(|_| run > 0) else {
                left.push_back(key);
                continue;
            };
            lane.state = State::Running;
            lane.attempts = 1;
            lane.taken = run - 1;
            let taken = lane.rest.iter().take(run - 1).copied();
            started.extend(
                [lane.head]
                    .into_iter()
                    .chain(taken)
                    .map(|ticket| (ticket, 1)),
            );
        }
        left.append(&mut self.ready);
        self.ready = left;
        self.running += usize::from(!started.is_empty());
        started.sort_unstable();
        started
    }

    /// A lane's records in a batch have answers; `None` for a record that is no longer waited for.
    /// Does nothing if these are not the running records. Records that are not handled stay ahead
    /// of later ones.
    pub(in crate::delivery) fn end(
        &mut self,
        key: LaneKey,
        answers: &[Answer],
        loses_order: bool,
    ) -> Option<Part> {
        let lane = self.lane_mut(key).filter(|lane| lane.is_at_work(answers))?;
        let attempts = lane.attempts;
        lane.rest.drain(..lane.taken);
        lane.taken = 0;
        let (mut handled, mut undone) = (Vec::new(), VecDeque::new());
        for (_, ticket, outcome) in answers {
            match outcome {
                Some(Outcome::Handled) => handled.push(*ticket),
                outcome => undone.push_back((*ticket, *outcome)),
            }
        }
        if loses_order && !lane.rest.is_empty() {
            lane.rest.extend(undone.drain(..).map(|(ticket, _)| ticket));
        }
        let Some((head, outcome)) = undone.pop_front() else {
            let moved_up = self.finish(key);
            return Some(Part {
                handled,
                first_undone: None,
                moved_up,
            });
        };
        lane.state = State::Held;
        lane.head = head;
        for (ticket, _) in undone.iter().rev() {
            lane.rest.push_front(*ticket);
        }
        let known = undone
            .iter()
            .filter_map(|(ticket, outcome)| Some((*ticket, (*outcome)?)));
        self.answered
            .extend(known.map(|(ticket, outcome)| (ticket, (attempts, outcome))));
        Some(Part {
            handled,
            first_undone: outcome.map(|outcome| Answered {
                lane: key,
                ticket: head,
                attempts,
                outcome,
            }),
            moved_up: None,
        })
    }

    /// A place is free.
    pub(in crate::delivery) fn give_place_back(&mut self) {
        self.running -= 1;
    }

    /// The running records of a lane were not run after all, and return to their place; `false` if
    /// these are not the running records.
    pub(in crate::delivery) fn put_back(
        &mut self,
        key: LaneKey,
        answers: &[Answer],
        counts: bool,
    ) -> bool {
        let Some(lane) = self.lane_mut(key).filter(|lane| lane.is_at_work(answers)) else {
            return false;
        };
        lane.attempts -= u32::from(!counts);
        lane.taken = 0;
        lane.state = State::Ready;
        if lane.attempts > 0 {
            let next = if self.batches {
                &mut self.again
            } else {
                &mut self.ready
            };
            next.push_front(key);
            return true;
        }
        // Some may have come from another worker meanwhile, and now go first.
        lane.rest.push_front(lane.head);
        lane.rest.make_contiguous().sort_unstable();
        lane.head = lane.rest.pop_front().unwrap_or(lane.head);
        let head = lane.head;
        if self.shut.contains(&head) {
            if let Some(lane) = self.lane_mut(key) {
                lane.state = State::Shut;
            }
        } else {
            self.ready.push_front(key);
        }
        true
    }

    /// The earliest place in the rest of a lane where a record may be inserted.
    pub(super) fn earliest(&self, lane: &Lane) -> usize {
        if self.answered.is_empty() {
            return lane.taken;
        }
        let answered = |ticket: &Ticket| self.answered.contains_key(ticket);
        let after = lane.rest.iter().rposition(answered).map_or(0, |at| at + 1);
        lane.taken.max(after)
    }
}

impl Lane {
    /// Whether exactly these records are running.
    fn is_at_work(&self, answers: &[Answer]) -> bool {
        let taken = self.rest.iter().take(self.taken);
        let at_work = [&self.head].into_iter().chain(taken);
        self.state == State::Running && at_work.eq(answers.iter().map(|(_, ticket, _)| ticket))
    }
}
