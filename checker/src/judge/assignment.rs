//! The time that a member holds a partition.
//!
//! If the history does not report assignments, they are inferred: one ends when another member of the group handles
//! the partition, when the member leaves, or when the member goes back, or skips what others have done, at a time
//! when the group may have rebalanced.

use std::collections::HashMap;

use crate::history::Order;
use crate::ranges::Ranges;

#[derive(Debug)]
pub(super) struct Assignment {
    pub(super) member: u32,
    /// Whether the history reports its start and end.
    pub(super) told: bool,
    pub(super) begun: u64,
    /// What is done from here on may be handled again, as it may not have been committed before.
    pub(super) base: i64,
    /// When a handler last started.
    pub(super) last: u64,
    /// The lowest and highest offset started.
    pub(super) span: Option<(i64, i64)>,
    /// Offsets below the highest that were not started.
    holes: Ranges,
    /// The last offset started of each key.
    keys: HashMap<u64, i64>,
}

/// What a handler keeps of the assignment that it started in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Term {
    pub(super) told: bool,
    pub(super) begun: u64,
    pub(super) base: i64,
}

/// How a first attempt goes back in its assignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Back {
    /// It started before.
    Again,
    /// A later record of the partition was started, in an ordered partition.
    BehindPartition,
    /// A later record of the key, at this offset, was started, with keys in order.
    BehindKey(i64),
    /// It is below everything that was started, which is allowed if keys run concurrently.
    BehindFirst,
}

/// A record that was not started although a later one was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hole {
    pub(super) offset: i64,
    /// The later record.
    pub(super) later: i64,
}

impl Assignment {
    pub(super) fn new(member: u32, told: bool, begun: u64, base: i64) -> Self {
        Self {
            member,
            told,
            begun,
            base,
            last: begun,
            span: None,
            holes: Ranges::default(),
            keys: HashMap::new(),
        }
    }

    pub(super) fn term(&self) -> Term {
        Term {
            told: self.told,
            begun: self.begun,
            base: self.base,
        }
    }

    /// Whether a first attempt at `offset` goes back.
    pub(super) fn back(&self, order: Order, offset: i64, key: Option<u64>) -> Option<Back> {
        let (low, high) = self.span?;
        if offset > high {
            return None;
        }
        if !self.holes.contains(offset) {
            return Some(Back::Again);
        }
        let last = key.and_then(|key| self.keys.get(&key).copied());
        match (order, last) {
            (Order::Partition, _) => Some(Back::BehindPartition),
            (Order::Key, Some(last)) if last > offset => Some(Back::BehindKey(last)),
            _ => (offset < low).then_some(Back::BehindFirst),
        }
    }

    /// Notes that `offset` starts; returns the offset before it in the order.
    pub(super) fn start(&mut self, order: Order, offset: i64, key: Option<u64>) -> Option<i64> {
        let before = self.high();
        let (low, high) = self.span.unwrap_or((offset, -1));
        if offset > high {
            self.holes.add(high + 1, offset);
        } else {
            self.holes.remove(offset);
        }
        self.span = Some((low.min(offset), high.max(offset)));
        match (order, key) {
            (Order::Partition, _) => before.filter(|before| *before < offset),
            (Order::Key, Some(key)) => {
                let last = self.keys.entry(key).or_insert(-1);
                let before = *last;
                *last = before.max(offset);
                (0..offset).contains(&before).then_some(before)
            }
            _ => None,
        }
    }

    /// The last offsets started: the highest, and that of each key.
    pub(super) fn latest(&self) -> impl Iterator<Item = i64> + '_ {
        self.high().into_iter().chain(self.keys.values().copied())
    }

    /// The highest offset started.
    pub(super) fn high(&self) -> Option<i64> {
        self.span.map(|(_, high)| high)
    }

    /// The offsets between the lowest and the highest that were not started.
    pub(super) fn holes(&self) -> impl Iterator<Item = Hole> + '_ {
        let (low, high) = self.span.unwrap_or((i64::MAX, i64::MAX));
        let holes = self.holes.from(low);
        holes.map(move |offset| Hole {
            offset,
            later: high,
        })
    }

    /// The hole at `offset` of `key`, if a later record of the key was started.
    pub(super) fn hole_of_key(&self, offset: i64, key: u64) -> Option<Hole> {
        let later = *self.keys.get(&key)?;
        (later > offset).then_some(Hole { offset, later })
    }
}
