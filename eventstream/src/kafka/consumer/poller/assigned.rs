//! One assigned partition, as the polling thread sees it.

use std::sync::Arc;
use std::sync::atomic::Ordering as Atomic;
use std::time::Instant;

use tokio::sync::mpsc;

use crate::handler::{Record, Source};
use crate::kafka::consumer::events::{Message, TopicPartition};
use crate::kafka::consumer::words::{Shared, ToPartition};

/// One assigned partition, as the polling thread sees it.
pub(super) struct Assigned {
    pub(super) name: TopicPartition,
    pub(super) number: u64,
    pub(super) shared: Arc<Shared>,
    pub(super) words: mpsc::UnboundedSender<ToPartition>,
    pub(super) inbox: mpsc::Sender<Vec<Record>>,
    /// Records read and not yet handed over.
    pub(super) batch: Vec<Record>,
    pub(super) machine_full: bool,
    pub(super) inbox_full: bool,
    /// Since when it is full; its reading goes on until [`GRACE`] has passed.
    pub(super) full_since: Option<Instant>,
    pub(super) paused: bool,
    pub(super) committed: i64,
    pub(super) ended: bool,
}

impl Assigned {
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
                let bytes = self.batch.iter().map(Record::size).sum();
                let handed = (self.batch.len(), bytes);
                room.send(std::mem::take(&mut self.batch));
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
    let record = record(&to.shared.source, message);
    to.batch.push(record);
}

fn record(source: &Arc<Source>, message: Message<'_>) -> Record {
    thread_local! {
        static BODY: std::cell::RefCell<Vec<u8>> = const { std::cell::RefCell::new(Vec::new()) };
    }
    let (key, value) = (message.key(), message.value());
    let key_len = key.map_or(0, <[u8]>::len);
    let value_len = value.map_or(0, <[u8]>::len);
    // Key and value in one allocation that events can share.
    let body = BODY.with_borrow_mut(|body| {
        body.clear();
        body.extend_from_slice(key.unwrap_or_default());
        body.extend_from_slice(value.unwrap_or_default());
        Arc::from(body.as_slice())
    });
    Record {
        source: Arc::clone(source),
        offset: message.offset(),
        timestamp_ms: message.timestamp_ms(),
        body,
        key: key.map(|_| 0..key_len),
        value: value.map(|_| key_len..key_len + value_len),
        headers: message.headers(),
        event: None,
    }
}
