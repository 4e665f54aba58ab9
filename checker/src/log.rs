//! The log as the final read found it.

/// Not an event's id: nothing is at the offset.
const MISSING: u64 = u64::MAX;
/// Not an event's id: the record is not an event.
const FOREIGN: u64 = u64::MAX - 1;
/// Not an event's key.
const UNKEYED: u64 = u64::MAX;

/// What is at an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot {
    id: u64,
    key: u64,
}

impl Slot {
    const EMPTY: Self = Self {
        id: MISSING,
        key: UNKEYED,
    };

    fn new(id: Option<u64>, key: Option<u64>) -> Self {
        Self {
            id: id.unwrap_or(FOREIGN),
            key: key.unwrap_or(UNKEYED),
        }
    }

    /// The event's id; `None` if the record is not an event.
    pub(crate) fn id(self) -> Option<u64> {
        (self.id != FOREIGN).then_some(self.id)
    }

    /// The record's key.
    pub(crate) fn key(self) -> Option<u64> {
        (self.key != UNKEYED).then_some(self.key)
    }
}

/// The records of one partition by offset.
#[derive(Debug, Default)]
pub(crate) struct Log {
    base: i64,
    slots: Vec<Slot>,
}

impl Log {
    /// Adds a record. Returns what another read found there, if it differs.
    pub(crate) fn add(&mut self, offset: i64, id: Option<u64>, key: Option<u64>) -> Option<Slot> {
        let slot = Slot::new(id, key);
        if self.slots.is_empty() {
            self.base = offset;
        }
        if let Ok(missing) = usize::try_from(self.base - offset) {
            let empty = std::iter::repeat_n(Slot::EMPTY, missing);
            self.slots.splice(..0, empty);
            self.base = offset;
        }
        let index = self.index(offset).expect("base is not above offset");
        if index >= self.slots.len() {
            self.slots.resize(index + 1, Slot::EMPTY);
        }
        let before = std::mem::replace(&mut self.slots[index], slot);
        (before != Slot::EMPTY && before != slot).then_some(before)
    }

    /// The index of an offset in tables parallel to the log.
    pub(crate) fn index(&self, offset: i64) -> Option<usize> {
        usize::try_from(offset - self.base).ok()
    }

    /// The record at an offset.
    pub(crate) fn get(&self, offset: i64) -> Option<Slot> {
        let slot = *self.slots.get(self.index(offset)?)?;
        (slot != Slot::EMPTY).then_some(slot)
    }

    /// The first offset.
    pub(crate) fn base(&self) -> i64 {
        self.base
    }

    /// The offset after the last record.
    pub(crate) fn end(&self) -> i64 {
        self.base + i64::try_from(self.slots.len()).expect("an offset")
    }

    /// How many offsets there are from the first to the last.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Every record with its offset.
    pub(crate) fn records(&self) -> impl Iterator<Item = (i64, Slot)> + '_ {
        let slots = (self.base..).zip(self.slots.iter().copied());
        slots.filter(|(_, slot)| *slot != Slot::EMPTY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_records_in_any_order_and_tells_a_contradiction() {
        let mut log = Log::default();
        assert_eq!(log.add(7, Some(1), Some(2)), None);
        assert_eq!(log.add(5, None, None), None);
        assert_eq!(log.add(7, Some(1), Some(2)), None);
        assert_eq!((log.base(), log.end()), (5, 8));
        assert_eq!(log.get(6), None);
        assert_eq!(log.get(4), None);
        assert_eq!(log.get(5).and_then(Slot::id), None);
        assert_eq!(log.get(7).and_then(Slot::key), Some(2));
        assert_eq!(log.add(7, Some(9), None), Some(Slot::new(Some(1), Some(2))));
    }
}
