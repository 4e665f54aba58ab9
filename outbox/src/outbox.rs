use eventstream::{Publish, SealedEvent};
use sqlx::{Postgres, Transaction};

use crate::error::{Error, ErrorKind, Result};
use crate::row::{KeyHash, write_headers};

/// The channel that relays listen on.
pub(crate) const CHANNEL: &str = "eventstream_outbox";
/// The first half of the keys' advisory locks; the second is the key's hash.
const LOCKS: i32 = 0x6f75_7462;

/// Locks first: the numbers of the rows are drawn above the join, once `locked` has its row.
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

/// What a service writes its events to, in the same database transaction that changes its tables.
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
/// Events of one key are published in the order in which their transactions commit, and within a transaction in the
/// order of the calls: see [`KeyOrder`].
#[derive(Clone, Copy, Debug)]
pub struct Outbox {
    strict_validation: bool,
    order: KeyOrder,
    notify: bool,
}

/// What keeps the events of one key in order.
///
/// A row's number alone says nothing: a transaction that drew a lower one may commit later. No relay skips such a row,
/// whatever is chosen here; this only decides which of two events of a key comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyOrder {
    /// An enqueue locks its key until its transaction ends, so that from there on the transactions of a key run one
    /// after the other: their events have the order of the commits, whatever else they lock. The default.
    ///
    /// The cost: they wait for each other; two transactions that enqueue for the same two keys in different orders
    /// deadlock, which PostgreSQL ends with an error for one of them, unless they use
    /// [`enqueue_all`](Outbox::enqueue_all), which locks in a fixed order; and each key takes an entry in the server's
    /// lock table until the end, which has 6,400 by default (`max_locks_per_transaction` raises it). An event without a
    /// key locks nothing.
    #[default]
    Commits,
    /// Nothing is locked. If two transactions of a key are kept apart by a row that both update or lock *before* they
    /// enqueue, their events still have the order of the commits. If they run at the same time, either may come first.
    Unlocked,
}

impl Default for Outbox {
    fn default() -> Self {
        Self::new()
    }
}

impl Outbox {
    /// An outbox in the tables created by [`migrate`](crate::migrate).
    pub fn new() -> Self {
        Self {
            strict_validation: false,
            order: KeyOrder::Commits,
            notify: true,
        }
    }

    /// Whether ids must be UUIDs, as the relay's client requires with
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

    /// Whether a commit wakes the relays (`NOTIFY`). Default: yes. PostgreSQL commits transactions that notify one at a
    /// time; at many thousands of commits a second it may be better for relays to find the rows at their next
    /// [`poll_interval`](crate::RelayBuilder::poll_interval).
    #[must_use]
    pub fn notify(mut self, notify: bool) -> Self {
        self.notify = notify;
        self
    }

    /// Writes an event to the outbox, as part of the transaction, and returns its id. It is published once the
    /// transaction has committed, as the same event at every attempt.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Event`] for fields that are not allowed; the database was not touched, and the transaction can
    /// continue. [`ErrorKind::NotMigrated`] and [`ErrorKind::Database`]: the transaction can only be rolled back.
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

    /// Like [`enqueue`](Self::enqueue), for several events, in order: one statement for all of them.
    ///
    /// # Errors
    ///
    /// As `enqueue`; one invalid event refuses all.
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
        // In a fixed order, so that no two of these calls deadlock.
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
