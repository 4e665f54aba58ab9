//! One line of NDJSON as an audit log.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use eventstream::{Actor, AuditLog};
use serde_json::value::RawValue;

use super::object::{self, Object};
use super::{BadLine, text_of};

/// The fields of an audit log, from the options or from a line.
#[derive(Clone, Default)]
pub(crate) struct AuditFields {
    texts: BTreeMap<&'static str, String>,
    timestamp: Option<i64>,
    pub(crate) content: Option<Box<RawValue>>,
    pub(crate) before: Option<Box<RawValue>>,
    pub(crate) after: Option<Box<RawValue>>,
}

const TEXTS: &[&str] = &[
    "_id",
    "category",
    "actionName",
    "ip",
    "actor",
    "actorType",
    "clientId",
    "actorNamespace",
    "objectId",
    "objectType",
    "objectNamespace",
    "targetUserId",
    "deviceId",
    "key",
];

const OTHERS: &[&str] = &["timestamp", "payload"];

/// Reads a line, with these as defaults: the audit log and its key.
pub(crate) fn parse(line: &[u8], defaults: &AuditFields) -> Result<(AuditLog, String), BadLine> {
    let text = text_of(line)?;
    let mut fields = defaults.clone();
    let mut faults = Vec::new();
    for (name, value) in Object::parse(text)?.entries() {
        if let Err(fault) = fields.take(name, value) {
            faults.push(fault);
        }
    }
    fields.finish(faults)
}

impl AuditFields {
    /// Sets a string field by its name on the wire, which must exist.
    pub(crate) fn set_text(&mut self, name: &'static str, text: String) {
        self.texts.insert(name, text);
    }

    pub(crate) fn is_empty(&self) -> bool {
        let objects = [&self.content, &self.before, &self.after];
        self.texts.is_empty() && objects.iter().all(|object| object.is_none())
    }

    fn take(&mut self, name: &str, value: &RawValue) -> Result<(), String> {
        if let Some(known) = TEXTS.iter().find(|text| **text == name) {
            if let Some(text) = object::text(name, value)? {
                self.set_text(known, text.into_owned());
            }
            return Ok(());
        }
        match name {
            "timestamp" => {
                self.timestamp = object::integer(name, value)?.or(self.timestamp);
                Ok(())
            }
            "payload" => self.payload(value),
            _ => {
                let known: Vec<_> = TEXTS.iter().chain(OTHERS).copied().collect();
                Err(object::unknown(name, "an audit log", &known))
            }
        }
    }

    fn payload(&mut self, value: &RawValue) -> Result<(), String> {
        for (name, value) in members("payload", value)? {
            match &*name {
                "content" => keep(&mut self.content, "payload.content", value)?,
                "diff" => {
                    for (name, value) in members("payload.diff", value)? {
                        match &*name {
                            "before" => keep(&mut self.before, "payload.diff.before", value)?,
                            "after" => keep(&mut self.after, "payload.diff.after", value)?,
                            _ => {
                                let known = &["before", "after"];
                                let name = format!("payload.diff.{name}");
                                return Err(object::unknown(&name, "an audit log", known));
                            }
                        }
                    }
                }
                _ => {
                    let known = &["content", "diff"];
                    let name = format!("payload.{name}");
                    return Err(object::unknown(&name, "an audit log", known));
                }
            }
        }
        Ok(())
    }

    fn finish(mut self, mut faults: Vec<String>) -> Result<(AuditLog, String), BadLine> {
        let mut text = |name| self.texts.remove(name).unwrap_or_default();
        let actor = text("actor");
        let actor = match &*text("actorType") {
            "USER" => Actor::User(actor),
            "CLIENT" => Actor::Client(actor),
            "ANONYMOUS" => Actor::Anonymous(actor),
            "" => {
                faults.push("actorType: must be USER, CLIENT or ANONYMOUS".to_owned());
                Actor::User(actor)
            }
            other => {
                faults.push(format!(
                    "actorType {other:?}: must be USER, CLIENT or ANONYMOUS"
                ));
                Actor::User(actor)
            }
        };
        let timestamp = self.timestamp.map(u64::try_from);
        if let Some(Err(_)) = timestamp {
            faults.push("timestamp: must not be before 1970".to_owned());
        }
        let key = text("key");
        let mut log = AuditLog::new(text("category"), text("actionName"), actor)
            .id(text("_id"))
            .ip(text("ip"))
            .client_id(text("clientId"))
            .actor_namespace(text("actorNamespace"))
            .object_id(text("objectId"))
            .object_type(text("objectType"))
            .object_namespace(text("objectNamespace"))
            .target_user_id(text("targetUserId"))
            .device_id(text("deviceId"))
            .key(&key)
            .diff(self.before, self.after);
        if let Some(Ok(millis)) = timestamp {
            log = log.timestamp(UNIX_EPOCH + Duration::from_millis(millis));
        }
        if let Some(content) = &self.content {
            log = log.content(content);
        }
        if faults.is_empty() {
            Ok((log, key))
        } else {
            Err(BadLine::invalid(&faults))
        }
    }
}

type Members<'a> = Vec<(String, &'a RawValue)>;

/// The members of an object; none for null.
fn members<'a>(name: &str, value: &'a RawValue) -> Result<Members<'a>, String> {
    let Some(value) = object::object(name, value)? else {
        return Ok(Vec::new());
    };
    let object = Object::parse(value.get()).map_err(|bad| format!("{name}: {}", bad.message))?;
    let members = object.entries();
    Ok(members
        .map(|(name, value)| (name.to_owned(), value))
        .collect())
}

fn keep(slot: &mut Option<Box<RawValue>>, name: &str, value: &RawValue) -> Result<(), String> {
    if let Some(value) = object::object(name, value)? {
        *slot = Some(value.to_owned());
    }
    Ok(())
}
