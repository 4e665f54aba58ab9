use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use super::Outgoing;
use crate::name::Topic;
use crate::publish::receipt::SlotRef;

/// Events whose own timeout is shorter than the client's, by deadline.
///
/// librdkafka knows one timeout for a topic, so these are watched here. A copy of the event is
/// kept because librdkafka gives the bytes back only with its own report.
#[derive(Default)]
pub(super) struct Timed {
    heap: BinaryHeap<Reverse<Entry>>,
    count: u64,
    /// At this size, entries with an outcome are swept out.
    sweep_at: usize,
}

/// Below this size nothing is swept.
const FEW: usize = 1024;

pub(super) struct Entry {
    deadline: Instant,
    number: u64,
    pub(super) slot: SlotRef,
    pub(super) topic: Topic,
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Vec<u8>,
    pub(super) headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Timed {
    /// Adds an event; `true` when its deadline is now the next one.
    pub(super) fn push(
        &mut self,
        deadline: Instant,
        slot: SlotRef,
        topic: Topic,
        record: &Outgoing<'_>,
    ) -> bool {
        // Otherwise a fast stream of events with long timeouts would keep copies of events stored
        // long ago. Twice the remaining size makes sweeping cheap: each entry is checked twice.
        if self.heap.len() >= self.sweep_at.max(FEW) {
            self.heap.retain(|Reverse(entry)| !entry.slot.is_done());
            self.sweep_at = self.heap.len() * 2;
        }
        let next = self.next_deadline();
        self.count += 1;
        self.heap.push(Reverse(Entry {
            deadline,
            number: self.count,
            slot,
            topic,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.unwrap_or_default().to_vec(),
            headers: record.headers.to_vec(),
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::publish::receipt::{Slots, Stored};

    const STORED: Stored = Stored {
        partition: 0,
        offset: 0,
        timestamp_ms: 0,
    };

    #[test]
    fn tells_the_due_in_order_and_skips_the_done() {
        let (mut timed, mut slots) = (Timed::default(), Slots::default());
        let start = Instant::now();
        let topic = Topic::new("t").expect("valid");
        let mut kept = Vec::new();
        for (i, seconds) in [3, 1, 2].into_iter().enumerate() {
            let slot = slots.take(0, 0);
            kept.push(slot.clone());
            let value = [i as u8];
            let record = Outgoing {
                value: Some(&value),
                ..Outgoing::default()
            };
            let at = start + Duration::from_secs(seconds);
            let is_next = timed.push(at, slot, topic.clone(), &record);
            assert_eq!(is_next, seconds != 2);
        }
        kept[2].complete(Ok(STORED));
        assert!(timed.pop_due(start).is_none());
        let late = start + Duration::from_secs(10);
        assert_eq!(timed.pop_due(late).expect("due").value, [1]);
        assert_eq!(timed.pop_due(late).expect("due").value, [0]);
        assert!(timed.pop_due(late).is_none());
    }

    #[test]
    fn keeps_no_copies_of_what_is_done() {
        let (mut timed, mut slots) = (Timed::default(), Slots::default());
        let topic = Topic::new("t").expect("valid");
        let far = Instant::now() + Duration::from_secs(3600);
        for _ in 0..50_000 {
            let slot = slots.take(0, 0);
            timed.push(far, slot.clone(), topic.clone(), &Outgoing::default());
            slot.complete(Ok(STORED));
        }
        assert!(timed.heap.len() <= FEW, "{} copies", timed.heap.len());
    }
}
