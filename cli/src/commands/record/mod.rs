//! Records as `subscribe` and `dlq` print them.

use std::io::IsTerminal;
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::ValueEnum;
use eventstream::{Context, DeadLetter, Event, RawRecord};

use crate::escape;
use crate::exit;
use crate::json_text::{push_line, push_pretty, push_string};
use crate::output;
use crate::time::shown_time;

mod audit;
pub(crate) mod fields;
pub(crate) mod table;

use audit::AuditLine;

/// How records are printed.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Json,
    Pretty,
    Payload,
    Table,
}

impl Format {
    /// The default format.
    pub(crate) fn usual() -> Self {
        if std::io::stdout().is_terminal() {
            Self::Pretty
        } else {
            Self::Json
        }
    }

    /// The text of a record, whether an event or not, with its line break.
    pub(crate) fn record(self, context: &Context, record: &RawRecord) -> Vec<u8> {
        match record.decode() {
            Ok(event) => self.event(context, &event),
            Err(error) => match record.value().and_then(AuditLine::read) {
                Some(log) => self.audit_log(context, &log),
                None => self.undecodable(context, record, &exit::chain(&error), None),
            },
        }
    }

    pub(crate) fn event(self, context: &Context, event: &Event) -> Vec<u8> {
        let mut out = Vec::with_capacity(event.as_bytes().len() + 256);
        match self {
            Self::Json => {
                push_place(context, &mut out);
                out.extend_from_slice(b",\"event\":");
                push_line(event.json(), &mut out);
                out.push(b'}');
            }
            Self::Pretty => {
                push_title(context, event.name(), &mut out);
                push_pretty(event.json(), 0, &mut out);
                out.push(b'\n');
            }
            Self::Payload => push_line(event.payload().as_str(), &mut out),
            Self::Table => return table::line(&table::columns(&[]), context, Some(event)),
        }
        out.push(b'\n');
        out
    }

    /// An audit log, which is ours too, but has another form than events.
    fn audit_log(self, context: &Context, log: &AuditLine<'_>) -> Vec<u8> {
        let mut out = Vec::with_capacity(log.json.len() + 256);
        match self {
            Self::Json => {
                push_place(context, &mut out);
                out.extend_from_slice(b",\"audit_log\":");
                push_line(log.json, &mut out);
                out.push(b'}');
            }
            Self::Pretty => {
                push_title(context, &log.title(), &mut out);
                push_pretty(log.json, 0, &mut out);
                out.push(b'\n');
            }
            Self::Payload => push_line(log.payload, &mut out),
            Self::Table => return table::line(&table::columns(&[]), context, None),
        }
        out.push(b'\n');
        out
    }

    pub(crate) fn dead_letter(self, letter: &DeadLetter) -> Vec<u8> {
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
                push_title(context, &format!("not an event: {error}"), &mut out);
                match record.value() {
                    Some(value) => push_some(value, &mut out),
                    None => out.extend_from_slice(b"no value (a tombstone)"),
                }
                if let Some(place) = letter.map(DeadLetter::delivery) {
                    let (topic, partition) = (place.topic(), place.partition());
                    let text = format!("\ndead letter: {topic}/{partition}@{}", place.offset());
                    out.extend_from_slice(text.as_bytes());
                }
                out.extend_from_slice(b"\n\n");
            }
            // There is no payload to print, so the error goes to standard error.
            Self::Payload | Self::Table => {
                output::say(&format!("{}: not an event: {error}", place(context)));
            }
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

/// The beginning of an object, without the closing brace.
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
    out.extend_from_slice(b",\"headers\":");
    push_headers(context, out);
}

/// Pairs of name and value.
pub(super) fn push_headers(context: &Context, out: &mut Vec<u8>) {
    out.push(b'[');
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

/// The first lines of the pretty format: position, title and headers. Text from the record is
/// escaped.
fn push_title(context: &Context, what: &str, out: &mut Vec<u8>) {
    let time = context.timestamp().and_then(shown_time);
    let time = time.as_deref().unwrap_or("-");
    out.extend_from_slice(format!("{}  key ", place(context)).as_bytes());
    escape::push_bytes(context.key().unwrap_or(b"-"), out);
    out.extend_from_slice(format!("  {time}  ").as_bytes());
    escape::push_text(what, out);
    out.push(b'\n');
    for (name, value) in context.headers() {
        out.extend_from_slice(b"  ");
        escape::push_text(name, out);
        out.extend_from_slice(b": ");
        match value {
            Some(value) => push_some(value, out),
            None => out.extend_from_slice(b"null"),
        }
        out.push(b'\n');
    }
}

/// The beginning of a value, as much as a reader can use.
fn push_some(value: &[u8], out: &mut Vec<u8>) {
    const SHOWN: usize = 2000;
    let Some(start) = value.get(..SHOWN) else {
        return escape::push_bytes(value, out);
    };
    // Does not cut a character in two.
    let start = match std::str::from_utf8(start) {
        Err(error) if error.error_len().is_none() => &start[..error.valid_up_to()],
        _ => start,
    };
    escape::push_bytes(start, out);
    out.extend_from_slice(format!("... ({} bytes)", value.len()).as_bytes());
}

/// Text as a string, other bytes as an object with base64, a missing value as null.
pub(super) fn push_bytes(bytes: Option<&[u8]>, out: &mut Vec<u8>) {
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

/// Like [`push_bytes`], as a value.
pub(crate) fn bytes_json(bytes: Option<&[u8]>) -> serde_json::Value {
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => serde_json::Value::Null,
        Some((_, Ok(text))) => text.into(),
        Some((bytes, Err(_))) => serde_json::json!({ "base64": STANDARD.encode(bytes) }),
    }
}

/// A time in the lines' format; null if there is none.
pub(crate) fn time_json(time: Option<SystemTime>) -> serde_json::Value {
    time.and_then(shown_time).into()
}
