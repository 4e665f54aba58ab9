//! Publish and consume event envelopes over Apache Kafka.

mod error;

pub use error::{Error, ErrorKind, Fault};

mod event;
mod name;

pub use event::{Event, Payload, SpanContext};
pub use name::{EventName, GroupId, Topic};
