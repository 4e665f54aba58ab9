use std::fmt;
use std::future::Future;
use std::mem::ManuallyDrop;
use std::pin::Pin;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;

use crate::error::{Error, Result};
use crate::event::ShortText;
use crate::name::Topic;
use crate::observe::trace::Span;
use crate::observe::untold::Untold;

/// Where an event is stored, as the broker acknowledged it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delivery {
    topic: Topic,
    stored: Stored,
}

/// The part of a [`Delivery`] that the broker decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) timestamp_ms: i64,
}

impl Stored {
    /// It is not known yet.
    pub(crate) const NOWHERE: Self = Self {
        partition: -1,
        offset: -1,
        timestamp_ms: -1,
    };
}

impl Delivery {
    /// Of an event that goes out later, in a transaction.
    pub(crate) fn nowhere(topic: Topic) -> Self {
        Self {
            topic,
            stored: Stored::NOWHERE,
        }
    }

    /// The topic as it was given to [`Publish`](crate::Publish), without the client's prefix.
    pub fn topic(&self) -> &Topic {
        &self.topic
    }

    /// The partition. On `stdout` and `none` always 0; -1 for an event that is
    /// [staged](crate::Subscribe::exactly_once).
    pub fn partition(&self) -> i32 {
        self.stored.partition
    }

    /// The offset in the partition. On `stdout` and `none` the count of events before this one.
    /// -1 if the broker returns none (`acks` 0), and for an event that is staged.
    pub fn offset(&self) -> i64 {
        self.stored.offset
    }

    /// The record's timestamp, in milliseconds since the Unix epoch. The embedded broker acknowledges
    /// every event with 1234, whatever it stores.
    pub fn timestamp_millis(&self) -> i64 {
        self.stored.timestamp_ms
    }

    /// The record's timestamp; the epoch for one before it.
    pub fn timestamp(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
            + Duration::from_millis(u64::try_from(self.stored.timestamp_ms).unwrap_or(0))
    }
}

/// The id of an accepted event: generated ones are inline, chosen ones on the heap.
#[derive(Clone, Debug)]
pub(crate) enum EventId {
    Generated(ShortText<32>),
    Chosen(Box<str>),
}

impl EventId {
    /// Of a record that is published unchanged.
    pub(crate) fn none() -> Self {
        Self::Chosen("".into())
    }

    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Generated(id) => id.as_str(),
            Self::Chosen(id) => id,
        }
    }
}

/// The future acknowledgement of an accepted event: await it to learn where the event is stored, or
/// why it is not.
///
/// Dropping a receipt cancels nothing: the event is still delivered, and a failure still reaches the client's
/// `on_error` callback. Without that callback, a failure that no receipt reported is logged through `tracing` at
/// level `ERROR`; of many with the same cause the first is logged, then their number every 10 s and at the end.
#[must_use = "the event is accepted, not yet stored: await the receipt, or drop it to rely on `on_error`"]
pub struct Receipt {
    slot: SlotRef,
    topic: Topic,
    id: EventId,
    /// The outcome was read, or there is none to miss.
    told: bool,
}

impl Receipt {
    pub(crate) fn new(slot: SlotRef, topic: Topic, id: EventId) -> Self {
        Self {
            slot,
            topic,
            id,
            told: false,
        }
    }

    /// A receipt of a backend that stores at once.
    pub(crate) fn ready(topic: Topic, id: EventId, stored: Stored) -> Self {
        let slot = Slots::default().take(0, 0);
        slot.complete(Ok(stored));
        Self {
            slot,
            topic,
            id,
            told: true,
        }
    }

    /// The event's id: the given one, or the one that was generated.
    pub fn id(&self) -> &str {
        self.id.as_str()
    }

    /// The topic as it was given, without the client's prefix.
    pub fn topic(&self) -> &Topic {
        &self.topic
    }

    /// Whether the outcome is known, so that awaiting returns at once.
    pub fn is_done(&self) -> bool {
        self.slot.is_done()
    }

    /// Blocks the calling thread until the outcome is known. For threads outside an async runtime.
    ///
    /// # Errors
    ///
    /// As awaiting the receipt.
    pub fn wait(self) -> Result<Delivery> {
        block_on(self)
    }
}

impl Future for Receipt {
    type Output = Result<Delivery>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.slot.state().lock();
        let outcome = match &*state {
            State::Stored(stored) => Ok(*stored),
            State::Failed(error) => Err(error.clone()),
            State::Untold(untold) => Err(untold.error.clone()),
            State::Waiting(waker) if waker.will_wake(cx.waker()) => return Poll::Pending,
            State::Pending | State::Waiting(_) | State::Abandoned => {
                *state = State::Waiting(cx.waker().clone());
                return Poll::Pending;
            }
        };
        drop(state);
        self.told = true;
        Poll::Ready(outcome.map(|stored| Delivery {
            topic: self.topic.clone(),
            stored,
        }))
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        if self.told {
            return;
        }
        let mut state = self.slot.state().lock();
        if let State::Pending | State::Waiting(_) = *state {
            *state = State::Abandoned;
        }
        if let State::Untold(untold) = &*state {
            let untold = Arc::clone(untold);
            drop(state);
            untold.tell();
        }
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receipt")
            .field("topic", &self.topic)
            .field("id", &self.id())
            .field("done", &self.is_done())
            .finish()
    }
}

/// Runs a future on the calling thread, which parks while it is pending.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut cx = Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut cx) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

#[derive(Debug)]
enum State {
    Pending,
    Waiting(Waker),
    /// The receipt was dropped before there was an outcome.
    Abandoned,
    Stored(Stored),
    Failed(Error),
    /// It failed, and only the receipt can report it.
    Untold(Arc<Untold>),
}

impl State {
    fn is_outcome(&self) -> bool {
        matches!(self, Self::Stored(_) | Self::Failed(_) | Self::Untold(_))
    }
}

/// How many outcomes share one allocation. One allocation each would cost more than the rest of a
/// receipt; the index has to fit into the low bits of the pointer.
const CHUNK: usize = 256;

/// The outcomes of consecutive events and the room each takes, with their flush epoch.
#[repr(align(256))]
struct Chunk {
    states: [Mutex<State>; CHUNK],
    rooms: [AtomicU32; CHUNK],
    /// Until the outcome, of events that are traced.
    spans: OnceLock<Box<Spans>>,
    epoch: u64,
}

type Spans = [Mutex<Option<Span>>; CHUNK];

const _: () = assert!(align_of::<Chunk>() >= CHUNK);

/// Allocates slots for outcomes, many at once. Slots are not reused: a chunk is freed when the last
/// receipt and the last delivery report of its events are gone.
#[derive(Default)]
pub(crate) struct Slots {
    current: Option<Arc<Chunk>>,
    next: usize,
}

impl Slots {
    /// A slot for an event that takes this many bytes of the buffer.
    pub(crate) fn take(&mut self, epoch: u64, room: usize) -> SlotRef {
        let chunk = match &self.current {
            Some(chunk) if self.next < CHUNK && chunk.epoch == epoch => Arc::clone(chunk),
            _ => {
                let chunk = Arc::new(Chunk {
                    states: [const { Mutex::new(State::Pending) }; CHUNK],
                    rooms: [const { AtomicU32::new(0) }; CHUNK],
                    spans: OnceLock::new(),
                    epoch,
                });
                self.next = 0;
                self.current = Some(Arc::clone(&chunk));
                chunk
            }
        };
        let index = self.next;
        self.next += 1;
        // Another thread gets the slot through a lock. An event of 4 GiB is larger than any broker accepts.
        chunk.rooms[index].store(u32::try_from(room).unwrap_or(u32::MAX), Ordering::Relaxed);
        SlotRef::new(chunk, index)
    }
}

/// One event's outcome, shared by its receipt and its delivery report: a strong reference to the chunk in one word,
/// with the index in the bits that the chunk's alignment leaves free.
pub(crate) struct SlotRef(NonNull<Chunk>);

const _: () = {
    const fn shared<T: Send + Sync>() {}
    shared::<Arc<Chunk>>();
};

// SAFETY: it is an `Arc<Chunk>`, which is `Send` and `Sync`: see above.
unsafe impl Send for SlotRef {}
// SAFETY: as above.
unsafe impl Sync for SlotRef {}

impl SlotRef {
    fn new(chunk: Arc<Chunk>, index: usize) -> Self {
        debug_assert!(index < CHUNK);
        // SAFETY: an `Arc`'s pointer is not null.
        let chunk = unsafe { NonNull::new_unchecked(Arc::into_raw(chunk).cast_mut()) };
        Self(chunk.map_addr(|address| address | index))
    }

    fn pointer(&self) -> *const Chunk {
        self.0.as_ptr().map_addr(|address| address & !(CHUNK - 1))
    }

    fn chunk(&self) -> &Chunk {
        // SAFETY: this reference keeps the chunk alive, and nobody has it mutably.
        unsafe { &*self.pointer() }
    }

    fn state(&self) -> &Mutex<State> {
        &self.chunk().states[self.index()]
    }

    /// Keeps the span that ends with the outcome.
    pub(crate) fn trace(&self, span: Span) {
        let make = || Box::new([const { Mutex::new(None) }; CHUNK]);
        let spans = self.chunk().spans.get_or_init(make);
        *spans[self.index()].lock() = Some(span);
    }

    /// The span that is kept, if the event is traced.
    pub(crate) fn take_span(&self) -> Option<Span> {
        self.chunk().spans.get()?[self.index()].lock().take()
    }

    fn index(&self) -> usize {
        self.0.addr().get() & (CHUNK - 1)
    }

    /// The bytes of the buffer that the event takes.
    pub(crate) fn room(&self) -> usize {
        let room = &self.chunk().rooms[self.index()];
        room.load(Ordering::Relaxed) as usize
    }

    /// The flush epoch in which the event was accepted.
    pub(crate) fn epoch(&self) -> u64 {
        self.chunk().epoch
    }

    /// Sets the outcome and wakes its waiter; `false` if there already is one.
    pub(crate) fn complete(&self, outcome: Result<Stored>) -> bool {
        let outcome = match outcome {
            Ok(stored) => State::Stored(stored),
            Err(error) => State::Failed(error),
        };
        let before = self.settle(outcome);
        if let Some(State::Waiting(waker)) = &before {
            waker.wake_by_ref();
        }
        before.is_some()
    }

    /// Sets the outcome; returns the waker to call.
    pub(crate) fn store(&self, stored: Stored) -> Option<Waker> {
        match self.settle(State::Stored(stored)) {
            Some(State::Waiting(waker)) => Some(waker),
            _ => None,
        }
    }

    /// Sets a failure that was not reported yet; logs it if the receipt is gone.
    pub(crate) fn fail_untold(&self, untold: Arc<Untold>) {
        match self.settle(State::Untold(Arc::clone(&untold))) {
            Some(State::Abandoned) => untold.tell(),
            Some(State::Waiting(waker)) => waker.wake(),
            _ => {}
        }
    }

    /// Sets the outcome and returns the previous state; `None` if there already is an outcome.
    fn settle(&self, outcome: State) -> Option<State> {
        let mut state = self.state().lock();
        (!state.is_outcome()).then(|| std::mem::replace(&mut *state, outcome))
    }

    pub(crate) fn is_done(&self) -> bool {
        self.state().lock().is_outcome()
    }

    /// The reference as a number, for the opaque of a librdkafka message.
    pub(crate) fn into_raw(self) -> usize {
        ManuallyDrop::new(self).0.as_ptr().expose_provenance()
    }

    /// The reverse of [`into_raw`](Self::into_raw).
    ///
    /// # Safety
    ///
    /// `raw` must come from `into_raw`, and be passed back only once.
    pub(crate) unsafe fn from_raw(raw: usize) -> Self {
        // SAFETY: the caller passes back what was a reference, which is not null.
        Self(unsafe { NonNull::new_unchecked(std::ptr::with_exposed_provenance_mut(raw)) })
    }
}

impl Clone for SlotRef {
    fn clone(&self) -> Self {
        // SAFETY: the pointer is that of `Arc::into_raw`, and this reference is one of its count.
        unsafe { Arc::increment_strong_count(self.pointer()) };
        Self(self.0)
    }
}

impl Drop for SlotRef {
    fn drop(&mut self) {
        // SAFETY: as above; it is not used after this.
        unsafe { Arc::decrement_strong_count(self.pointer()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn stored(offset: i64) -> Stored {
        Stored {
            partition: 1,
            offset,
            timestamp_ms: 0,
        }
    }

    #[test]
    fn a_slot_keeps_its_first_outcome() {
        let slot = Slots::default().take(0, 0);
        assert!(slot.complete(Ok(stored(7))));
        assert!(!slot.complete(Err(Error::new(ErrorKind::Timeout, "late"))));
        let topic = Topic::new("t").expect("valid");
        let id = EventId::Chosen("x".into());
        let delivery = Receipt::new(slot, topic, id).wait().expect("stored");
        assert_eq!((delivery.partition(), delivery.offset()), (1, 7));
    }

    #[test]
    fn slots_survive_the_round_trip_through_a_word() {
        let mut slots = Slots::default();
        let refs: Vec<_> = (0..1000).map(|_| slots.take(3, 0)).collect();
        for (i, slot) in refs.iter().enumerate() {
            let raw = slot.clone().into_raw();
            // SAFETY: passed back once.
            let back = unsafe { SlotRef::from_raw(raw) };
            assert_eq!(back.epoch(), 3);
            assert!(back.complete(Ok(stored(i as i64))));
        }
        assert!(refs.iter().all(SlotRef::is_done));
    }

    #[test]
    fn a_new_epoch_starts_a_new_chunk() {
        let mut slots = Slots::default();
        assert_eq!(slots.take(1, 0).epoch(), 1);
        assert_eq!(slots.take(2, 0).epoch(), 2);
    }

    #[test]
    fn wait_is_woken_by_another_thread() {
        let slot = Slots::default().take(0, 0);
        let receipt = Receipt::new(
            slot.clone(),
            Topic::new("t").expect("valid"),
            EventId::Chosen("x".into()),
        );
        let waiter = std::thread::spawn(move || receipt.wait());
        slot.complete(Ok(stored(1)));
        assert_eq!(
            waiter.join().expect("no panic").expect("stored").offset(),
            1
        );
    }
}
