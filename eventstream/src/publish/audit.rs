use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::error::{Error, ErrorKind, Fault, Result};
use crate::event::{self, AuditEnvelope};
use crate::name;
use crate::publish::receipt::EventId;

/// Who did what an audit log records.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Actor {
    /// A user, by id.
    User(String),
    /// A client, by id.
    Client(String),
    /// Someone who was not authenticated, by the id the service gave.
    Anonymous(String),
}

impl Actor {
    fn id(&self) -> &str {
        match self {
            Self::User(id) | Self::Client(id) | Self::Anonymous(id) => id,
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::User(_) => "USER",
            Self::Client(_) => "CLIENT",
            Self::Anonymous(_) => "ANONYMOUS",
        }
    }
}

/// One audit log: the audit log parameters of the Go SDK as a builder.
///
/// Published with [`Client::publish_audit_log`](crate::Client::publish_audit_log) to the topic that
/// `APP_EVENT_STREAM_AUDIT_LOG_TOPIC` names (default `auditLog`), unless
/// `APP_EVENT_STREAM_AUDIT_LOG_ENABLED` is false.
///
/// ```
/// use eventstream::{Actor, AuditLog};
///
/// let log = AuditLog::new("userBan", "banUser", Actor::User("e95b150043ff4a2c88427a6eb25e5bc8".into()))
///     .client_id("7d480ce0e8624b02901bd80d9ba9817c")
///     .actor_namespace("accelbyte")
///     .object_namespace("accelbyte")
///     .content(&serde_json::json!({"reason": "cheating"}));
/// ```
#[derive(Clone)]
#[must_use = "an audit log does nothing until it is given to `Client::publish_audit_log`"]
pub struct AuditLog {
    category: String,
    action_name: String,
    actor: Actor,
    ip: String,
    client_id: String,
    actor_namespace: String,
    object_id: String,
    object_type: String,
    object_namespace: String,
    target_user_id: String,
    device_id: String,
    key: String,
    id: String,
    timestamp: Option<SystemTime>,
    content: String,
    before: String,
    after: String,
    faults: Vec<Fault>,
}

/// The text options, each a setter named after its field.
macro_rules! text_options {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        $($(#[$doc])*
        pub fn $name(mut self, $name: impl Into<String>) -> Self {
            self.$name = $name.into();
            self
        })*
    };
}

impl AuditLog {
    /// An audit log of an action. Client id, actor namespace and object namespace are also required.
    pub fn new(category: impl Into<String>, action_name: impl Into<String>, actor: Actor) -> Self {
        Self {
            category: category.into(),
            action_name: action_name.into(),
            actor,
            ip: String::new(),
            client_id: String::new(),
            actor_namespace: String::new(),
            object_id: String::new(),
            object_type: String::new(),
            object_namespace: String::new(),
            target_user_id: String::new(),
            device_id: String::new(),
            key: String::new(),
            id: String::new(),
            timestamp: None,
            content: String::new(),
            before: String::new(),
            after: String::new(),
            faults: Vec::new(),
        }
    }

    text_options! {
        /// The address of the actor.
        ip;
        /// The client used: a UUID v4 without hyphens. Required.
        client_id;
        /// The namespace of the actor. Required.
        actor_namespace;
        /// The id of the affected object.
        object_id;
        /// The type of the object.
        object_type;
        /// The namespace of the object, or the publisher's if it has none. Required.
        object_namespace;
        /// The affected user: a UUID v4 without hyphens.
        target_user_id;
        /// The device used.
        device_id;
        /// The record's key. Default: empty, as in the Go SDK, which spreads audit logs over the
        /// partitions without order.
        key;
        /// The audit log's id, for copies. Default: a new UUID v4 without hyphens.
        id;
    }

    /// When it happened, for copies: kept in milliseconds, from 1970. Default: the moment it is
    /// published.
    pub fn timestamp(mut self, time: SystemTime) -> Self {
        self.timestamp = Some(time);
        self
    }

    /// What was done, in detail: anything that serialises to a JSON object. Default: `{}`.
    pub fn content<T: Serialize + ?Sized>(mut self, content: &T) -> Self {
        self.content = self.object("content", content);
        self
    }

    /// The object before and after: each anything that serialises to a JSON object, or `None`.
    pub fn diff<B: Serialize, A: Serialize>(mut self, before: B, after: A) -> Self {
        self.before = self.object("diff.before", &before);
        self.after = self.object("diff.after", &after);
        self
    }

    fn object<T: Serialize + ?Sized>(&mut self, field: &str, value: &T) -> String {
        match serde_json::to_string(value) {
            Ok(json) if json.starts_with('{') => return json,
            Ok(json) if json == "null" => {}
            Ok(json) => {
                let shown: String = json.chars().take(40).collect();
                self.faults
                    .push(Fault::new(field, shown, "must be a JSON object"));
            }
            Err(error) => self.faults.push(Fault::new(
                field,
                "",
                format!("cannot be written as JSON: {error}"),
            )),
        }
        String::new()
    }

    pub(crate) fn record_key(&self) -> &str {
        &self.key
    }

    /// Checks every field and lists all faults.
    pub(crate) fn validate(&self) -> Result<()> {
        let mut faults = Vec::new();
        let required = [
            ("category", &self.category),
            ("action_name", &self.action_name),
            ("client_id", &self.client_id),
            ("actor_namespace", &self.actor_namespace),
        ];
        for (field, value) in required {
            if value.is_empty() {
                faults.push(Fault::new(field, "", "is required"));
            }
        }
        if self.object_namespace.is_empty() {
            faults.push(Fault::new(
                "object_namespace",
                "",
                "is required: use the publisher's namespace if the object has none",
            ));
        }
        let ids = [
            ("actor", self.actor.id(), true),
            ("client_id", &*self.client_id, false),
            ("target_user_id", &*self.target_user_id, false),
        ];
        for (field, value, required) in ids {
            if value.is_empty() {
                if required {
                    faults.push(Fault::new(field, "", "is required"));
                }
            } else if !name::is_uuid4_without_hyphens(value) {
                faults.push(Fault::new(
                    field,
                    value,
                    "must be a UUID v4 as 32 lower-case hex digits without hyphens",
                ));
            }
        }
        if let (Some(time), None) = (self.timestamp, self.given_millis()) {
            faults.push(Fault::new(
                "timestamp",
                format!("{time:?}"),
                "must not be before 1970",
            ));
        }
        faults.extend(self.faults.iter().cloned());
        if faults.is_empty() {
            Ok(())
        } else {
            Err(Error::from_faults(
                ErrorKind::Validation,
                "publish an audit log",
                faults,
            ))
        }
    }

    /// Appends the JSON, byte for byte as the Go SDK writes it.
    pub(crate) fn encode(&self, id: &str, timestamp_millis: i64, out: &mut Vec<u8>) {
        AuditEnvelope {
            id,
            category: &self.category,
            action_name: &self.action_name,
            timestamp_millis,
            ip: &self.ip,
            actor: self.actor.id(),
            actor_type: self.actor.kind(),
            client_id: &self.client_id,
            actor_namespace: &self.actor_namespace,
            object_id: &self.object_id,
            object_type: &self.object_type,
            object_namespace: &self.object_namespace,
            target_user_id: &self.target_user_id,
            device_id: &self.device_id,
            content: &self.content,
            before: &self.before,
            after: &self.after,
        }
        .write(out);
    }

    /// The JSON with the given id and time, or a new id and the current time; returns the id too.
    pub(crate) fn encode_now(&self, out: &mut Vec<u8>) -> EventId {
        let id = if self.id.is_empty() {
            EventId::Generated(event::new_id())
        } else {
            EventId::Chosen(self.id.as_str().into())
        };
        let millis = self.given_millis().unwrap_or_else(|| {
            let (_, nanos) = event::now();
            nanos / 1_000_000
        });
        self.encode(id.as_str(), millis, out);
        id
    }

    fn given_millis(&self) -> Option<i64> {
        let since = self.timestamp?.duration_since(UNIX_EPOCH).ok()?;
        i64::try_from(since.as_millis()).ok()
    }
}

impl fmt::Debug for AuditLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditLog")
            .field("category", &self.category)
            .field("action_name", &self.action_name)
            .finish_non_exhaustive()
    }
}
