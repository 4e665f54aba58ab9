use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use super::backoff::Jitter;
use super::commits::{Answer, Commits};
use super::config::{CommitMode, PartitionConfig, RouteOptions};
use super::events::{Action, Failure, Input, Outcome, Plan, Reason, RouteId, Ticket};
use super::lanes::LaneKey;
use super::letters::{LetterId, Letters};
use super::policy::{OnUndecodable, OnUnmatched, Retry};
use super::route::{Next, Route};
use super::time::Time;
use super::window::{Arrival, Window};

/// The delivery machine of one assigned partition. `R` is a cheap handle of a record's body.
///
/// After each input the driver polls until `None`. Inputs that belong to nothing (a late outcome,
/// an unknown route) are ignored.
pub(crate) struct Partition<R> {
    pub(super) config: PartitionConfig,
    pub(super) phase: Phase,
    pub(super) window: Window<R>,
    pub(super) routes: Vec<Route>,
    /// Routes that may have something to start, in turn.
    pub(super) listed: VecDeque<RouteId>,
    pub(super) letters: Letters,
    pub(super) commits: Commits,
    /// At most once: the first record that has not been released.
    pub(super) gate: Ticket,
    /// Actions that are facts, not choices: handed out first, in order.
    pub(super) told: VecDeque<Action<R>>,
    pub(super) paused: bool,
    /// The whole group must stop: nothing starts any more.
    pub(super) halted: bool,
    /// Handlers that run, dead letters being written, a release being committed.
    pub(super) in_flight: usize,
    timers: BinaryHeap<Reverse<(Time, Timer)>>,
    jitter: Jitter,
    #[cfg(test)]
    pub(super) sabotage: Option<super::simulation::Sabotage>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Active,
    /// Nothing starts; what runs may finish.
    Draining,
    Drained,
    Lost,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Retry(RouteId, LaneKey),
    Letter(LetterId),
    Commit,
}

impl<R: Clone> Partition<R> {
    pub(crate) fn new(config: PartitionConfig) -> Self {
        let first = Ticket::first(config.incarnation);
        Self {
            config,
            phase: Phase::Active,
            window: Window::new(first),
            routes: Vec::new(),
            listed: VecDeque::new(),
            letters: Letters::default(),
            commits: Commits::new(config.commit),
            gate: first,
            told: VecDeque::new(),
            paused: false,
            halted: false,
            in_flight: 0,
            timers: BinaryHeap::new(),
            jitter: Jitter::new(config.seed),
            #[cfg(test)]
            sabotage: None,
        }
    }

    /// Adds a route for the records that come from now on. A known number is ignored.
    pub(crate) fn add_route(&mut self, id: RouteId, mut options: RouteOptions) {
        if self.route(id).is_some() {
            return;
        }
        if self.at_most_once() {
            options.retry = options.retry.at_most_once();
        }
        self.routes.push(Route::new(id, options));
    }

    /// Starts nothing more of this route until it is resumed. Its records stay buffered.
    pub(crate) fn pause_route(&mut self, id: RouteId) {
        if let Some(route) = self.route(id) {
            route.paused = true;
        }
    }

    pub(crate) fn resume_route(&mut self, id: RouteId) {
        if let Some(route) = self.route(id) {
            route.paused = false;
            self.list(id);
        }
    }

    /// Takes no new records for this route. What is queued for it still runs;
    /// [`Action::RouteDrained`] follows the last of it.
    pub(crate) fn close_route(&mut self, id: RouteId) {
        if let Some(route) = self.route(id) {
            route.closing = true;
            self.remove_if_drained(id);
        }
    }

    /// Takes in one event. Never panics.
    pub(crate) fn handle(&mut self, input: Input<R>) {
        match input {
            Input::Record {
                offset,
                key,
                size,
                body,
                plan,
            } => self.record(offset, key, size, body, plan),
            Input::Outcome {
                ticket,
                route,
                result,
            } => self.outcome(ticket, route, result),
            Input::DeadLettered {
                ticket,
                route,
                stored,
                now,
            } => {
                self.dead_lettered(LetterId { ticket, route }, stored, now);
            }
            Input::Committed { up_to, ok, now } => self.committed(up_to, ok, now),
            Input::Tick(now) => self.tick(now),
            Input::Revoke | Input::Drain => self.drain(),
            Input::Lost => self.lose(),
        }
    }

    /// When [`Input::Tick`] is wanted.
    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        self.timers.peek().map(|Reverse((at, _))| *at)
    }

    /// The offset that may be committed: every lower one is done (at most once: was released).
    /// `None` before the first, and where the partition is lost.
    pub(crate) fn watermark(&self) -> Option<i64> {
        if self.phase == Phase::Lost {
            None
        } else {
            self.window.watermark()
        }
    }

    /// Handlers that run, dead letters being written, and a release being committed.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Records that are not done.
    pub(crate) fn buffered(&self) -> usize {
        self.window.records()
    }

    /// Bytes of the records that are not done.
    pub(crate) fn buffered_bytes(&self) -> usize {
        self.window.bytes()
    }

    fn record(&mut self, offset: i64, key: Option<u64>, size: usize, body: R, plan: Plan) {
        if self.phase != Phase::Active || self.window.has_seen(offset) {
            return;
        }
        let plan = self.admit(plan);
        let deliveries = match &plan {
            Plan::Many(routes) => u32::try_from(routes.len()).unwrap_or(u32::MAX),
            Plan::One(_) | Plan::Unmatched | Plan::Undecodable => 1,
        };
        let gated = self.at_most_once();
        let queued = if gated { Plan::Unmatched } else { plan.clone() };
        let kind = match plan {
            Plan::Unmatched => Some(Reason::Unmatched),
            Plan::Undecodable => Some(Reason::Undecodable),
            Plan::One(_) | Plan::Many(_) => None,
        };
        let ticket = self.window.push(Arrival {
            offset,
            key,
            size,
            body,
            plan,
            deliveries,
        });
        match kind {
            Some(reason) => self.unroutable(ticket, reason),
            None if !gated => self.queue(ticket, key, &queued),
            None => {}
        }
    }

    /// The plan without routes that take no new records.
    fn admit(&mut self, plan: Plan) -> Plan {
        let open = |routes: &[Route], id: RouteId| {
            routes
                .iter()
                .position(|route| route.id == id && !route.closing)
        };
        match plan {
            Plan::One(id) => match open(&self.routes, id) {
                Some(at) => {
                    self.routes[at].owed += 1;
                    Plan::One(id)
                }
                None => Plan::Unmatched,
            },
            Plan::Many(ids) => {
                let mut kept = Vec::new();
                for id in ids.iter() {
                    if let Some(at) = open(&self.routes, *id) {
                        self.routes[at].owed += 1;
                        kept.push(*id);
                    }
                }
                match kept.as_slice() {
                    [] => Plan::Unmatched,
                    [id] => Plan::One(*id),
                    _ if kept.len() == ids.len() => Plan::Many(ids),
                    _ => Plan::Many(Arc::from(kept)),
                }
            }
            Plan::Unmatched | Plan::Undecodable => plan,
        }
    }

    pub(super) fn queue(&mut self, ticket: Ticket, key: Option<u64>, plan: &Plan) {
        let ids = match plan {
            Plan::One(id) => std::slice::from_ref(id),
            Plan::Many(ids) => ids,
            Plan::Unmatched | Plan::Undecodable => return,
        };
        for id in ids {
            if let Some(route) = self.route(*id) {
                let lane = route.lanes.key_of(ticket, key);
                route.lanes.push(lane, ticket);
                self.list(*id);
            }
        }
    }

    /// A record that goes to no route.
    fn unroutable(&mut self, ticket: Ticket, reason: Reason) {
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

    fn outcome(&mut self, ticket: Ticket, id: RouteId, result: Outcome) {
        // What was lost is forgotten; but at most once nobody will run it again, so a failure is told.
        if self.phase == Phase::Lost && !self.at_most_once() {
            return;
        }
        let Some(slot) = self.window.get(ticket) else {
            return;
        };
        let key = slot.key;
        let Some(route) = self.routes.iter_mut().find(|route| route.id == id) else {
            return;
        };
        let lane = route.lanes.key_of(ticket, key);
        let Some(attempts) = route.lanes.stop(lane, ticket) else {
            return;
        };
        let next = route.after_failure(attempts);
        let retry = route.retry;
        self.in_flight -= 1;
        let letter = LetterId {
            ticket,
            route: Some(id),
        };
        match result {
            Outcome::Handled => self.finish(letter),
            Outcome::Rejected => self.give_up(letter, Reason::Rejected, attempts, Next::DeadLetter),
            Outcome::Failed { now } => match (next, retry) {
                (Next::Again, Retry::InPlace { backoff, .. }) if self.phase == Phase::Active => {
                    let at = now.after(backoff.delay(attempts, &mut self.jitter));
                    self.timers.push(Reverse((at, Timer::Retry(id, lane))));
                    if let Some(route) = self.route(id) {
                        route.lanes.wait(lane);
                    }
                }
                (next, _) => self.give_up(letter, Reason::Exhausted, attempts, next),
            },
        }
        // A place is free, whatever came of the record.
        self.list(id);
    }

    /// There is no further attempt. After a revoke only what needs no IO is still done; the rest
    /// stays undone and is read again, except at most once, where it is told instead.
    fn give_up(&mut self, id: LetterId, reason: Reason, attempts: u32, next: Next) {
        let active = self.phase == Phase::Active;
        match next {
            Next::Skip => self.skip(id, reason, attempts),
            _ if !active && self.at_most_once() => self.skip(id, reason, attempts),
            Next::DeadLetter if active => self.letters.add(id, reason, attempts),
            Next::Stop | Next::Rejoin if active => {
                let Some(failure) = self.failure(id, reason, attempts) else {
                    return;
                };
                if let Some(route) = id.route.and_then(|route| self.route(route))
                    && std::mem::replace(&mut route.halted, true)
                {
                    // Said once for each route, however many of its keys fail at the same time.
                    // At most once nobody reads the record again, so it is told on its own.
                    if self.at_most_once() {
                        self.skip(id, reason, attempts);
                    }
                    return;
                }
                self.told.push_back(match next {
                    Next::Rejoin => Action::Rejoin(failure),
                    _ => Action::StopSubscription(failure),
                });
            }
            Next::Again | Next::DeadLetter | Next::Stop | Next::Rejoin => {}
        }
    }

    fn dead_lettered(&mut self, id: LetterId, stored: bool, now: Time) {
        let known = if stored {
            self.letters.stored(id)
        } else {
            self.letters.failed(id)
        };
        let Some(letter) = known else { return };
        self.in_flight -= 1;
        if stored {
            self.finish(id);
        } else if self.phase == Phase::Active {
            let at = now.after(self.config.backoff.delay(letter.failures, &mut self.jitter));
            self.timers.push(Reverse((at, Timer::Letter(id))));
        } else if self.at_most_once() && id.route.is_some() {
            self.skip(id, letter.reason, letter.attempts);
        }
    }

    fn committed(&mut self, up_to: i64, ok: bool, now: Time) {
        match self.commits.answered(up_to, ok) {
            Answer::Ignored => {}
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
                }
            }
        }
    }

    fn tick(&mut self, now: Time) {
        while let Some(Reverse((at, timer))) = self.timers.peek().copied() {
            if at > now {
                break;
            }
            self.timers.pop();
            match timer {
                Timer::Retry(id, lane) => {
                    if let Some(route) = self.route(id) {
                        route.lanes.wake(lane);
                        self.list(id);
                    }
                }
                Timer::Letter(id) => self.letters.wake(id),
                Timer::Commit => self.commits.wake(),
            }
        }
    }

    fn drain(&mut self) {
        if self.phase == Phase::Active {
            self.phase = Phase::Draining;
            self.timers.clear();
            if self.at_most_once() {
                self.tell_unstarted();
            }
        }
    }

    fn lose(&mut self) {
        if matches!(self.phase, Phase::Drained | Phase::Lost) {
            return;
        }
        self.phase = Phase::Lost;
        self.timers.clear();
        // What was already decided about records is still told.
        self.told
            .retain(|action| matches!(action, Action::Skipped(_) | Action::RouteDrained { .. }));
        for route in &self.routes {
            let cancel = |ticket| Action::Cancel {
                ticket,
                route: route.id,
            };
            self.told
                .extend(route.lanes.running().into_iter().map(cancel));
        }
        if self.at_most_once() {
            // The commit on its way may or may not have arrived: told as well, to be safe.
            if let Some(ticket) = self.commits.take_releasing() {
                self.in_flight -= 1;
                self.release(ticket);
            }
            self.tell_unstarted();
        } else {
            self.letters = Letters::default();
            self.window.clear();
            self.in_flight = 0;
        }
    }
}
