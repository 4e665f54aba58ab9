//! A record as a line.

use std::io::IsTerminal;
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::ValueEnum;
use eventstream::{Context, DeadLetter, Event, RawRecord};
use jiff::Timestamp;

use crate::exit;
use crate::json_text::{push_line, push_pretty, push_string};
use crate::output;

/// How records are printed.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    Json,
    Pretty,
    Payload,
}

impl Format {
    /// The format where none is asked for.
    pub(super) fn usual() -> Self {
        if std::io::stdout().is_terminal() {
            Self::Pretty
        } else {
            Self::Json
        }
    }

    /// The text of a record, an event or not, with its line break.
    pub(super) fn record(self, context: &Context, record: &RawRecord) -> Vec<u8> {
        match record.decode() {
            Ok(event) => self.event(context, &event),
            Err(error) => self.undecodable(context, record, &exit::chain(&error), None),
        }
    }

    pub(super) fn event(self, context: &Context, event: &Event) -> Vec<u8> {
        let mut out = Vec::with_capacity(event.as_bytes().len() + 256);
        match self {
            Self::Json => {
                push_place(context, &mut out);
                out.extend_from_slice(b",\"event\":");
                push_line(event.json(), &mut out);
                out.push(b'}');
            }
            Self::Pretty => {
                push_title(context, &mut out);
                out.extend_from_slice(format!("  {}\n", event.name()).as_bytes());
                push_pretty(event.json(), 0, &mut out);
                out.push(b'\n');
            }
            Self::Payload => push_line(event.payload().as_str(), &mut out),
        }
        out.push(b'\n');
        out
    }

    pub(super) fn dead_letter(self, letter: &DeadLetter) -> Vec<u8> {
        self.undecodable(
            letter.context(),
            letter.record(),
            letter.error(),
            Some(letter),
        )
    }

    fn undecodable(
        self,
        context: &Context,
        record: &RawRecord,
        error: &str,
        letter: Option<&DeadLetter>,
    ) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Json => {
                push_place(context, &mut out);
                out.extend_from_slice(b",\"error\":");
                push_string(error, &mut out);
                out.extend_from_slice(b",\"value\":");
                match record.value() {
                    Some(value) => push_string(&STANDARD.encode(value), &mut out),
                    None => out.extend_from_slice(b"null"),
                }
                if let Some(letter) = letter {
                    out.extend_from_slice(b",\"dead_letter\":");
                    push_letter(letter, &mut out);
                }
                out.extend_from_slice(b"}\n");
            }
            Self::Pretty => {
                push_title(context, &mut out);
                out.extend_from_slice(b"  not an event: ");
                out.extend_from_slice(error.as_bytes());
                if let Some(place) = letter.map(DeadLetter::delivery) {
                    let (topic, partition) = (place.topic(), place.partition());
                    let text = format!("\ndead letter: {topic}/{partition}@{}", place.offset());
                    out.extend_from_slice(text.as_bytes());
                }
                out.extend_from_slice(b"\n\n");
            }
            // There is no payload to print: what came is said beside.
            Self::Payload => output::say(&format!("{}: not an event: {error}", place(context))),
        }
        out
    }
}

fn push_letter(letter: &DeadLetter, out: &mut Vec<u8>) {
    let place = letter.delivery();
    out.extend_from_slice(b"{\"topic\":");
    push_string(place.topic().as_str(), out);
    let (partition, offset) = (place.partition(), place.offset());
    out.extend_from_slice(format!(",\"partition\":{partition},\"offset\":{offset}}}").as_bytes());
}

/// An object up to its last members, without the closing brace.
fn push_place(context: &Context, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"topic\":");
    push_string(context.topic().as_str(), out);
    let (partition, offset) = (context.partition(), context.offset());
    out.extend_from_slice(
        format!(",\"partition\":{partition},\"offset\":{offset},\"key\":").as_bytes(),
    );
    push_bytes(context.key(), out);
    out.extend_from_slice(b",\"timestamp\":");
    match context.timestamp().and_then(shown_time) {
        Some(time) => push_string(&time, out),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"headers\":[");
    for (i, (name, value)) in context.headers().enumerate() {
        out.extend_from_slice(if i == 0 { b"[" } else { b",[" });
        push_string(name, out);
        out.push(b',');
        push_bytes(value, out);
        out.push(b']');
    }
    out.push(b']');
}

fn place(context: &Context) -> String {
    let (topic, partition, offset) = (context.topic(), context.partition(), context.offset());
    format!("{topic}/{partition}@{offset}")
}

/// The first line for people, without its end.
fn push_title(context: &Context, out: &mut Vec<u8>) {
    let key = context.key().map(String::from_utf8_lossy);
    let key = key.as_deref().unwrap_or("-");
    let time = context.timestamp().and_then(shown_time);
    let time = time.as_deref().unwrap_or("-");
    let place = place(context);
    out.extend_from_slice(format!("{place}  key {key}  {time}").as_bytes());
}

/// Text as a string, other bytes as an object that says so, nothing as null.
fn push_bytes(bytes: Option<&[u8]>, out: &mut Vec<u8>) {
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => out.extend_from_slice(b"null"),
        Some((_, Ok(text))) => push_string(text, out),
        Some((bytes, Err(_))) => {
            out.extend_from_slice(b"{\"base64\":");
            push_string(&STANDARD.encode(bytes), out);
            out.push(b'}');
        }
    }
}

/// Milliseconds, which is what Kafka keeps.
fn shown_time(time: SystemTime) -> Option<String> {
    let time = Timestamp::try_from(time).ok()?;
    Some(time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string())
}
