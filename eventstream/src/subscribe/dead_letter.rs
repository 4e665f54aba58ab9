use std::fmt;
use std::sync::Arc;

use super::context::Context;
use super::dead_letter_reason::DeadLetterReason;
use crate::publish::receipt::Delivery;
use crate::record::{RawRecord, Record};

/// A record that was written to the dead-letter topic: the reason, and its offset there. Given to [`Subscribe::on_dead_letter`](crate::Subscribe::on_dead_letter).
#[derive(Clone)]
pub struct DeadLetter {
    context: Context,
    record: RawRecord,
    reason: DeadLetterReason,
    error: String,
    delivery: Delivery,
}

impl DeadLetter {
    pub(crate) fn new(
        record: &Arc<Record>,
        attempts: u32,
        reason: DeadLetterReason,
        error: String,
        delivery: Delivery,
    ) -> Self {
        Self {
            context: Context::of(record, attempts),
            record: RawRecord::new(Arc::clone(record)),
            reason,
            error,
            delivery,
        }
    }

    /// Where the record was read, its headers and timestamp, and the number of attempts.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// The record.
    pub fn record(&self) -> &RawRecord {
        &self.record
    }

    /// Why it was dead-lettered.
    pub fn reason(&self) -> DeadLetterReason {
        self.reason
    }

    /// The last error, as in the dead letter's header; empty if there was none.
    pub fn error(&self) -> &str {
        &self.error
    }

    /// Topic, partition and offset of the dead letter, as acknowledged by the broker.
    pub fn delivery(&self) -> &Delivery {
        &self.delivery
    }
}

impl fmt::Debug for DeadLetter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetter")
            .field("record", &self.record)
            .field("reason", &self.reason)
            .field("delivery", &self.delivery)
            .finish_non_exhaustive()
    }
}
