//! A partition as seen by one group.

use super::assignment::Assignment;
use crate::log::Log;

/// What a group did with one record. As small as possible, as there is one for each record and
/// group.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cell {
    /// When it was last done, in milliseconds since the start of the history.
    pub(super) done_at: u32,
    /// How often it was done, at most 255.
    pub(super) done: u8,
    pub(super) started: bool,
    pub(super) dead: bool,
}

impl Cell {
    pub(super) fn is_done(self) -> bool {
        self.done > 0 || self.dead
    }
}

#[derive(Debug)]
pub(super) struct View {
    pub(super) group: u32,
    pub(super) place: u32,
    /// Parallel to the log.
    pub(super) cells: Vec<Cell>,
    /// The open assignments.
    pub(super) assignments: Vec<Assignment>,
    /// The index of the base in `cells`.
    base: usize,
    /// The highest committed offset.
    pub(super) committed: Option<i64>,
    /// The highest offset that a handler started.
    pub(super) high: i64,
    /// Up to here, records were or may be repeated because an earlier one was not done.
    pub(super) held_back: i64,
}

impl View {
    pub(super) fn new(group: u32, place: u32, log: &Log) -> Self {
        Self {
            group,
            place,
            cells: vec![Cell::default(); log.len()],
            assignments: Vec::new(),
            base: 0,
            committed: None,
            high: -1,
            held_back: -1,
        }
    }

    pub(super) fn cell(&mut self, log: &Log, offset: i64) -> Option<&mut Cell> {
        log.get(offset)?;
        self.cells.get_mut(log.index(offset)?)
    }

    fn look(&self, log: &Log, offset: i64) -> Option<Cell> {
        log.get(offset)?;
        self.cells.get(log.index(offset)?).copied()
    }

    /// Whether there is a record at the offset that is neither done nor dead-lettered.
    pub(super) fn is_undone(&self, log: &Log, offset: i64) -> bool {
        self.look(log, offset).is_some_and(|cell| !cell.is_done())
    }

    /// Whether a member has done the record at the offset.
    pub(super) fn is_handled(&self, log: &Log, offset: i64) -> bool {
        self.look(log, offset).is_some_and(|cell| cell.done > 0)
    }

    /// The offset from which records may be repeated: everything below was committed, as far as the history shows.
    ///
    /// With `since`, in milliseconds since the start of the history, everything done later counts as committed too:
    /// an assignment that started then has ended cleanly. What was done before it does not count: it may have been
    /// held back then, and repeated since.
    pub(super) fn base(&mut self, log: &Log, since: Option<u32>) -> i64 {
        let mut offset = log.base() + i64::try_from(self.base).expect("an offset");
        while let Some(cell) = self.cells.get(self.base) {
            let committed = self.committed.is_some_and(|committed| committed > offset);
            let done = cell.done > 0 && since.is_some_and(|since| cell.done_at > since);
            if !committed && !done && log.get(offset).is_some() {
                break;
            }
            offset += 1;
            self.base += 1;
        }
        offset
    }

    /// Whether a record from `base` up to but excluding `offset` is not done, or was done again since `since`, in
    /// milliseconds since the start of the history.
    pub(super) fn holds_back(&self, log: &Log, base: i64, offset: i64, since: u32) -> bool {
        let later = |cell: Cell| cell.done == 0 || cell.done_at >= since;
        (base..offset).any(|before| self.look(log, before).is_some_and(later))
    }
}
