//! The operator's view of the outbox: its depth, the events that failed, and what to do with them.

use std::time::{Duration, SystemTime};

use eventstream::{Event, SealedEvent};
use sqlx::postgres::PgRow;
use sqlx::{PgExecutor, Row as _};

use crate::error::{Error, Result};
use crate::outbox::Outbox;
use crate::row::read_headers;

/// Each with the condition of an index, so that rows that are kept cost nothing.
const DEPTH: &str = "SELECT waiting.rows, failed.rows, \
        extract(epoch FROM clock_timestamp() - waiting.oldest)::float8 \
    FROM (SELECT count(*) AS rows, min(created_at) AS oldest FROM eventstream_outbox \
          WHERE published_at IS NULL AND failed_at IS NULL) AS waiting, \
         (SELECT count(*) AS rows FROM eventstream_outbox \
          WHERE published_at IS NULL AND failed_at IS NOT NULL) AS failed";
const FAILED: &str = "SELECT id, event_id, topic, key, value, headers, coalesce(error, '') AS error, \
    extract(epoch FROM failed_at)::float8 AS failed_at \
    FROM eventstream_outbox WHERE failed_at IS NOT NULL ORDER BY id LIMIT $1";
const RETRY: &str = "UPDATE eventstream_outbox SET failed_at = NULL, error = NULL \
    WHERE failed_at IS NOT NULL AND event_id = ANY($1)";
const DISCARD: &str =
    "DELETE FROM eventstream_outbox WHERE failed_at IS NOT NULL AND event_id = ANY($1)";

/// How much is in the outbox.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Depth {
    /// Committed events that are not published yet.
    pub waiting: u64,
    /// Events that can never be published as they are: see [`Outbox::failed`].
    pub failed: u64,
    /// How long the oldest waiting event has been there.
    pub oldest: Option<Duration>,
}

/// An event that can never be published as it is, set aside with the reason.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FailedEvent {
    /// The event, as it was enqueued.
    pub event: SealedEvent,
    /// Why it cannot be published.
    pub error: String,
    /// When it was set aside, by the database's clock.
    pub failed_at: SystemTime,
}

impl Outbox {
    /// How much is waiting, and for how long. It counts every waiting row: half a second for a million.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotMigrated`](crate::ErrorKind::NotMigrated), [`ErrorKind::Database`](crate::ErrorKind::Database).
    pub async fn depth(&self, database: impl PgExecutor<'_>) -> Result<Depth> {
        let row = sqlx::query_as(DEPTH).fetch_one(database).await;
        let (waiting, failed, oldest): (i64, i64, Option<f64>) =
            row.map_err(|error| Error::database("read the depth of the outbox", error))?;
        Ok(Depth {
            waiting: u64::try_from(waiting).unwrap_or(0),
            failed: u64::try_from(failed).unwrap_or(0),
            oldest: oldest.map(|seconds| Duration::from_secs_f64(seconds.max(0.0))),
        })
    }

    /// The oldest events that were set aside, at most `limit`.
    ///
    /// # Errors
    ///
    /// As [`depth`](Self::depth).
    pub async fn failed(
        &self,
        database: impl PgExecutor<'_>,
        limit: u32,
    ) -> Result<Vec<FailedEvent>> {
        let failed = |error| Error::database("read the failed events of the outbox", error);
        let rows = sqlx::query(FAILED)
            .bind(i64::from(limit))
            .fetch_all(database);
        let rows = rows.await.map_err(failed)?;
        rows.iter()
            .map(FailedEvent::read)
            .collect::<sqlx::Result<_>>()
            .map_err(failed)
    }

    /// Lets events that were set aside be published after all, once the cause is gone. Returns how many of these ids
    /// existed. Within its key, such an event comes after those published in the meantime.
    ///
    /// # Errors
    ///
    /// As [`depth`](Self::depth).
    pub async fn retry(&self, database: impl PgExecutor<'_>, ids: &[String]) -> Result<u64> {
        let done = sqlx::query(RETRY).bind(ids).execute(database).await;
        let done = done.map_err(|error| Error::database("retry failed events", error))?;
        Ok(done.rows_affected())
    }

    /// Deletes events that were set aside: they are never published. Returns how many of these ids existed.
    ///
    /// # Errors
    ///
    /// As [`depth`](Self::depth).
    pub async fn discard(&self, database: impl PgExecutor<'_>, ids: &[String]) -> Result<u64> {
        let done = sqlx::query(DISCARD).bind(ids).execute(database).await;
        let done = done.map_err(|error| Error::database("discard failed events", error))?;
        Ok(done.rows_affected())
    }
}

impl FailedEvent {
    fn read(row: &PgRow) -> sqlx::Result<Self> {
        let seconds: f64 = row.try_get("failed_at")?;
        Ok(Self {
            event: sealed(row)?,
            error: row.try_get("error")?,
            failed_at: SystemTime::UNIX_EPOCH + Duration::from_secs_f64(seconds.max(0.0)),
        })
    }

    /// The event, if it is one.
    pub fn decode(&self) -> Option<Event> {
        Event::decode(self.event.value()).ok()
    }
}

/// The event in a row. A row that was changed by hand may give a value that is not an event, which is then set aside.
pub(crate) fn sealed(row: &PgRow) -> sqlx::Result<SealedEvent> {
    let headers: String = row.try_get("headers")?;
    let value: String = row.try_get("value")?;
    let (value, headers) = match read_headers(&headers) {
        Some(headers) => (value, headers),
        None => (String::new(), Vec::new()),
    };
    Ok(SealedEvent::new(
        row.try_get::<String, _>("event_id")?,
        row.try_get::<String, _>("topic")?,
        row.try_get::<Vec<u8>, _>("key")?,
        value,
        headers,
    ))
}
