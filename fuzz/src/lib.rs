//! The code that the fuzz targets run: the library's public API, and the tool's reader of lines, whose source is
//! included because a program has no library.
//!
//! `cargo +nightly fuzz run decode_event`, or `span_context`, `config`, `ndjson`, `dead_letter`.

#[path = "../../cli/src/ndjson/mod.rs"]
#[allow(dead_code, reason = "the tool uses more of it")]
mod ndjson;
#[path = "../../eventstream/src/event/tests/reference.rs"]
mod reference;

use eventstream::testing::Recorder;
use eventstream::{BrokerConfig, DeadLetterOrigin, Event, Publisher as _, SpanContext};

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

/// Reading and checking a configuration, from TOML and from variables, never panics.
pub fn config(text: &str) {
    let vars = text.lines().filter_map(|line| line.split_once('='));
    let vars = vars.map(|(name, value)| (name.to_owned(), value.to_owned()));
    for config in [BrokerConfig::from_toml(text), BrokerConfig::from_vars(vars)] {
        let Ok(config) = config else { continue };
        let _ = format!("{config:?}");
        if let Err(error) = config.validate() {
            assert!(!error.to_string().is_empty());
        }
    }
}

/// Reading the headers of a dead letter never panics, and a refusal names what is wrong. A header a line,
/// `name=value`; without `=` it has no value.
pub fn dead_letter(bytes: &[u8]) {
    let lines = bytes.split(|b| *b == b'\n');
    let headers = lines
        .map(|line| match line.iter().position(|b| *b == b'=') {
            Some(at) => (&line[..at], Some(&line[at + 1..])),
            None => (line, None),
        })
        .filter_map(|(name, value)| Some((std::str::from_utf8(name).ok()?, value)));
    match DeadLetterOrigin::read(headers) {
        Ok(origin) => {
            let _ = origin.and_then(|origin| origin.timestamp());
        }
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
            let recorder = Recorder::new();
            if recorder.try_publish(parsed.event).is_err() {
                return;
            }
            let [published] = &recorder.all()[..] else {
                panic!("one line is one event");
            };
            decode_event(published.event().json().as_bytes());
        }
        Err(bad) => assert!(!bad.message.is_empty()),
    }
    if let Err(bad) = ndjson::audit::parse(line, &ndjson::audit::AuditFields::default()) {
        assert!(!bad.message.is_empty());
    }
}
