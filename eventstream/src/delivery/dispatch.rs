use super::config::CommitMode;
use super::events::{Action, Failure, Plan, Reason, RouteId, Ticket};
use super::letters::LetterId;
use super::partition::{Partition, Phase};
use super::route::Route;

impl<R: Clone> Partition<R> {
    /// The next thing to do; `None`: nothing until the next input.
    pub(crate) fn poll(&mut self) -> Option<Action<R>> {
        if let Some(action) = self.told.pop_front() {
            return Some(action);
        }
        match self.phase {
            Phase::Active => self
                .write_letter()
                .or_else(|| self.commit())
                .or_else(|| self.pause_or_resume())
                .or_else(|| self.start()),
            Phase::Draining if self.in_flight == 0 => {
                self.phase = Phase::Drained;
                self.window.clear();
                Some(Action::Drained)
            }
            Phase::Draining | Phase::Drained | Phase::Lost => None,
        }
    }

    fn write_letter(&mut self) -> Option<Action<R>> {
        let (id, letter) = self.letters.start()?;
        self.in_flight += 1;
        self.failure(id, letter.reason, letter.attempts)
            .map(Action::DeadLetter)
    }

    fn commit(&mut self) -> Option<Action<R>> {
        if self.commits.mode() == CommitMode::BeforeProcessing
            && let Some(up_to) = self.release_next()
        {
            return Some(Action::Commit { up_to });
        }
        let up_to = self.commits.due(self.window.watermark())?;
        Some(Action::Commit { up_to })
    }

    /// At most once: the commit that lets the next record run. It is asked for only when the
    /// record would start at once, so that a crash loses what runs and nothing that waits.
    fn release_next(&mut self) -> Option<i64> {
        while self.gate != self.window.end() && self.window.is_done(self.gate) {
            self.gate = self.gate.next();
        }
        if !self.commits.is_idle() {
            return None;
        }
        let slot = self.window.get(self.gate)?;
        let free = |id: &RouteId| {
            self.routes
                .iter()
                .find(|route| route.id == *id)
                .is_some_and(|route| {
                    route.may_start()
                        && route.lanes.is_free(route.lanes.key_of(self.gate, slot.key))
                })
        };
        let ready = match &slot.plan {
            Plan::One(id) => free(id),
            Plan::Many(ids) => ids.iter().all(free),
            // Its dead letter must be acknowledged, or its subscription stops: nothing passes it.
            Plan::Unmatched | Plan::Undecodable => false,
        };
        let up_to = slot.offset + 1;
        if !ready || self.halted {
            return None;
        }
        self.in_flight += 1;
        Some(self.commits.send(up_to, Some(self.gate)))
    }

    /// At most once: the offset is committed, the record is the routes'.
    pub(super) fn release(&mut self, ticket: Ticket) {
        let Some(slot) = self.window.get_mut(ticket) else {
            return;
        };
        slot.released = true;
        let (key, plan) = (slot.key, slot.plan.clone());
        self.gate = ticket.next();
        self.queue(ticket, key, &plan);
        if self.phase != Phase::Active {
            self.tell_unstarted();
        }
    }

    /// At most once, after a revoke: what was committed and has not started is run by nobody, so
    /// the user is told.
    pub(super) fn tell_unstarted(&mut self) {
        let mut unstarted: Vec<_> = self
            .letters
            .take_idle()
            .into_iter()
            .filter(|(id, _)| id.route.is_some())
            .map(|(id, letter)| (id, letter.reason, letter.attempts))
            .collect();
        for route in &mut self.routes {
            let id = route.id;
            let ready = route.lanes.take_ready();
            unstarted.extend(ready.into_iter().map(|ticket| {
                (
                    LetterId {
                        ticket,
                        route: Some(id),
                    },
                    Reason::Revoked,
                    0,
                )
            }));
        }
        for (id, reason, attempts) in unstarted {
            self.skip(id, reason, attempts);
        }
    }

    fn pause_or_resume(&mut self) -> Option<Action<R>> {
        let config = &self.config;
        let (records, bytes, span) = (
            self.window.records(),
            self.window.bytes(),
            self.window.span(),
        );
        if self.paused {
            if config.records.is_low(records)
                && config.bytes.is_low(bytes)
                && config.span.is_low(span)
            {
                self.paused = false;
                return Some(Action::Resume);
            }
        } else if config.records.is_high(records)
            || config.bytes.is_high(bytes)
            || config.span.is_high(span)
        {
            self.paused = true;
            return Some(Action::Pause);
        }
        None
    }

    fn start(&mut self) -> Option<Action<R>> {
        while let Some(id) = self.listed.pop_front() {
            let Some(at) = self.routes.iter().position(|route| route.id == id) else {
                continue;
            };
            let route = &mut self.routes[at];
            route.listed = false;
            if !route.may_start() || self.halted {
                continue;
            }
            if self.commits.mode() == CommitMode::AfterEach && route.lanes.is_whole() {
                let settled = self.commits.is_settled(self.window.watermark());
                if !route
                    .lanes
                    .next()
                    .is_some_and(|ticket| settled && self.window.is_front(ticket))
                {
                    continue;
                }
            }
            let Some((ticket, attempt)) = route.lanes.start() else {
                continue;
            };
            if route.lanes.next().is_some() {
                route.listed = true;
                self.listed.push_back(id);
            }
            self.in_flight += 1;
            let slot = self
                .window
                .get(ticket)
                .expect("a lane holds only records of the window");
            return Some(Action::Run {
                ticket,
                route: id,
                attempt,
                offset: slot.offset,
                body: slot.body(),
            });
        }
        None
    }

    /// A delivery is over: the record passed over and told.
    pub(super) fn skip(&mut self, id: LetterId, reason: Reason, attempts: u32) {
        let failure = self.failure(id, reason, attempts);
        self.told.extend(failure.map(Action::Skipped));
        self.finish(id);
    }

    /// A delivery is done.
    pub(super) fn finish(&mut self, id: LetterId) {
        if let Some(route_id) = id.route
            && let Some(key) = self.window.get(id.ticket).map(|slot| slot.key)
            && let Some(route) = self.route(route_id)
        {
            route.owed -= 1;
            let lane = route.lanes.key_of(id.ticket, key);
            route.lanes.finish(lane);
            self.list(route_id);
            self.remove_if_drained(route_id);
        }
        self.window.finish_one(id.ticket);
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

    pub(super) fn remove_if_drained(&mut self, id: RouteId) {
        if let Some(at) = self.routes.iter().position(|route| route.id == id)
            && self.routes[at].closing
            && self.routes[at].owed == 0
        {
            self.routes.swap_remove(at);
            self.told.push_back(Action::RouteDrained { route: id });
        }
    }

    /// Notes that a route may have something to start.
    pub(super) fn list(&mut self, id: RouteId) {
        if let Some(route) = self.routes.iter_mut().find(|route| route.id == id)
            && !route.listed
        {
            route.listed = true;
            self.listed.push_back(id);
        }
    }

    pub(super) fn list_all(&mut self) {
        for route in self.routes.iter_mut().filter(|route| !route.listed) {
            route.listed = true;
            self.listed.push_back(route.id);
        }
    }

    pub(super) fn route(&mut self, id: RouteId) -> Option<&mut Route> {
        self.routes.iter_mut().find(|route| route.id == id)
    }

    pub(super) fn at_most_once(&self) -> bool {
        self.config.commit == CommitMode::BeforeProcessing
    }
}
