//! The fields of a record by name, for `--where` and `--fields`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use eventstream::{Context, Event};
use serde_json::value::RawValue;

use super::{push_bytes, push_headers};
use crate::json_text::push_string;
use crate::time::shown_time;

/// The path of a field, such as `payload.level`, `header.traceparent` or `userId`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Path(Vec<String>);

impl Path {
    /// `None` if a part is empty.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let parts: Vec<_> = text.split('.').map(str::to_owned).collect();
        parts
            .iter()
            .all(|part| !part.is_empty())
            .then_some(Self(parts))
    }

    pub(crate) fn text(&self) -> String {
        self.0.join(".")
    }
}

/// A record whose fields are looked up.
pub(crate) struct Fields<'a> {
    pub(crate) context: &'a Context,
    pub(crate) event: Option<&'a Event>,
}

impl<'a> Fields<'a> {
    /// The field as JSON with every digit; `None` if the record has no such field. The record's own fields
    /// are topic, partition, offset, key, timestamp, headers and header.NAME; all others are looked up in
    /// the event, by their names on the wire or with underscores.
    pub(crate) fn get(&self, path: &Path) -> Option<Cow<'a, str>> {
        let (first, rest) = path.0.split_first()?;
        if let Some(own) = self.own(first, rest) {
            return Some(Cow::Owned(own));
        }
        let json = self.event?.json();
        let (first, rest) = match first.as_str() {
            "event" => rest
                .split_first()
                .map_or((None, rest), |(f, r)| (Some(f), r)),
            _ => (Some(first), rest),
        };
        let Some(first) = first else {
            return Some(Cow::Borrowed(json));
        };
        let mut found = member(json, first).or_else(|| member(json, &camel_case(first)))?;
        for part in rest {
            found = member(found, part)?;
        }
        Some(Cow::Borrowed(found))
    }

    fn own(&self, name: &str, rest: &[String]) -> Option<String> {
        let context = self.context;
        let mut out = Vec::new();
        match (name, rest) {
            ("topic", []) => push_string(context.topic().as_str(), &mut out),
            ("partition", []) => return Some(context.partition().to_string()),
            ("offset", []) => return Some(context.offset().to_string()),
            ("key", []) => push_bytes(context.key(), &mut out),
            ("timestamp", []) => match context.timestamp().and_then(shown_time) {
                Some(time) => push_string(&time, &mut out),
                None => return Some("null".to_owned()),
            },
            ("headers", []) => push_headers(context, &mut out),
            ("header", [_, ..]) => {
                let name = rest.join(".");
                let (_, value) = context.headers().find(|(header, _)| *header == name)?;
                push_bytes(value, &mut out);
            }
            _ => return None,
        }
        String::from_utf8(out).ok()
    }
}

/// A member of an object, or an element of an array.
fn member<'a>(json: &'a str, name: &str) -> Option<&'a str> {
    match json.trim_start().as_bytes().first()? {
        b'{' => {
            let members: BTreeMap<Cow<'a, str>, &'a RawValue> = serde_json::from_str(json).ok()?;
            members.get(name).map(|raw| raw.get())
        }
        b'[' => {
            let elements: Vec<&'a RawValue> = serde_json::from_str(json).ok()?;
            elements
                .get(name.parse::<usize>().ok()?)
                .map(|raw| raw.get())
        }
        _ => None,
    }
}

fn camel_case(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut raised = false;
    for c in name.chars() {
        match c {
            '_' => raised = true,
            c if raised => {
                out.push(c.to_ascii_uppercase());
                raised = false;
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_keep_every_digit() {
        let json = r#"{"payload":{"n":12345678901234567890123,"list":[1,{"a":2.50}]},"é\n":1}"#;
        let payload = member(json, "payload").unwrap();
        assert_eq!(member(payload, "n"), Some("12345678901234567890123"));
        let list = member(payload, "list").unwrap();
        assert_eq!(member(member(list, "1").unwrap(), "a"), Some("2.50"));
        assert_eq!(member(json, "é\n"), Some("1"));
        for (json, name) in [(json, "x"), (list, "2"), (list, "a"), ("1", "a"), ("", "a")] {
            assert_eq!(member(json, name), None);
        }
    }

    #[test]
    fn names_with_underscores_are_those_of_the_wire() {
        assert_eq!(camel_case("target_user_ids"), "targetUserIds");
        assert_eq!(camel_case("userId"), "userId");
        assert!(Path::parse("a..b").is_none() && Path::parse("").is_none());
    }
}
