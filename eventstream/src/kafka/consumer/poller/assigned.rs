//! One assigned partition, as the polling thread sees it.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering as Atomic;
use std::time::Instant;

use tokio::sync::mpsc;

use crate::handler::{Record, Source};
use crate::kafka::consumer::events::{Message, TopicPartition};
use crate::kafka::consumer::words::{Read, Shared, ToPartition};
use crate::metrics::PartitionMeter;

/// One assigned partition, as the polling thread sees it.
pub(super) struct Assigned {
    pub(super) name: TopicPartition,
    pub(super) number: u64,
    pub(super) shared: Arc<Shared>,
    pub(super) words: mpsc::UnboundedSender<ToPartition>,
    pub(super) inbox: mpsc::Sender<Read>,
    pub(super) meter: PartitionMeter,
    /// Records read and not yet handed over.
    pub(super) batch: Batch,
    pub(super) machine_full: bool,
    pub(super) inbox_full: bool,
    /// Since when it is full; its reading goes on until [`GRACE`] has passed.
    pub(super) full_since: Option<Instant>,
    pub(super) paused: bool,
    pub(super) committed: i64,
    pub(super) ended: bool,
}

impl Assigned {
    pub(super) fn confirm(&mut self, offset: i64) {
        self.committed = self.committed.max(offset);
        let shared = &self.shared.committed;
        shared.fetch_max(self.committed, Atomic::Relaxed);
    }

    pub(super) fn is_full(&self) -> bool {
        self.machine_full || self.inbox_full
    }

    /// Hands over what was read, and says how many records and bytes; what does not fit stays.
    pub(super) fn flush(&mut self) -> (usize, usize) {
        if self.batch.is_empty() {
            return (0, 0);
        }
        self.shared.starved.store(true, Atomic::Release);
        match self.inbox.try_reserve() {
            Ok(room) => {
                self.shared.starved.store(false, Atomic::Release);
                let records = self.batch.take();
                let handed = (records.len(), records.iter().map(Record::size).sum());
                self.meter.read(handed.0, handed.1);
                room.send(Read::Records(records));
                self.inbox_full = false;
                handed
            }
            Err(_) => {
                self.inbox_full = true;
                (0, 0)
            }
        }
    }
}

/// Records on their way to a partition's task.
///
/// Small neighbours share one allocation: it is made on this thread and freed on another, which is
/// what an allocator is slowest at. So an event that is kept keeps up to [`BODY`] bytes of others.
pub(super) struct Batch {
    records: Vec<Record>,
    /// Keys and values of the last records, which have no body yet.
    open: Vec<u8>,
    /// How many records have their body.
    sealed: usize,
    /// What the others have meanwhile.
    nothing: Arc<[u8]>,
}

/// Bytes that records share; a larger record has a body of its own.
const BODY: usize = 8 * 1024;

impl Default for Batch {
    fn default() -> Self {
        Self {
            records: Vec::new(),
            open: Vec::with_capacity(BODY),
            sealed: 0,
            nothing: Arc::default(),
        }
    }
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    fn push(&mut self, source: &Arc<Source>, message: Message<'_>) {
        let (key, value) = (message.key(), message.value());
        let lengths = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
        if self.open.len() + lengths > BODY {
            self.seal();
        }
        let key = key.map(|key| self.append(key));
        let value = value.map(|value| self.append(value));
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

    /// Gives the last records their body.
    fn seal(&mut self) {
        let body: Arc<[u8]> = Arc::from(self.open.as_slice());
        for record in &mut self.records[self.sealed..] {
            record.body = Arc::clone(&body);
        }
        self.sealed = self.records.len();
        self.open.clear();
        self.open.shrink_to(BODY);
    }

    fn take(&mut self) -> Vec<Record> {
        self.seal();
        self.sealed = 0;
        // The next batch is likely to be as large.
        let next = Vec::with_capacity(self.records.len());
        std::mem::replace(&mut self.records, next)
    }
}

/// Puts a record into its partition's batch. One of a partition that is not assigned any more is
/// left: its next owner reads it.
pub(super) fn take(assigned: &mut [Assigned], last: &mut usize, message: Message<'_>) {
    let (topic, partition) = (message.topic(), message.partition());
    let is = |a: &Assigned| a.name.1 == partition && a.name.0 == topic;
    let found = match assigned.get(*last) {
        Some(a) if is(a) => Some(*last),
        _ => assigned.iter().position(is),
    };
    let Some(at) = found else { return };
    *last = at;
    let to = &mut assigned[at];
    to.batch.push(&to.shared.source, message);
}
