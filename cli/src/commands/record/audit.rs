//! Audit logs among the records: they have their own form and are not events.

use serde::Deserialize;
use serde_json::value::RawValue;

/// An audit log as on the wire.
pub(super) struct AuditLine<'a> {
    pub(super) json: &'a str,
    pub(super) payload: &'a str,
    category: String,
    action: String,
}

/// The fields that every audit log has, and no event.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(rename = "_id")]
    _id: String,
    category: String,
    #[serde(rename = "actionName")]
    action_name: String,
    #[serde(rename = "actor")]
    _actor: String,
    #[serde(rename = "actorType")]
    _actor_type: String,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
}

impl<'a> AuditLine<'a> {
    /// Reads a record's value; `None` if it is not an audit log.
    pub(super) fn read(value: &'a [u8]) -> Option<Self> {
        let json = std::str::from_utf8(value).ok()?;
        let fields: Fields<'a> = serde_json::from_str(json).ok()?;
        Some(Self {
            json,
            payload: fields.payload.map_or("{}", RawValue::get),
            category: fields.category,
            action: fields.action_name,
        })
    }

    pub(super) fn title(&self) -> String {
        format!("audit log: {} {}", self.category, self.action)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_an_actor_and_an_action_is_an_audit_log() {
        let log = br#" {"_id":"1","category":"c","actionName":"a","actor":"x","actorType":"USER","n":1e400} "#;
        let read = AuditLine::read(log).unwrap();
        assert_eq!((read.payload, &*read.title()), ("{}", "audit log: c a"));
        for other in [
            &br#"{"_id":"1","category":"c","actionName":"a","actor":"x"}"#[..],
            br#"{"id":"1","name":"n","payload":{}}"#,
            b"[1]",
            b"\xff",
        ] {
            assert!(AuditLine::read(other).is_none());
        }
    }
}
