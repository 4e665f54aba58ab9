use super::events::{Action, Reason, Ticket};
use super::letters::{LetterId, Letters};
use super::partition::{Partition, Phase};

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
            self.fence = self.end_of_begun();
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
    /// not be committed otherwise, and would be handled twice. But only below the first record
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
        } else {
            self.letters = Letters::default();
            self.window.clear();
            self.in_flight = 0;
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
}
