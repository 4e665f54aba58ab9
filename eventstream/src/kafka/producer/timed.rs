use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use crate::name::Topic;
use crate::receipt::SlotRef;

/// Events whose own timeout is shorter than the client's, by deadline.
///
/// librdkafka knows one timeout for a topic, so these are watched here. A copy of the event is
/// kept because librdkafka gives the bytes back only with its own report.
#[derive(Default)]
pub(super) struct Timed {
    heap: BinaryHeap<Reverse<Entry>>,
    count: u64,
}

pub(super) struct Entry {
    deadline: Instant,
    number: u64,
    pub(super) slot: SlotRef,
    pub(super) topic: Topic,
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Vec<u8>,
}

impl Timed {
    /// Adds an event; `true` when its deadline is now the next one.
    pub(super) fn push(
        &mut self,
        deadline: Instant,
        slot: SlotRef,
        topic: Topic,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> bool {
        let next = self.next_deadline();
        self.count += 1;
        self.heap.push(Reverse(Entry {
            deadline,
            number: self.count,
            slot,
            topic,
            key: key.map(<[u8]>::to_vec),
            value: value.unwrap_or_default().to_vec(),
        }));
        next.is_none_or(|next| deadline < next)
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse(entry)| entry.deadline)
    }

    /// The next event whose deadline has passed and that has no outcome yet.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<Entry> {
        while let Some(Reverse(entry)) = self.heap.peek() {
            let done = entry.slot.is_done();
            if !done && entry.deadline > now {
                return None;
            }
            let Reverse(entry) = self.heap.pop()?;
            if !done {
                return Some(entry);
            }
        }
        None
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.deadline, self.number).cmp(&(other.deadline, other.number))
    }
}
