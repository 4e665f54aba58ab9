//! From fields to an envelope's JSON.

use super::json::is_empty_container;
use super::text::escape;
use super::{Event, SpanContext};

/// The fields of an envelope to write. Empty, 0 and false mean absent.
///
/// Lists and objects are JSON text and are written unchanged; they must be valid.
#[derive(Clone, Copy, Default)]
pub(crate) struct Envelope<'a> {
    pub(crate) id: &'a str,
    pub(crate) name: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) parent_namespace: &'a str,
    pub(crate) union_namespace: &'a str,
    pub(crate) client_id: &'a str,
    pub(crate) trace_id: &'a str,
    pub(crate) span_context: &'a str,
    /// Written if `span_context` is absent.
    pub(crate) span: Option<&'a SpanContext>,
    pub(crate) user_id: &'a str,
    pub(crate) session_id: &'a str,
    pub(crate) timestamp: &'a str,
    /// Nanoseconds since the Unix epoch.
    pub(crate) timestamp_unix_nano: i64,
    pub(crate) version: i64,
    pub(crate) event_id: i64,
    pub(crate) event_type: i64,
    pub(crate) event_level: i64,
    pub(crate) service: &'a str,
    /// A JSON array of strings.
    pub(crate) client_ids: &'a str,
    /// A JSON array of strings.
    pub(crate) target_user_ids: &'a str,
    pub(crate) target_namespace: &'a str,
    pub(crate) privacy: bool,
    pub(crate) topic: &'a str,
    pub(crate) source_namespace: &'a str,
    /// A JSON object.
    pub(crate) additional_fields: &'a str,
    /// A JSON object.
    pub(crate) payload: &'a str,
}

/// The names and punctuation of a full envelope, rounded up.
const FRAME: usize = 512;

impl Envelope<'_> {
    /// Appends the JSON: keys in Go's order, one line, absent fields omitted.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.reserve(FRAME + self.additional_fields.len() + self.payload.len());
        // Each field starts with a comma; the first comma becomes the brace, whichever field comes first.
        text(out, ",\"id\":\"", self.id);
        text(out, ",\"name\":\"", self.name);
        text(out, ",\"namespace\":\"", self.namespace);
        text(out, ",\"parentNamespace\":\"", self.parent_namespace);
        text(out, ",\"unionNamespace\":\"", self.union_namespace);
        text(out, ",\"clientId\":\"", self.client_id);
        text(out, ",\"traceId\":\"", self.trace_id);
        match self.span {
            Some(span) if self.span_context.is_empty() => {
                out.extend_from_slice(b",\"spanContext\":\"");
                span.write(out);
                out.push(b'"');
            }
            _ => text(out, ",\"spanContext\":\"", self.span_context),
        }
        text(out, ",\"userId\":\"", self.user_id);
        text(out, ",\"sessionId\":\"", self.session_id);
        text(out, ",\"timestamp\":\"", self.timestamp);
        integer(out, ",\"timestampUnixNano\":", self.timestamp_unix_nano);
        integer(out, ",\"version\":", self.version);
        integer(out, ",\"event_id\":", self.event_id);
        integer(out, ",\"event_type\":", self.event_type);
        integer(out, ",\"event_level\":", self.event_level);
        text(out, ",\"service\":\"", self.service);
        raw(out, ",\"client_ids\":", self.client_ids);
        raw(out, ",\"target_user_ids\":", self.target_user_ids);
        text(out, ",\"target_namespace\":\"", self.target_namespace);
        if self.privacy {
            out.extend_from_slice(b",\"privacy\":true");
        }
        text(out, ",\"topic\":\"", self.topic);
        text(out, ",\"sourceNamespace\":\"", self.source_namespace);
        raw(out, ",\"additional_fields\":", self.additional_fields);
        raw(out, ",\"payload\":", self.payload);
        close(out, start);
    }
}

/// Turns the comma at `start` into the opening brace and appends the closing one.
pub(super) fn close(out: &mut Vec<u8>, start: usize) {
    match out.get_mut(start) {
        Some(comma) => *comma = b'{',
        None => out.push(b'{'),
    }
    out.push(b'}');
}

/// Inline, so that `before` becomes a few moves of known length instead of a call.
#[inline(always)]
fn text(out: &mut Vec<u8>, before: &str, value: &str) {
    if !value.is_empty() {
        out.extend_from_slice(before.as_bytes());
        escape(value, out);
        out.push(b'"');
    }
}

pub(super) fn integer(out: &mut Vec<u8>, before: &str, value: i64) {
    if value != 0 {
        out.extend_from_slice(before.as_bytes());
        out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    }
}

fn raw(out: &mut Vec<u8>, before: &str, json: &str) {
    if !is_empty_container(json) {
        out.extend_from_slice(before.as_bytes());
        out.extend_from_slice(json.as_bytes());
    }
}

/// A consumed event as the Go SDK serialises it, with its position at the end.
pub(super) fn event_to_json(event: &Event) -> String {
    let mut out = Vec::new();
    let fields = Envelope {
        id: event.id(),
        name: event.name(),
        namespace: event.namespace(),
        parent_namespace: event.parent_namespace(),
        union_namespace: event.union_namespace(),
        client_id: event.client_id(),
        trace_id: event.trace_id(),
        span_context: event.span_context(),
        span: None,
        user_id: event.user_id(),
        session_id: event.session_id(),
        timestamp: event.timestamp(),
        timestamp_unix_nano: event.timestamp_unix_nano(),
        version: event.version(),
        event_id: event.event_id(),
        event_type: event.event_type(),
        event_level: event.event_level(),
        service: event.service(),
        client_ids: event.str_at(event.inner.fields.client_ids),
        target_user_ids: event.str_at(event.inner.fields.target_user_ids),
        target_namespace: event.target_namespace(),
        privacy: event.privacy(),
        topic: event.topic(),
        source_namespace: event.source_namespace(),
        additional_fields: event.additional_fields().as_str(),
        payload: event.payload().as_str(),
    };
    fields.write(&mut out);
    // The position follows the last field: remove the brace and close again.
    out.pop();
    if out.len() == 1 {
        out.clear();
    }
    integer(
        &mut out,
        ",\"Partition\":",
        event.partition().unwrap_or(0).into(),
    );
    integer(&mut out, ",\"Offset\":", event.offset().unwrap_or(0));
    text(&mut out, ",\"Key\":\"", event.key().unwrap_or_default());
    close(&mut out, 0);
    String::from_utf8(out).expect("an envelope of text is text")
}
