use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use super::backoff::Jitter;
use super::commits::Commits;
use super::config::{PartitionConfig, RouteOptions, Start};
use super::events::{Action, Input, Plan, Reason, RouteId, Ticket, Worker};
use super::lanes::{Answered, LaneKey};
use super::letters::{LetterId, Letters};
use super::policy::{Batch, Concurrency, Retry};
use super::route::Route;
use super::sabotage::{self, Sabotage};
use super::time::Time;
use super::window::{Arrival, Window};
use super::workers::Gate;

/// The delivery machine of one assigned partition. `R` is a cheap handle of a record's body.
///
/// After each input the driver polls until `None`. Inputs that belong to nothing (a late outcome,
/// an unknown route) are ignored.
pub(crate) struct Partition<R> {
    pub(super) config: PartitionConfig,
    pub(super) phase: Phase,
    pub(super) window: Window<R>,
    pub(super) routes: Vec<Route>,
    /// Records that wait for another worker.
    pub(super) gates: Vec<Gate>,
    /// Abandoned routes, and the routes that got some of their records.
    pub(super) heirs: Vec<(RouteId, RouteId)>,
    /// Routes that may have something to start, in turn.
    pub(super) listed: VecDeque<RouteId>,
    pub(super) letters: Letters,
    pub(super) commits: Commits,
    /// At most once: the first record that has not been released.
    pub(super) gate: Ticket,
    /// From this record on nothing starts, as the start of its history is not committed.
    pub(super) held_from: Option<Ticket>,
    /// Actions that are facts, not choices: returned first, in order.
    pub(super) told: VecDeque<Action<R>>,
    /// How many of them are releases.
    pub(super) releasing: usize,
    pub(super) paused: bool,
    /// The whole group must stop: nothing starts any more.
    pub(super) halted: bool,
    /// While draining: records below it continue. `None` if there are none.
    pub(super) fence: Option<Ticket>,
    /// While draining: later retries are left undone.
    pub(super) until: Time,
    /// Running handlers, dead letters being written, and a release being committed.
    pub(super) in_flight: usize,
    pub(super) timers: BinaryHeap<Reverse<(Time, Timer)>>,
    /// The time last reported.
    pub(super) now: Time,
    /// Batches: records answered before their turn, whose turn has now come.
    pub(super) moved_up: VecDeque<(RouteId, Answered)>,
    pub(super) jitter: Jitter,
    pub(super) sabotage: Option<Sabotage>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Active,
    /// Running handlers may finish, and what they give up is dead-lettered; otherwise only what
    /// blocks the commit of a done record continues.
    Draining,
    Drained,
    Lost,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    Retry(RouteId, LaneKey),
    Batch(RouteId),
    Letter(LetterId),
    Commit,
}

impl<R: Clone> Partition<R> {
    pub(crate) fn new(config: PartitionConfig) -> Self {
        let first = Ticket::first(config.incarnation);
        let mut window = Window::new(first);
        let mut commits = Commits::new(config.commit);
        let sabotage = sabotage::chosen();
        let mut held_from = None;
        if let Start::ToCommit(offset) = config.start {
            window.begin(offset);
            commits.start_at(offset);
            held_from = Some(first);
        }
        Self {
            config,
            phase: Phase::Active,
            window,
            routes: Vec::new(),
            gates: Vec::new(),
            heirs: Vec::new(),
            listed: VecDeque::new(),
            letters: Letters::default(),
            commits,
            gate: first,
            held_from,
            told: VecDeque::new(),
            releasing: 0,
            paused: false,
            halted: false,
            fence: None,
            until: Time::default(),
            in_flight: 0,
            timers: BinaryHeap::new(),
            now: Time::default(),
            moved_up: VecDeque::new(),
            jitter: Jitter::new(config.seed),
            sabotage,
        }
    }

    /// Adds a route for records from now on. A known number is ignored.
    pub(crate) fn add_route(&mut self, id: RouteId, mut options: RouteOptions) {
        if self.route(id).is_some() {
            return;
        }
        options.retry = self.allowed(options.retry);
        if self.at_most_once() {
            // Each record has its own commit before it runs.
            options.batch = options.batch.map(|batch| Batch { up_to: 1, ..batch });
        }
        if let Concurrency::PerKey(keys) = &mut options.concurrency
            && self.sabotaged(Sabotage::OneKeyTooMany)
        {
            *keys += 1;
        }
        if self.routes.is_empty() {
            // Most partitions have one, and there may be thousands of them.
            self.routes.reserve_exact(1);
        }
        self.routes.push(Route::new(id, options));
    }

    /// The part of a policy that the commit mode permits.
    pub(super) fn allowed(&self, retry: Retry) -> Retry {
        if self.at_most_once() {
            retry.at_most_once()
        } else {
            retry
        }
    }

    /// Starts nothing more of this route until it is resumed. Its records stay buffered. No effect
    /// on a closing route.
    pub(crate) fn pause_route(&mut self, id: RouteId) {
        if let Some(route) = self.route(id).filter(|route| !route.closing) {
            route.paused = true;
            self.lower_fence();
        }
    }

    pub(crate) fn resume_route(&mut self, id: RouteId) {
        if let Some(route) = self.route(id) {
            route.paused = false;
            self.list(id);
        }
    }

    /// Processes one input. Never panics.
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
            Input::BatchEnded {
                route,
                outcomes,
                now,
            } => self.batch_ended(route, &outcomes, now),
            Input::Withdrawn { route, tickets } => self.withdrawn(route, &tickets),
            Input::Staged { ticket, size } => self.stage(ticket, size),
            Input::Left { records, bytes } => self.window.left(records, bytes),
            Input::DeadLettered {
                ticket,
                route,
                stored,
                now,
            } => {
                self.dead_lettered(LetterId { ticket, route }, stored, now);
            }
            Input::Committed {
                history,
                up_to,
                ok,
                now,
            } => self.committed(history, up_to, ok, now),
            Input::NewHistory { start } => self.new_history(start),
            Input::ReadTo { offset } => self.read_to(offset),
            Input::Tick(now) => self.tick(now),
            Input::Revoke { until } => self.drain(until),
            Input::StopCatchingUp => self.stop_catching_up(),
            Input::Lost => self.lose(),
        }
        self.answer_moved_up();
        self.lower_fence();
    }

    /// When [`Input::Tick`] is wanted.
    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        self.timers.peek().map(|Reverse((at, _))| *at)
    }

    /// The offset that may be committed: every lower one is done (at most once: was released).
    /// `None` before the first record, and if the partition is lost.
    pub(crate) fn watermark(&self) -> Option<i64> {
        if self.sabotaged(Sabotage::WatermarkGoesBack) && self.in_flight == 0 {
            return self.window.watermark().map(|up_to| up_to - 1);
        }
        if self.phase == Phase::Lost {
            None
        } else {
            self.window.watermark()
        }
    }

    /// Running handlers, dead letters being written, and a release being committed.
    #[cfg(test)]
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Records that are not done.
    pub(crate) fn buffered(&self) -> usize {
        self.window.records()
    }

    #[cfg(test)]
    /// Bytes of the records that are not done.
    pub(crate) fn buffered_bytes(&self) -> usize {
        self.window.bytes()
    }

    fn record(&mut self, offset: i64, key: Option<u64>, size: usize, body: R, plan: Plan) {
        if self.phase != Phase::Active || self.window.has_seen(offset) {
            return;
        }
        let gated = self.at_most_once() || self.is_held();
        let mut arrival = Arrival {
            offset,
            key,
            size,
            body,
            plan,
            deliveries: 1,
        };
        // Nearly every record has one route and no gate.
        if let Plan::One(id) = arrival.plan
            && !gated
            && let Some(route) = self
                .routes
                .iter_mut()
                .find(|route| route.id == id && !route.closing)
        {
            let ticket = self.window.push(arrival);
            route.owed += 1;
            route.lanes.push(route.lanes.key_of(ticket, key), ticket);
            route.list(&mut self.listed);
            return;
        }
        let plan = self.admit(arrival.plan);
        if let Plan::Many(_) | Plan::Shared(_) = &plan {
            arrival.deliveries = u32::try_from(plan.routes().count()).unwrap_or(u32::MAX);
        }
        arrival.plan = plan.clone();
        let ticket = self.window.push(arrival);
        if !self.is_held() {
            self.admitted(ticket, key, &plan);
        }
    }

    /// The record is in the window, and nothing of its history blocks it.
    fn admitted(&mut self, ticket: Ticket, key: Option<u64>, plan: &Plan) {
        match plan {
            Plan::Unmatched => self.unroutable(ticket, Reason::Unmatched),
            Plan::Undecodable => self.unroutable(ticket, Reason::Undecodable),
            _ if self.at_most_once() => {}
            _ => self.queue(ticket, key, plan),
        }
    }

    /// Whether new records wait for the commit of their history's start.
    pub(super) fn is_held(&self) -> bool {
        self.held_from.is_some() && !self.sabotaged(Sabotage::StartBeforeCommit)
    }

    /// Records held because of their history continue.
    pub(super) fn let_in(&mut self) {
        let was_held = self.is_held();
        let Some(mut ticket) = self.held_from.take().filter(|_| was_held) else {
            return;
        };
        while ticket != self.window.end() {
            if let Some(slot) = self.window.get(ticket) {
                let (key, plan) = (slot.key, slot.plan.clone());
                self.admitted(ticket, key, &plan);
            }
            ticket = ticket.next();
        }
    }

    /// The plan without routes that accept no new records.
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
            Plan::Shared(workers) => {
                let is_open = |id: &RouteId| open(&self.routes, *id).is_some();
                let mut kept = Vec::new();
                for worker in workers.iter() {
                    let mut choices = std::iter::once(&worker.route).chain(&worker.others);
                    let Some(route) = choices.find(|id| is_open(id)).copied() else {
                        continue;
                    };
                    let mut others = worker.others.clone();
                    others.push(worker.route);
                    others.retain(|id| *id != route);
                    kept.push(Worker { route, others });
                }
                for worker in &kept {
                    if let Some(route) = self.route(worker.route) {
                        route.owed += 1;
                    }
                }
                if kept.is_empty() {
                    Plan::Unmatched
                } else if *kept == *workers {
                    Plan::Shared(workers)
                } else {
                    Plan::Shared(Arc::from(kept))
                }
            }
            Plan::Unmatched | Plan::Undecodable => plan,
        }
    }

    pub(super) fn queue(&mut self, ticket: Ticket, key: Option<u64>, plan: &Plan) {
        for id in plan.routes() {
            self.enqueue(id, ticket, key, plan.others(id), false);
        }
    }

    /// Whether a fault was built in; a constant except in tests and builds for it.
    pub(super) fn sabotaged(&self, fault: Sabotage) -> bool {
        (cfg!(test) || sabotage::BUILT_FOR_IT) && self.sabotage == Some(fault)
    }
}
