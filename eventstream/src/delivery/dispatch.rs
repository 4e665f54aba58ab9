use super::config::CommitMode;
use super::events::{Action, Plan, RouteId, Ticket};
use super::partition::{Partition, Phase};
use super::route::Route;
use super::sabotage::Sabotage;

impl<R: Clone> Partition<R> {
    /// The next action; `None` if there is none until the next input.
    pub(crate) fn poll(&mut self) -> Option<Action<R>> {
        if let Some(action) = self.told.pop_front() {
            let is_release = matches!(action, Action::Release { .. });
            self.releasing = self.releasing.saturating_sub(usize::from(is_release));
            return Some(action);
        }
        if self.phase == Phase::Draining
            && self.sabotaged(Sabotage::DispatchAfterRevoke)
            && let Some(action) = self.start(None)
        {
            return Some(action);
        }
        match self.phase {
            Phase::Active => self
                .write_letter(None)
                .or_else(|| self.commit())
                .or_else(|| self.pause_or_resume())
                .or_else(|| self.start(None)),
            Phase::Draining => self.catch_up().or_else(|| self.drained()),
            Phase::Drained | Phase::Lost => None,
        }
    }

    fn catch_up(&mut self) -> Option<Action<R>> {
        let fence = Some(self.fence?);
        if self.sabotaged(Sabotage::DrainForgetsLetters) {
            return self.start(fence);
        }
        self.write_letter(fence).or_else(|| self.start(fence))
    }

    fn drained(&mut self) -> Option<Action<R>> {
        // The remaining timers are those of retries to wait for.
        let goes_on = self.in_flight > 0 || !self.timers.is_empty();
        if goes_on && !self.sabotaged(Sabotage::DrainedTooEarly) {
            return None;
        }
        let forgets = self.sabotaged(Sabotage::ForgetOldSilently);
        if self.window.end_of_old().is_some() && !forgets {
            self.tell_unstarted();
        }
        self.phase = Phase::Drained;
        self.window.clear();
        self.told.push_back(Action::Drained);
        self.told.pop_front()
    }

    /// With a fence, only of records below it.
    fn write_letter(&mut self, fence: Option<Ticket>) -> Option<Action<R>> {
        let (id, letter) = self.letters.start(fence)?;
        self.in_flight += 1;
        if self.sabotaged(Sabotage::ReleaseBeforeDeadLetterAck) {
            if let Some(key) = self.window.get(id.ticket).map(|slot| slot.key)
                && let Some(route) = id.route.and_then(|route| self.route(route))
            {
                let lane = route.lanes.key_of(id.ticket, key);
                let _ = route.lanes.finish(lane);
            }
            self.list_all();
        }
        self.failure(id, letter.reason, letter.attempts)
            .map(Action::DeadLetter)
    }

    fn commit(&mut self) -> Option<Action<R>> {
        let history = self.commits.history();
        if self.at_most_once()
            && self.held_from.is_none()
            && let Some(up_to) = self.release_next()
        {
            return Some(Action::Commit { history, up_to });
        }
        let up_to = self.commits.due(self.window.watermark())?;
        Some(Action::Commit { history, up_to })
    }

    /// At most once: the commit that lets the next record run. It is requested only if the record
    /// would start at once, so that a crash loses running records and no waiting ones.
    fn release_next(&mut self) -> Option<i64> {
        while self.gate != self.window.end() && self.window.is_done(self.gate) {
            self.gate = self.gate.next();
        }
        if !self.commits.is_idle() {
            return None;
        }
        let slot = self.window.get(self.gate)?;
        let free = |id: RouteId| {
            let mut routes = self.routes.iter();
            routes.find(|route| route.id == id).is_some_and(|route| {
                let lane = route.lanes.key_of(self.gate, slot.key);
                route.may_start()
                    && route.lanes.is_free(lane)
                    && !self.waits_for_other(id, self.gate, lane)
            })
        };
        let ready = match &slot.plan {
            // Its dead letter must be acknowledged, or its subscription stops: nothing passes it.
            Plan::Unmatched | Plan::Undecodable => false,
            plan => plan.routes().all(free),
        };
        let up_to = slot.offset + 1;
        if !ready || self.halted {
            return None;
        }
        self.in_flight += 1;
        let ticket = self.gate;
        if self.sabotaged(Sabotage::RunBeforeCommit) {
            self.release(ticket);
        }
        Some(self.commits.send(up_to, Some(ticket)))
    }

    /// At most once: the offset is committed, so the record goes to its routes.
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
                if self.sabotaged(Sabotage::ForgetResume) {
                    return None;
                }
                self.paused = false;
                return Some(Action::Resume);
            }
        } else if config.records.is_high(records)
            || config.bytes.is_high(bytes)
            || config.span.is_high(span)
        {
            self.paused = true;
            // A batch that waits for others would wait for nothing.
            self.list_all();
            return Some(Action::Pause);
        }
        None
    }

    /// Starts whatever may start; with a fence, only records below it.
    fn start(&mut self, fence: Option<Ticket>) -> Option<Action<R>> {
        let leave_empty = self.sabotaged(Sabotage::LeavePlacesEmpty);
        while let Some(id) = self.listed.pop_front() {
            let Some(at) = self.routes.iter().position(|route| route.id == id) else {
                continue;
            };
            let route = &mut self.routes[at];
            route.listed = false;
            if !route.may_start() || self.halted {
                continue;
            }
            if let Some(fence) = fence {
                route.lanes.keep_ready_below(fence);
            }
            if self.commits.mode() == CommitMode::AfterEach && route.lanes.is_whole() {
                let settled = self.commits.is_settled(self.window.watermark());
                // What was in a batch is tried again even if the front is by now a record that came
                // later, from another worker: that one is behind it in its lane.
                let starts_again = route.lanes.starts_again();
                let may_start = |ticket| {
                    // Records of an earlier history have no commit to wait for.
                    (starts_again || self.window.is_front(ticket))
                        && (settled || self.window.is_old(ticket))
                };
                if !route.lanes.next().is_some_and(may_start) {
                    continue;
                }
            }
            if route.batch.is_some() {
                match self.start_batch(at, fence) {
                    Some(action) => return Some(action),
                    None => continue,
                }
            }
            let route = &mut self.routes[at];
            let Some((ticket, attempt)) = route.lanes.start() else {
                continue;
            };
            if route.lanes.next().is_some() && !leave_empty {
                route.listed = true;
                self.listed.push_back(id);
            }
            self.in_flight += 1;
            if self.sabotaged(Sabotage::StoreBeforeDone)
                && let Some(slot) = self.window.get(ticket)
            {
                let up_to = slot.offset + 1;
                self.window.raise(up_to);
            }
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
        if let Some(route) = self.routes.iter_mut().find(|route| route.id == id) {
            route.list(&mut self.listed);
        }
    }

    pub(super) fn list_all(&mut self) {
        for route in &mut self.routes {
            route.list(&mut self.listed);
        }
    }

    pub(super) fn route(&mut self, id: RouteId) -> Option<&mut Route> {
        self.routes.iter_mut().find(|route| route.id == id)
    }

    pub(super) fn at_most_once(&self) -> bool {
        self.config.commit == CommitMode::BeforeProcessing
    }
}
