//! A JSON object whose members are read one by one, so that each fault is reported.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::BadLine;

/// The members of a JSON object in order; values are kept as text.
pub(super) struct Object<'a> {
    entries: Vec<(Cow<'a, str>, &'a RawValue)>,
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> Object<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self, BadLine> {
        serde_json::from_str(text).map_err(|error| flaw(&error))
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.entries.iter().map(|(name, value)| (&**name, *value))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
                let mut entries = Vec::new();
                while let Some((name, value)) = map.next_entry::<Text<'de>, &'de RawValue>()? {
                    entries.push((name.0, value));
                }
                Ok(Object { entries })
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

/// Why a line is not JSON, with the column; the caller adds the line number.
pub(super) fn flaw(error: &serde_json::Error) -> BadLine {
    let text = error.to_string();
    let what = text.split(" at line ").next().unwrap_or_default();
    BadLine::not_json(match error.column() {
        0 => what.to_owned(),
        column => format!("{what} at column {column}"),
    })
}

/// An unknown field, with the known one it resembles.
pub(super) fn unknown(name: &str, what: &str, known: &[&str]) -> String {
    let plain = |name: &str| name.replace('_', "").to_ascii_lowercase();
    let meant = known.iter().find(|known| plain(known) == plain(name));
    let hint = meant.map_or_else(String::new, |meant| format!("; did you mean {meant:?}?"));
    format!("{name:?}: {what} has no such field{hint}")
}

/// A field with a value of the wrong kind.
pub(super) fn wrong(name: &str, allowed: &str, value: &RawValue) -> String {
    format!("{name}: must be {allowed}, not {}", said(value.get()))
}

/// A value as errors quote it: a long one is cut.
fn said(json: &str) -> String {
    const SHOWN: usize = 60;
    match json.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}...", &json[..at]),
        None => json.to_owned(),
    }
}

fn read<'a, T: Deserialize<'a>>(
    name: &str,
    value: &'a RawValue,
    allowed: &str,
) -> Result<Option<T>, String> {
    serde_json::from_str(value.get()).map_err(|_| wrong(name, allowed, value))
}

/// A string; `None` for null and for an empty one.
pub(super) fn text<'a>(name: &str, value: &'a RawValue) -> Result<Option<Cow<'a, str>>, String> {
    let text: Option<Text<'a>> = read(name, value, "a string")?;
    Ok(text.map(|text| text.0).filter(|text| !text.is_empty()))
}

pub(super) fn integer(name: &str, value: &RawValue) -> Result<Option<i64>, String> {
    read(name, value, "a 64-bit integer")
}

pub(super) fn boolean(name: &str, value: &RawValue) -> Result<Option<bool>, String> {
    read(name, value, "true or false")
}

pub(super) fn texts(name: &str, value: &RawValue) -> Result<Option<Vec<Option<String>>>, String> {
    read(name, value, "an array of strings")
}

/// An object, unchanged; `None` for null.
pub(super) fn object<'a>(name: &str, value: &'a RawValue) -> Result<Option<&'a RawValue>, String> {
    match value.get().as_bytes().first() {
        Some(b'{') => Ok(Some(value)),
        Some(b'n') => Ok(None),
        _ => Err(wrong(name, "an object", value)),
    }
}
