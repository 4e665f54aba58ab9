//! The audit log's JSON.

use super::encode::{close, integer};
use super::json::is_empty_container;
use super::text::{escape, go_escape};

/// The fields of an audit log to write. Optional ones are omitted if empty.
#[derive(Clone, Copy, Default)]
pub(crate) struct AuditEnvelope<'a> {
    pub(crate) id: &'a str,
    pub(crate) category: &'a str,
    pub(crate) action_name: &'a str,
    /// Milliseconds since the Unix epoch.
    pub(crate) timestamp_millis: i64,
    /// Optional.
    pub(crate) ip: &'a str,
    pub(crate) actor: &'a str,
    pub(crate) actor_type: &'a str,
    pub(crate) client_id: &'a str,
    pub(crate) actor_namespace: &'a str,
    /// Optional.
    pub(crate) object_id: &'a str,
    /// Optional.
    pub(crate) object_type: &'a str,
    pub(crate) object_namespace: &'a str,
    /// Optional.
    pub(crate) target_user_id: &'a str,
    /// Optional.
    pub(crate) device_id: &'a str,
    /// A JSON object; `{}` is written when empty.
    pub(crate) content: &'a str,
    /// What the object was: a JSON object, optional.
    pub(crate) before: &'a str,
    /// What the object became: a JSON object, optional.
    pub(crate) after: &'a str,
}

impl AuditEnvelope<'_> {
    /// Appends the JSON, byte for byte as Go writes it; the order of keys in content and diff is the caller's.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        required(out, ",\"_id\":\"", self.id);
        required(out, ",\"category\":\"", self.category);
        required(out, ",\"actionName\":\"", self.action_name);
        integer(out, ",\"timestamp\":", self.timestamp_millis);
        optional(out, ",\"ip\":\"", self.ip);
        required(out, ",\"actor\":\"", self.actor);
        required(out, ",\"actorType\":\"", self.actor_type);
        required(out, ",\"clientId\":\"", self.client_id);
        required(out, ",\"actorNamespace\":\"", self.actor_namespace);
        optional(out, ",\"objectId\":\"", self.object_id);
        optional(out, ",\"objectType\":\"", self.object_type);
        required(out, ",\"objectNamespace\":\"", self.object_namespace);
        optional(out, ",\"targetUserId\":\"", self.target_user_id);
        optional(out, ",\"deviceId\":\"", self.device_id);
        out.extend_from_slice(b",\"payload\":{\"content\":");
        go_escape(or_empty(self.content), out);
        out.extend_from_slice(b",\"diff\":");
        let diff = out.len();
        object(out, ",\"before\":", self.before);
        object(out, ",\"after\":", self.after);
        close(out, diff);
        out.push(b'}');
        close(out, start);
    }
}

fn required(out: &mut Vec<u8>, before: &str, value: &str) {
    out.extend_from_slice(before.as_bytes());
    let mut json = Vec::with_capacity(value.len());
    escape(value, &mut json);
    // Escaped text is still text.
    go_escape(std::str::from_utf8(&json).unwrap_or_default(), out);
    out.push(b'"');
}

fn optional(out: &mut Vec<u8>, before: &str, value: &str) {
    if !value.is_empty() {
        required(out, before, value);
    }
}

fn object(out: &mut Vec<u8>, before: &str, json: &str) {
    if or_empty(json) != "{}" {
        out.extend_from_slice(before.as_bytes());
        go_escape(json, out);
    }
}

/// Go treats absent, null and empty objects alike here.
fn or_empty(json: &str) -> &str {
    if json == "null" || is_empty_container(json) {
        "{}"
    } else {
        json
    }
}
