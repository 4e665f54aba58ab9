use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use futures_util::Stream;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use super::context::Context;
use super::handler::HandlerResult;
use super::offers::{Answer, Offers};
use super::reject::Reject;
use super::subscription::Subscription;
use crate::error::Result;
use crate::event::Event;

/// The events of a subscription, pulled instead of handled: a [`Stream`]. Made by
/// [`Client::consume`](crate::Client::consume).
///
/// Each event carries its acknowledgement. Everything else is as with handlers: order, retries, dead
/// letters, commits, rebalances.
///
/// ```
/// # use eventstream::{Client, Publish, StartOffset, Subscribe};
/// # #[derive(serde::Serialize, serde::Deserialize)] struct LevelUp { level: u32 }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), eventstream::Error> {
/// # let client = Client::embedded().prefix("dev").build()?;
/// # client.publish_sync(Publish::new("player", "levelUp").payload(LevelUp { level: 7 })).await?;
/// let subscribe = Subscribe::new("player").group_id("levels").offset(StartOffset::Head);
/// let mut events = client.consume(subscribe.events(["levelUp"])).await?;
/// while let Some(event) = events.next().await {
///     match event.payload::<LevelUp>() {
///         Ok(up) => {
///             println!("level {}", up.level);
///             event.ack();
///         }
///         Err(misfit) => {
///             event.reject(misfit);
///         }
///     }
///     # break;
/// }
/// # client.shutdown(std::time::Duration::from_secs(5)).await;
/// # Ok(()) }
/// ```
///
/// **How much is in flight**: as many events as handlers would run. With
/// [`Concurrency::PerPartition`](crate::Concurrency::PerPartition) the next event of a partition comes when the one before is
/// acknowledged: so at most one for each partition is out. With `PerKey(n)` there are `n` for each partition, one
/// for each key; with `Serial` one. A stream that is not polled keeps its place in the group. Each
/// partition then buffers up to 10,000 records or 32 MiB, and stops reading.
///
/// **The time to answer** is [`Subscribe::handler_timeout`](crate::Subscribe::handler_timeout), counted from when the event
/// is pulled; default: no limit. An event that is late counts as failed.
///
/// **When a partition goes to another member**, what was not pulled goes with it. For events that
/// are out the group waits up to [`Subscribe::drain_timeout`](crate::Subscribe::drain_timeout). After that their
/// answers are [`Settled::TooLate`]: [`PulledEvent::cancelled`] says so, and the event is read again.
///
/// The stream ends when the subscription does: after [`stop`](Self::stop), the cancellation of
/// [`Subscribe::cancel_on`](crate::Subscribe::cancel_on), [`Client::shutdown`](crate::Client::shutdown), or when a policy stops the group. Dropping it stops
/// the subscription in the background; what was not acknowledged is read again.
#[must_use = "dropping the stream stops its subscription"]
pub struct Events {
    offers: Arc<Offers>,
    ended: Pin<Box<dyn Future<Output = ()> + Send + Sync>>,
    is_over: bool,
    // After what its drop looks at.
    subscription: Option<Subscription>,
}

impl Events {
    pub(crate) fn new(subscription: Subscription, offers: Arc<Offers>) -> Self {
        Self {
            offers,
            ended: Box::pin(subscription.ended()),
            is_over: false,
            subscription: Some(subscription),
        }
    }

    /// The next event; `None` when the subscription has ended.
    ///
    /// # Cancellation
    ///
    /// Nothing is lost when this future is dropped.
    pub async fn next(&mut self) -> Option<PulledEvent> {
        poll_fn(|cx| self.poll_pull(cx)).await
    }

    /// The subscription behind the stream, to wait until it is ready, to pause it, and to ask for its
    /// health. Events that were not pulled yet wait while it is paused.
    pub fn subscription(&self) -> &Subscription {
        self.subscription
            .as_ref()
            .expect("taken only by `stop`, which takes the stream")
    }

    /// As [`Subscription::stop`]: waits until the events that are out are answered, commits, and leaves
    /// the group. What was not pulled is read again; where other subscriptions of the group go on, it goes to one
    /// of the same name, or counts as unmatched.
    ///
    /// To go on pulling meanwhile, use [`Subscribe::cancel_on`](crate::Subscribe::cancel_on).
    ///
    /// # Errors
    ///
    /// As [`Subscription::stop`]: [`ErrorKind::Timeout`](crate::ErrorKind::Timeout) when some were not answered in time. They are
    /// read again.
    pub async fn stop(mut self, timeout: Duration) -> Result<()> {
        self.offers.close();
        match self.subscription.take() {
            Some(subscription) => subscription.stop(timeout).await,
            None => Ok(()),
        }
    }

    fn poll_pull(&mut self, cx: &mut TaskContext<'_>) -> Poll<Option<PulledEvent>> {
        self.is_over = self.is_over || self.ended.as_mut().poll(cx).is_ready();
        if self.is_over {
            return Poll::Ready(None);
        }
        self.offers.poll_take(cx).map(|offer| {
            Some(PulledEvent {
                event: offer.event,
                context: offer.context,
                answer: offer.answer,
            })
        })
    }
}

impl Stream for Events {
    type Item = PulledEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Option<PulledEvent>> {
        self.poll_pull(cx)
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.offers.close();
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events")
            .field("subscription", &self.subscription)
            .finish_non_exhaustive()
    }
}

/// An event that waits for its answer: [`ack`](Self::ack), [`retry`](Self::retry),
/// [`reject`](Self::reject), or [`settle`](Self::settle) with a result. One that is dropped without a word
/// counts as failed: it is tried again.
#[must_use = "an event that is dropped without an answer is tried again"]
pub struct PulledEvent {
    event: Event,
    context: Context,
    answer: oneshot::Sender<Answer>,
}

/// Whether an answer came in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Settled {
    /// It counts. As with handlers, a crash before the next commit brings the event back.
    InTime,
    /// It does not: the partition has gone to another member, the time to answer has passed, or the
    /// subscription has ended. The event is tried again, by whoever has its partition.
    TooLate,
}

impl PulledEvent {
    /// The event.
    pub fn event(&self) -> &Event {
        &self.event
    }

    /// Where the record stands, its key and headers, and which attempt this is.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// The payload as a `T`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Decode`](crate::ErrorKind::Decode) where it does not fit. As an answer, by
    /// [`retry`](Self::retry) as well, this error is a rejection: no retry can mend it.
    pub fn payload<T: DeserializeOwned>(&self) -> Result<T> {
        self.event.payload().decode()
    }

    /// The event is done.
    pub fn ack(self) -> Settled {
        self.answer(Ok(()))
    }

    /// The event has failed, and is tried again as the subscription's
    /// [retry policy](crate::Subscribe::retry) says: it comes back after a wait, before what follows it in
    /// its partition or key. An error that no retry can mend is a rejection: see [`Reject`].
    pub fn retry(self, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Settled {
        self.answer(Err(error.into()))
    }

    /// No retry can mend it: the event goes to the dead-letter topic at this attempt, with this reason.
    pub fn reject(self, reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Settled {
        self.answer(Err(Reject::new(reason).into()))
    }

    /// What a handler's result would do: `Ok` acknowledges, an error retries or rejects.
    pub fn settle(self, result: impl HandlerResult) -> Settled {
        self.answer(result.into_result())
    }

    /// Waits until no answer counts any more: see [`Settled::TooLate`]. For work that is better given up
    /// then.
    ///
    /// # Cancellation
    ///
    /// Nothing is lost when this future is dropped.
    pub async fn cancelled(&mut self) {
        tokio::select! {
            () = self.answer.closed() => {}
            () = self.context.record.source.lost.cancelled() => {}
        }
    }

    /// Whether no answer counts any more.
    pub fn is_cancelled(&self) -> bool {
        self.answer.is_closed() || self.context.record.source.lost.is_cancelled()
    }

    fn answer(self, answer: Answer) -> Settled {
        let lost = self.context.record.source.lost.is_cancelled();
        match self.answer.send(answer) {
            Ok(()) if !lost => Settled::InTime,
            _ => Settled::TooLate,
        }
    }
}

impl fmt::Debug for PulledEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PulledEvent")
            .field("name", &self.event.name())
            .field("context", &self.context)
            .finish_non_exhaustive()
    }
}
