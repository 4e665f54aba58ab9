use super::events::{Action, Reason, Ticket};
use super::letters::{LetterId, Letters};
use super::partition::{Partition, Phase};
use super::sabotage::Sabotage;

/// The partition leaves: what runs may finish, what does not is forgotten, and at most once told.
impl<R: Clone> Partition<R> {
    pub(super) fn drain(&mut self) {
        if self.phase != Phase::Active {
            return;
        }
        self.phase = Phase::Draining;
        self.timers.clear();
        if self.at_most_once() {
            self.tell_unstarted();
        } else {
            self.fence = self.end_of_begun().max(self.window.end_of_old());
            self.lower_fence();
            self.list_all();
        }
    }

    /// The time to catch up is over: nothing starts any more.
    pub(super) fn stop_catching_up(&mut self) {
        self.fence = None;
    }

    /// After the last record that ran, runs, or has its dead letter written.
    fn end_of_begun(&self) -> Option<Ticket> {
        let running = self.routes.iter().flat_map(|route| route.lanes.running());
        let written = self.letters.of(true).filter(|id| id.route.is_some());
        running
            .chain(written.map(|id| id.ticket))
            .map(Ticket::next)
            .chain(self.window.end_of_done())
            .max()
    }

    /// While it drains, what was not begun is started where something after it is done: that could
    /// not be committed otherwise, and would be handled twice; and what nobody can read again. But only below the first record
    /// that will not be done, for the watermark cannot pass it.
    pub(super) fn lower_fence(&mut self) {
        let Some(fence) = self.fence.filter(|_| self.phase == Phase::Draining) else {
            return;
        };
        let letters = &self.letters;
        let stuck = self.routes.iter().filter_map(|route| {
            let written = |ticket| {
                letters.is_writing(LetterId {
                    ticket,
                    route: Some(route.id),
                })
            };
            route.lanes.first_stuck(route.may_start(), written)
        });
        let unwritten = letters.of(false).map(|id| id.ticket);
        self.fence = stuck.chain(unwritten).chain([fence]).min();
    }

    pub(super) fn lose(&mut self) {
        if matches!(self.phase, Phase::Drained | Phase::Lost) {
            return;
        }
        self.phase = Phase::Lost;
        self.timers.clear();
        // What was decided before is still told: `told` holds facts only.
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
        } else if self.window.end_of_old().is_some() && !self.sabotaged(Sabotage::ForgetOldSilently)
        {
            self.tell_unstarted();
        } else {
            self.letters = Letters::default();
            self.window.clear();
            self.in_flight = 0;
        }
    }

    /// What has not started and will be run by nobody: the user is told. At most once that is all
    /// that was committed, else what is of an earlier history.
    pub(super) fn tell_unstarted(&mut self) {
        for (id, letter) in self.letters.take_idle() {
            // At most once a record without a route is not committed before its letter is stored.
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

    /// What was to be read by another member, but is of an earlier history.
    fn tell_held(&mut self) {
        let mut held = Vec::new();
        for route in &self.routes {
            let id = Some(route.id);
            held.extend(route.lanes.held().into_iter().map(|(ticket, attempts)| {
                let id = LetterId { ticket, route: id };
                (id, attempts)
            }));
        }
        // One that is no event stopped the group.
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
        // What had moved up was among it.
        self.moved_up.clear();
    }
}
