use super::events::{Action, Ticket};
use super::partition::{Partition, Phase};
use super::sabotage::Sabotage;

/// Exactly once: what is published with a record waits for it, and leaves in the partition's order.
impl<R: Clone> Partition<R> {
    /// What a handler that is about to succeed published, or the dead letter of its record.
    pub(super) fn stage(&mut self, ticket: Ticket, size: usize) {
        if self.phase != Phase::Lost {
            self.window.stage(ticket, size);
        }
        if self.sabotaged(Sabotage::ReleaseAtOnce) && self.window.release_at_once(ticket) {
            self.told.push_back(Action::Release { ticket });
        }
    }

    /// Outputs below the watermark may be released.
    pub(super) fn release_staged(&mut self) {
        let lost = self.phase == Phase::Lost && !self.sabotaged(Sabotage::ReleaseAfterLoss);
        while let Some(ticket) = self.window.next_released() {
            if self.sabotaged(Sabotage::ForgetStaged) || lost {
                continue;
            }
            self.releasing += 1;
            self.told.push_back(Action::Release { ticket });
        }
    }

    /// What was released no longer counts: it is in no transaction.
    pub(super) fn forget_releases(&mut self) {
        if self.sabotaged(Sabotage::ReleaseAfterLoss) {
            return;
        }
        self.releasing = 0;
        self.told
            .retain(|action| !matches!(action, Action::Release { .. }));
    }

    /// The offset that a transaction with everything released so far may commit; `None` while
    /// something is still to be released, and where the partition is lost.
    pub(crate) fn covered(&self) -> Option<i64> {
        let all_out = self.releasing == 0 || self.sabotaged(Sabotage::CoverBeforeRelease);
        self.watermark().filter(|_| all_out)
    }
}
