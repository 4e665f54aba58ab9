use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use crate::receipt::{SlotRef, Slots};

/// Which events are in the producer: bounded in events and bytes, first come first served.
///
/// An event is admitted when it fits beside those in flight, and no one waits before it; one that
/// is larger than the whole buffer is admitted alone. Flushes are told by epoch: every event
/// belongs to the epoch in which it was admitted, a flush ends its epoch, and is done when no
/// event of it or an earlier one is in flight.
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
    /// Waiting publishers, in the order of their calls.
    waiters: VecDeque<Arc<Waiter>>,
    epoch: u64,
    /// Events in flight for each epoch that is not over, the oldest first.
    epochs: VecDeque<(u64, usize)>,
    flushes: Vec<(u64, Waker)>,
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
            }),
        }
    }

    /// Admits an event of this size, or says why not, at once.
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

    /// Ends the stay of an event.
    pub(crate) fn release(&self, slot: &SlotRef, bytes: usize) {
        let mut state = self.state.lock();
        state.events -= 1;
        state.bytes -= bytes;
        let epoch = slot.epoch();
        if let Some((_, count)) = state.epochs.iter_mut().find(|(e, _)| *e == epoch) {
            *count -= 1;
            if *count == 0 {
                state.wake_flushes();
            }
        }
        self.admit_waiters(&mut state);
    }

    /// Refuses everything from now on, those who wait included.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        for waiter in std::mem::take(&mut state.waiters) {
            waiter.settle(WaiterState::Refused);
        }
    }

    /// Completes when every event that was admitted before this call has left.
    pub(crate) fn flushed(&self) -> impl Future<Output = ()> + Send + '_ {
        let epoch = {
            let mut state = self.state.lock();
            state.epoch += 1;
            state.epoch - 1
        };
        std::future::poll_fn(move |cx| {
            let mut state = self.state.lock();
            if state.is_over(epoch) {
                return Poll::Ready(());
            }
            state
                .flushes
                .retain(|(_, waker)| !waker.will_wake(cx.waker()));
            state.flushes.push((epoch, cx.waker().clone()));
            Poll::Pending
        })
    }

    /// Events and bytes in flight.
    pub(crate) fn in_flight(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.events, state.bytes)
    }

    /// Publishers that wait for room.
    pub(crate) fn waiting(&self) -> usize {
        self.state.lock().waiters.len()
    }

    fn fits(&self, state: &State, bytes: usize) -> bool {
        state.events == 0
            || (state.events < self.max_events && state.bytes + bytes <= self.max_bytes)
    }

    fn admit_waiters(&self, state: &mut State) {
        while let Some(first) = state.waiters.front() {
            if !self.fits(state, first.bytes) {
                return;
            }
            let waiter = Arc::clone(first);
            state.waiters.pop_front();
            let slot = state.admit(waiter.bytes);
            waiter.settle(WaiterState::Admitted(slot));
        }
    }
}

impl State {
    fn admit(&mut self, bytes: usize) -> SlotRef {
        self.events += 1;
        self.bytes += bytes;
        let epoch = self.epoch;
        match self.epochs.back_mut() {
            Some((e, count)) if *e == epoch => *count += 1,
            _ => self.epochs.push_back((epoch, 1)),
        }
        self.slots.take(epoch)
    }

    fn is_over(&mut self, epoch: u64) -> bool {
        while let Some((e, 0)) = self.epochs.front()
            && *e < self.epoch
        {
            self.epochs.pop_front();
        }
        self.epochs.front().is_none_or(|(e, _)| *e > epoch)
    }

    fn wake_flushes(&mut self) {
        let mut i = 0;
        while i < self.flushes.len() {
            if self.is_over(self.flushes[i].0) {
                self.flushes.swap_remove(i).1.wake();
            } else {
                i += 1;
            }
        }
    }
}

impl Waiter {
    fn settle(&self, to: WaiterState) {
        let before = std::mem::replace(&mut *self.state.lock(), to);
        if let WaiterState::Waiting(Some(waker)) = before {
            waker.wake();
        }
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
        // Out of the queue first: from then on no one else settles this waiter.
        let mut state = self.admission.state.lock();
        let before = state.waiters.len();
        state.waiters.retain(|w| !Arc::ptr_eq(w, waiter));
        let was_waiting = state.waiters.len() < before;
        if was_waiting {
            // Those behind may fit where this one, being larger, did not.
            self.admission.admit_waiters(&mut state);
            return;
        }
        drop(state);
        let settled = std::mem::replace(&mut *waiter.state.lock(), WaiterState::Gone);
        if let WaiterState::Admitted(slot) = settled {
            self.admission.release(&slot, self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receipt::block_on;
    use futures_util::FutureExt;

    #[test]
    fn refuses_when_events_or_bytes_are_used_up() {
        let admission = Admission::new(2, 100);
        let a = admission.try_admit(60).expect("fits");
        assert_eq!(admission.try_admit(60).err(), Some(Refused::Full));
        let _b = admission.try_admit(40).expect("fits");
        assert_eq!(admission.try_admit(0).err(), Some(Refused::Full));
        admission.release(&a, 60);
        assert!(admission.try_admit(60).is_ok());
    }

    #[test]
    fn admits_an_event_larger_than_the_buffer_alone() {
        let admission = Admission::new(10, 100);
        let big = admission.try_admit(500).expect("alone");
        assert_eq!(admission.try_admit(1).err(), Some(Refused::Full));
        admission.release(&big, 500);
        assert_eq!(admission.in_flight(), (0, 0));
    }

    #[test]
    fn serves_waiters_in_order_and_lets_no_one_overtake() {
        let admission = Admission::new(1, 100);
        let held = admission.try_admit(1).expect("fits");
        let mut first = Box::pin(admission.admit(1));
        let mut second = Box::pin(admission.admit(1));
        assert!(first.as_mut().now_or_never().is_none());
        assert!(second.as_mut().now_or_never().is_none());
        admission.release(&held, 1);
        assert_eq!(admission.try_admit(1).err(), Some(Refused::Full));
        assert!(second.as_mut().now_or_never().is_none());
        let slot = first
            .as_mut()
            .now_or_never()
            .expect("first in line")
            .expect("open");
        admission.release(&slot, 1);
        assert!(second.as_mut().now_or_never().expect("next").is_ok());
    }

    #[test]
    fn a_dropped_waiter_leaks_nothing() {
        let admission = Admission::new(1, 100);
        let held = admission.try_admit(1).expect("fits");
        let mut waiting = Box::pin(admission.admit(1));
        let mut admitted = Box::pin(admission.admit(1));
        assert!(waiting.as_mut().now_or_never().is_none());
        assert!(admitted.as_mut().now_or_never().is_none());
        drop(waiting);
        admission.release(&held, 1);
        // Settled, but dropped before it was polled again.
        drop(admitted);
        assert_eq!(admission.in_flight(), (0, 0));
        assert!(admission.try_admit(1).is_ok());
    }

    #[test]
    fn close_refuses_waiters_and_newcomers() {
        let admission = Admission::new(1, 100);
        let _held = admission.try_admit(1).expect("fits");
        let mut waiting = Box::pin(admission.admit(1));
        assert!(waiting.as_mut().now_or_never().is_none());
        admission.close();
        assert_eq!(block_on(waiting).err(), Some(Refused::Closed));
        assert_eq!(admission.try_admit(1).err(), Some(Refused::Closed));
    }

    #[test]
    fn a_flush_waits_for_what_was_before_it_only() {
        let admission = Admission::new(10, 100);
        let before = admission.try_admit(1).expect("fits");
        let mut flush = Box::pin(admission.flushed());
        assert!(flush.as_mut().now_or_never().is_none());
        let _after = admission.try_admit(1).expect("fits");
        assert!(flush.as_mut().now_or_never().is_none());
        admission.release(&before, 1);
        assert!(flush.as_mut().now_or_never().is_some());
    }

    #[test]
    fn a_flush_of_nothing_is_done_at_once() {
        let admission = Admission::new(10, 100);
        assert!(admission.flushed().now_or_never().is_some());
        assert!(admission.flushed().now_or_never().is_some());
    }
}
