//! A relay: publishes what is in the outbox.

mod board;
mod chores;
mod driver;
mod leases;
mod shared;
mod store;
mod turn;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use eventstream::{CancellationToken, Delivery, Publisher, SealedEvent};
use sqlx::PgPool;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub use self::board::FailedKey;
use self::driver::{Driver, listen};
pub(crate) use self::shared::Shared;
pub use self::shared::{Health, Problem, RelayStats};
use self::store::{Store, answered};
use crate::error::{Error, ErrorKind, Result};
use crate::failed::Depth;

/// Longer times count as this: no process lives so long, and every clock, and PostgreSQL's, can add it.
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// Publishes the outbox's events through a client, until it is stopped.
///
/// ```no_run
/// use std::time::Duration;
///
/// use eventstream::Client;
/// use eventstream_outbox::Relay;
///
/// # async fn relay(pool: sqlx::PgPool) -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::kafka(["localhost:9092"]).prefix("prod").build()?;
/// let relay = Relay::builder(pool, client.clone()).start();
/// # let terminated = async {};
/// terminated.await;
/// relay.stop(Duration::from_secs(10)).await?;
/// # Ok(()) }
/// ```
///
/// Any number of relays may run side by side, in one process or in many: each leases its share of the outbox's 64
/// parts, and a key belongs to one part. A row is marked once the broker has acknowledged its event. Whatever a killed
/// relay had in flight is published again by the next one, with the same id: consumers that must not see a repeat keep
/// the ids, as `eventstream-inbox` does.
///
/// A key has one event in flight at a time: the next one waits until the broker has acknowledged it. That keeps the
/// key in order whatever fails, and costs a round trip to the broker for each event of *one* key; keys do not wait for
/// each other.
///
/// Events that cannot be published now stay and are retried, with waits that grow from 0.1 to 10 s for each topic, so a
/// missing or forbidden topic holds up no other. Events that can never be published, such as one that is too large, are
/// set aside with the error: [`Outbox::failed`](crate::Outbox::failed). An unavailable database is retried with waits
/// from 0.1 to 5 s. [`health`](Self::health) and the log report both. Every 10 s, beside that, a relay counts the outbox
/// and deletes published rows that were kept long enough; where the database needs more than 5 s for it, that is logged.
///
/// Dropping a relay ends it at once, like a kill; [`stop`](Self::stop) leaves nothing to be repeated.
#[must_use = "dropping a relay stops it"]
pub struct Relay {
    shared: Arc<Shared>,
    stop: CancellationToken,
    task: JoinHandle<()>,
    store: Store,
}

/// Options of a [`Relay`] that is not running yet.
#[must_use = "a relay publishes once it is started"]
pub struct RelayBuilder {
    pool: PgPool,
    publisher: Arc<dyn Publisher>,
    lease: Duration,
    keep: Duration,
    failed_key: FailedKey,
    listen: bool,
    options: Options,
}

struct Options {
    batch: usize,
    poll_interval: Duration,
    on_published: Option<Callback>,
}

type Callback = Arc<dyn Fn(Published) + Send + Sync>;

/// An event that the broker has acknowledged, for [`RelayBuilder::on_published`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Published {
    /// The event.
    pub event: SealedEvent,
    /// Where the broker stored it.
    pub delivery: Delivery,
    /// From the enqueue to the acknowledgement, including the rest of the event's own transaction and the waiting.
    pub waited: Duration,
}

/// What a stopped relay left in the outbox.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Stopped {
    /// What is waiting there for the next relay, or for others that are running.
    pub depth: Depth,
}

impl Relay {
    /// A relay from a database to a client, or to any other publisher. It uses up to three connections of the pool: one
    /// for as long as it listens, and one now and then to count and to delete.
    pub fn builder(pool: PgPool, publisher: impl Publisher + 'static) -> RelayBuilder {
        RelayBuilder {
            pool,
            publisher: Arc::new(publisher),
            lease: Duration::from_secs(10),
            keep: Duration::ZERO,
            failed_key: FailedKey::default(),
            listen: true,
            options: Options {
                batch: 1000,
                poll_interval: Duration::from_secs(1),
                on_published: None,
            },
        }
    }

    /// What prevents the relay from working, since when, and what to do.
    pub fn health(&self) -> Health {
        self.shared.health()
    }

    /// Statistics of this relay.
    pub fn stats(&self) -> RelayStats {
        self.shared.stats()
    }

    #[cfg(feature = "metrics")]
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Starts nothing more, waits until the broker has answered for everything in flight, marks it and gives the leases
    /// back. Returns what is waiting in the outbox.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unfinished`](crate::ErrorKind::Unfinished): the timeout passed, and the relay was ended. What was
    /// in flight is published again by the next one, with the same ids. [`ErrorKind::Ended`](crate::ErrorKind::Ended):
    /// the relay had ended before, and the same holds. Any other kind: the relay has stopped, but the database does not
    /// say what is left.
    ///
    /// # Cancellation
    ///
    /// Dropping the stop ends the relay at once.
    pub async fn stop(mut self, within: Duration) -> Result<Stopped> {
        self.stop.cancel();
        let task = &mut self.task;
        match timeout(within, task).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(shared::ended("stop a relay").with_source(error)),
            // Dropped here, `self` aborts it.
            Err(_) => return Err(self.unfinished(within)),
        }
        let depth = answered(self.store.depth()).await?;
        Ok(Stopped { depth })
    }

    fn unfinished(&self, within: Duration) -> Error {
        let in_flight = self.shared.stats().in_flight;
        let message =
            format!("stop a relay: {in_flight} events were still in flight after {within:?}");
        let error = Error::new(ErrorKind::Unfinished, message);
        match self.health().problems.into_iter().next() {
            Some(problem) => error.with_source(problem.to_string()),
            None => error,
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

impl RelayBuilder {
    /// How many rows are read at once; up to twice as many are in memory. At least 1. Default: 1,000, with which a
    /// relay comes close to what PostgreSQL can deliver.
    pub fn batch(mut self, rows: usize) -> Self {
        self.options.batch = rows.max(1);
        self
    }

    /// How often the outbox is polled without notifications: the latency if notifications are disabled or lost.
    /// Default: 1 s, an index lookup each.
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.options.poll_interval = interval.clamp(Duration::from_millis(1), FAR);
        self
    }

    /// Whether the relay listens to commits (`LISTEN`). Default: yes. It needs a direct connection to the server:
    /// disable it behind a pooler that assigns connections per transaction, as `PgBouncer` may.
    pub fn listen(mut self, listen: bool) -> Self {
        self.listen = listen;
        self
    }

    /// How long a part of the outbox stays with a silent relay, and so how long the keys of a killed relay stand still.
    /// Renewed three times as often. Default: 10 s, at least 1 s.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease.clamp(Duration::from_secs(1), FAR);
        self
    }

    /// How long published rows stay in the table for inspection. Default: not at all, which costs the database least.
    pub fn keep_published(mut self, keep: Duration) -> Self {
        self.keep = keep.min(FAR);
        self
    }

    /// What happens to the later events of a key when one can never be published. Default: [`FailedKey::GoesOn`]. All
    /// relays of an outbox should use the same.
    pub fn failed_key(mut self, failed_key: FailedKey) -> Self {
        self.failed_key = failed_key;
        self
    }

    /// Called for each event that the broker has acknowledged, on the relay's task: it should return at once. A panic in
    /// it is logged, and changes nothing else.
    pub fn on_published(mut self, callback: impl Fn(Published) + Send + Sync + 'static) -> Self {
        self.options.on_published = Some(Arc::new(callback));
        self
    }

    /// Starts the relay on the current runtime.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn start(self) -> Relay {
        let store = Store {
            pool: self.pool,
            relay: uuid::Uuid::new_v4().simple().to_string().into(),
            lease: self.lease,
            keep: self.keep,
            failed_key: self.failed_key,
        };
        let shared = Arc::new(Shared::default());
        let stop = CancellationToken::new();
        let driver = Driver::new(
            store.clone(),
            self.options,
            self.publisher,
            Arc::clone(&shared),
        );
        let task = tokio::spawn(run(
            driver,
            store.clone(),
            self.listen,
            Arc::clone(&shared),
            stop.clone(),
        ));
        Relay {
            shared,
            stop,
            task,
            store,
        }
    }
}

async fn run(
    driver: Driver,
    store: Store,
    listening: bool,
    shared: Arc<Shared>,
    stop: CancellationToken,
) {
    /// Reports that the relay has ended, even if it panics.
    struct End(Arc<Shared>);
    impl Drop for End {
        fn drop(&mut self) {
            self.0.end();
        }
    }
    let _end = End(shared);
    let woken = Notify::new();
    let listen = async {
        if listening {
            listen(&store, &woken).await;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = driver.run(&woken, &stop) => {}
        () = listen => {}
    }
}
