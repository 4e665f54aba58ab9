use super::events::{Plan, Ticket};
use super::partition::{Partition, Phase, Timer};
use super::sabotage::Sabotage;

/// Offsets of a partition that restart or have gaps.
impl<R: Clone> Partition<R> {
    pub(super) fn new_history(&mut self, start: i64) {
        if self.phase != Phase::Active || self.sabotaged(Sabotage::TakeNewHistoryForSeen) {
            return;
        }
        let old_watermark = self.window.watermark();
        self.timers
            .retain(|timer| !matches!(timer.0.1, Timer::Commit));
        // Whether its commit arrived no longer matters, as its offset is gone.
        self.in_flight -= usize::from(self.commits.begin(start).is_some());
        self.window.begin(start);
        if self.sabotaged(Sabotage::KeepOldWatermark)
            && let Some(up_to) = old_watermark
        {
            self.window.raise(up_to);
        }
        self.let_in();
        if self.at_most_once() {
            self.release_old();
        }
        self.held_from = Some(self.window.end());
        self.list_all();
    }

    /// At most once: records that cannot be read again need no commit before they run.
    fn release_old(&mut self) {
        while self.gate != self.window.end() {
            let ticket = self.gate;
            self.gate = ticket.next();
            let Some(slot) = self.window.get_mut(ticket) else {
                continue;
            };
            if matches!(slot.plan, Plan::Unmatched | Plan::Undecodable) {
                continue;
            }
            slot.released = true;
            let (key, plan) = (slot.key, slot.plan.clone());
            self.queue(ticket, key, &plan);
        }
    }

    pub(super) fn read_to(&mut self, offset: i64) {
        if self.phase == Phase::Active && !self.sabotaged(Sabotage::IgnoreGap) {
            self.window.read_to(offset);
        }
    }

    /// Whether nobody would read the record again if this partition were revoked now.
    pub(super) fn is_last_chance(&self, ticket: Ticket) -> bool {
        self.at_most_once() || self.window.is_old(ticket)
    }
}
