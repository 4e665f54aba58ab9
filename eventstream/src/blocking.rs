//! The client for programs without an async runtime.
//!
//! ```
//! use std::collections::BTreeMap;
//! use std::time::Duration;
//!
//! use eventstream::{Client, Publish};
//!
//! let client = Client::embedded().prefix("dev").build_blocking()?;
//! let event = Publish::new("player", "levelUp").payload(&BTreeMap::from([("level", 7)]));
//! let delivery = client.publish_sync(event)?;
//! assert_eq!(delivery.offset(), 0);
//! assert!(client.shutdown(Duration::from_secs(5)).is_empty());
//! # Ok::<(), eventstream::Error>(())
//! ```
//!
//! Handlers can be sync closures too, with [`handler`]:
//!
//! ```
//! use eventstream::blocking::handler;
//! use eventstream::{Event, Subscribe};
//!
//! let subscribe = Subscribe::new("player").group_id("levels").on(
//!     "levelUp",
//!     handler(|event: Event| println!("{} of {}", event.name(), event.user_id())),
//! );
//! # drop(subscribe);
//! ```

use std::borrow::Borrow;
use std::fmt;
use std::future::{Future, ready};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use crate::client::ClientBuilder;
use crate::error::{Error, ErrorKind, Result};
use crate::kafka::EmbeddedBroker;
use crate::metadata::{Metadata, MetadataQuery};
use crate::observe::health::Health;
use crate::observe::stats::{ReaderStats, WriterStats};
use crate::publish::AuditLog;
use crate::publish::Publish;
use crate::publish::Undelivered;
use crate::publish::receipt::{Delivery, Receipt, block_on};
use crate::subscribe::{
    BoxError, BoxHandler, FromRecord, Handler, HandlerResult, PulledEvent, Subscribe, all_arities,
};

/// Threads of a client's runtime. They run its timers and the tasks between consumers and handlers;
/// handlers themselves run on blocking threads.
const WORKERS: usize = 2;

/// [`Client`](crate::Client) with blocking calls, on its own small runtime. Cheap to clone; clones share
/// everything. [`Receipt::wait`] blocks on a receipt.
///
/// # Panics
///
/// `register`, `metadata`, `group_metadata`, `ready`, `idle`, `ended`, `stop` and `shutdown` panic inside
/// an async runtime, whose worker they would block: use [`Client`](crate::Client) there. The calls that
/// publish, and `flush`, only block it.
#[derive(Clone)]
pub struct Client {
    client: crate::Client,
    runtime: Owned,
}

/// A subscription of a blocking [`Client`]. Like the async one, it stops in the background when dropped.
#[must_use = "dropping a subscription stops it: keep it, or call `detach`"]
pub struct Subscription {
    subscription: crate::Subscription,
    runtime: Owned,
}

/// The runtime. Dropping the last handle shuts it down in the background, so it can be dropped
/// anywhere.
#[derive(Clone)]
struct Owned(Arc<Ending>);

struct Ending(Option<Runtime>);

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Owned {
    fn start() -> Result<Self> {
        Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .thread_name("eventstream-blocking")
            .enable_all()
            .build()
            .map(|runtime| Self(Arc::new(Ending(Some(runtime)))))
            .map_err(|e| {
                Error::new(ErrorKind::Config, "create a client: start its runtime").with_source(e)
            })
    }

    /// Panics inside an async runtime, before any call that might block. Blocking is fine on a
    /// thread for blocking work, although tokio counts that among its runtime's too.
    fn check(&self) {
        if tokio::runtime::Handle::try_current().is_ok() {
            self.block_on(ready(()));
        }
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        let runtime = self
            .0
            .0
            .as_ref()
            .expect("taken only by the last handle's drop");
        runtime.block_on(future)
    }
}

impl Client {
    pub(crate) fn build(builder: ClientBuilder) -> Result<Self> {
        Ok(Self {
            client: builder.build()?,
            runtime: Owned::start()?,
        })
    }

    /// Publishes an event: blocks while the buffer is full, not until the event is stored.
    ///
    /// # Errors
    ///
    /// As [`Client::publish`](crate::Client::publish).
    pub fn publish(&self, event: impl Borrow<Publish>) -> Result<Receipt> {
        self.runtime.check();
        // Entering the runtime costs more than a publish, and waiting does not need it.
        block_on(self.client.publish(event))
    }

    /// Like [`publish`](Self::publish), without waiting for room.
    ///
    /// # Errors
    ///
    /// As [`Client::try_publish`](crate::Client::try_publish).
    pub fn try_publish(&self, event: impl Borrow<Publish>) -> Result<Receipt> {
        self.client.try_publish(event)
    }

    /// Publishes an event and blocks until it is stored.
    ///
    /// # Errors
    ///
    /// As [`Client::publish_sync`](crate::Client::publish_sync).
    pub fn publish_sync(&self, event: impl Borrow<Publish>) -> Result<Delivery> {
        self.publish(event)?.wait()
    }

    /// Publishes an audit log; `None` if they are disabled.
    ///
    /// # Errors
    ///
    /// As [`Client::publish_audit_log`](crate::Client::publish_audit_log).
    pub fn publish_audit_log(&self, log: AuditLog) -> Result<Option<Receipt>> {
        block_on(self.client.publish_audit_log(log))
    }

    /// Registers a subscription, whose handlers may be created with [`handler`].
    ///
    /// # Errors
    ///
    /// As [`Client::register`](crate::Client::register).
    pub fn register<S>(&self, subscribe: Subscribe<S>) -> Result<Subscription>
    where
        S: Send + Sync + 'static,
    {
        let subscription = self.runtime.block_on(self.client.register(subscribe))?;
        Ok(Subscription {
            subscription,
            runtime: self.runtime.clone(),
        })
    }

    /// Registers a subscription whose events are pulled through an iterator.
    ///
    /// # Errors
    ///
    /// As [`Client::consume`](crate::Client::consume).
    pub fn consume(&self, subscribe: Subscribe) -> Result<Events> {
        let events = self.runtime.block_on(self.client.consume(subscribe))?;
        Ok(Events {
            events,
            runtime: self.runtime.clone(),
        })
    }

    /// Brokers, partitions and watermarks, of one topic or of all.
    ///
    /// # Errors
    ///
    /// As [`Client::metadata`](crate::Client::metadata).
    pub fn metadata(&self, topic: Option<&str>, timeout: Duration) -> Result<Metadata> {
        self.runtime.block_on(self.client.metadata(topic, timeout))
    }

    /// As [`Client::query_metadata`](crate::Client::query_metadata).
    ///
    /// # Errors
    ///
    /// As for the async call.
    pub fn query_metadata(&self, query: MetadataQuery, timeout: Duration) -> Result<Metadata> {
        self.runtime
            .block_on(self.client.query_metadata(query, timeout))
    }

    /// As [`metadata`](Self::metadata), with the committed offsets of a group.
    ///
    /// # Errors
    ///
    /// As `metadata`.
    pub fn group_metadata(
        &self,
        topic: Option<&str>,
        group: Option<&str>,
        timeout: Duration,
    ) -> Result<Metadata> {
        let asked = self.client.group_metadata(topic, group, timeout);
        self.runtime.block_on(asked)
    }

    /// Counts of the publishing side.
    pub fn writer_stats(&self) -> WriterStats {
        self.client.writer_stats()
    }

    /// Counts of the subscriptions.
    pub fn reader_stats(&self) -> ReaderStats {
        self.client.reader_stats()
    }

    /// Whether the client can do its work, and if not, why.
    pub fn health(&self) -> Health {
        self.client.health()
    }

    /// The broker inside the process, on the `embedded` stream.
    pub fn embedded_broker(&self) -> Option<&EmbeddedBroker> {
        self.client.embedded_broker()
    }

    /// Blocks until every event accepted before this call has its outcome.
    ///
    /// # Errors
    ///
    /// As [`Client::flush`](crate::Client::flush).
    pub fn flush(&self, timeout: Duration) -> Result<()> {
        block_on(self.client.flush(timeout))
    }

    /// Shuts the client down gracefully, as [`Client::shutdown`](crate::Client::shutdown).
    pub fn shutdown(&self, timeout: Duration) -> Vec<Undelivered> {
        self.runtime.block_on(self.client.shutdown(timeout))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.client.fmt(f)
    }
}

impl Subscription {
    /// The Go SDK's slug: topic, event name and group, joined by `$`.
    pub fn slug(&self) -> &str {
        self.subscription.slug()
    }

    /// Blocks until events published from then on are handled, as
    /// [`Subscription::ready`](crate::Subscription::ready).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Closed`] if the subscription ends first.
    pub fn ready(&self) -> Result<()> {
        self.runtime.block_on(self.subscription.ready())
    }

    /// Blocks until no record is queued or being handled, as
    /// [`Subscription::idle`](crate::Subscription::idle).
    pub fn idle(&self) {
        self.runtime.block_on(self.subscription.idle());
    }

    /// Blocks until the subscription has ended, as
    /// [`Subscription::ended`](crate::Subscription::ended).
    pub fn ended(&self) {
        self.runtime.block_on(self.subscription.ended());
    }

    /// Whether the subscription has ended.
    pub fn is_ended(&self) -> bool {
        self.subscription.is_ended()
    }

    /// Starts no more handlers until [`resume`](Self::resume).
    pub fn pause(&self) {
        self.subscription.pause();
    }

    /// Resumes after [`pause`](Self::pause).
    pub fn resume(&self) {
        self.subscription.resume();
    }

    /// Whether records are flowing, and if not, why.
    pub fn health(&self) -> Health {
        self.subscription.health()
    }

    /// Stops gracefully.
    ///
    /// # Errors
    ///
    /// As [`Subscription::stop`](crate::Subscription::stop).
    pub fn stop(self, timeout: Duration) -> Result<()> {
        self.runtime.block_on(self.subscription.stop(timeout))
    }

    /// Keeps the subscription alive as long as its client, without a handle.
    pub fn detach(self) {
        self.subscription.detach();
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.subscription.fmt(f)
    }
}

/// The events of a subscription, pulled: an iterator that blocks until the next one arrives and ends with
/// the subscription. Otherwise as [`crate::Events`].
#[must_use = "dropping the iterator stops its subscription"]
pub struct Events {
    events: crate::Events,
    runtime: Owned,
}

impl Iterator for Events {
    type Item = PulledEvent;

    fn next(&mut self) -> Option<PulledEvent> {
        self.runtime.block_on(self.events.next())
    }
}

impl Events {
    /// The next event, if one arrives within the timeout.
    pub fn next_timeout(&mut self, timeout: Duration) -> Option<PulledEvent> {
        let next = async { tokio::time::timeout(timeout, self.events.next()).await };
        self.runtime.block_on(next).ok().flatten()
    }

    /// Blocks until no event published from then on is missed, as
    /// [`Subscription::ready`](crate::Subscription::ready).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Closed`] if the subscription ends first.
    pub fn ready(&self) -> Result<()> {
        self.runtime.block_on(self.events.subscription().ready())
    }

    /// The underlying subscription, to pause it or ask for its health.
    pub fn subscription(&self) -> &crate::Subscription {
        self.events.subscription()
    }

    /// Stops gracefully, as [`Events::stop`](crate::Events::stop).
    ///
    /// # Errors
    ///
    /// As for the async call.
    pub fn stop(self, timeout: Duration) -> Result<()> {
        self.runtime.block_on(self.events.stop(timeout))
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.events.fmt(f)
    }
}

/// Turns a sync function or closure into a handler, with the same arguments as an async one. It runs on a
/// thread for blocking work and may take its time; once started it runs to its end, even if its partition
/// is taken away: see [`Context::is_cancelled`](crate::Context::is_cancelled).
pub fn handler<F>(f: F) -> Blocking<F> {
    Blocking(Arc::new(f))
}

/// A handler made from a sync function: see [`handler`].
pub struct Blocking<F>(Arc<F>);

impl<F> fmt::Debug for Blocking<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Blocking")
    }
}

macro_rules! blocking_handler {
    ($($arg:ident)*) => {
        #[allow(non_snake_case, reason = "arguments are named as their types")]
        #[diagnostic::do_not_recommend]
        impl<F, Out, S, $($arg,)*> Handler<($($arg,)*), S> for Blocking<F>
        where
            F: Fn($($arg),*) -> Out + Send + Sync + 'static,
            Out: HandlerResult,
            $($arg: FromRecord<S> + Send + 'static,)*
        {
            fn erase(self, state: &Arc<S>) -> BoxHandler
            where
                S: Send + Sync + 'static,
            {
                BoxHandler::of(state, move |($($arg,)*)| {
                    let f = Arc::clone(&self.0);
                    Box::pin(on_blocking_thread(move || f($($arg),*).into_result()))
                })
            }
        }
    };
}

all_arities!(blocking_handler);

async fn on_blocking_thread(
    run: impl FnOnce() -> Result<(), BoxError> + Send + 'static,
) -> Result<(), BoxError> {
    match tokio::task::spawn_blocking(run).await {
        Ok(outcome) => outcome,
        // A panic counts as one of the handler's own, with its message.
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => Err(error.into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BrokerConfig;

    const SOON: Duration = Duration::from_secs(20);

    fn client(config: BrokerConfig) -> Client {
        crate::Client::embedded()
            .config(config)
            .build_blocking()
            .expect("valid")
    }

    #[test]
    fn publishes_through_a_full_buffer_without_a_runtime() {
        let client = client(BrokerConfig::new().buffer_events(4usize));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let client = client.clone();
                std::thread::spawn(move || {
                    for _ in 0..200 {
                        drop(
                            client
                                .publish(Publish::new("t", "tested"))
                                .expect("accepted"),
                        );
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().expect("no panic");
        }
        client.flush(SOON).expect("flushed");
        assert_eq!(client.writer_stats().stored, 800);
        assert!(client.shutdown(SOON).is_empty());
        let refused = client.publish(Publish::new("t", "tested"));
        assert_eq!(refused.expect_err("closed").kind(), ErrorKind::Closed);
    }

    #[tokio::test]
    async fn can_be_dropped_inside_a_runtime() {
        let client = tokio::task::spawn_blocking(|| client(BrokerConfig::new()))
            .await
            .expect("made");
        drop(client);
    }
}
