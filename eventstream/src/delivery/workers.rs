use std::borrow::Cow;
use std::sync::Arc;

use super::events::{Action, Heir, Plan, Reason, RouteId, Ticket, Worker};
use super::lanes::LaneKey;
use super::letters::LetterId;
use super::partition::{Partition, Phase, Timer};
use super::policy::OnUnmatched;
use super::sabotage::Sabotage;
use super::window::Slot;

/// A record that waits until other workers have finished everything before it in its lane.
pub(super) struct Gate {
    route: RouteId,
    ticket: Ticket,
    lane: LaneKey,
    others: Vec<RouteId>,
}

/// Routes that close, and workers that take over from each other.
impl<R: Clone> Partition<R> {
    /// Accepts no new records for this route. What is queued for it still runs, even if it was
    /// paused; [`Action::RouteDrained`] follows the last record.
    pub(crate) fn close_route(&mut self, id: RouteId) {
        let stays_paused = self.sabotaged(Sabotage::CloseKeepsPause);
        if let Some(route) = self.route(id) {
            route.closing = true;
            route.paused &= stays_paused;
            self.list(id);
            self.remove_if_drained(id);
        }
    }

    /// The time to close is over: queued records that are not running go to the `heir` named for
    /// them, in order, or are treated as unmatched, with [`Reason::Stopped`]. Records that fail
    /// later are treated in the same way, after [`Action::Orphaned`]. If the partition is about to
    /// leave, as in a drain or after a stop by policy, everything stays undone instead.
    pub(crate) fn abandon_route(&mut self, id: RouteId, heir: &dyn Fn(&R) -> Option<Heir>) {
        if self.phase != Phase::Active || self.halted || self.sabotaged(Sabotage::KeepAbandoned) {
            return;
        }
        let Some(route) = self.route(id).filter(|route| !route.halted) else {
            return;
        };
        route.closing = true;
        route.paused = false;
        route.abandoned = true;
        let queued = route.lanes.take_queued();
        self.gates.retain(|gate| gate.route != id);
        self.timers
            .retain(|timer| !matches!(timer.0.1, Timer::Retry(of, _) if of == id));
        for (ticket, attempts) in queued {
            let Some(body) = self.window.get(ticket).map(Slot::body) else {
                continue;
            };
            match self.open_heir(ticket, heir(&body)) {
                Some(worker) => {
                    self.hand_over(id, worker.route);
                    let key = self.window.get(ticket).and_then(|slot| slot.key);
                    self.enqueue(worker.route, ticket, key, &worker.others, true);
                }
                None => self.orphan(ticket, id, attempts),
            }
        }
        self.replan(id, heir);
        self.open_gates(None);
        self.remove_if_drained(id);
    }

    fn open_heir(&mut self, ticket: Ticket, heir: Option<Heir>) -> Option<Worker> {
        let heir = heir.filter(|heir| self.is_open(heir.worker.route))?;
        if let Some(slot) = self.window.get_mut(ticket) {
            slot.key = slot.key.or(heir.key);
        }
        Some(heir.worker)
    }

    fn is_open(&self, id: RouteId) -> bool {
        let mut routes = self.routes.iter();
        routes.any(|route| route.id == id && !route.closing)
    }

    fn hand_over(&mut self, from: RouteId, to: RouteId) {
        // Records that wait for the one wait for the other as well.
        if !self.heirs.contains(&(from, to)) {
            self.heirs.push((from, to));
            for gate in &mut self.gates {
                if gate.others.contains(&from) {
                    gate.others.push(to);
                }
            }
        }
        for (id, owed) in [(from, -1), (to, 1)] {
            if let Some(route) = self.route(id) {
                route.owed = route.owed.saturating_add_signed(owed);
            }
        }
    }

    /// There is no heir for it.
    fn orphan(&mut self, ticket: Ticket, route: RouteId, attempts: u32) {
        let id = LetterId {
            ticket,
            route: Some(route),
        };
        match self.config.on_unmatched {
            OnUnmatched::DeadLetter => self.letters.add(id, Reason::Stopped, attempts),
            OnUnmatched::Acknowledge => self.skip(id, Reason::Stopped, attempts),
        }
    }

    /// Records that have not reached their routes yet are planned as if they arrived now.
    fn replan(&mut self, id: RouteId, heir: &dyn Fn(&R) -> Option<Heir>) {
        let mut ticket = match self.held_from {
            _ if self.at_most_once() => self.gate,
            Some(held_from) if self.is_held() => held_from,
            _ => return,
        };
        while ticket != self.window.end() {
            if let Some(slot) = self.window.get(ticket)
                && !slot.released
                // A record about to be committed is given away once that is known.
                && self.commits.releasing() != Some(ticket)
                && slot.plan.routes().any(|route| route == id)
            {
                let heir = heir(&slot.body());
                let heir = self.open_heir(ticket, heir);
                self.replan_one(ticket, id, heir);
            }
            ticket = ticket.next();
        }
    }

    fn replan_one(&mut self, ticket: Ticket, id: RouteId, heir: Option<Worker>) {
        let Some(slot) = self.window.get(ticket) else {
            return;
        };
        let plan = &slot.plan;
        let mut workers: Vec<_> = plan
            .routes()
            .filter(|route| *route != id)
            .map(|route| Worker {
                route,
                others: plan.others(route).to_vec(),
            })
            .collect();
        match &heir {
            Some(heir) => self.hand_over(id, heir.route),
            None => {
                if let Some(route) = self.route(id) {
                    route.owed -= 1;
                }
                if !workers.is_empty() {
                    self.window.finish_one(ticket);
                }
            }
        }
        workers.extend(heir);
        let unmatched = workers.is_empty();
        if let Some(slot) = self.window.get_mut(ticket) {
            slot.plan = if unmatched {
                Plan::Unmatched
            } else {
                Plan::Shared(Arc::from(workers))
            };
        }
        if unmatched && !self.is_held() {
            self.unroutable(ticket, Reason::Unmatched);
        }
    }

    /// Passes a record to its route, behind unfinished records of its lane at other workers.
    /// `moved`: it may be older than the route's records.
    pub(super) fn enqueue(
        &mut self,
        id: RouteId,
        ticket: Ticket,
        key: Option<u64>,
        others: &[RouteId],
        moved: bool,
    ) {
        let Some(at) = self.routes.iter().position(|route| route.id == id) else {
            return;
        };
        let lane = self.routes[at].lanes.key_of(ticket, key);
        let others = self.with_heirs(others);
        let gated = !others.is_empty() && self.is_gated(at, lane, ticket, &others, moved);
        let route = &mut self.routes[at];
        if gated {
            route.lanes.shut(ticket);
            self.gates.push(Gate {
                route: id,
                ticket,
                lane,
                others: others.into_owned(),
            });
        }
        if moved {
            route.lanes.insert(lane, ticket);
        } else {
            route.lanes.push(lane, ticket);
        }
        if route.abandoned {
            self.told.push_back(Action::Orphaned { route: id });
        } else {
            route.list(&mut self.listed);
        }
    }

    /// At most once: the record's release has failed, and some of its routes cannot wait.
    pub(super) fn orphan_unreleased(&mut self, ticket: Ticket) {
        let Some(slot) = self.window.get(ticket) else {
            return;
        };
        for id in slot.plan.routes() {
            if self.routes.iter().any(|r| r.id == id && r.abandoned) {
                self.told.push_back(Action::Orphaned { route: id });
            }
        }
    }

    /// The workers, and the routes that got some of their records.
    fn with_heirs<'a>(&self, others: &'a [RouteId]) -> Cow<'a, [RouteId]> {
        let mut all = Cow::Borrowed(others);
        if others.is_empty() {
            return all;
        }
        let mut at = 0;
        while let Some(other) = all.get(at).copied() {
            at += 1;
            for (from, to) in &self.heirs {
                if *from == other && !all.contains(to) {
                    all.to_mut().push(*to);
                }
            }
        }
        all
    }

    fn is_gated(
        &self,
        at: usize,
        lane: LaneKey,
        ticket: Ticket,
        others: &[RouteId],
        moved: bool,
    ) -> bool {
        if self.sabotaged(Sabotage::ChangeWorkersAtOnce) {
            return false;
        }
        let to = &self.routes[at];
        let before = to.lanes.last_of(lane);
        let waits_already = |other: RouteId| {
            before.is_some_and(|before| {
                let slot = self.window.get(before);
                slot.is_some_and(|slot| slot.plan.others(to.id).contains(&other))
            })
        };
        self.routes.iter().any(|other| {
            others.contains(&other.id)
                && other.id != to.id
                && other.lanes.owes_before(lane, ticket)
                // Records that wait for everything the other has also block what comes after them.
                && (moved || other.lanes.last_of(lane) > before || !waits_already(other.id))
        })
    }

    /// At most once: whether the record would wait for another worker.
    pub(super) fn waits_for_other(&self, id: RouteId, ticket: Ticket, lane: LaneKey) -> bool {
        let Some(slot) = self.window.get(ticket) else {
            return false;
        };
        let others = self.with_heirs(slot.plan.others(id));
        let owes = |other: &super::route::Route| {
            others.contains(&other.id) && other.id != id && other.lanes.owes_before(lane, ticket)
        };
        !others.is_empty() && self.routes.iter().any(owes)
    }

    /// A worker (or several) has finished something, so others may continue.
    pub(super) fn open_gates(&mut self, by: Option<RouteId>) {
        let mut gates = std::mem::take(&mut self.gates);
        gates.retain(|gate| {
            if by.is_some_and(|by| !gate.others.contains(&by)) {
                return true;
            }
            let shut = self.routes.iter().any(|other| {
                gate.others.contains(&other.id)
                    && other.id != gate.route
                    && other.lanes.owes_before(gate.lane, gate.ticket)
            });
            if !shut && let Some(route) = self.routes.iter_mut().find(|r| r.id == gate.route) {
                route.lanes.open(gate.lane, gate.ticket);
                route.list(&mut self.listed);
            }
            shut
        });
        self.gates = gates;
    }

    /// A handler of an abandoned route has failed; `false` if the partition leaves.
    pub(super) fn orphaned(&mut self, id: RouteId, lane: LaneKey) -> bool {
        if self.phase != Phase::Active || self.halted || self.at_most_once() {
            return false;
        }
        let Some(route) = self
            .route(id)
            .filter(|route| route.abandoned && !route.halted)
        else {
            return false;
        };
        route.lanes.wait(lane);
        self.told.push_back(Action::Orphaned { route: id });
        true
    }
}
