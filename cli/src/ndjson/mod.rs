//! One line of NDJSON as an event to publish.

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use eventstream::{Error, ErrorKind, Publish};
use serde_json::value::RawValue;

pub(crate) mod audit;
mod object;

use object::Object;

/// Values from the options for fields that a line leaves out.
pub(crate) struct Defaults {
    pub(crate) topic: String,
    pub(crate) name: Option<String>,
    pub(crate) namespace: Option<String>,
    pub(crate) key: Option<String>,
    /// Each line is a payload, not an event.
    pub(crate) payload_only: bool,
}

/// An event and its key, if it was given one.
pub(crate) struct Parsed {
    pub(crate) event: Publish,
    pub(crate) key: Option<String>,
}

/// What is wrong with a line.
#[derive(Debug)]
pub(crate) struct BadLine {
    /// The name of an [`ErrorKind`].
    pub(crate) kind: &'static str,
    pub(crate) message: String,
}

impl BadLine {
    pub(crate) fn not_json(message: impl Into<String>) -> Self {
        Self {
            kind: ErrorKind::Decode.as_str(),
            message: message.into(),
        }
    }

    pub(crate) fn invalid(faults: &[String]) -> Self {
        Self {
            kind: ErrorKind::Validation.as_str(),
            message: faults.join("; "),
        }
    }

    /// An error of the library, with fields spelled as on the wire.
    pub(crate) fn refused(error: &Error) -> Self {
        let message = if error.faults().is_empty() {
            crate::exit::chain(error)
        } else {
            let faults = error.faults().iter().map(|fault| {
                let field = wire_name(&fault.field);
                if fault.value.is_empty() {
                    format!("{field}: {}", fault.allowed)
                } else {
                    format!("{field} {:?}: {}", fault.value, fault.allowed)
                }
            });
            faults.collect::<Vec<_>>().join("; ")
        };
        Self {
            kind: error.kind().as_str(),
            message,
        }
    }
}

/// The library names fields as its builders do.
fn wire_name(field: &str) -> Cow<'_, str> {
    match field {
        "event_name" => "name".into(),
        "client_ids" | "target_user_ids" | "target_namespace" | "additional_fields" => field.into(),
        _ => {
            let mut words = field.split('_');
            let mut name = words.next().unwrap_or_default().to_owned();
            for word in words {
                let (first, rest) = word.split_at(word.len().min(1));
                name.push_str(&first.to_ascii_uppercase());
                name.push_str(rest);
            }
            name.into()
        }
    }
}

type SetText = fn(Publish, &str) -> Publish;
type SetNumber = fn(Publish, i64) -> Publish;

/// The fields that are copied unchanged; `name`, `key` and the timestamps are not among them.
const TEXTS: &[(&str, SetText)] = &[
    ("id", |event, text| event.id(text)),
    ("namespace", |event, text| event.namespace(text)),
    ("parentNamespace", |event, text| {
        event.parent_namespace(text)
    }),
    ("unionNamespace", |event, text| event.union_namespace(text)),
    ("clientId", |event, text| event.client_id(text)),
    ("traceId", |event, text| event.trace_id(text)),
    ("spanContext", |event, text| event.span_context(text)),
    ("userId", |event, text| event.user_id(text)),
    ("sessionId", |event, text| event.session_id(text)),
    ("service", |event, text| event.service(text)),
    ("target_namespace", |event, text| {
        event.target_namespace(text)
    }),
    ("topic", |event, text| event.event_topic(text)),
    ("sourceNamespace", |event, text| {
        event.source_namespace(text)
    }),
];

const NUMBERS: &[(&str, SetNumber)] = &[
    ("version", |event, number| event.version(number)),
    ("event_id", |event, number| event.event_id(number)),
    ("event_type", |event, number| event.event_type(number)),
    ("event_level", |event, number| event.event_level(number)),
];

/// The other fields, for the suggestions of [`Object`].
const OTHERS: &[&str] = &[
    "name",
    "key",
    "timestamp",
    "timestampUnixNano",
    "client_ids",
    "target_user_ids",
    "privacy",
    "additional_fields",
    "payload",
    "Partition",
    "Offset",
    "Key",
];

/// Reads a line, which is not blank.
pub(crate) fn parse(line: &[u8], defaults: &Defaults) -> Result<Parsed, BadLine> {
    let text = text_of(line)?;
    if defaults.payload_only {
        return payload(text, defaults);
    }
    let mut fields = Fields::default();
    let mut faults = Vec::new();
    let object = Object::parse(text)?;
    for (name, value) in object.entries() {
        match fields.take(name, value) {
            Some(Ok(())) => {}
            Some(Err(fault)) => faults.push(fault),
            None => faults.push(object::unknown(name, "the envelope", &known())),
        }
    }
    fields.finish(defaults, faults)
}

fn text_of(line: &[u8]) -> Result<&str, BadLine> {
    std::str::from_utf8(line).map_err(|error| {
        BadLine::not_json(format!("not UTF-8 at byte {}", error.valid_up_to() + 1))
    })
}

fn known() -> Vec<&'static str> {
    let texts = TEXTS.iter().map(|(name, _)| *name);
    let numbers = NUMBERS.iter().map(|(name, _)| *name);
    texts.chain(numbers).chain(OTHERS.iter().copied()).collect()
}

fn payload(text: &str, defaults: &Defaults) -> Result<Parsed, BadLine> {
    let payload: &RawValue = serde_json::from_str(text).map_err(|error| object::flaw(&error))?;
    if !payload.get().starts_with('{') {
        let fault = object::wrong("payload", "an object", payload);
        return Err(BadLine::invalid(&[fault]));
    }
    let fields = Fields {
        payload: Some(payload),
        ..Fields::default()
    };
    fields.finish(defaults, Vec::new())
}

/// The fields of a line. Null and empty strings count as missing, since the wire format has neither.
#[derive(Default)]
struct Fields<'a> {
    name: Option<Cow<'a, str>>,
    key: Option<Cow<'a, str>>,
    /// `Key`: the record's key, in a consumed event that was serialized again.
    record_key: Option<Cow<'a, str>>,
    namespace: bool,
    timestamp: Option<Cow<'a, str>>,
    unix_nano: i64,
    texts: Vec<(SetText, Cow<'a, str>)>,
    numbers: Vec<(SetNumber, i64)>,
    client_ids: Option<Vec<Option<String>>>,
    target_user_ids: Option<Vec<Option<String>>>,
    privacy: bool,
    additional_fields: Option<&'a RawValue>,
    payload: Option<&'a RawValue>,
}

impl<'a> Fields<'a> {
    /// Keeps one field; `None` if the envelope has no such field.
    fn take(&mut self, name: &str, value: &'a RawValue) -> Option<Result<(), String>> {
        if let Some((_, set)) = TEXTS.iter().find(|(text, _)| *text == name) {
            return Some(object::text(name, value).map(|text| {
                self.namespace |= name == "namespace" && text.is_some();
                self.texts.extend(text.map(|text| (*set, text)));
            }));
        }
        if let Some((_, set)) = NUMBERS.iter().find(|(number, _)| *number == name) {
            return Some(object::integer(name, value).map(|number| {
                self.numbers.extend(number.map(|number| (*set, number)));
            }));
        }
        Some(match name {
            "name" => object::text(name, value).map(|text| self.name = text),
            "key" => object::text(name, value).map(|text| self.key = text),
            "Key" => object::text(name, value).map(|text| self.record_key = text),
            "timestamp" => object::text(name, value).map(|text| self.timestamp = text),
            "timestampUnixNano" => object::integer(name, value)
                .map(|number| self.unix_nano = number.unwrap_or_default()),
            "client_ids" => object::texts(name, value).map(|ids| self.client_ids = ids),
            "target_user_ids" => object::texts(name, value).map(|ids| self.target_user_ids = ids),
            "privacy" => {
                object::boolean(name, value).map(|flag| self.privacy = flag.unwrap_or_default())
            }
            "additional_fields" => {
                object::object(name, value).map(|object| self.additional_fields = object)
            }
            "payload" => object::object(name, value).map(|object| self.payload = object),
            // The position of the original, which a copy does not have.
            "Partition" | "Offset" => object::integer(name, value).map(|_| ()),
            _ => return None,
        })
    }

    fn finish(self, defaults: &Defaults, mut faults: Vec<String>) -> Result<Parsed, BadLine> {
        let name = self.name.as_deref().or(defaults.name.as_deref());
        if name.is_none() {
            faults.push("name: is missing; add it to the line or set --name".to_owned());
        }
        let instant = match (&self.timestamp, self.unix_nano) {
            (Some(_), _) | (None, 0) => None,
            (None, nanos) => Some(nanos),
        };
        if !faults.is_empty() {
            return Err(BadLine::invalid(&faults));
        }
        let mut event = Publish::new(&defaults.topic, name.unwrap_or_default());
        if let Some(namespace) = defaults.namespace.as_deref().filter(|_| !self.namespace) {
            event = event.namespace(namespace);
        }
        for (set, text) in &self.texts {
            event = set(event, text);
        }
        for (set, number) in &self.numbers {
            event = set(event, *number);
        }
        if let Some(timestamp) = &self.timestamp {
            event = event.timestamp_text(timestamp, self.unix_nano);
        } else if let Some(nanos) = instant {
            event = event.timestamp(from_nanos(nanos));
        }
        if let Some(ids) = self.client_ids {
            event = event.client_ids(ids.into_iter().map(Option::unwrap_or_default));
        }
        if let Some(ids) = self.target_user_ids {
            event = event.target_user_ids(ids.into_iter().map(Option::unwrap_or_default));
        }
        event = event.privacy(self.privacy);
        if let Some(fields) = self.additional_fields {
            event = event.additional_fields(fields);
        }
        if let Some(payload) = self.payload {
            event = event.payload(payload);
        }
        let key = self.key.or(self.record_key).map(Cow::into_owned);
        let key = key.or_else(|| defaults.key.clone());
        if let Some(key) = &key {
            event = event.key(key);
        }
        Ok(Parsed { event, key })
    }
}

fn from_nanos(nanos: i64) -> SystemTime {
    let distance = Duration::from_nanos(nanos.unsigned_abs());
    if nanos < 0 {
        UNIX_EPOCH - distance
    } else {
        UNIX_EPOCH + distance
    }
}

#[cfg(test)]
mod tests;
