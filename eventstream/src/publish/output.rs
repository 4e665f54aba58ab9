use std::fmt;

use super::receipt::{EventId, Receipt, Stored};
use super::{Publish, PublishRaw};
use crate::error::Result;
use crate::name::Topic;

/// Something that is published later, with all of its bytes.
pub(crate) struct Output {
    /// Without the client's prefix.
    pub(crate) topic: Topic,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
    pub(crate) timestamp_ms: Option<i64>,
    pub(crate) partition: Option<i32>,
}

impl Output {
    /// What it takes in memory, roughly.
    pub(crate) fn size(&self) -> usize {
        let len = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        let headers = self.headers.iter();
        let headers: usize = headers.map(|(name, value)| name.len() + len(value)).sum();
        size_of::<Self>() + len(&self.key) + len(&self.value) + headers
    }

    /// What whoever published it gets: it is not known where it will be stored.
    pub(crate) fn receipt(&self, id: EventId) -> Receipt {
        Receipt::ready(self.topic.clone(), id, Stored::NOWHERE)
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // All else is user data.
        f.debug_struct("Output")
            .field("topic", &self.topic)
            .finish_non_exhaustive()
    }
}

/// Makes outputs: checks, encodes, and refuses what no broker would take.
pub(crate) trait MakesOutputs: Send + Sync {
    fn output(&self, event: &Publish) -> Result<(Output, EventId)>;

    fn raw_output(&self, record: PublishRaw) -> Result<Output>;
}
