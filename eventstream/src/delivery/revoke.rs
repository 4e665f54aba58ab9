use std::cmp::Reverse;

use super::events::{Action, Reason, Ticket};
use super::letters::{LetterId, Letters};
use super::partition::{Partition, Phase, Timer};
use super::sabotage::Sabotage;
use super::time::Time;

/// The partition leaves: running handlers may finish, everything else is forgotten, and reported if
/// at most once.
impl<R: Clone> Partition<R> {
    pub(super) fn drain(&mut self, until: Time) {
        if self.phase != Phase::Active {
            return;
        }
        self.phase = Phase::Draining;
        if self.at_most_once() {
            self.timers.clear();
            self.tell_unstarted();
            return;
        }
        let forgets = self.sabotaged(Sabotage::DrainForgetsRetries);
        let until = if forgets { Time::default() } else { until };
        self.until = until;
        let timers: Vec<_> = self.timers.iter().map(|Reverse(timer)| *timer).collect();
        for (at, timer) in timers {
            if let Timer::Retry(id, lane) = timer
                && at > until
                && let Some(route) = self.route(id)
            {
                route.lanes.hold(lane);
            }
        }
        self.fence = self.end_to_catch_up();
        self.list_all();
    }

    /// The time to catch up is over: nothing starts any more.
    pub(super) fn stop_catching_up(&mut self) {
        self.fence = None;
    }

    /// Whether a drain continues with a record.
    pub(super) fn catches_up(&self, ticket: Ticket) -> bool {
        self.phase == Phase::Draining && self.fence.is_some_and(|fence| ticket < fence)
    }

    /// After the last record that is done, running, or whose dead letter is on its way, and after
    /// all that nobody can read again.
    fn end_to_catch_up(&self) -> Option<Ticket> {
        let running = self.routes.iter().flat_map(|route| route.lanes.running());
        let written = self.letters.on_their_way().filter(|id| id.route.is_some());
        running
            .chain(written.map(|id| id.ticket))
            .map(Ticket::next)
            .chain(self.window.end_of_done())
            .chain(self.window.end_of_old())
            .max()
    }

    /// While draining, a record continues if a later one is done, which could not be committed
    /// otherwise, and would be handled twice. So does a record that nobody can read again. But only
    /// below the first record that will not be done, as the watermark cannot pass it.
    pub(super) fn lower_fence(&mut self) {
        if self.phase != Phase::Draining {
            return;
        }
        let end = self.end_to_catch_up();
        self.fence = self.fence.and_then(|fence| {
            let unwritten = self.letters.failed_before().map(|id| id.ticket);
            self.first_stuck()
                .chain(unwritten)
                .chain([fence, end?])
                .min()
        });
        let (routes, fence) = (&self.routes, self.fence);
        self.timers.retain(|Reverse((_, timer))| {
            let Timer::Retry(id, lane) = timer else {
                return false;
            };
            let mut of_lane = routes.iter().filter(|route| route.id == *id);
            fence.is_some_and(|fence| of_lane.any(|route| route.lanes.waits_below(*lane, fence)))
        });
    }

    /// The first record of each route that will not be done.
    fn first_stuck(&self) -> impl Iterator<Item = Ticket> + '_ {
        self.routes.iter().filter_map(|route| {
            let written = |ticket| {
                self.letters.is_on_its_way(LetterId {
                    ticket,
                    route: Some(route.id),
                })
            };
            let starts = route.may_start() && !self.halted;
            route.lanes.first_stuck(starts, written)
        })
    }

    pub(super) fn lose(&mut self) {
        if matches!(self.phase, Phase::Drained | Phase::Lost) {
            return;
        }
        self.phase = Phase::Lost;
        self.timers.clear();
        self.forget_releases();
        // What else was decided before is still told: `told` holds facts.
        for route in &self.routes {
            let cancel = |ticket| Action::Cancel {
                ticket,
                route: route.id,
            };
            self.told
                .extend(route.lanes.running().into_iter().map(cancel));
        }
        if self.at_most_once() {
            // The commit in flight may or may not have arrived: reported as well, to be safe.
            if let Some(ticket) = self.commits.take_releasing() {
                self.in_flight -= 1;
                self.release(ticket);
            }
            self.tell_unstarted();
        } else if self.window.end_of_old().is_some() && !self.sabotaged(Sabotage::ForgetOldSilently)
        {
            self.tell_unstarted();
        } else {
            self.letters = Letters::default();
            self.window.clear();
            self.in_flight = 0;
        }
    }

    /// Reports records that have not started and that nobody will run: at most once everything
    /// committed, otherwise records of an earlier history.
    pub(super) fn tell_unstarted(&mut self) {
        for (id, letter) in self.letters.take_idle() {
            // At most once, a record without a route is not committed before its dead letter is
            // stored.
            let told = self.window.is_old(id.ticket) || self.at_most_once() && id.route.is_some();
            if told {
                self.skip(id, letter.reason, letter.attempts);
            }
        }
        let mut unstarted = Vec::new();
        for route in &mut self.routes {
            let id = Some(route.id);
            let queued = route.lanes.take_queued().into_iter();
            unstarted.extend(queued.map(|(ticket, attempts)| {
                let id = LetterId { ticket, route: id };
                (id, attempts)
            }));
        }
        for (id, attempts) in unstarted {
            if self.is_last_chance(id.ticket) {
                self.tell_skipped(id, Reason::Revoked, attempts);
                self.done(id);
            }
        }
        if self.window.end_of_old().is_some() {
            self.tell_held();
        }
    }

    /// Records for another member to read, except that they are of an earlier history.
    fn tell_held(&mut self) {
        let mut held = Vec::new();
        for route in &self.routes {
            let id = Some(route.id);
            held.extend(route.lanes.held().into_iter().map(|(ticket, attempts)| {
                let id = LetterId { ticket, route: id };
                (id, attempts)
            }));
        }
        // One that is not an event stopped the group.
        let stopped = self.window.old_undecodable().into_iter();
        held.extend(stopped.map(|ticket| {
            let route = None;
            (LetterId { ticket, route }, 0)
        }));
        for (id, attempts) in held {
            if self.window.is_old(id.ticket) && !self.letters.is_writing(id) {
                self.skip(id, Reason::Revoked, attempts);
            }
        }
        // Records that had moved up were among them.
        self.moved_up.clear();
    }
}
