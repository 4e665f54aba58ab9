//! The time that a member holds a partition.
//!
//! Where the history does not tell assignments, they are guessed: one ends when another member of
//! the group handles the partition, when the member leaves, or when the member goes back, or past what
//! others have done, at a time at which the group may have rebalanced.

use std::collections::HashMap;

use crate::history::Order;
use crate::ranges::Ranges;

#[derive(Debug)]
pub(super) struct Assignment {
    pub(super) member: u32,
    /// Whether the history tells where it begins and ends.
    pub(super) told: bool,
    pub(super) begun: u64,
    /// What is done from here on may be handled again: it may not have been committed before.
    pub(super) base: i64,
    /// When a handler last started.
    pub(super) last: u64,
    /// The lowest and the highest offset that started.
    pub(super) span: Option<(i64, i64)>,
    /// The offsets below the highest that did not start.
    holes: Ranges,
    /// The last offset of each key that started.
    keys: HashMap<u64, i64>,
}

/// What is kept of an assignment for a handler that it started.
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
    /// A later record of the partition started, where that has an order.
    BehindPartition,
    /// A later record of the key, at this offset, started, where keys have an order.
    BehindKey(i64),
    /// It is below all that started. Nothing is wrong with that where keys run side by side.
    BehindFirst,
}

/// A record that did not start although a later one did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hole {
    pub(super) offset: i64,
    /// The later one.
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

    /// Notes that `offset` starts; the offset before it in the order.
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

    /// The last offsets that started: the highest, and that of each key.
    pub(super) fn latest(&self) -> impl Iterator<Item = i64> + '_ {
        self.high().into_iter().chain(self.keys.values().copied())
    }

    /// The highest offset that started.
    pub(super) fn high(&self) -> Option<i64> {
        self.span.map(|(_, high)| high)
    }

    /// The offsets from the lowest to the highest that did not start.
    pub(super) fn holes(&self) -> impl Iterator<Item = Hole> + '_ {
        let (low, high) = self.span.unwrap_or((i64::MAX, i64::MAX));
        let holes = self.holes.from(low);
        holes.map(move |offset| Hole {
            offset,
            later: high,
        })
    }

    /// Of the holes, the one at `offset` of `key`, if a later record of the key started.
    pub(super) fn hole_of_key(&self, offset: i64, key: u64) -> Option<Hole> {
        let later = *self.keys.get(&key)?;
        (later > offset).then_some(Hole { offset, later })
    }
}
