//! The code that the fuzz targets run. The envelope's source is included instead of depended on: the library would
//! bring in librdkafka, and a sanitizer build would compile all of it again.
//!
//! `cargo +nightly fuzz run decode_event`, or `span_context`, `config`, `ndjson`, `dead_letter`.

#![allow(dead_code, unused_imports, reason = "only a part of the included source is run")]

extern crate self as eventstream;

#[path = "../../eventstream/src/audit.rs"]
mod audit;
#[path = "../../eventstream/src/config/mod.rs"]
mod config;
#[path = "../../eventstream/src/error.rs"]
mod error;
#[path = "../../eventstream/src/event/mod.rs"]
mod event;
#[path = "../../eventstream/src/name.rs"]
mod name;
#[path = "../../cli/src/ndjson/mod.rs"]
mod ndjson;
#[path = "../../eventstream/src/origin.rs"]
mod origin;
#[path = "../../eventstream/src/publish/mod.rs"]
mod publish;
#[path = "../../eventstream/src/receipt.rs"]
mod receipt;
#[path = "../../eventstream/src/event/tests/reference.rs"]
mod reference;

pub use audit::{Actor, AuditLog};
pub use config::BrokerConfig;
pub use error::{Error, ErrorKind, Fault};
pub use event::{Event, Json, SpanContext};
pub use name::{EventName, GroupId, Topic};
pub use origin::DeadLetterOrigin;
pub use publish::Publish;

/// The parts of the tool that its line reader needs.
mod exit {
    pub(crate) fn chain(error: &dyn std::error::Error) -> String {
        error.to_string()
    }
}

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

/// Reading a configuration, from TOML and from variables, never panics; what is found valid can be
/// handed to librdkafka.
pub fn config(text: &str) {
    let vars = text.lines().filter_map(|line| line.split_once('='));
    let vars = vars.map(|(name, value)| (name.to_owned(), value.to_owned()));
    for config in [BrokerConfig::from_toml(text), BrokerConfig::from_vars(vars)] {
        let Ok(config) = config else { continue };
        let _ = format!("{config:?}");
        if config.validate().is_ok() {
            config.settings(&["localhost:9092".to_owned()]);
        }
    }
}

/// Reading the headers of a dead letter never panics, and what was read is written so that it reads the
/// same. A header a line, `name=value`; without `=` it has no value.
pub fn dead_letter(bytes: &[u8]) {
    let lines = bytes.split(|b| *b == b'\n');
    let headers: Vec<_> = lines
        .map(|line| match line.iter().position(|b| *b == b'=') {
            Some(at) => (&line[..at], Some(&line[at + 1..])),
            None => (line, None),
        })
        .filter_map(|(name, value)| Some((std::str::from_utf8(name).ok()?, value)))
        .collect();
    match DeadLetterOrigin::read(headers) {
        Ok(Some(origin)) => {
            let _ = origin.timestamp();
            let again: Vec<_> = origin.clone().headers().collect();
            let again = again.iter().map(|(n, v)| (n.as_str(), v.as_deref()));
            let again = DeadLetterOrigin::read(again).expect("our own headers");
            assert_eq!(again, Some(origin));
        }
        Ok(None) => {}
        Err(error) => assert!(!error.faults().is_empty()),
    }
}

/// A line of the tool's input becomes an event, or is refused with a message. An event that is valid
/// is an envelope that decodes, with the id and name it was given.
pub fn ndjson(line: &[u8]) {
    let (payload_only, line) = match line.split_first() {
        Some((first, rest)) => (first & 1 == 1, rest),
        None => return,
    };
    let defaults = ndjson::Defaults {
        topic: "topic".to_owned(),
        name: Some("name".to_owned()),
        namespace: None,
        key: None,
        payload_only,
    };
    match ndjson::parse(line, &defaults) {
        Ok(parsed) => {
            let id = parsed.event.assign_id();
            if parsed.event.validate(true).is_err() {
                return;
            }
            let mut bytes = Vec::new();
            parsed.event.encode(id.as_str(), None, &mut bytes);
            let event = Event::decode(&bytes).expect("a valid event is an envelope");
            assert_eq!(event.id(), id.as_str());
            decode_event(&bytes);
        }
        Err(bad) => assert!(!bad.message.is_empty()),
    }
    if let Err(bad) = ndjson::audit::parse(line, &ndjson::audit::AuditFields::default()) {
        assert!(!bad.message.is_empty());
    }
}
