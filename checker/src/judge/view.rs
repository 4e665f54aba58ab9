//! A partition as one group sees it.

use super::assignment::Assignment;
use crate::log::Log;

/// What a group did with one record. As small as can be: there is one for each record and group.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cell {
    /// When it was last done, in milliseconds since the begin of the history.
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
    /// Beside the log.
    pub(super) cells: Vec<Cell>,
    /// The assignments that have not ended.
    pub(super) assignments: Vec<Assignment>,
    /// Every record below is done.
    done_to: usize,
    /// The highest committed offset.
    pub(super) committed: Option<i64>,
}

impl View {
    pub(super) fn new(group: u32, place: u32, log: &Log) -> Self {
        Self {
            group,
            place,
            cells: vec![Cell::default(); log.len()],
            assignments: Vec::new(),
            done_to: 0,
            committed: None,
        }
    }

    pub(super) fn cell(&mut self, log: &Log, offset: i64) -> Option<&mut Cell> {
        log.get(offset)?;
        self.cells.get_mut(log.index(offset)?)
    }

    /// Whether there is a record at the offset, and it is neither done nor given up.
    pub(super) fn is_undone(&self, log: &Log, offset: i64) -> bool {
        let cell = log.index(offset).and_then(|index| self.cells.get(index));
        log.get(offset).is_some() && cell.is_some_and(|cell| !cell.is_done())
    }

    /// The lowest offset that is not done.
    pub(super) fn watermark(&mut self, log: &Log) -> i64 {
        let mut offset = log.base() + i64::try_from(self.done_to).expect("an offset");
        while offset < log.end() && !self.is_undone(log, offset) {
            offset += 1;
            self.done_to += 1;
        }
        offset
    }
}
