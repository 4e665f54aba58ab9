//! What the fuzz targets run. The envelope's source is included rather than depended on: the library would bring
//! librdkafka, and a build with a sanitizer would compile all of it again.
//!
//! `cargo +nightly fuzz run decode_event`, `cargo +nightly fuzz run span_context`.

#![allow(dead_code, unused_imports, reason = "only the decoder's side of the included source is run")]

#[path = "../../eventstream/src/error.rs"]
mod error;
#[path = "../../eventstream/src/event/mod.rs"]
mod event;
#[path = "../../eventstream/src/name.rs"]
mod name;
#[path = "../../eventstream/src/event/tests/reference.rs"]
mod reference;

pub use error::{Error, ErrorKind, Fault};
pub use event::{Event, Payload, SpanContext};
pub use name::{EventName, GroupId, Topic};

/// The decoder and `serde_json` agree about these bytes.
pub fn decode_event(bytes: &[u8]) {
    reference::compare(bytes);
}

/// Reading a span context never panics, and what was read is written so that it reads the same.
pub fn span_context(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(context) = text.parse::<SpanContext>() {
        let again = context.to_string().parse::<SpanContext>();
        assert_eq!(again.expect("our own text"), context);
        let header = SpanContext::from_traceparent(&context.to_traceparent());
        assert_eq!(header.is_ok(), context.is_valid());
    }
    if let Ok(context) = SpanContext::from_traceparent(text) {
        assert!(context.is_valid());
        let again = SpanContext::from_traceparent(&context.to_traceparent());
        assert_eq!(again.expect("our own header"), context);
    }
}
