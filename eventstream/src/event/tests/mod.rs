//! Tests of the envelope.

mod figures;
mod golden;
mod lenient;
mod poison;
mod properties;
mod reference;
mod samples;

use super::{Event, SpanContext};

/// The event in a file under `tests/wire`.
fn file(path: &str) -> Event {
    let path = format!("{}/tests/wire/{path}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    Event::decode(text).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn event(json: impl AsRef<[u8]>) -> Event {
    let json = json.as_ref();
    Event::decode(json).unwrap_or_else(|e| panic!("{}: {e}", String::from_utf8_lossy(json)))
}

/// The decoder's error for `json`.
fn refusal(json: impl AsRef<[u8]>) -> String {
    let json = json.as_ref();
    let Err(error) = Event::decode(json) else {
        panic!("decoded: {:.200}", String::from_utf8_lossy(json));
    };
    assert_eq!(error.kind(), crate::ErrorKind::Decode);
    error.to_string()
}
