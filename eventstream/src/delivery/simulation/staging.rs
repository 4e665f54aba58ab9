//! The judge of what is published with records: nothing leaves before its turn, nothing stays behind.

use super::super::{Input, Ticket};
use super::invariants::{Checked, ensure};
use super::model::{Model, Phase};
use super::oracle::Oracle;
use super::world::World;

/// What became of what was published with a record.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum Staged {
    #[default]
    Nothing,
    Waiting(usize),
    /// Released, and not taken over yet.
    Released(usize),
    Left,
}

impl Staged {
    /// What counts against the marks.
    pub(super) fn held(self) -> Option<usize> {
        match self {
            Self::Waiting(size) | Self::Released(size) => Some(size),
            Self::Nothing | Self::Left => None,
        }
    }
}

impl Model<'_> {
    fn staged(&mut self, entry: usize, size: usize) {
        if self.phase == Phase::Lost {
            return;
        }
        let staged = &mut self.entries[entry].staged;
        *staged = match *staged {
            Staged::Waiting(before) => Staged::Waiting(before + size),
            _ => Staged::Waiting(size),
        };
    }
}

impl World<'_> {
    /// Something is published with a record that is about to be done, or not.
    pub(super) fn stage(&mut self, entry: usize) -> Checked {
        if !self.scenario.stages || self.chance.once_in(3) {
            return Ok(());
        }
        let size = self.chance.below(12);
        let ticket = self.ticket(entry)?;
        self.oracle.model.staged(entry, size);
        self.machine.handle(Input::Staged { ticket, size });
        Ok(())
    }

    /// What was released is taken over by the transaction.
    pub(super) fn take_over(&mut self) -> Checked {
        let (mut records, mut bytes) = (0, 0);
        for entry in &mut self.oracle.model.entries {
            if let Staged::Released(size) = entry.staged {
                entry.staged = Staged::Left;
                records += 1;
                bytes += size;
            }
        }
        if records == 0 {
            return Ok(());
        }
        self.input(Input::Left { records, bytes })
    }
}

impl Oracle<'_> {
    pub(super) fn released(&mut self, ticket: Ticket) -> Checked {
        let model = &mut self.model;
        ensure!(
            model.phase != Phase::Lost,
            NothingReleasedAfterLoss,
            "a release after it"
        );
        let at = model.entries.iter().position(|e| e.ticket == Some(ticket));
        let Some(at) = at else {
            ensure!(false, ReleasedBelowWatermark, "a release of nothing");
            return Ok(());
        };
        ensure!(
            at < model.front,
            ReleasedBelowWatermark,
            "entry {at} was released, and {} is not done",
            model.front
        );
        let earlier = model.entries[..at].iter();
        let mut waiting = earlier.filter(|e| matches!(e.staged, Staged::Waiting(_)));
        ensure!(
            waiting.next().is_none(),
            ReleasedInOrder,
            "entry {at} was released before one before it"
        );
        let Staged::Waiting(size) = model.entries[at].staged else {
            let staged = model.entries[at].staged;
            ensure!(false, ReleasedOnce, "entry {at} was released: {staged:?}");
            return Ok(());
        };
        model.entries[at].staged = Staged::Released(size);
        Ok(())
    }

    /// What may stand in a transaction beside what was released so far.
    pub(super) fn covered(&self, covered: Option<i64>, is_idle: bool) -> Checked {
        let model = &self.model;
        let below = &model.entries[..model.front];
        let waiting = |e: &&super::model::Entry| matches!(e.staged, Staged::Waiting(_));
        let late = below.iter().find(waiting).map(|e| e.offset);
        ensure!(
            !is_idle || late.is_none() || model.phase == Phase::Lost,
            Progress,
            "what {late:?} has published is not released"
        );
        ensure!(
            covered.is_none() || late.is_none(),
            OffsetsEqualOutputs,
            "offset {covered:?} is covered, and what {late:?} has published is not released"
        );
        Ok(())
    }
}
