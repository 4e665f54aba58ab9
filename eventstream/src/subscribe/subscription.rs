use std::fmt;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::error::{Error, ErrorKind, Result};
use crate::kafka::RegisteredRoutes;
use crate::observe::health::Health;
use crate::subscribe::CheckedSubscribe;

/// A registered subscription. Dropping it stops the subscription in the background, without
/// waiting; keep it, or call [`detach`](Self::detach) to let it live as long as its client.
#[must_use = "dropping a subscription stops it: keep it, or call `detach`"]
pub struct Subscription {
    slug: String,
    /// `None` on backends that never deliver.
    routes: Option<RegisteredRoutes>,
    stop_on_drop: bool,
}

impl Subscription {
    pub(crate) fn new(slug: String, routes: RegisteredRoutes) -> Self {
        Self {
            slug,
            routes: Some(routes),
            stop_on_drop: true,
        }
    }

    pub(crate) fn without_routes(checked: &CheckedSubscribe) -> Self {
        Self {
            slug: checked.slug(),
            routes: None,
            stop_on_drop: false,
        }
    }

    /// The Go SDK's slug: topic, event name and group, joined by `$`.
    pub fn slug(&self) -> &str {
        &self.slug
    }

    /// Takes no more records, waits for the running handlers, commits, and leaves the group if this
    /// was its last subscription in this client. Handlers that still run after the timeout are then
    /// cancelled (see [`Context::cancelled`](crate::Context::cancelled)), and their records
    /// are read again.
    ///
    /// If other subscriptions of the group remain, queued records of this one are handled first, even
    /// if it is paused; later records of its names go to another subscription for the name, or count
    /// as unmatched. After the timeout queued records do too, so as not to delay the others;
    /// `on_error` reports how many in each partition. A handler that still runs is not cancelled,
    /// since its partition stays with this client.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Timeout`] when handlers still ran after the timeout, with the number of
    /// partitions, or when the group could not be left in 10 s more. The subscription has ended
    /// either way.
    pub async fn stop(mut self, timeout: Duration) -> Result<()> {
        self.stop_on_drop = false;
        match self.routes.take() {
            Some(routes) => routes.stop(timeout).await,
            None => Ok(()),
        }
    }

    /// Waits until this member has joined the group and reads its partitions, with its start
    /// positions fixed and committed. Events published to its partitions from then on are handled,
    /// even if the group starts at the tail, and even after a crash. Without this wait, an event
    /// published right after `register` may arrive before the tail is fixed and be skipped.
    ///
    /// A topic that does not exist yet is not waited for: it is read from its first record.
    ///
    /// ```
    /// # use eventstream::{Client, Event, Publish, Subscribe};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), eventstream::Error> {
    /// # let client = Client::embedded().prefix("dev").build()?;
    /// let (sender, mut handled) = tokio::sync::mpsc::unbounded_channel();
    /// let subscribe = Subscribe::new("player").group_id("levels").on("levelUp", move |event: Event| {
    ///     let sent = sender.send(event.user_id().to_owned());
    ///     async move { sent }
    /// });
    /// let subscription = client.register(subscribe).await?;
    /// subscription.ready().await?;
    /// client.publish(Publish::new("player", "levelUp").user_id("48bf8a020b584f31bc605bf65d3300ed")).await?;
    /// assert_eq!(handled.recv().await.as_deref(), Some("48bf8a020b584f31bc605bf65d3300ed"));
    /// # client.shutdown(std::time::Duration::from_secs(5)).await;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Closed`] if the subscription ends first. While no broker answers, or the broker
    /// refuses, it keeps waiting: [`health`](Self::health) says why.
    ///
    /// # Cancellation
    ///
    /// Nothing is lost when this future is dropped.
    pub async fn ready(&self) -> Result<()> {
        match &self.routes {
            Some(routes) if !routes.ready().await => Err(Error::new(
                ErrorKind::Closed,
                "ready: the subscription ended before it read anything",
            )),
            _ => Ok(()),
        }
    }

    /// Starts no more handlers until [`resume`](Self::resume). The member stays in the group.
    pub fn pause(&self) {
        if let Some(routes) = &self.routes {
            routes.pause();
        }
    }

    /// Resumes after [`pause`](Self::pause), or after a dead letter limit has paused it.
    pub fn resume(&self) {
        if let Some(routes) = &self.routes {
            routes.resume();
        }
    }

    /// Whether records flow, and if not, why.
    pub fn health(&self) -> Health {
        self.routes
            .as_ref()
            .map_or_else(Health::of_nothing, RegisteredRoutes::health)
    }

    /// Completes when the subscription has ended: it was stopped, its
    /// [`cancel_on`](crate::Subscribe::cancel_on) was cancelled, its client shut down, its runtime is
    /// gone, or its retry policy ended it; [`health`](Self::health) then says why. On the backends
    /// `stdout` and `none` it never completes. The future borrows nothing, so a spawned task can
    /// await it.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + Sync + use<> {
        let routes = self.routes.as_ref();
        let ended = routes.map_or_else(CancellationToken::new, RegisteredRoutes::ended);
        ended.cancelled_owned()
    }

    /// Whether the subscription has ended: see [`ended`](Self::ended).
    pub fn is_ended(&self) -> bool {
        let mut routes = self.routes.iter();
        routes.any(|routes| routes.ended().is_cancelled())
    }

    /// Waits until no record is queued or being handled: all records of the topic that this client
    /// has read for this group are handled, skipped, or in the dead-letter topic. Records that this
    /// client has not read yet do not count. Also completes when the subscription ends.
    ///
    /// # Cancellation
    ///
    /// Nothing is lost when this future is dropped.
    pub async fn idle(&self) {
        if let Some(routes) = &self.routes {
            routes.idle().await;
        }
    }

    /// Lets the subscription live as long as its client, without a handle.
    pub fn detach(mut self) {
        self.stop_on_drop = false;
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if self.stop_on_drop
            && let Some(routes) = &self.routes
        {
            routes.stop_in_background();
        }
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("slug", &self.slug)
            .finish_non_exhaustive()
    }
}
