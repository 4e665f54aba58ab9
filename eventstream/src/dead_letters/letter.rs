use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use crate::error::Result;
use crate::event::Event;
use crate::record::{RawRecord, Record};
use crate::subscribe::{Context, DeadLetterOrigin};

/// A record of a dead-letter topic.
#[derive(Clone)]
pub struct Letter {
    context: Context,
    origin: Option<Arc<DeadLetterOrigin>>,
}

impl Letter {
    pub(super) fn new(record: &Arc<Record>) -> Self {
        let origin = DeadLetterOrigin::read(record.header_values());
        Self {
            context: Context::of(record, 0),
            origin: origin.ok().flatten().map(Arc::new),
        }
    }

    /// Its position in the dead-letter topic, with its key, headers and timestamp; the attempt is 0.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// The record.
    pub fn record(&self) -> RawRecord {
        self.context.raw_record()
    }

    /// Why it is here and where it came from. `None` if its headers do not say so, as for records written by
    /// other programs; [`DeadLetterOrigin::read`] on the headers of its context then tells what is wrong with
    /// them.
    pub fn origin(&self) -> Option<&DeadLetterOrigin> {
        self.origin.as_deref()
    }

    /// The event, if it is one.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Decode`](crate::ErrorKind::Decode) if it is not an event envelope.
    pub fn event(&self) -> Result<Event> {
        self.record().decode()
    }

    /// How often it was replayed before it came back here.
    pub fn replays(&self) -> u32 {
        DeadLetterOrigin::replays_in(self.raw().header_values())
    }

    /// The record's timestamp, which is that of the original.
    pub fn time(&self) -> Option<SystemTime> {
        self.context.timestamp()
    }

    pub(super) fn raw(&self) -> &Record {
        &self.context.record
    }

    /// Its position as the tool prints it: `player-dlq/3@17`.
    pub(super) fn place(&self) -> String {
        let context = &self.context;
        let (topic, partition) = (context.topic(), context.partition());
        format!("{topic}/{partition}@{}", context.offset())
    }

    /// The headers that it had before it was dead-lettered.
    pub(super) fn own_headers(&self) -> Vec<(String, Option<Vec<u8>>)> {
        let headers = self.raw().headers().iter();
        headers
            .filter(|(name, _)| !DeadLetterOrigin::owns(name))
            .cloned()
            .collect()
    }

    /// When the original was written.
    pub(super) fn timestamp_ms(&self) -> Option<i64> {
        let origin = self.origin().and_then(|origin| origin.timestamp_ms);
        origin.or(self.raw().timestamp_ms)
    }
}

impl fmt::Debug for Letter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Letter")
            .field("place", &self.place())
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}
