use std::borrow::Borrow;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use eventstream::Event;
use sqlx::{PgExecutor, Postgres, Transaction};

use crate::error::{Error, Result};

const ONCE: &str = "INSERT INTO eventstream_inbox (group_id, event_id) \
    SELECT $1, id FROM unnest($2::text[]) AS id ORDER BY id ON CONFLICT DO NOTHING RETURNING event_id";
const RETAIN: &str = "DELETE FROM eventstream_inbox WHERE group_id = $1 \
    AND handled_at < now() - make_interval(secs => $2)";

/// The ids of the events that a group has handled, next to the tables that its handlers change.
///
/// ```no_run
/// use eventstream::{Event, State};
/// use eventstream_inbox::{Inbox, Seen};
///
/// #[derive(Clone)]
/// struct App {
///     pool: sqlx::PgPool,
///     inbox: Inbox, // Inbox::new("inventory")
/// }
///
/// async fn coins_earned(event: Event, State(app): State<App>) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
///     let mut tx = app.pool.begin().await?;
///     if app.inbox.once(&mut tx, &event).await? == Seen::Before {
///         return Ok(()); // its effects are there
///     }
///     sqlx::query("UPDATE purse SET coins = coins + 10 WHERE player = $1").bind(event.user_id()).execute(&mut *tx).await?;
///     tx.commit().await?;
///     Ok(())
/// }
/// ```
///
/// What the transaction does happens once for each event, however often the event is delivered: the id is committed
/// with it, or not at all. What a handler does elsewhere, such as sending mail, may repeat. Events are identified by
/// their ids, so a publisher that publishes again must use the same one, as the outbox does.
#[derive(Clone, Debug)]
pub struct Inbox {
    group: Arc<str>,
}

/// Whether an event was handled before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use = "a handler that ignores this handles the event again"]
pub enum Seen {
    /// No: handle it, in the same transaction.
    Never,
    /// Yes, and its effects are committed.
    Before,
}

impl Seen {
    /// Whether the event still has to be handled.
    pub fn is_new(self) -> bool {
        self == Self::Never
    }
}

impl Inbox {
    /// The inbox of a group: groups do not see each other's events. The name is usually the subscription's group.
    pub fn new(group: impl AsRef<str>) -> Self {
        Self {
            group: group.as_ref().into(),
        }
    }

    /// Records an event as handled, in the transaction of its effects, and returns whether it was recorded before.
    ///
    /// If another transaction has recorded it but has not ended, as when a partition moves while a handler is still
    /// running, this waits for it: if that one commits, the event was seen before; if it is rolled back, it was not.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NoId`](crate::ErrorKind::NoId) for an event without an id.
    /// [`ErrorKind::NotMigrated`](crate::ErrorKind::NotMigrated) and [`ErrorKind::Database`](crate::ErrorKind::Database):
    /// the transaction can only be rolled back. The handler should return the error: the event is then delivered again.
    pub async fn once(&self, tx: &mut Transaction<'_, Postgres>, event: &Event) -> Result<Seen> {
        let seen = self.once_each(tx, [event]).await?;
        Ok(seen[0])
    }

    /// Like [`once`](Self::once), for several events with one statement: the results are in the order of the events. An
    /// event that appears twice is new only the first time.
    ///
    /// ```no_run
    /// use eventstream::{Event, State};
    /// use eventstream_inbox::Inbox;
    ///
    /// # type App = (sqlx::PgPool, Inbox);
    /// async fn write_all(events: Vec<Event>, State((pool, inbox)): State<App>) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    ///     let mut tx = pool.begin().await?;
    ///     let seen = inbox.once_each(&mut tx, &events).await?;
    ///     let new = events.iter().zip(seen).filter(|(_, seen)| seen.is_new());
    ///     let players: Vec<_> = new.map(|(event, _)| event.user_id()).collect();
    ///     sqlx::query("INSERT INTO login (player) SELECT unnest($1::text[])").bind(players).execute(&mut *tx).await?;
    ///     tx.commit().await?;
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// As `once`; one event without an id refuses all.
    pub async fn once_each<E: Borrow<Event>>(
        &self,
        tx: &mut Transaction<'_, Postgres>,
        events: impl IntoIterator<Item = E>,
    ) -> Result<Vec<Seen>> {
        let events: Vec<E> = events.into_iter().collect();
        let ids: Vec<&str> = events.iter().map(|event| event.borrow().id()).collect();
        if ids.contains(&"") {
            return Err(Error::no_id());
        }
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let new = sqlx::query_scalar(ONCE).bind(&*self.group).bind(&ids);
        let new: Vec<String> = new
            .fetch_all(&mut **tx)
            .await
            .map_err(|error| Error::database("record events in the inbox", error))?;
        let mut new: HashSet<&str> = new.iter().map(String::as_str).collect();
        let seen = ids.iter().map(|id| {
            if new.remove(id) {
                Seen::Never
            } else {
                Seen::Before
            }
        });
        Ok(seen.collect())
    }

    /// Deletes what the group handled longer ago than this, and returns how many events that was. Run it from a task of
    /// the service, say every hour: the inbox is as large as the events of `age`.
    ///
    /// A repeat that comes later than `age` is handled again. `age` should outlast whatever brings events back: the
    /// topic's retention if a group may be moved back to the head, otherwise the longest time that a member or a relay
    /// may be down.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotMigrated`](crate::ErrorKind::NotMigrated), [`ErrorKind::Database`](crate::ErrorKind::Database).
    pub async fn retain(&self, database: impl PgExecutor<'_>, age: Duration) -> Result<u64> {
        let delete = sqlx::query(RETAIN)
            .bind(&*self.group)
            .bind(age.as_secs_f64());
        let done = delete.execute(database).await;
        let done =
            done.map_err(|error| Error::database("delete old events from the inbox", error))?;
        Ok(done.rows_affected())
    }
}
