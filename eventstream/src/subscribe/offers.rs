//! Events that wait to be pulled.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context as TaskContext, Poll, Waker};

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::context::Context;
use super::handler::BoxError;
use crate::event::Event;

/// The answer to a pulled event, in the form of a handler's result.
pub(crate) type Answer = Result<(), BoxError>;

/// One event, and where to report that it was taken.
pub(crate) struct Offer {
    pub(crate) event: Event,
    pub(crate) context: Context,
    pub(crate) answer: oneshot::Sender<Answer>,
    /// Receives the number when the event is taken.
    pub(crate) taken: mpsc::UnboundedSender<u64>,
    pub(crate) number: u64,
}

/// The events that the partitions offer to one subscription, in order of arrival. There are no more than handlers
/// would run.
#[derive(Default)]
pub(crate) struct Offers {
    waiting: Mutex<Waiting>,
    closed: AtomicBool,
}

#[derive(Default)]
struct Waiting {
    offers: BTreeMap<u64, Offer>,
    next: u64,
    /// The stream's waker.
    waker: Option<Waker>,
}

/// The place of a waiting event. Dropping it withdraws the offer.
pub(crate) struct Place {
    offers: Arc<Offers>,
    at: u64,
}

impl Offers {
    pub(crate) fn add(self: &Arc<Self>, offer: Offer) -> Place {
        let mut waiting = self.waiting.lock();
        let at = waiting.next;
        waiting.next += 1;
        waiting.offers.insert(at, offer);
        let waker = waiting.waker.take();
        drop(waiting);
        if let Some(waker) = waker {
            waker.wake();
        }
        Place {
            offers: Arc::clone(self),
            at,
        }
    }

    /// Takes the first waiting event.
    pub(super) fn poll_take(&self, cx: &mut TaskContext<'_>) -> Poll<Offer> {
        let mut waiting = self.waiting.lock();
        let Some((_, offer)) = waiting.offers.pop_first() else {
            waiting.waker = Some(cx.waker().clone());
            return Poll::Pending;
        };
        // Under the lock, so that whoever withdraws the offer sees that it was taken. If the
        // receiver is gone, the partition has ended, and the answer will not count.
        let _ = offer.taken.send(offer.number);
        Poll::Ready(offer)
    }

    /// Nothing can be taken any more.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.waiting.lock().offers.len()
    }
}

impl Place {
    /// Withdraws the offer. `false` if it was already taken.
    pub(crate) fn withdraw(&self) -> bool {
        let offer = self.offers.waiting.lock().offers.remove(&self.at);
        offer.is_some()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.withdraw();
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;
    use crate::name::Topic;
    use crate::record::{Record, Source};

    fn offer(offers: &Arc<Offers>, number: u64, taken: &mpsc::UnboundedSender<u64>) -> Place {
        let mut record = Record {
            source: Arc::new(Source {
                topic: Topic::new("t").expect("valid"),
                partition: 0,
                lost: tokio_util::sync::CancellationToken::new(),
                publisher: Arc::new(crate::publish::NoPublisher),
            }),
            offset: 0,
            timestamp_ms: None,
            body: Arc::from(b"{}".as_slice()),
            key: None,
            value: Some(0..2),
            headers: None,
            event: None,
        };
        record.event = crate::record::decode(&record).ok();
        let record = Arc::new(record);
        offers.add(Offer {
            event: record.event.clone().expect("an event"),
            context: Context::of(&record, 1),
            answer: oneshot::channel().0,
            taken: taken.clone(),
            number,
        })
    }

    #[test]
    fn an_offer_is_taken_or_taken_back_and_leaves_nothing_behind() {
        let offers = Arc::new(Offers::default());
        let (tell, mut taken) = mpsc::unbounded_channel();
        let mut cx = TaskContext::from_waker(Waker::noop());
        assert!(offers.poll_take(&mut cx).is_pending());
        let places: Vec<_> = (0..4).map(|n| offer(&offers, n, &tell)).collect();
        assert!(places[0].withdraw());
        let Poll::Ready(first) = offers.poll_take(&mut cx) else {
            panic!("three are there");
        };
        assert_eq!((first.number, taken.try_recv()), (1, Ok(1)), "in order");
        assert!(!places[1].withdraw());
        assert_eq!(offers.len(), 2);
        drop(places);
        assert_eq!(offers.len(), 0);
        assert!(offers.poll_take(&mut cx).is_pending());
        assert!(taken.try_recv().is_err());
    }
}
