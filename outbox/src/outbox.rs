use eventstream::{Publish, SealedEvent};
use sqlx::{Postgres, Transaction};

use crate::error::{Error, ErrorKind, Result};
use crate::row::{KeyHash, write_headers};

/// The channel that relays listen to.
pub(crate) const CHANNEL: &str = "eventstream_outbox";
/// The first half of the advisory locks of keys; the second is the key's hash.
const LOCKS: i32 = 0x6f75_7462;

/// Locks first: the rows' numbers are drawn above the join, so after `locked` has its row.
const INSERT: [&str; 3] = [
    "WITH locked AS MATERIALIZED (SELECT count(*) FROM \
        (SELECT pg_advisory_xact_lock($1, lock) FROM unnest($2::int[]) AS lock) AS taken)",
    ", notified AS MATERIALIZED (SELECT pg_notify('eventstream_outbox', ''))",
    " INSERT INTO eventstream_outbox (slot, event_id, topic, key, value, headers) \
      SELECT event.slot, event.id, event.topic, event.key, event.value, event.headers \
      FROM unnest($3::smallint[], $4::text[], $5::text[], $6::bytea[], $7::text[], $8::text[]) \
           WITH ORDINALITY AS event (slot, id, topic, key, value, headers, n), locked",
];
const IN_ORDER: &str = " ORDER BY event.n";

/// What a service writes its events into, in the database transaction that its tables change in.
///
/// ```no_run
/// use eventstream::Publish;
/// use eventstream_outbox::Outbox;
///
/// # async fn grant(pool: sqlx::PgPool) -> Result<(), Box<dyn std::error::Error>> {
/// let outbox = Outbox::new();
/// let mut tx = pool.begin().await?;
/// sqlx::query("UPDATE purse SET coins = coins + 10 WHERE player = $1")
///     .bind("player-7")
///     .execute(&mut *tx)
///     .await?;
/// outbox.enqueue(&mut tx, &Publish::new("purse", "coinsEarned").key("player-7")).await?;
/// tx.commit().await?; // from here on the event will be published; after a rollback it never is
/// # Ok(()) }
/// ```
///
/// Events of one key are published in the order in which their transactions commit, and within a transaction in that of
/// the calls: see [`KeyOrder`].
#[derive(Clone, Copy, Debug)]
pub struct Outbox {
    strict_validation: bool,
    order: KeyOrder,
    notify: bool,
}

/// What keeps the events of one key in order.
///
/// The number of a row says nothing by itself: a transaction that drew a lower one may commit later. No relay leaves such a
/// row out, whatever is chosen here; this is about which of two events of a key is first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyOrder {
    /// An enqueue locks its key until its transaction ends, so that the transactions of a key come one after the other from
    /// there on: their events have the order of the commits, whatever else they lock. The default.
    ///
    /// The price: they wait for each other; two transactions that enqueue for the same two keys in different orders
    /// deadlock, which PostgreSQL ends with an error for one of them, unless they use
    /// [`enqueue_all`](Outbox::enqueue_all), which locks in one order; and each key costs a place in the server's table of
    /// locks until the end, of which it has 6,400 by default (`max_locks_per_transaction` raises it). An event without a
    /// key locks nothing.
    #[default]
    Commits,
    /// Nothing is locked. Where two transactions of a key are kept apart by a row that both update or lock *before* they
    /// enqueue, their events have the order of the commits all the same. Where they run at the same time, either may be
    /// first.
    Unlocked,
}

impl Default for Outbox {
    fn default() -> Self {
        Self::new()
    }
}

impl Outbox {
    /// An outbox in the tables that [`migrate`](crate::migrate) makes.
    pub fn new() -> Self {
        Self {
            strict_validation: false,
            order: KeyOrder::Commits,
            notify: true,
        }
    }

    /// Whether ids must be UUIDs, as the relay's client demands with
    /// [`BrokerConfig::strict_validation`](eventstream::BrokerConfig::strict_validation). Default: no.
    #[must_use]
    pub fn strict_validation(mut self, strict: bool) -> Self {
        self.strict_validation = strict;
        self
    }

    /// What keeps the events of one key in order. Default: [`KeyOrder::Commits`].
    #[must_use]
    pub fn key_order(mut self, order: KeyOrder) -> Self {
        self.order = order;
        self
    }

    /// Whether a commit wakes the relays (`NOTIFY`). Default: yes. PostgreSQL lets transactions that notify commit one
    /// after the other; with many thousands of commits a second it may be better that relays find the rows at their next
    /// [`poll_interval`](crate::RelayBuilder::poll_interval).
    #[must_use]
    pub fn notify(mut self, notify: bool) -> Self {
        self.notify = notify;
        self
    }

    /// Writes an event into the outbox, as part of the transaction, and gives its id. It is published once the
    /// transaction has committed, as one and the same event at every attempt.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Event`] for fields that are not allowed; nothing was asked of the database then, and the transaction
    /// can go on. [`ErrorKind::NotMigrated`] and [`ErrorKind::Database`]: the transaction can only be rolled back.
    pub async fn enqueue(
        &self,
        tx: &mut Transaction<'_, Postgres>,
        event: &Publish,
    ) -> Result<String> {
        let event = self.seal(event)?;
        let id = event.id().to_owned();
        self.insert(tx, &[event]).await?;
        Ok(id)
    }

    /// As [`enqueue`](Self::enqueue), for several events, in their order: one statement for all of them.
    ///
    /// # Errors
    ///
    /// As `enqueue`; one event that is not allowed refuses all.
    pub async fn enqueue_all<'a>(
        &self,
        tx: &mut Transaction<'_, Postgres>,
        events: impl IntoIterator<Item = &'a Publish>,
    ) -> Result<Vec<String>> {
        let events = events.into_iter().map(|event| self.seal(event));
        let events = events.collect::<Result<Vec<_>>>()?;
        let ids = events.iter().map(|event| event.id().to_owned()).collect();
        if !events.is_empty() {
            self.insert(tx, &events).await?;
        }
        Ok(ids)
    }

    fn seal(&self, event: &Publish) -> Result<SealedEvent> {
        let sealed = event.seal(self.strict_validation);
        sealed.map_err(|error| Error::new(ErrorKind::Event, "enqueue an event").with_source(error))
    }

    async fn insert(
        &self,
        tx: &mut Transaction<'_, Postgres>,
        events: &[SealedEvent],
    ) -> Result<()> {
        let mut locks = self.locks(events);
        // In one order, so that no two of these calls wait for each other.
        locks.sort_unstable();
        locks.dedup();
        let [lock, notify, insert] = INSERT;
        let sql = if self.notify {
            [lock, notify, insert, ", notified", IN_ORDER].concat()
        } else {
            [lock, insert, IN_ORDER].concat()
        };
        let column = |of: fn(&SealedEvent) -> &str| events.iter().map(of).collect::<Vec<_>>();
        let hash = |event: &SealedEvent| KeyHash::of(event.topic(), event.key());
        sqlx::query(&sql)
            .bind(LOCKS)
            .bind(&locks)
            .bind(
                events
                    .iter()
                    .map(|event| hash(event).slot())
                    .collect::<Vec<_>>(),
            )
            .bind(column(SealedEvent::id))
            .bind(column(SealedEvent::topic))
            .bind(events.iter().map(SealedEvent::key).collect::<Vec<_>>())
            .bind(column(SealedEvent::value))
            .bind(events.iter().map(write_headers).collect::<Vec<_>>())
            .execute(&mut **tx)
            .await
            .map_err(|error| Error::database("enqueue an event", error))?;
        Ok(())
    }

    fn locks(&self, events: &[SealedEvent]) -> Vec<i32> {
        if self.order == KeyOrder::Unlocked {
            return Vec::new();
        }
        let keyed = events.iter().filter(|event| event.is_keyed());
        keyed
            .map(|event| KeyHash::of(event.topic(), event.key()).lock())
            .collect()
    }
}
