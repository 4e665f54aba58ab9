use std::collections::{BTreeMap, VecDeque};

use super::events::{Reason, RouteId, Ticket};

/// Which delivery a dead letter stands for; no route: the record never came to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LetterId {
    pub(super) ticket: Ticket,
    pub(super) route: Option<RouteId>,
}

/// Dead letters that are not acknowledged yet. Their number is bounded by the window's.
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
    /// Writes of the letter that failed.
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

    /// The next letter to write.
    pub(super) fn start(&mut self) -> Option<(LetterId, Letter)> {
        let id = self.ready.pop_front()?;
        let letter = self.letters.get_mut(&id)?;
        letter.writing = true;
        Some((id, *letter))
    }

    /// The write was acknowledged: the letter is gone. `None` if it was not being written.
    pub(super) fn stored(&mut self, id: LetterId) -> Option<Letter> {
        self.letters.get(&id).filter(|letter| letter.writing)?;
        self.letters.remove(&id)
    }

    /// The write failed: the letter is kept for another.
    pub(super) fn failed(&mut self, id: LetterId) -> Option<Letter> {
        let letter = self.letters.get_mut(&id).filter(|letter| letter.writing)?;
        letter.writing = false;
        letter.failures = letter.failures.saturating_add(1);
        Some(*letter)
    }

    /// There will be no other write.
    pub(super) fn forget(&mut self, id: LetterId) {
        self.letters.remove(&id);
    }

    /// The wait before another write is over.
    pub(super) fn wake(&mut self, id: LetterId) {
        if self.letters.get(&id).is_some_and(|letter| !letter.writing) {
            self.ready.push_back(id);
        }
    }

    /// Those being written, or those that are not.
    pub(super) fn of(&self, writing: bool) -> impl Iterator<Item = LetterId> + '_ {
        self.letters
            .iter()
            .filter(move |(_, letter)| letter.writing == writing)
            .map(|(id, _)| *id)
    }

    pub(super) fn is_writing(&self, id: LetterId) -> bool {
        self.letters.get(&id).is_some_and(|letter| letter.writing)
    }

    /// Takes out all that are not being written.
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
