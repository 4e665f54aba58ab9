use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::publish::receipt::{SlotRef, Slots};

/// The precision of an event's age.
const AGE: Duration = Duration::from_secs(1);

/// Which events are in the producer: bounded in events and bytes, first come first served.
///
/// An event is admitted when it fits beside those in flight, and no one waits before it; one that
/// is larger than the whole buffer is admitted alone. Flushes are told by epoch: every event
/// belongs to the epoch in which it was admitted, a flush ends its epoch, and is done when no
/// event of it or an earlier one is without an outcome. The room that an event takes is given back apart from that: an
/// event whose own timeout has passed has its outcome, and librdkafka still has its bytes.
pub(crate) struct Admission {
    max_events: usize,
    max_bytes: usize,
    state: Mutex<State>,
}

struct State {
    events: usize,
    bytes: usize,
    closed: bool,
    slots: Slots,
    /// Waiting publishers, in order of their calls.
    waiters: VecDeque<Arc<Waiter>>,
    epoch: u64,
    /// Open epochs, oldest first.
    epochs: VecDeque<Epoch>,
    flushes: Vec<Flush>,
    next_flush: u64,
}

struct Epoch {
    number: u64,
    /// Its events without an outcome.
    pending: usize,
    began: Instant,
}

/// A flush that is being waited for.
struct Flush {
    number: u64,
    epoch: u64,
    waker: Waker,
}

/// Events that have left, released together: one lock for many reports keeps the delivery thread
/// out of the publishers' way.
#[derive(Default)]
pub(crate) struct Left {
    events: usize,
    bytes: usize,
    /// Outcomes, by epoch.
    outcomes: Vec<(u64, usize)>,
}

impl Left {
    /// The event has an outcome.
    pub(crate) fn outcome(&mut self, slot: &SlotRef) {
        let epoch = slot.epoch();
        match self.outcomes.last_mut() {
            Some((e, count)) if *e == epoch => *count += 1,
            _ => self.outcomes.push((epoch, 1)),
        }
    }

    /// librdkafka has forgotten the event.
    pub(crate) fn room(&mut self, slot: &SlotRef) {
        self.events += 1;
        self.bytes += slot.room();
    }

    /// How many places become free.
    pub(crate) fn len(&self) -> usize {
        self.events
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.events == 0 && self.outcomes.is_empty()
    }
}

struct Waiter {
    bytes: usize,
    state: Mutex<WaiterState>,
}

enum WaiterState {
    Waiting(Option<Waker>),
    Admitted(SlotRef),
    Refused,
    Gone,
}

/// Why an event is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Full,
    Closed,
}

impl Admission {
    pub(crate) fn new(max_events: usize, max_bytes: usize) -> Self {
        Self {
            max_events: max_events.max(1),
            max_bytes,
            state: Mutex::new(State {
                events: 0,
                bytes: 0,
                closed: false,
                slots: Slots::default(),
                waiters: VecDeque::new(),
                epoch: 0,
                epochs: VecDeque::new(),
                flushes: Vec::new(),
                next_flush: 0,
            }),
        }
    }

    /// Admits an event of this size at once, or returns why not.
    pub(crate) fn try_admit(&self, bytes: usize) -> Result<SlotRef, Refused> {
        let mut state = self.state.lock();
        if state.closed {
            Err(Refused::Closed)
        } else if state.waiters.is_empty() && self.fits(&state, bytes) {
            Ok(state.admit(bytes))
        } else {
            Err(Refused::Full)
        }
    }

    /// Waits until the event fits and is first in line. Dropping the future gives up its place.
    pub(crate) fn admit(&self, bytes: usize) -> Admit<'_> {
        Admit {
            admission: self,
            bytes,
            waiter: None,
        }
    }

    /// Releases one event.
    pub(crate) fn release(&self, slot: &SlotRef) {
        let mut left = Left::default();
        left.outcome(slot);
        left.room(slot);
        wake(self.release_all(&mut left));
    }

    /// Releases these events and empties the list; returns the wakers to call.
    #[must_use = "those who wait sleep until they are woken"]
    pub(crate) fn release_all(&self, left: &mut Left) -> Vec<Waker> {
        let mut state = self.state.lock();
        state.events -= std::mem::take(&mut left.events);
        state.bytes -= std::mem::take(&mut left.bytes);
        let mut wakers = Vec::new();
        for (number, told) in left.outcomes.drain(..) {
            if let Some(epoch) = state.epochs.iter_mut().find(|e| e.number == number) {
                epoch.pending -= told;
                if epoch.pending == 0 {
                    state.take_flushes(&mut wakers);
                }
            }
        }
        if self.has_slack(&state) {
            self.admit_waiters(&mut state, &mut wakers);
        }
        wakers
    }

    /// Whether to wake waiters: once a sixteenth of the buffer is free. A waiting publisher then
    /// finds room for many events; woken for each free place, it would sleep and wake for every
    /// few. In a buffer of fewer than 16 events, each place counts.
    fn has_slack(&self, state: &State) -> bool {
        let (events, bytes) = (self.max_events / 16, self.max_bytes / 16);
        state.events == 0
            || (state.events + events <= self.max_events && state.bytes + bytes <= self.max_bytes)
    }

    /// Rejects everything from now on, including waiters.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        let waiters = std::mem::take(&mut state.waiters);
        drop(state);
        for waiter in waiters {
            wake(waiter.settle(WaiterState::Refused));
        }
    }

    /// Completes when every event admitted before this call has left.
    pub(crate) fn flushed(&self) -> Flushed<'_> {
        let mut state = self.state.lock();
        state.epoch += 1;
        state.next_flush += 1;
        Flushed {
            admission: self,
            number: state.next_flush,
            epoch: state.epoch - 1,
        }
    }

    /// Events without an outcome.
    pub(crate) fn pending(&self) -> usize {
        let state = self.state.lock();
        state.epochs.iter().map(|epoch| epoch.pending).sum()
    }

    /// How long the oldest event has been without an outcome, with the precision of [`AGE`]. Calling it regularly
    /// starts a new epoch for each [`AGE`].
    pub(crate) fn oldest(&self, now: Instant) -> Duration {
        let mut state = self.state.lock();
        if let Some(last) = state.epochs.back()
            && last.number == state.epoch
            && last.pending > 0
            && now.saturating_duration_since(last.began) >= AGE
        {
            state.epoch += 1;
        }
        state.forget_old();
        let mut pending = state.epochs.iter().filter(|epoch| epoch.pending > 0);
        pending.next().map_or(Duration::ZERO, |epoch| {
            now.saturating_duration_since(epoch.began)
                .saturating_sub(AGE)
        })
    }

    /// Events and bytes that occupy room.
    pub(crate) fn in_flight(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.events, state.bytes)
    }

    /// Publishers waiting for room.
    pub(crate) fn waiting(&self) -> usize {
        self.state.lock().waiters.len()
    }

    fn fits(&self, state: &State, bytes: usize) -> bool {
        state.events == 0
            || (state.events < self.max_events && state.bytes + bytes <= self.max_bytes)
    }

    /// Wakers are called after the lock is released, as a woken task may call this again at once.
    fn admit_waiters(&self, state: &mut State, wakers: &mut Vec<Waker>) {
        while let Some(first) = state.waiters.front() {
            if !self.fits(state, first.bytes) {
                return;
            }
            let waiter = Arc::clone(first);
            state.waiters.pop_front();
            let slot = state.admit(waiter.bytes);
            wakers.extend(waiter.settle(WaiterState::Admitted(slot)));
        }
    }
}

fn wake(wakers: impl IntoIterator<Item = Waker>) {
    for waker in wakers {
        waker.wake();
    }
}

impl State {
    fn admit(&mut self, bytes: usize) -> SlotRef {
        self.events += 1;
        self.bytes += bytes;
        let number = self.epoch;
        match self.epochs.back_mut() {
            Some(epoch) if epoch.number == number => {
                if epoch.pending == 0 {
                    epoch.began = Instant::now();
                }
                epoch.pending += 1;
            }
            _ => self.epochs.push_back(Epoch {
                number,
                pending: 1,
                began: Instant::now(),
            }),
        }
        self.slots.take(number, bytes)
    }

    /// Drops epochs that are over.
    fn forget_old(&mut self) {
        while let Some(first) = self.epochs.front()
            && first.pending == 0
            && first.number < self.epoch
        {
            self.epochs.pop_front();
        }
    }

    fn is_over(&mut self, epoch: u64) -> bool {
        self.forget_old();
        self.epochs.front().is_none_or(|first| first.number > epoch)
    }

    fn take_flushes(&mut self, wakers: &mut Vec<Waker>) {
        let mut i = 0;
        while i < self.flushes.len() {
            if self.is_over(self.flushes[i].epoch) {
                wakers.push(self.flushes.swap_remove(i).waker);
            } else {
                i += 1;
            }
        }
    }
}

impl Waiter {
    fn settle(&self, to: WaiterState) -> Option<Waker> {
        match std::mem::replace(&mut *self.state.lock(), to) {
            WaiterState::Waiting(waker) => waker,
            _ => None,
        }
    }
}

/// The future of [`Admission::flushed`].
pub(crate) struct Flushed<'a> {
    admission: &'a Admission,
    number: u64,
    epoch: u64,
}

impl Future for Flushed<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.admission.state.lock();
        if state.is_over(self.epoch) {
            return Poll::Ready(());
        }
        // By number, not by waker: one task may wait for two flushes.
        let known = state.flushes.iter_mut().find(|f| f.number == self.number);
        match known {
            Some(flush) => flush.waker.clone_from(cx.waker()),
            None => state.flushes.push(Flush {
                number: self.number,
                epoch: self.epoch,
                waker: cx.waker().clone(),
            }),
        }
        Poll::Pending
    }
}

impl Drop for Flushed<'_> {
    fn drop(&mut self) {
        let mut state = self.admission.state.lock();
        state.flushes.retain(|f| f.number != self.number);
    }
}

/// The future of [`Admission::admit`].
pub(crate) struct Admit<'a> {
    admission: &'a Admission,
    bytes: usize,
    waiter: Option<Arc<Waiter>>,
}

impl Future for Admit<'_> {
    type Output = Result<SlotRef, Refused>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(waiter) = &self.waiter else {
            let mut state = self.admission.state.lock();
            if state.closed {
                return Poll::Ready(Err(Refused::Closed));
            }
            if state.waiters.is_empty() && self.admission.fits(&state, self.bytes) {
                return Poll::Ready(Ok(state.admit(self.bytes)));
            }
            let waiter = Arc::new(Waiter {
                bytes: self.bytes,
                state: Mutex::new(WaiterState::Waiting(Some(cx.waker().clone()))),
            });
            state.waiters.push_back(Arc::clone(&waiter));
            drop(state);
            self.waiter = Some(waiter);
            return Poll::Pending;
        };
        let mut state = waiter.state.lock();
        match std::mem::replace(&mut *state, WaiterState::Gone) {
            WaiterState::Waiting(_) => {
                *state = WaiterState::Waiting(Some(cx.waker().clone()));
                Poll::Pending
            }
            WaiterState::Admitted(slot) => Poll::Ready(Ok(slot)),
            WaiterState::Refused | WaiterState::Gone => Poll::Ready(Err(Refused::Closed)),
        }
    }
}

impl Drop for Admit<'_> {
    fn drop(&mut self) {
        let Some(waiter) = &self.waiter else { return };
        // Leaves the queue first: from then on nobody else settles this waiter. The longest wait
        // ends first, so the search is short.
        let mut state = self.admission.state.lock();
        let place = state.waiters.iter().position(|w| Arc::ptr_eq(w, waiter));
        if let Some(place) = place {
            state.waiters.remove(place);
            // Waiters behind it may fit although this larger one did not.
            let mut wakers = Vec::new();
            self.admission.admit_waiters(&mut state, &mut wakers);
            drop(state);
            wake(wakers);
            return;
        }
        drop(state);
        let settled = std::mem::replace(&mut *waiter.state.lock(), WaiterState::Gone);
        if let WaiterState::Admitted(slot) = settled {
            self.admission.release(&slot);
        }
    }
}

#[cfg(test)]
mod tests;
