//! One assigned partition, as the polling thread sees it.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering as Atomic;
use std::time::Instant;

use tokio::sync::mpsc;

use crate::kafka::consumer::assignment::{Start, Told};
use crate::kafka::consumer::events::{Message, TopicPartition};
use crate::kafka::consumer::words::{Read, Shared, ToPartition};
use crate::kafka::questions::TopicId;
use crate::observe::metrics::PartitionMeter;
use crate::record::{Record, Source};

/// One assigned partition, as the polling thread sees it.
pub(super) struct Assigned {
    pub(super) name: TopicPartition,
    pub(super) number: u64,
    pub(super) shared: Arc<Shared>,
    pub(super) words: mpsc::UnboundedSender<ToPartition>,
    pub(super) inbox: mpsc::Sender<Read>,
    pub(super) meter: PartitionMeter,
    /// Records read but not passed on yet.
    pub(super) batch: Batch,
    pub(super) machine_full: bool,
    pub(super) inbox_full: bool,
    /// Since when it is full; it is still read until [`GRACE`] has passed.
    pub(super) full_since: Option<Instant>,
    pub(super) paused: bool,
    pub(super) committed: i64,
    pub(super) ended: bool,
    /// What did not fit into the inbox, ahead of the batch.
    pub(super) outbox: VecDeque<Read>,
    /// The offset after the last one read.
    pub(super) next: i64,
    /// The id of the topic being read.
    pub(super) topic_id: Option<TopicId>,
    /// How often its offsets have restarted.
    pub(super) history: u32,
    /// Its records are discarded, as it will be read from another position.
    pub(super) in_doubt: bool,
    /// The group has committed the start of its reading.
    pub(super) is_started: bool,
    /// What it has released was aborted: once its task has ended it is read again.
    pub(super) is_aborted: bool,
    /// Since when librdkafka should be reading it of a recreated topic without having reported anything.
    pub(super) unheard: Option<Instant>,
    /// What is stored from this offset on could not be read.
    pub(super) unreadable: Option<i64>,
}

impl Assigned {
    /// The offset that may be committed, unless it is of an earlier history, or may be.
    pub(super) fn watermark(&self) -> Option<i64> {
        let history = self.shared.history.load(Atomic::Acquire);
        let watermark = self.shared.watermark();
        // What is before an unreadable record is certain.
        let is_certain = !self.in_doubt || self.unreadable.is_some();
        watermark.filter(|_| history == self.history && is_certain)
    }

    pub(super) fn confirm(&mut self, offset: i64) {
        self.is_started = true;
        self.committed = self.committed.max(offset);
        let shared = &self.shared.committed;
        shared.fetch_max(self.committed, Atomic::Relaxed);
    }

    pub(super) fn is_full(&self) -> bool {
        self.machine_full || self.inbox_full
    }

    /// Full, or was when it was last looked at.
    pub(super) fn is_pressed(&self) -> bool {
        self.is_full() || self.paused || self.full_since.is_some()
    }

    pub(super) fn has_unsent(&self) -> bool {
        !(self.outbox.is_empty() && self.batch.is_empty())
    }

    /// Adds a record to the batch; `false` if its offset was read before, so the offsets have restarted.
    pub(super) fn take(&mut self, message: Message<'_>, bodies: &mut Bodies) -> bool {
        if self.in_doubt {
            return true;
        }
        if message.offset() < self.next {
            return false;
        }
        self.next = message.offset() + 1;
        self.batch.push(&self.shared.source, message, bodies);
        true
    }

    /// Continues reading from another position.
    pub(super) fn go_on(&mut self, start: &Start, topic_id: Option<TopicId>, bodies: &mut Bodies) {
        if start.is_new_history {
            // It was at an offset of the old one.
            self.is_readable();
            self.history += 1;
            self.committed = -1;
            self.shared.committed.store(-1, Atomic::Relaxed);
            let begin = match (start.told, self.shared.watermark()) {
                // In a truncated log, unfinished records below would be lost in a crash.
                (Some(Told::Beyond { .. }), Some(done)) => start.offset.min(done),
                _ => start.offset,
            };
            self.push(Read::NewHistory { start: begin }, bodies);
            if begin < start.offset {
                let offset = start.offset;
                self.push(Read::ReadTo { offset }, bodies);
            }
        } else if start.offset > self.next {
            let offset = start.offset;
            self.push(Read::ReadTo { offset }, bodies);
        }
        self.next = start.offset;
        self.topic_id = topic_id.or(self.topic_id);
        self.in_doubt = false;
    }

    pub(super) fn is_readable(&mut self) {
        if self.unreadable.take().is_some() {
            self.shared.progress.lock().unreadable = None;
        }
    }

    /// librdkafka forgets a pause when it starts reading a partition again.
    pub(super) fn is_resumed(&mut self) {
        self.paused = false;
        self.shared.paused.store(false, Atomic::Relaxed);
    }

    /// Everything below this offset was read.
    pub(super) fn read_to(&mut self, offset: i64, bodies: &mut Bodies) {
        self.unheard = None;
        if !self.in_doubt && offset > self.next {
            self.next = offset;
            self.push(Read::ReadTo { offset }, bodies);
        }
    }

    /// An item that follows everything read so far.
    fn push(&mut self, read: Read, bodies: &mut Bodies) {
        if !self.batch.is_empty() {
            let records = self.batch.take(bodies);
            self.outbox.push_back(Read::Records(records));
        }
        self.outbox.push_back(read);
    }

    /// Passes on what was read, and returns how many records and bytes; what does not fit stays.
    pub(super) fn flush(&mut self, bodies: &mut Bodies) -> (usize, usize) {
        if self.unreadable.is_some_and(|offset| self.next > offset) {
            self.is_readable();
        }
        let mut handed = (0, 0);
        while self.has_unsent() {
            self.shared.starved.store(true, Atomic::Release);
            let Ok(room) = self.inbox.try_reserve() else {
                self.inbox_full = true;
                return handed;
            };
            self.shared.starved.store(false, Atomic::Release);
            let read = self.outbox.pop_front();
            let read = read.unwrap_or_else(|| Read::Records(self.batch.take(bodies)));
            if let Read::Records(records) = &read {
                let bytes = records.iter().map(Record::size).sum();
                self.meter.read(records.len(), bytes);
                self.unheard = None;
                let on_the_way = &self.shared.on_the_way;
                on_the_way.fetch_add(records.len(), Atomic::AcqRel);
                handed.0 += records.len();
                handed.1 += bytes;
            }
            room.send(read);
            self.inbox_full = false;
        }
        handed
    }
}

/// Records on their way to a partition's task.
///
/// Small neighbours share one allocation: it is made on this thread and freed on another, which is
/// the slowest case for an allocator. So an event that is kept retains up to [`BODY`] bytes of
/// others.
#[derive(Default)]
pub(super) struct Batch {
    records: Vec<Record>,
    /// Keys and values of the last records, which have no body yet. It grows with what comes: most partitions of a
    /// large process are idle.
    open: Vec<u8>,
    /// How many records have their body.
    sealed: usize,
    /// The records' own copy of the source. If all batches shared one, its count would be changed for each record here,
    /// and at the same time for another one on the thread that has handled it.
    source: Option<Arc<Source>>,
    /// The placeholder body of the others.
    nothing: Arc<[u8]>,
}

/// The number of bytes that records share; a larger record has its own body.
const BODY: usize = 8 * 1024;

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    fn push(&mut self, source: &Source, message: Message<'_>, bodies: &mut Bodies) {
        let (key, value) = (message.key(), message.value());
        let lengths = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
        if self.open.len() + lengths > BODY {
            self.seal(bodies);
        }
        let key = key.map(|key| self.append(key));
        let value = value.map(|value| self.append(value));
        let source = (self.source).get_or_insert_with(|| Arc::new(Source::clone(source)));
        self.records.push(Record {
            source: Arc::clone(source),
            offset: message.offset(),
            timestamp_ms: message.timestamp_ms(),
            body: Arc::clone(&self.nothing),
            key,
            value,
            headers: message.headers(),
            event: None,
        });
    }

    fn append(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.open.len();
        self.open.extend_from_slice(bytes);
        start..self.open.len()
    }

    /// Creates the body of the last records.
    fn seal(&mut self, bodies: &mut Bodies) {
        let body = bodies.with(&self.open);
        for record in &mut self.records[self.sealed..] {
            record.body = Arc::clone(&body);
        }
        self.sealed = self.records.len();
        self.open.clear();
        self.open.shrink_to(BODY);
    }

    fn take(&mut self, bodies: &mut Bodies) -> Vec<Record> {
        self.seal(bodies);
        self.sealed = 0;
        self.source = None;
        // The next batch is likely to be as large.
        let next = Vec::with_capacity(self.records.len());
        std::mem::replace(&mut self.records, next)
    }
}

/// Bodies that are filled again once the events in them are gone: while much is read, memory is neither requested nor
/// returned, which costs a page fault for each page.
#[derive(Default)]
pub(super) struct Bodies {
    /// The first ones are the most likely to be free.
    lent: VecDeque<Arc<[u8]>>,
}

/// How many bodies are kept; more are made if more are in use.
const KEPT: usize = 256;

impl Bodies {
    /// A body that begins with these bytes.
    fn with(&mut self, bytes: &[u8]) -> Arc<[u8]> {
        // Where little is read, a body is as large as it must be.
        if !(BODY / 2..=BODY).contains(&bytes.len()) {
            return Arc::from(bytes);
        }
        let body = self.refilled(bytes).unwrap_or_else(|| {
            let mut whole = Vec::with_capacity(BODY);
            whole.extend_from_slice(bytes);
            whole.resize(BODY, 0);
            Arc::from(whole)
        });
        if self.lent.len() < KEPT {
            self.lent.push_back(Arc::clone(&body));
        }
        body
    }

    /// The first one with these bytes, if nobody has it any more.
    fn refilled(&mut self, bytes: &[u8]) -> Option<Arc<[u8]>> {
        let mut first = self.lent.pop_front()?;
        match Arc::get_mut(&mut first) {
            Some(room) => {
                room[..bytes.len()].copy_from_slice(bytes);
                Some(first)
            }
            None => {
                self.lent.push_back(first);
                None
            }
        }
    }

    /// Nothing is read at present.
    pub(super) fn clear(&mut self) {
        self.lent = VecDeque::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_filled_again_once_nobody_has_it() {
        let mut bodies = Bodies::default();
        let (first, second) = ([1; BODY], [2; BODY - 1]);
        let kept = bodies.with(&first);
        let other = bodies.with(&second);
        assert_eq!(
            (&kept[..], &other[..second.len()]),
            (&first[..], &second[..])
        );
        let at = kept.as_ptr();
        drop(kept);
        assert_eq!(bodies.with(&second).as_ptr(), at);
        assert_eq!(&other[..second.len()], &second[..]);
        // A few bytes do not take a whole one.
        assert_eq!(bodies.with(&[3]).len(), 1);
        assert_eq!(bodies.lent.len(), 2);
        bodies.clear();
        assert_ne!(bodies.with(&second).as_ptr(), other.as_ptr());
    }
}
