use std::cmp::Reverse;

use super::commits::Answer;
use super::config::CommitMode;
use super::events::{Action, Failure, Outcome, Reason, RouteId, Ticket};
use super::lanes::LaneKey;
use super::letters::LetterId;
use super::partition::{Partition, Phase, Timer};
use super::policy::{OnUndecodable, OnUnmatched, Retry};
use super::route::Next;
use super::sabotage::Sabotage;
use super::time::Time;

/// The results of deliveries: outcomes, acknowledgements and the time.
impl<R: Clone> Partition<R> {
    /// A record that goes to no route.
    pub(super) fn unroutable(&mut self, ticket: Ticket, reason: Reason) {
        let id = LetterId {
            ticket,
            route: None,
        };
        match (reason, self.config.on_undecodable, self.config.on_unmatched) {
            (Reason::Undecodable, OnUndecodable::Stop, _) => {
                let failure = self.failure(id, reason, 0);
                self.told.extend(failure.map(Action::StopSubscription));
                self.halted = true;
            }
            (Reason::Undecodable, OnUndecodable::DeadLetter, _)
            | (Reason::Unmatched, _, OnUnmatched::DeadLetter) => {
                self.letters.add(id, reason, 0);
            }
            _ => self.skip(id, reason, 0),
        }
    }

    pub(super) fn outcome(&mut self, ticket: Ticket, id: RouteId, result: Outcome) {
        // Lost records are forgotten; but if nobody will run one again, its failure is reported.
        if self.phase == Phase::Lost && !self.is_last_chance(ticket) {
            return;
        }
        let Some(slot) = self.window.get(ticket) else {
            return;
        };
        let key = slot.key;
        let Some(at) = self.routes.iter().position(|route| route.id == id) else {
            return;
        };
        let route = &mut self.routes[at];
        let lane = route.lanes.key_of(ticket, key);
        let Some(attempts) = route.lanes.stop(lane, ticket) else {
            return;
        };
        self.in_flight -= 1;
        if result == Outcome::Handled {
            self.finish_in(at, lane, ticket);
            return;
        }
        // A place is free, whatever the outcome.
        route.list(&mut self.listed);
        self.failed(ticket, at, lane, attempts, result);
    }

    pub(super) fn failed(
        &mut self,
        ticket: Ticket,
        at: usize,
        lane: LaneKey,
        attempts: u32,
        result: Outcome,
    ) {
        let route = &self.routes[at];
        let (id, mut retry) = (route.id, route.retry);
        if let Outcome::Failed {
            retry: Some(own), ..
        } = result
        {
            retry = self.allowed(own);
        }
        let extra = u32::from(self.sabotaged(Sabotage::OneAttemptTooMany));
        let next = Next::after(retry, attempts - extra);
        let letter = LetterId {
            ticket,
            route: Some(id),
        };
        match result {
            Outcome::Handled => {}
            Outcome::Rejected => self.give_up(letter, Reason::Rejected, attempts, Next::DeadLetter),
            Outcome::Failed { .. } if self.orphaned(id, lane) => {}
            Outcome::Failed { now, .. } => match (next, retry) {
                (Next::Again, Retry::InPlace { backoff, .. })
                    if self.phase == Phase::Active || self.catches_up(ticket) =>
                {
                    let at = now.after(backoff.delay(attempts, &mut self.jitter));
                    if self.phase == Phase::Active || at <= self.until {
                        self.retry_later(letter, lane, at);
                    }
                }
                (next, _) => self.give_up(letter, Reason::Exhausted, attempts, next),
            },
        }
    }

    /// The records of a call were not run.
    pub(super) fn withdrawn(&mut self, id: RouteId, tickets: &[Ticket]) {
        let answers = self.by_lane(id, tickets.iter().map(|ticket| (*ticket, None)));
        let counts = self.sabotaged(Sabotage::CountWithdrawn);
        let Some(route) = self.routes.iter_mut().find(|route| route.id == id) else {
            return;
        };
        let mut back = 0;
        // The first lane is put back last, to be first again.
        let parts: Vec<_> = answers.chunk_by(|one, other| one.0 == other.0).collect();
        for part in parts.into_iter().rev() {
            if route.lanes.put_back(part[0].0, part, counts) {
                back += part.len();
            }
        }
        if back == 0 {
            return;
        }
        route.lanes.give_place_back();
        let abandoned = route.abandoned;
        route.list(&mut self.listed);
        self.in_flight = self.in_flight.saturating_sub(back);
        if abandoned && self.phase == Phase::Active {
            self.told.push_back(Action::Orphaned { route: id });
        }
        if self.phase == Phase::Lost || self.phase != Phase::Active && self.at_most_once() {
            self.tell_unstarted();
        }
    }

    /// The lane waits, and with it everything after the record in it.
    fn retry_later(&mut self, id: LetterId, lane: LaneKey, at: Time) {
        let (forget_order, at_once, never) = (
            self.sabotaged(Sabotage::ForgetLaneOrder),
            self.sabotaged(Sabotage::RetryAtOnce),
            self.sabotaged(Sabotage::ForgetRetry),
        );
        let now = self.now;
        let Some(route) = id.route.and_then(|route| self.route(route)) else {
            return;
        };
        let route_id = route.id;
        // In a batch it may have failed long ago.
        let at_once = at_once || at <= now && !never;
        if forget_order {
            let _ = route.lanes.finish(lane);
            route.lanes.push(lane, id.ticket);
            return;
        }
        route.lanes.wait(lane);
        if at_once {
            route.lanes.wake(lane);
            self.list(route_id);
        } else if !never {
            self.timers
                .push(Reverse((at, Timer::Retry(route_id, lane))));
        }
    }

    /// There is no further attempt. What a drain leaves undone is read again, or reported at its
    /// end if nobody can read it.
    fn give_up(&mut self, id: LetterId, reason: Reason, attempts: u32, next: Next) {
        let active = self.phase == Phase::Active;
        let drains = self.phase == Phase::Draining && !self.at_most_once();
        // A drain reports what is left of these at its end.
        let told = self.is_last_chance(id.ticket) && !drains;
        match next {
            Next::Skip => self.skip(id, reason, attempts),
            Next::DeadLetter if active || drains => self.letters.add(id, reason, attempts),
            Next::Again if told => self.skip(id, Reason::Revoked, attempts),
            _ if told && !active => self.skip(id, reason, attempts),
            Next::Stop | Next::Rejoin if active => {
                let Some(failure) = self.failure(id, reason, attempts) else {
                    return;
                };
                if let Some(route) = id.route.and_then(|route| self.route(route))
                    && std::mem::replace(&mut route.halted, true)
                {
                    // Reported once for each route, however many of its keys fail at the same time.
                    // If nobody reads the record again, it is reported separately.
                    if told {
                        self.skip(id, reason, attempts);
                    }
                    return;
                }
                self.halted |= next == Next::Stop && !self.sabotaged(Sabotage::SiblingsGoOn);
                self.told.push_back(match next {
                    Next::Rejoin => Action::Rejoin(failure),
                    _ => Action::StopSubscription(failure),
                });
            }
            Next::Again | Next::DeadLetter | Next::Stop | Next::Rejoin => {}
        }
    }

    pub(super) fn dead_lettered(&mut self, id: LetterId, stored: bool, now: Time) {
        if self.phase == Phase::Lost && !self.is_last_chance(id.ticket) {
            return;
        }
        let known = if stored {
            self.letters.stored(id)
        } else {
            self.letters.failed(id)
        };
        let Some(letter) = known else { return };
        self.in_flight -= 1;
        if stored || self.sabotaged(Sabotage::PassOverFailedDeadLetter) {
            self.over(id, letter.reason);
        } else if self.phase == Phase::Active {
            let at = now.after(self.config.backoff.delay(letter.failures, &mut self.jitter));
            self.timers.push(Reverse((at, Timer::Letter(id))));
        } else {
            self.letters.forget(id);
            if self.window.is_old(id.ticket) || self.at_most_once() && id.route.is_some() {
                self.skip(id, letter.reason, letter.attempts);
            } else {
                self.fence = self.fence.map(|fence| fence.min(id.ticket));
            }
        }
    }

    pub(super) fn committed(&mut self, history: u32, up_to: i64, ok: bool, now: Time) {
        let ok = ok || self.sabotaged(Sabotage::BelieveFailedCommit);
        let history = if self.sabotaged(Sabotage::BelieveLateAnswer) {
            self.commits.history()
        } else {
            history
        };
        match self.commits.answered(history, up_to, ok) {
            Answer::Ignored => {}
            Answer::Started => {
                // Records held when the partition leaves belong to the next owner.
                if self.phase == Phase::Active {
                    self.let_in();
                    self.list_all();
                }
            }
            Answer::Confirmed(None) => self.list_all(),
            Answer::Confirmed(Some(ticket)) => {
                self.in_flight -= 1;
                self.window.raise(up_to);
                self.release(ticket);
            }
            Answer::Failed { failures, released } => {
                self.in_flight -= usize::from(released.is_some());
                if self.phase == Phase::Active {
                    let at = now.after(self.config.backoff.delay(failures, &mut self.jitter));
                    self.timers.push(Reverse((at, Timer::Commit)));
                    if let Some(ticket) = released {
                        self.orphan_unreleased(ticket);
                    }
                }
            }
        }
    }

    pub(super) fn tick(&mut self, now: Time) {
        self.now = self.now.max(now);
        while let Some(Reverse((at, timer))) = self.timers.peek().copied() {
            if at > now {
                break;
            }
            self.timers.pop();
            match timer {
                Timer::Retry(id, lane) => {
                    if let Some(route) = self.route(id).filter(|route| !route.abandoned) {
                        route.lanes.wake(lane);
                        self.list(id);
                    }
                }
                Timer::Batch(id) => {
                    if let Some(route) = self.route(id) {
                        route.batch_timer = false;
                        self.list(id);
                    }
                }
                Timer::Letter(id) => self.letters.wake(id),
                Timer::Commit => self.commits.wake(),
            }
        }
    }

    /// A delivery is over: the record is skipped and reported.
    pub(super) fn skip(&mut self, id: LetterId, reason: Reason, attempts: u32) {
        self.tell_skipped(id, reason, attempts);
        self.over(id, reason);
    }

    fn over(&mut self, id: LetterId, reason: Reason) {
        // Records that an abandoned route gave away are in none of its lanes.
        if reason == Reason::Stopped {
            self.done(id);
        } else {
            self.finish(id);
        }
    }

    pub(super) fn tell_skipped(&mut self, id: LetterId, reason: Reason, attempts: u32) {
        let failure = self.failure(id, reason, attempts);
        if !self.sabotaged(Sabotage::SkipSilently) {
            self.told.extend(failure.map(Action::Skipped));
        }
    }

    /// A delivery is done.
    pub(super) fn finish(&mut self, id: LetterId) {
        let Some(slot) = self.window.get(id.ticket) else {
            return;
        };
        let key = slot.key;
        let mut routes = self.routes.iter();
        match routes.position(|route| Some(route.id) == id.route) {
            Some(at) => {
                let lane = self.routes[at].lanes.key_of(id.ticket, key);
                self.finish_in(at, lane, id.ticket);
            }
            None => self.finish_one(id.ticket),
        }
    }

    /// Every record passes here, so each thing is looked up once.
    fn finish_in(&mut self, at: usize, lane: LaneKey, ticket: Ticket) {
        let route = &mut self.routes[at];
        let moved_up = route.lanes.finish(lane);
        route.owed -= 1;
        route.list(&mut self.listed);
        let id = route.id;
        self.moved_up
            .extend(moved_up.map(|answered| (id, answered)));
        if route.closing {
            self.remove_if_drained(id);
        }
        if !self.gates.is_empty() {
            self.open_gates(Some(id));
        }
        self.finish_one(ticket);
    }

    pub(super) fn finish_one(&mut self, ticket: Ticket) {
        if self.sabotaged(Sabotage::CommitNotContiguous)
            && let Some(slot) = self.window.get(ticket)
        {
            let up_to = slot.offset + 1;
            self.window.raise(up_to);
        }
        self.window.finish_one(ticket);
        self.release_staged();
        self.old_done(ticket);
    }

    /// With a commit after each record, the next one starts when that is confirmed; a record of an
    /// earlier history has none.
    fn old_done(&mut self, ticket: Ticket) {
        if self.config.commit == CommitMode::AfterEach && self.window.is_old(ticket) {
            self.list_all();
        }
    }

    /// Like [`finish`](Self::finish), for a delivery that is in no lane.
    pub(super) fn done(&mut self, id: LetterId) {
        if let Some(route) = id.route.and_then(|route| self.route(route)) {
            route.owed -= 1;
            let route = route.id;
            self.remove_if_drained(route);
        }
        self.finish_one(id.ticket);
    }

    pub(super) fn failure(
        &self,
        id: LetterId,
        reason: Reason,
        attempts: u32,
    ) -> Option<Failure<R>> {
        let slot = self.window.get(id.ticket)?;
        Some(Failure {
            ticket: id.ticket,
            route: id.route,
            reason,
            attempts,
            offset: slot.offset,
            body: slot.body(),
        })
    }
}
