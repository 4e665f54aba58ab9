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

/// The events of a subscription as a [`Stream`], to pull instead of handle. Returned by
/// [`Client::consume`](crate::Client::consume).
///
/// Each event carries its acknowledgement. Order, retries, dead letters, commits and rebalances work
/// as with handlers.
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
/// [`Concurrency::PerPartition`](crate::Concurrency::PerPartition) the next event of a partition comes once the previous one
/// is acknowledged, so at most one per partition is outstanding. With `PerKey(n)` up to `n` per partition are, one per key;
/// with `Serial`, one. A stream that is not polled stays in the group. Each partition then buffers up to 10,000 records or 32
/// MiB, and stops reading.
///
/// **The time to answer** is [`Subscribe::handler_timeout`](crate::Subscribe::handler_timeout), counted from when the event
/// is pulled; default: no limit. An event answered too late counts as failed.
///
/// **When a partition goes to another member**, what was not pulled goes with it. For outstanding events the
/// group waits up to [`Subscribe::drain_timeout`](crate::Subscribe::drain_timeout). After that their
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
    // Dropped after the fields that its drop needs.
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

    /// The subscription behind the stream, to wait until it is ready, to pause it, and to check its
    /// health. While it is paused, events that have not been pulled wait.
    pub fn subscription(&self) -> &Subscription {
        self.subscription
            .as_ref()
            .expect("taken only by `stop`, which takes the stream")
    }

    /// Like [`Subscription::stop`]: waits until outstanding events are answered, commits, and leaves the group.
    /// Events that were not pulled are read again; if other subscriptions of the group remain, they go to one for
    /// the same name, or count as unmatched.
    ///
    /// To keep pulling meanwhile, use [`Subscribe::cancel_on`](crate::Subscribe::cancel_on).
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

/// An event that awaits its answer: [`ack`](Self::ack), [`retry`](Self::retry), [`reject`](Self::reject),
/// or [`settle`](Self::settle) with a result. If it is dropped without an answer, it counts as failed and
/// is retried.
#[must_use = "an event that is dropped without an answer is retried"]
pub struct PulledEvent {
    event: Event,
    context: Context,
    answer: oneshot::Sender<Answer>,
}

/// Whether the answer came in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Settled {
    /// It counts. As with handlers, a crash before the next commit brings the event back.
    InTime,
    /// It does not: the partition has moved to another member, the time to answer has passed, or
    /// the subscription has ended. The event is retried by the member that has its partition.
    TooLate,
}

impl PulledEvent {
    /// The event.
    pub fn event(&self) -> &Event {
        &self.event
    }

    /// The record's position, key and headers, and the attempt number.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// The payload as a `T`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Decode`](crate::ErrorKind::Decode) if it does not fit. Passed as an answer,
    /// even to [`retry`](Self::retry), this error is a rejection: no retry can fix it.
    pub fn payload<T: DeserializeOwned>(&self) -> Result<T> {
        self.event.payload().decode()
    }

    /// The event is done.
    pub fn ack(self) -> Settled {
        self.answer(Ok(()))
    }

    /// The event has failed, and is retried as the subscription's [retry policy](crate::Subscribe::retry)
    /// says: it comes back after a delay, before later events in its partition or key. An error that no
    /// retry can fix is a rejection: see [`Reject`].
    pub fn retry(self, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Settled {
        self.answer(Err(error.into()))
    }

    /// No retry can fix it: the event goes to the dead-letter topic at this attempt, with this reason.
    pub fn reject(self, reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Settled {
        self.answer(Err(Reject::new(reason).into()))
    }

    /// Answers as a handler's result would: `Ok` acknowledges, an error retries or rejects.
    pub fn settle(self, result: impl HandlerResult) -> Settled {
        self.answer(result.into_result())
    }

    /// Waits until an answer no longer counts: see [`Settled::TooLate`]. For work that should then be
    /// abandoned.
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

    /// Whether an answer no longer counts.
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
