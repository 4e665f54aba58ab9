use std::collections::{BTreeMap, VecDeque};

use super::events::{Reason, RouteId, Ticket};

/// The delivery that a dead letter is for; without a route, the record never reached one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LetterId {
    pub(super) ticket: Ticket,
    pub(super) route: Option<RouteId>,
}

/// Dead letters that are not acknowledged yet. Their number is limited by the window.
#[derive(Default)]
pub(super) struct Letters {
    letters: BTreeMap<LetterId, Letter>,
    ready: VecDeque<LetterId>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Letter {
    pub(super) reason: Reason,
    /// Attempts of the handler.
    pub(super) attempts: u32,
    /// Failed writes of the dead letter.
    pub(super) failures: u32,
    writing: bool,
}

impl Letters {
    pub(super) fn add(&mut self, id: LetterId, reason: Reason, attempts: u32) {
        self.letters.insert(
            id,
            Letter {
                reason,
                attempts,
                failures: 0,
                writing: false,
            },
        );
        self.ready.push_back(id);
    }

    /// The next dead letter to write; with a fence, only one below it.
    pub(super) fn start(&mut self, fence: Option<Ticket>) -> Option<(LetterId, Letter)> {
        if let Some(fence) = fence {
            self.ready.retain(|id| id.ticket < fence);
        }
        let id = self.ready.pop_front()?;
        let letter = self.letters.get_mut(&id)?;
        letter.writing = true;
        Some((id, *letter))
    }

    /// The write was acknowledged, and the dead letter is removed. `None` if it was not being
    /// written.
    pub(super) fn stored(&mut self, id: LetterId) -> Option<Letter> {
        self.letters.get(&id).filter(|letter| letter.writing)?;
        self.letters.remove(&id)
    }

    /// The write failed, and the dead letter is kept for a retry.
    pub(super) fn failed(&mut self, id: LetterId) -> Option<Letter> {
        let letter = self.letters.get_mut(&id).filter(|letter| letter.writing)?;
        letter.writing = false;
        letter.failures = letter.failures.saturating_add(1);
        Some(*letter)
    }

    /// There will be no further write.
    pub(super) fn forget(&mut self, id: LetterId) {
        self.letters.remove(&id);
    }

    /// The wait before the next write is over.
    pub(super) fn wake(&mut self, id: LetterId) {
        if self.letters.get(&id).is_some_and(|letter| !letter.writing) {
            self.ready.push_back(id);
        }
    }

    /// Those being written, or about to be for the first time.
    pub(super) fn on_their_way(&self) -> impl Iterator<Item = LetterId> + '_ {
        let all = self.letters.iter();
        all.filter(|(_, letter)| letter.is_on_its_way())
            .map(|(id, _)| *id)
    }

    pub(super) fn is_writing(&self, id: LetterId) -> bool {
        self.letters.get(&id).is_some_and(|letter| letter.writing)
    }

    /// Those whose write failed and that wait for a retry.
    pub(super) fn failed_before(&self) -> impl Iterator<Item = LetterId> + '_ {
        let all = self.letters.iter();
        all.filter(|(_, letter)| !letter.is_on_its_way())
            .map(|(id, _)| *id)
    }

    /// Whether it is being written, or is about to be for the first time.
    pub(super) fn is_on_its_way(&self, id: LetterId) -> bool {
        self.letters.get(&id).is_some_and(Letter::is_on_its_way)
    }

    /// Removes all that are not being written.
    pub(super) fn take_idle(&mut self) -> Vec<(LetterId, Letter)> {
        self.ready.clear();
        let idle: Vec<_> = self
            .letters
            .iter()
            .filter(|(_, letter)| !letter.writing)
            .map(|(id, letter)| (*id, *letter))
            .collect();
        self.letters.retain(|_, letter| letter.writing);
        idle
    }
}

impl Letter {
    fn is_on_its_way(&self) -> bool {
        self.writing || self.failures == 0
    }
}
