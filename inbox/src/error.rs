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
    source: Option<sqlx::Error>,
}

/// The class of an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The event has no id, so a repeat of it cannot be recognized.
    NoId,
    /// The inbox's table is missing or older than this crate.
    NotMigrated,
    /// The database refused, or could not be reached.
    Database,
}

impl Error {
    pub(crate) fn no_id() -> Self {
        Self {
            kind: ErrorKind::NoId,
            message: "look an event up in the inbox: it has no id to recognize repeats by"
                .to_owned(),
            source: None,
        }
    }

    pub(crate) fn database(doing: &str, error: sqlx::Error) -> Self {
        let code = error
            .as_database_error()
            .and_then(sqlx::error::DatabaseError::code);
        // undefined_table, undefined_column
        let (kind, message) = if matches!(code.as_deref(), Some("42P01" | "42703")) {
            let remedy = "the inbox's table is missing or outdated; run `eventstream_inbox::migrate(&pool)` once, or \
                          `eventstream_inbox::MIGRATION` with your migration tool, in the schema that this connection's \
                          `search_path` finds first";
            (ErrorKind::NotMigrated, format!("{doing}: {remedy}"))
        } else {
            (ErrorKind::Database, doing.to_owned())
        };
        Self {
            kind,
            message,
            source: Some(error),
        }
    }

    /// The class of this error.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}
