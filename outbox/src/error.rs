use std::error::Error as StdError;
use std::fmt;

/// The result of this crate's calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong. `Display` says what was being done; the cause is [`source`](StdError::source) and is not
/// repeated.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// The class of an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The event is not allowed: the source is the [`eventstream::Error`] that lists every bad field.
    Event,
    /// The outbox's tables are missing or older than this crate.
    NotMigrated,
    /// The database refused, or could not be reached.
    Database,
    /// The database did not answer in time.
    Timeout,
    /// Events cannot be published now: the source says why. They are waiting.
    Publish,
    /// The relay ended with a panic, or with its runtime.
    Ended,
    /// The stop timed out with work left.
    Unfinished,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    pub(crate) fn with_source(
        mut self,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        self.source = Some(source.into());
        self
    }

    pub(crate) fn database(doing: &str, error: sqlx::Error) -> Self {
        let code = error
            .as_database_error()
            .and_then(sqlx::error::DatabaseError::code);
        // undefined_table, undefined_column
        if matches!(code.as_deref(), Some("42P01" | "42703")) {
            let message = format!(
                "{doing}: the outbox's tables are missing or outdated; run `eventstream_outbox::migrate(&pool)` \
                 once, or `eventstream_outbox::MIGRATION` with your migration tool, in the schema that this \
                 connection's `search_path` finds first"
            );
            return Self::new(ErrorKind::NotMigrated, message).with_source(error);
        }
        Self::new(ErrorKind::Database, doing).with_source(error)
    }

    /// The class of this error.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What to do about it, in one sentence without a full stop.
    pub fn remedy(&self) -> &str {
        match self.kind {
            ErrorKind::Event => "correct the fields that the error names",
            ErrorKind::NotMigrated => "run `eventstream_outbox::migrate(&pool)` once",
            ErrorKind::Database => "check the database, its address and this user's permissions",
            ErrorKind::Timeout => "check the load of the database and what holds its locks",
            ErrorKind::Publish => self
                .source
                .as_deref()
                .and_then(|source| source.downcast_ref::<eventstream::Error>())
                .map_or("check the brokers", eventstream::Error::remedy),
            ErrorKind::Ended => "start a relay again",
            ErrorKind::Unfinished => {
                "allow more time, or start a relay again; the remaining events are still in the outbox"
            }
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// An error with its causes, for contexts without `source`.
pub(crate) fn with_causes(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}
