use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

/// The result of the crate's fallible calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, what was being done, and whether trying again can help.
///
/// [`kind`](Error::kind) is for programs, `Display` for people. The cause, if any, is
/// [`source`](StdError::source) and is not repeated in the message. Clones share one allocation:
/// the same failure reaches a receipt and an error callback.
#[derive(Clone)]
pub struct Error {
    inner: Arc<Inner>,
}

struct Inner {
    kind: ErrorKind,
    message: String,
    faults: Vec<Fault>,
    retriable: bool,
    remedy: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// The class of an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A setting is missing, malformed or contradicts another; [`Error::faults`] lists each.
    Config,
    /// A field of an event or a subscription is not allowed; [`Error::faults`] lists each.
    Validation,
    /// A payload could not be written as JSON.
    Encode,
    /// A record's value is not an event envelope.
    Decode,
    /// The event is larger than the effective `message.max.bytes`.
    TooLarge,
    /// The publish buffer is full (`try_publish` only).
    BufferFull,
    /// The operation timed out. A publish that timed out while a request was in
    /// flight may still have been stored.
    Timeout,
    /// The client, the stream or the subscription has been shut down.
    Closed,
    /// The topic or the partition does not exist and may not be created.
    UnknownTopic,
    /// The broker does not allow this principal to do this.
    Unauthorized,
    /// The broker refused the credential or the certificate, or a token endpoint refused that of the client.
    Authentication,
    /// The [token provider](crate::Security::oauth) gives no token. It is asked again, and work goes on once it
    /// gives one.
    Token,
    /// No broker could be reached.
    Unreachable,
    /// The broker refused the record itself, or its batch because of another record in it: without a key in a compacted
    /// topic, with a time too far from the broker's, against a schema that is checked there.
    InvalidRecord,
    /// The broker refused the request for another reason.
    Broker,
    /// The Kafka client instance hit a fatal error and was replaced.
    Fatal,
    /// A handler returned an error or panicked.
    Handler,
    /// The offsets of a partition have changed: records were deleted before they were read, the
    /// topic was deleted and recreated, or the subscription's start offset does not exist.
    OffsetReset,
    /// The group has neither members nor committed offsets.
    UnknownGroup,
    /// The group has members, and its offsets can only be moved while it has none.
    GroupNotEmpty,
    /// This backend, these brokers or this group do not support it.
    Unsupported,
}

impl ErrorKind {
    /// The stable lower-case name of the kind, as the command line prints it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Validation => "validation",
            Self::Encode => "encode",
            Self::Decode => "decode",
            Self::TooLarge => "too_large",
            Self::BufferFull => "buffer_full",
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::UnknownTopic => "unknown_topic",
            Self::Unauthorized => "unauthorized",
            Self::Authentication => "authentication",
            Self::Token => "token",
            Self::Unreachable => "unreachable",
            Self::InvalidRecord => "invalid_record",
            Self::Broker => "broker",
            Self::Fatal => "fatal",
            Self::Handler => "handler",
            Self::OffsetReset => "offset_reset",
            Self::UnknownGroup => "unknown_group",
            Self::GroupNotEmpty => "group_not_empty",
            Self::Unsupported => "unsupported",
        }
    }
}

impl ErrorKind {
    /// The remedy if nothing more specific is known.
    fn remedy(self) -> &'static str {
        match self {
            Self::Config | Self::Validation => "correct the fields that the error names",
            Self::Encode => "make the payload's type serialise to a JSON object",
            Self::Decode => "fix the publisher, or dead-letter such records with `on_undecodable`",
            Self::TooLarge => {
                "raise `message_max_bytes` and the topic's `max.message.bytes`, or make the event smaller"
            }
            Self::BufferFull => "publish more slowly, or raise `buffer_events` and `buffer_bytes`",
            Self::Timeout => "check the load of the brokers and the network, or allow more time",
            Self::Closed => "create a new client, or register again",
            Self::UnknownTopic => "create the topic, or correct its name",
            Self::Unauthorized => "grant this principal the missing permission",
            Self::Authentication => "check the credentials and certificates of this client",
            Self::Token => {
                "correct what the token provider asks for, or whom it asks; it is asked again by itself"
            }
            Self::Unreachable => {
                "check that the brokers run, and that this host reaches every address they advertise"
            }
            Self::InvalidRecord => {
                "check what the topic demands of a record: a key, a time, a schema"
            }
            Self::Broker => "check the broker's log",
            Self::Fatal => "none needed: the client replaces what failed; report it if it recurs",
            Self::Handler => {
                "fix the handler or what it depends on; `Retry::attempts` dead-letters an event \
                 that keeps failing"
            }
            Self::OffsetReset => {
                "check the topic's retention, and whether the topic or its records were deleted"
            }
            Self::UnknownGroup => "correct the group's name and the client's prefix",
            Self::GroupNotEmpty => {
                "stop the members that the error names, and wait until they have left"
            }
            Self::Unsupported => "change the option that the error names, or upgrade the brokers",
        }
    }
}

/// One field or setting that is not allowed: its name, its value, and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fault {
    /// The field or the setting, spelled as its method or key.
    pub field: String,
    /// The refused value; empty when it is missing, a placeholder when it is secret.
    pub value: String,
    /// What is allowed.
    pub allowed: String,
}

impl Fault {
    pub(crate) fn new(
        field: impl Into<String>,
        value: impl Into<String>,
        allowed: impl Into<String>,
    ) -> Self {
        Self {
            field: field.into(),
            value: value.into(),
            allowed: allowed.into(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.value.is_empty() {
            write!(f, "{}: {}", self.field, self.allowed)
        } else {
            write!(f, "{} {:?}: {}", self.field, self.value, self.allowed)
        }
    }
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            inner: Arc::new(Inner {
                kind,
                message: message.into(),
                faults: Vec::new(),
                retriable: matches!(
                    kind,
                    ErrorKind::BufferFull
                        | ErrorKind::Timeout
                        | ErrorKind::Unreachable
                        | ErrorKind::Token
                ),
                remedy: None,
                source: None,
            }),
        }
    }

    /// An error that lists every invalid field.
    pub(crate) fn from_faults(kind: ErrorKind, doing: &str, faults: Vec<Fault>) -> Self {
        let mut error = Self::new(kind, doing);
        error.edit().faults = faults;
        error
    }

    fn edit(&mut self) -> &mut Inner {
        Arc::get_mut(&mut self.inner).expect("an error is shared only once it is complete")
    }

    pub(crate) fn with_source(
        mut self,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        self.edit().source = Some(source.into());
        self
    }

    pub(crate) fn with_retriable(mut self, retriable: bool) -> Self {
        self.edit().retriable = retriable;
        self
    }

    pub(crate) fn with_remedy(mut self, remedy: impl Into<String>) -> Self {
        self.edit().remedy = Some(remedy.into());
        self
    }

    /// The class of this error.
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// Every bad field or setting, for [`ErrorKind::Config`] and [`ErrorKind::Validation`], and every bad header of a
    /// dead letter; empty otherwise.
    pub fn faults(&self) -> &[Fault] {
        &self.inner.faults
    }

    /// Whether waiting cannot help: a permission or a credential has to be granted, or a setting or a name changed.
    /// An error that is not final may pass by itself, or concerns one event only. A program that waits for events can
    /// exit at a final error, or wait until [`Health`](crate::Health) is good again: the client resumes by itself
    /// once it can.
    pub fn is_final(&self) -> bool {
        matches!(
            self.kind(),
            ErrorKind::Config
                | ErrorKind::Validation
                | ErrorKind::Unauthorized
                | ErrorKind::Authentication
                | ErrorKind::Unsupported
        )
    }

    /// What to do about it, in one sentence without a full stop: specific to this error if
    /// possible, as for a missing permission or a port of another protocol, else to its kind.
    pub fn remedy(&self) -> &str {
        self.own_remedy().unwrap_or_else(|| self.kind().remedy())
    }

    fn own_remedy(&self) -> Option<&str> {
        let of_cause = || {
            let cause = self.inner.source.as_deref()?;
            cause.downcast_ref::<Self>()?.own_remedy()
        };
        self.inner.remedy.as_deref().or_else(of_cause)
    }

    /// Whether the same call may succeed later with the same input and configuration.
    pub fn is_retriable(&self) -> bool {
        self.inner.retriable
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.message)?;
        for (i, fault) in self.inner.faults.iter().enumerate() {
            f.write_str(if i == 0 { ": " } else { "; " })?;
            fmt::Display::fmt(fault, f)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut s = f.debug_struct("Error");
        s.field("kind", &self.inner.kind)
            .field("message", &self.inner.message);
        if !self.inner.faults.is_empty() {
            s.field("faults", &self.inner.faults);
        }
        if let Some(source) = &self.inner.source {
            s.field("source", source);
        }
        s.finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.inner.source.as_deref().map(|s| s as _)
    }
}
