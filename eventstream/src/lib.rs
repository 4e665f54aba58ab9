//! Publish and consume event envelopes over Apache Kafka.

#[allow(dead_code, unused_imports)]
mod delivery;
mod error;

pub use delivery::{Backoff, Exhausted, OnUndecodable, OnUnmatched, Ordering, Retry};
pub use error::{Error, ErrorKind, Fault};

mod event;
mod name;

pub use event::{Event, Payload, SpanContext};
pub use name::{EventName, GroupId, Topic};
