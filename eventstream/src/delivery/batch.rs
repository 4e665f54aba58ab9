use std::cmp::Reverse;

use super::config::CommitMode;
use super::events::{Action, Outcome, RouteId, Started, Ticket};
use super::lanes::{Answer, Answered};
use super::partition::{Partition, Phase, Timer};
use super::policy::Batch;
use super::sabotage::Sabotage;
use super::time::Time;

/// Several records in one handler call: when it starts, and what follows from its result.
impl<R: Clone> Partition<R> {
    /// Starts the next call of a route that takes batches: a record that has failed alone, or
    /// otherwise all available records once they are enough or have waited long enough.
    pub(super) fn start_batch(&mut self, at: usize, fence: Option<Ticket>) -> Option<Action<R>> {
        let batch = self.routes[at].batch?;
        let id = self.routes[at].id;
        let until = [fence, self.end_of_settled(at)].into_iter().flatten().min();
        let most = batch.up_to + usize::from(self.sabotaged(Sabotage::BatchTooLarge));
        let again = self.routes[at].lanes.start_again();
        let mut started: Vec<_> = again.into_iter().collect();
        if started.is_empty() && self.is_due(at, batch, until)
            || !started.is_empty() && self.sabotaged(Sabotage::RetryInBatch)
        {
            let route = &mut self.routes[at];
            route.batch_due = None;
            let wanted = most.saturating_sub(started.len());
            let first = route.lanes.start_batch(wanted, until);
            if !started.is_empty() && !first.is_empty() {
                route.lanes.give_place_back();
            }
            started.extend(first);
        }
        if started.is_empty() {
            return None;
        }
        let route = &mut self.routes[at];
        if route.lanes.next().is_some() {
            route.list(&mut self.listed);
        }
        self.in_flight += started.len();
        let records = started.into_iter().filter_map(|(ticket, attempt)| {
            let slot = self.window.get(ticket)?;
            Some(Started {
                ticket,
                attempt,
                offset: slot.offset,
                body: slot.body(),
            })
        });
        Some(Action::RunBatch {
            route: id,
            records: records.collect(),
        })
    }

    /// With a commit after each call, records of an earlier history do not wait for one; what
    /// follows them does.
    fn end_of_settled(&self, at: usize) -> Option<Ticket> {
        let awaits = self.commits.mode() == CommitMode::AfterEach
            && self.routes[at].lanes.is_whole()
            && !self.commits.is_settled(self.window.watermark());
        awaits.then(|| self.window.end_of_old()).flatten()
    }

    /// Whether a batch may start: it is full, has waited, or nothing more can come for it.
    fn is_due(&mut self, at: usize, batch: Batch, until: Option<Ticket>) -> bool {
        let at_once = self.sabotaged(Sabotage::BatchAtOnce);
        let forgets = self.sabotaged(Sabotage::BatchNeverDue);
        let nothing_comes = self.phase != Phase::Active || self.paused;
        let route = &mut self.routes[at];
        let startable = route.lanes.startable(batch.up_to, until);
        if startable == 0 {
            return false;
        }
        let due = *route.batch_due.get_or_insert(self.now.after(batch.within));
        if startable >= batch.up_to || nothing_comes || route.closing || at_once || due <= self.now
        {
            return true;
        }
        if !route.batch_timer && !forgets {
            route.batch_timer = true;
            self.timers.push(Reverse((due, Timer::Batch(route.id))));
        }
        false
    }

    /// A handler call with several records has ended.
    pub(super) fn batch_ended(&mut self, id: RouteId, outcomes: &[(Ticket, Outcome)], now: Time) {
        self.now = self.now.max(now);
        let all_failed = self.sabotaged(Sabotage::RunAllAgain)
            && outcomes
                .iter()
                .any(|(_, outcome)| *outcome != Outcome::Handled);
        let loses_order = self.sabotaged(Sabotage::BatchForgetsOrder);
        let answers = outcomes.iter().map(|(ticket, outcome)| {
            let done = *outcome == Outcome::Handled;
            let failed = Outcome::Failed { now, retry: None };
            (
                *ticket,
                Some(if all_failed && done { failed } else { *outcome }),
            )
        });
        let answers = self.by_lane(id, answers);
        let Some(at) = self.routes.iter().position(|route| route.id == id) else {
            return;
        };
        let (mut handled, mut undone) = (Vec::new(), Vec::new());
        let mut ended = 0;
        for part in answers.chunk_by(|one, other| one.0 == other.0) {
            let lanes = &mut self.routes[at].lanes;
            let Some(of_lane) = lanes.end(part[0].0, part, loses_order) else {
                continue;
            };
            ended += part.len();
            handled.extend(of_lane.handled);
            undone.extend(of_lane.first_undone);
            self.moved_up
                .extend(of_lane.moved_up.map(|answered| (id, answered)));
        }
        if ended == 0 {
            return;
        }
        self.in_flight = self.in_flight.saturating_sub(ended);
        let route = &mut self.routes[at];
        route.lanes.give_place_back();
        route.owed -= handled.len();
        route.list(&mut self.listed);
        for ticket in handled {
            self.finish_one(ticket);
        }
        for answered in undone {
            self.answer(id, answered);
            self.answer_moved_up();
        }
        self.remove_if_drained(id);
        self.open_gates(Some(id));
    }

    /// The records of a call by lane and in order, with their outcomes; `None` for lost ones, which
    /// no longer count.
    pub(super) fn by_lane(
        &self,
        id: RouteId,
        answers: impl Iterator<Item = (Ticket, Option<Outcome>)>,
    ) -> Vec<Answer> {
        let Some(route) = self.routes.iter().find(|route| route.id == id) else {
            return Vec::new();
        };
        let of_lane = |(ticket, outcome): (Ticket, Option<Outcome>)| {
            let slot = self.window.get(ticket)?;
            let known = self.phase != Phase::Lost || self.is_last_chance(ticket);
            let lane = route.lanes.key_of(ticket, slot.key);
            Some((lane, ticket, outcome.filter(|_| known)))
        };
        let mut answers: Vec<_> = answers.filter_map(of_lane).collect();
        answers.sort_unstable_by_key(|(lane, ticket, _)| (*lane, *ticket));
        answers
    }

    /// Settles records that have reached the front of their lane and already have an answer.
    pub(super) fn answer_moved_up(&mut self) {
        while let Some((id, answered)) = self.moved_up.pop_front() {
            if self.phase != Phase::Drained {
                self.answer(id, answered);
            }
        }
    }

    fn answer(&mut self, id: RouteId, answered: Answered) {
        if let Some(at) = self.routes.iter().position(|route| route.id == id) {
            let Answered {
                lane,
                ticket,
                attempts,
                outcome,
            } = answered;
            self.failed(ticket, at, lane, attempts, outcome);
        }
    }
}
