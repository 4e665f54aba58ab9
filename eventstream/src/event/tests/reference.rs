//! The decoder's contract restated with `serde_json`, slowly. The fuzz target includes this file too, so it uses the
//! public API only.

use std::collections::HashMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{Event, SpanContext};

const TEXTS: &[&str] = &[
    "id",
    "name",
    "namespace",
    "parentnamespace",
    "unionnamespace",
    "clientid",
    "traceid",
    "spancontext",
    "userid",
    "sessionid",
    "timestamp",
    "service",
    "target_namespace",
    "topic",
    "sourcenamespace",
];
const INTEGERS: &[&str] = &[
    "timestampunixnano",
    "version",
    "event_id",
    "event_type",
    "event_level",
];
const LISTS: &[&str] = &["client_ids", "target_user_ids"];
const OBJECTS: &[&str] = &["additional_fields", "payload"];

/// The raw JSON of each field by its lower-case name; `None` if the record must be rejected.
fn fields(text: &str) -> Option<HashMap<String, String>> {
    let members = serde_json::from_str::<Members>(text).ok()?.0;
    let mut last = HashMap::new();
    for (key, raw) in members {
        let name: String = key
            .chars()
            .map(|c| match c {
                '\u{17f}' => 's',
                '\u{212a}' => 'k',
                c => c.to_ascii_lowercase(),
            })
            .collect();
        let raw = raw.get();
        let list = LISTS.contains(&&*name);
        let object = OBJECTS.contains(&&*name);
        if raw == "null" {
            if list || object {
                last.remove(&name);
            }
            continue;
        }
        let good = if TEXTS.contains(&&*name) {
            raw.starts_with('"')
        } else if INTEGERS.contains(&&*name) {
            // serde_json reads -0 as a float, Go as an integer.
            raw == "-0" || serde_json::from_str::<i64>(raw).is_ok()
        } else if name == "privacy" {
            matches!(raw, "true" | "false")
        } else if list {
            let all = serde_json::from_str::<Vec<Option<Box<RawValue>>>>(raw);
            all.is_ok_and(|all| all.iter().flatten().all(|one| one.get().starts_with('"')))
        } else if object {
            raw.starts_with('{')
        } else {
            true
        };
        if !good {
            return None;
        }
        last.insert(name, raw.to_owned());
    }
    Some(last)
}

/// An object's members in order, including duplicate keys.
struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(All)
    }
}

/// Panics when the decoder and `serde_json` disagree about `json`.
pub(crate) fn compare(json: &[u8]) {
    let ours = Event::decode(json);
    let Ok(text) = std::str::from_utf8(json) else {
        // serde_json does not read this at all; the repaired text must give the same result.
        if let Ok(event) = ours {
            compare(event.json().as_bytes());
        }
        return;
    };
    let (fields, event) = match (fields(text), ours) {
        (Some(fields), Ok(event)) => (fields, event),
        (None, Err(_)) => return,
        // serde_json rejects a key with half a surrogate pair, Go does not.
        (None, Ok(_)) if text.to_ascii_lowercase().contains("\\ud") => return,
        (Some(_), Err(error)) => {
            // serde_json skips values of any depth.
            assert!(error.to_string().contains("deeper"), "{text:?}: {error}");
            return;
        }
        (None, Ok(_)) => panic!("{text:?}: serde_json refuses it"),
    };
    let raw = |name: &str| fields.get(name).map(String::as_str);
    for (name, found) in [
        ("id", event.id()),
        ("name", event.name()),
        ("namespace", event.namespace()),
        ("parentnamespace", event.parent_namespace()),
        ("unionnamespace", event.union_namespace()),
        ("clientid", event.client_id()),
        ("traceid", event.trace_id()),
        ("spancontext", event.span_context()),
        ("userid", event.user_id()),
        ("sessionid", event.session_id()),
        ("timestamp", event.timestamp()),
        ("service", event.service()),
        ("target_namespace", event.target_namespace()),
        ("topic", event.topic()),
        ("sourcenamespace", event.source_namespace()),
    ] {
        // serde_json cannot read a string with half a surrogate pair.
        if let Ok(expected) = serde_json::from_str::<String>(raw(name).unwrap_or("\"\"")) {
            assert_eq!(found, expected, "{name} of {text:?}");
        }
    }
    for (name, found) in [
        ("timestampunixnano", event.timestamp_unix_nano()),
        ("version", event.version()),
        ("event_id", event.event_id()),
        ("event_type", event.event_type()),
        ("event_level", event.event_level()),
    ] {
        let expected: i64 = raw(name).map_or(0, |raw| raw.parse().expect("checked above"));
        assert_eq!(found, expected, "{name} of {text:?}");
    }
    assert_eq!(event.privacy(), raw("privacy") == Some("true"), "{text:?}");
    for (name, found) in [
        ("client_ids", event.client_ids()),
        ("target_user_ids", event.target_user_ids()),
    ] {
        let raw = raw(name).unwrap_or("[]");
        if let Ok(expected) = serde_json::from_str::<Vec<Option<String>>>(raw) {
            let expected: Vec<String> = expected
                .into_iter()
                .map(Option::unwrap_or_default)
                .collect();
            assert_eq!(found, expected, "{name} of {text:?}");
        }
    }
    for (name, found) in [
        ("additional_fields", event.additional_fields()),
        ("payload", event.payload()),
    ] {
        let raw = raw(name).unwrap_or("{}");
        assert_eq!(found.as_str(), raw, "{name} of {text:?}");
        if let Ok(members) = serde_json::from_str::<HashMap<String, Box<RawValue>>>(raw) {
            assert_eq!(found.is_empty(), members.is_empty());
            for (key, value) in &members {
                let member = found.get(key).expect("serde_json found it");
                assert_eq!(member.as_str(), value.get(), "{key:?} of {text:?}");
            }
        }
        // Ours may accept more than serde_json (half surrogates), never less.
        if let Ok(tree) = serde_json::from_str::<serde_json::Value>(raw) {
            assert_eq!(found.to_value().expect("serde_json reads it"), tree);
        }
        let _ = found.to_value();
    }
    let _ = (event.time(), event.span_context().parse::<SpanContext>());
    // Encoded again, it is the same event.
    let again = event.to_json();
    assert_eq!(
        Event::decode(&again).expect("our own bytes").to_json(),
        again
    );
}
