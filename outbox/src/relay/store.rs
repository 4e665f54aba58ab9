//! A relay's queries to the database.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgRow;
use sqlx::{PgPool, Postgres, Row as _, Transaction};
use tokio::time::timeout;

use super::board::{FailedKey, Lane, Row};
use super::leases::{Leased, Moment};
use crate::error::{Error, ErrorKind, Result};
use crate::failed::{Depth, sealed};
use crate::outbox::Outbox;
use crate::row::SLOTS;

/// A database that does not answer for this long counts as unavailable.
const ANSWER: Duration = Duration::from_secs(10);
/// How many published rows to delete at once.
const CLEAN: u32 = 10_000;

const WAITING: &str =
    "published_at IS NULL AND failed_at IS NULL AND slot = ANY($1) AND id <> ALL($2)";
/// Excludes the keys of failed events, if those wait.
const NO_FAILED: &str = "NOT EXISTS (SELECT FROM eventstream_outbox AS failed WHERE failed.failed_at IS NOT NULL \
    AND failed.topic = waiting.topic AND failed.key = waiting.key AND failed.id < waiting.id)";
const COLUMNS: &str = "id, slot, event_id, topic, key, value, headers, \
    extract(epoch FROM clock_timestamp() - created_at)::float8 AS age";
const MARK: &str =
    "UPDATE eventstream_outbox SET published_at = clock_timestamp() WHERE id = ANY($1)";
const DELETE: &str = "DELETE FROM eventstream_outbox WHERE id = ANY($1)";
const REJECT: &str = "UPDATE eventstream_outbox AS o SET failed_at = clock_timestamp(), error = r.error \
    FROM unnest($1::bigint[], $2::text[]) AS r (id, error) WHERE o.id = r.id AND o.published_at IS NULL";
const CLEAN_UP: &str = "DELETE FROM eventstream_outbox WHERE id IN (SELECT id FROM eventstream_outbox \
    WHERE published_at < clock_timestamp() - make_interval(secs => $1) ORDER BY published_at LIMIT $2)";

/// The server itself ends a statement that takes long: otherwise it would go on, with its connection of the pool, after
/// the relay has stopped waiting, and the next one would come on top.
const LIMIT: &str = "SET LOCAL statement_timeout = '5s'";

const ALIVE: &str = "INSERT INTO eventstream_outbox_relay (relay, until) VALUES ($1, now() + make_interval(secs => $2)) \
    ON CONFLICT (relay) DO UPDATE SET until = excluded.until";
const BURY: &str = "DELETE FROM eventstream_outbox_relay WHERE relay IN \
    (SELECT relay FROM eventstream_outbox_relay WHERE until < clock_timestamp() FOR UPDATE SKIP LOCKED)";
const COUNT: &str =
    "SELECT count(*) FROM eventstream_outbox_relay WHERE until >= clock_timestamp()";
const RELEASE: &str = "UPDATE eventstream_outbox_slot SET holder = NULL, until = NULL WHERE holder = $1 AND slot = ANY($2)";
const RENEW: &str = "UPDATE eventstream_outbox_slot SET until = now() + make_interval(secs => $2) \
    WHERE holder = $1 RETURNING slot";
const TAKE: &str = "UPDATE eventstream_outbox_slot SET holder = $1, until = now() + make_interval(secs => $2) \
    WHERE slot IN (SELECT slot FROM eventstream_outbox_slot WHERE holder IS NULL OR until < clock_timestamp() \
                   LIMIT $3 FOR UPDATE SKIP LOCKED) RETURNING slot";
const LEAVE: &str = "WITH gone AS (DELETE FROM eventstream_outbox_relay WHERE relay = $1) \
    UPDATE eventstream_outbox_slot SET holder = NULL, until = NULL WHERE holder = $1";

/// The outbox's tables, as one relay sees them.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    pub(crate) pool: PgPool,
    pub(crate) relay: Arc<str>,
    pub(crate) lease: Duration,
    /// How long published rows are kept; zero deletes them at once.
    pub(crate) keep: Duration,
    pub(crate) failed_key: FailedKey,
}

/// Which rows to read.
#[derive(Debug)]
pub(crate) struct Fetch {
    pub(crate) slots: Vec<i16>,
    pub(crate) known: Vec<i64>,
    pub(crate) held: Vec<String>,
    pub(crate) limit: usize,
}

impl Store {
    pub(crate) async fn fetch(&self, fetch: &Fetch) -> Result<Vec<Row>> {
        let sql = self.select("topic <> ALL($3)");
        let rows = sqlx::query(&sql)
            .bind(&fetch.slots)
            .bind(&fetch.known)
            .bind(&fetch.held)
            .bind(i64::try_from(fetch.limit).unwrap_or(i64::MAX));
        self.read(rows.fetch_all(&self.pool).await)
    }

    /// The first waiting row of a topic.
    pub(crate) async fn probe(
        &self,
        slots: &[i16],
        known: &[i64],
        topic: &str,
    ) -> Result<Option<Row>> {
        let sql = self.select("topic = $3");
        let rows = sqlx::query(&sql)
            .bind(slots)
            .bind(known)
            .bind(topic)
            .bind(1_i64);
        Ok(self.read(rows.fetch_all(&self.pool).await)?.pop())
    }

    fn select(&self, topic: &str) -> String {
        let failed = match self.failed_key {
            FailedKey::GoesOn => "true",
            FailedKey::Waits => NO_FAILED,
        };
        format!(
            "SELECT {COLUMNS} FROM eventstream_outbox AS waiting \
             WHERE {WAITING} AND {topic} AND {failed} ORDER BY id LIMIT $4"
        )
    }

    fn read(&self, rows: sqlx::Result<Vec<PgRow>>) -> Result<Vec<Row>> {
        let rows = rows.and_then(|rows| rows.iter().map(read_row).collect());
        rows.map_err(|error| Error::database("read the outbox", error))
    }

    /// Marks events as stored.
    pub(crate) async fn mark(&self, ids: &[i64]) -> Result<()> {
        let sql = if self.keep.is_zero() { DELETE } else { MARK };
        let done = sqlx::query(sql).bind(ids).execute(&self.pool).await;
        done.map_err(|error| Error::database("mark published events", error))?;
        Ok(())
    }

    /// Sets events aside that can never be published.
    pub(crate) async fn reject(&self, rejected: &[(i64, String)]) -> Result<()> {
        let (ids, errors): (Vec<_>, Vec<_>) = rejected.iter().cloned().unzip();
        // PostgreSQL's text cannot contain zero bytes.
        let errors: Vec<_> = errors
            .iter()
            .map(|error| error.replace('\0', "\u{fffd}"))
            .collect();
        let done = sqlx::query(REJECT)
            .bind(ids)
            .bind(errors)
            .execute(&self.pool)
            .await;
        done.map_err(|error| Error::database("set failed events aside", error))?;
        Ok(())
    }

    /// Renews the leases, releases slots, and takes free ones up to a fair share.
    pub(crate) async fn lease(&self, release: &[i16]) -> Result<Leased> {
        let leased = self.try_lease(release).await;
        leased.map_err(|error| Error::database("renew the leases of the relay", error))
    }

    async fn try_lease(&self, release: &[i16]) -> sqlx::Result<Leased> {
        let asked = Moment::now();
        let seconds = self.lease.as_secs_f64();
        let mut tx = self.pool.begin().await?;
        sqlx::query(ALIVE)
            .bind(&*self.relay)
            .bind(seconds)
            .execute(&mut *tx)
            .await?;
        sqlx::query(BURY).execute(&mut *tx).await?;
        let relays: i64 = sqlx::query_scalar(COUNT).fetch_one(&mut *tx).await?;
        if !release.is_empty() {
            sqlx::query(RELEASE)
                .bind(&*self.relay)
                .bind(release)
                .execute(&mut *tx)
                .await?;
        }
        let renew = sqlx::query_scalar(RENEW).bind(&*self.relay).bind(seconds);
        let mut slots: Vec<i16> = renew.fetch_all(&mut *tx).await?;
        let share = usize::from(SLOTS).div_ceil(usize::try_from(relays).unwrap_or(1).max(1));
        if slots.len() < share {
            let missing = i64::try_from(share - slots.len()).unwrap_or(0);
            let take = sqlx::query_scalar(TAKE)
                .bind(&*self.relay)
                .bind(seconds)
                .bind(missing);
            let taken: Vec<i16> = take.fetch_all(&mut *tx).await?;
            slots.extend(taken);
        }
        tx.commit().await?;
        Ok(Leased {
            asked,
            slots,
            share,
        })
    }

    /// Releases everything.
    pub(crate) async fn leave(&self) -> Result<()> {
        let done = sqlx::query(LEAVE)
            .bind(&*self.relay)
            .execute(&self.pool)
            .await;
        done.map_err(|error| Error::database("release the leases of the relay", error))?;
        Ok(())
    }

    /// Deletes a limited number of rows that were published long enough ago. Returns whether there may be more.
    pub(crate) async fn clean(&self) -> Result<bool> {
        let failed = |error| Error::database("delete published events", error);
        let mut tx = self.limited().await.map_err(failed)?;
        let clean = sqlx::query(CLEAN_UP)
            .bind(self.keep.as_secs_f64())
            .bind(i64::from(CLEAN));
        let done = clean.execute(&mut *tx).await.map_err(failed)?;
        tx.commit().await.map_err(failed)?;
        Ok(done.rows_affected() >= u64::from(CLEAN))
    }

    pub(crate) async fn depth(&self) -> Result<Depth> {
        let failed = |error| Error::database("read the depth of the outbox", error);
        let mut tx = self.limited().await.map_err(failed)?;
        let depth = Outbox::new().depth(&mut *tx).await?;
        tx.commit().await.map_err(failed)?;
        Ok(depth)
    }

    /// A transaction for statements that may take long.
    async fn limited(&self) -> sqlx::Result<Transaction<'static, Postgres>> {
        let mut tx = self.pool.begin().await?;
        sqlx::query(LIMIT).execute(&mut *tx).await?;
        Ok(tx)
    }
}

/// The result of work with the database, within bounds.
pub(crate) async fn answered<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    timeout(ANSWER, work).await.unwrap_or_else(|_| {
        let message = format!("work on the outbox: the database did not answer within {ANSWER:?}");
        Err(Error::new(ErrorKind::Timeout, message))
    })
}

fn read_row(row: &PgRow) -> sqlx::Result<Row> {
    let event = sealed(row)?;
    let age: f64 = row.try_get("age")?;
    Ok(Row {
        id: row.try_get("id")?,
        slot: row.try_get("slot")?,
        lane: Lane {
            topic: event.topic().into(),
            key: event.key().into(),
        },
        age: Duration::from_secs_f64(age.max(0.0)),
        event,
    })
}
