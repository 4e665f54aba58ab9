use std::collections::BTreeMap;
use std::future::Future;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The deadlines of waiters, kept by the delivery thread: publishing needs neither a runtime nor its timers.
#[derive(Default)]
pub(super) struct Alarms(Mutex<State>);

#[derive(Default)]
struct State {
    next: u64,
    set: BTreeMap<(Instant, u64), Waker>,
    /// Nobody checks any more: waiting for a time ends at once.
    over: bool,
}

/// One deadline. Dropping it removes it.
struct Alarm<'a> {
    alarms: &'a Alarms,
    at: Instant,
    key: Option<(Instant, u64)>,
}

impl Alarms {
    /// Awaits the future until the deadline; `None` if that comes first. A time that cannot be represented never
    /// comes. `wake` makes the delivery thread check the alarms if it would sleep past this one.
    pub(super) async fn until<F: Future>(
        &self,
        at: Option<Instant>,
        asleep_for: Duration,
        wake: impl Fn(),
        future: F,
    ) -> Option<F::Output> {
        let mut future = std::pin::pin!(future);
        let mut alarm = at.map(|at| Alarm {
            alarms: self,
            at,
            key: None,
        });
        std::future::poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
            let Some(alarm) = &mut alarm else {
                return Poll::Pending;
            };
            let now = Instant::now();
            if alarm.at <= now || !alarm.set(cx) {
                return Poll::Ready(None);
            }
            if alarm.at < now + asleep_for {
                wake();
            }
            Poll::Pending
        })
        .await
    }

    pub(super) fn next(&self) -> Option<Instant> {
        let state = self.0.lock();
        state.set.first_key_value().map(|((at, _), _)| *at)
    }

    /// The wakers to call now.
    #[must_use = "those who wait sleep until they are woken"]
    pub(super) fn due(&self, now: Instant) -> Vec<Waker> {
        let mut state = self.0.lock();
        let mut wakers = Vec::new();
        while let Some(first) = state.set.first_entry()
            && first.key().0 <= now
        {
            wakers.push(first.remove());
        }
        wakers
    }

    /// Ends all waits; returns the wakers to call.
    #[must_use = "those who wait sleep until they are woken"]
    pub(super) fn end(&self) -> Vec<Waker> {
        let mut state = self.0.lock();
        state.over = true;
        std::mem::take(&mut state.set).into_values().collect()
    }
}

impl Alarm<'_> {
    /// `false` if nobody would wake it.
    fn set(&mut self, cx: &Context<'_>) -> bool {
        let mut state = self.alarms.0.lock();
        if state.over {
            return false;
        }
        let key = *self.key.get_or_insert_with(|| {
            state.next += 1;
            (self.at, state.next)
        });
        state.set.insert(key, cx.waker().clone());
        true
    }
}

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.alarms.0.lock().set.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    fn never() -> std::future::Pending<()> {
        std::future::pending()
    }

    #[test]
    fn rings_in_order_and_forgets_who_has_gone() {
        let alarms = Alarms::default();
        let now = Instant::now();
        let far = |secs| Some(now + Duration::from_secs(secs));
        let mut late = Box::pin(alarms.until(far(20), Duration::ZERO, || {}, never()));
        let mut early = Box::pin(alarms.until(far(10), Duration::ZERO, || {}, never()));
        assert!(late.as_mut().now_or_never().is_none());
        assert!(early.as_mut().now_or_never().is_none());
        assert_eq!(alarms.next(), far(10));
        assert!(alarms.due(now).is_empty());
        assert_eq!(alarms.due(now + Duration::from_secs(15)).len(), 1);
        drop((late, early));
        assert_eq!(alarms.next(), None);
    }

    #[test]
    fn wakes_the_thread_only_where_it_would_sleep_too_long() {
        let alarms = Alarms::default();
        let woken = std::cell::Cell::new(0);
        let wake = || woken.set(woken.get() + 1);
        let second = Duration::from_secs(1);
        let in_a_minute = Some(Instant::now() + Duration::from_secs(60));
        let wait = alarms.until(in_a_minute, second, wake, never());
        assert!(wait.now_or_never().is_none());
        assert_eq!(woken.get(), 0);
        let soon = Some(Instant::now() + second / 2);
        assert!(
            alarms
                .until(soon, second, wake, never())
                .now_or_never()
                .is_none()
        );
        assert_eq!(woken.get(), 1);
    }

    #[test]
    fn nobody_waits_for_a_thread_that_has_ended() {
        let alarms = Alarms::default();
        assert!(alarms.end().is_empty());
        let far = Some(Instant::now() + Duration::from_secs(60));
        let wait = alarms.until(far, Duration::ZERO, || {}, never());
        assert_eq!(wait.now_or_never(), Some(None));
    }
}
