use super::*;
use crate::publish::receipt::block_on;
use futures_util::FutureExt;

#[test]
fn refuses_when_events_or_bytes_are_used_up() {
    let admission = Admission::new(2, 100);
    let a = admission.try_admit(60).expect("fits");
    assert_eq!(admission.try_admit(60).err(), Some(Refused::Full));
    let _b = admission.try_admit(40).expect("fits");
    assert_eq!(admission.try_admit(0).err(), Some(Refused::Full));
    admission.release(&a);
    assert!(admission.try_admit(60).is_ok());
}

#[test]
fn admits_an_event_larger_than_the_buffer_alone() {
    let admission = Admission::new(10, 100);
    let big = admission.try_admit(500).expect("alone");
    assert_eq!(admission.try_admit(1).err(), Some(Refused::Full));
    admission.release(&big);
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
    admission.release(&held);
    assert_eq!(admission.try_admit(1).err(), Some(Refused::Full));
    assert!(second.as_mut().now_or_never().is_none());
    let slot = first
        .as_mut()
        .now_or_never()
        .expect("first in line")
        .expect("open");
    admission.release(&slot);
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
    admission.release(&held);
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
    admission.release(&before);
    assert!(flush.as_mut().now_or_never().is_some());
}

#[test]
fn a_flush_of_nothing_is_done_at_once() {
    let admission = Admission::new(10, 100);
    assert!(admission.flushed().now_or_never().is_some());
    assert!(admission.flushed().now_or_never().is_some());
}

#[test]
fn one_task_waits_for_two_flushes() {
    let admission = Admission::new(10, 100);
    let first = admission.try_admit(1).expect("fits");
    let mut early = Box::pin(admission.flushed());
    let second = admission.try_admit(1).expect("fits");
    let mut late = Box::pin(admission.flushed());
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut cx = Context::from_waker(&waker);
    assert!(early.as_mut().poll(&mut cx).is_pending());
    assert!(late.as_mut().poll(&mut cx).is_pending());
    admission.release(&first);
    assert!(
        woken.take(),
        "the early flush is told though the late one shares its waker"
    );
    assert!(early.as_mut().poll(&mut cx).is_ready());
    admission.release(&second);
    assert!(woken.take());
    assert!(late.as_mut().poll(&mut cx).is_ready());
}

#[test]
fn a_dropped_flush_leaves_nothing_behind() {
    let admission = Admission::new(10, 100);
    let _held = admission.try_admit(1).expect("fits");
    for _ in 0..10 {
        assert!(admission.flushed().now_or_never().is_none());
    }
    assert_eq!(admission.state.lock().flushes.len(), 0);
}

#[test]
fn who_is_woken_may_come_straight_back() {
    /// A waker that uses the admission, like an executor that polls when it is woken.
    struct Eager(Arc<Admission>);
    impl std::task::Wake for Eager {
        fn wake(self: Arc<Self>) {
            let _ = self.0.in_flight();
        }
    }
    let admission = Arc::new(Admission::new(1, 100));
    let held = admission.try_admit(1).expect("fits");
    let waker = Waker::from(Arc::new(Eager(Arc::clone(&admission))));
    let mut cx = Context::from_waker(&waker);
    let mut waiting = Box::pin(admission.admit(1));
    let mut flush = Box::pin(admission.flushed());
    assert!(waiting.as_mut().poll(&mut cx).is_pending());
    assert!(flush.as_mut().poll(&mut cx).is_pending());
    admission.release(&held);
    assert!(waiting.as_mut().poll(&mut cx).is_ready());
}

#[test]
fn many_leave_together() {
    let admission = Admission::new(10, 100);
    let mut left = Left::default();
    let mut flushes = Vec::new();
    for _ in 0..6 {
        let slot = admission.try_admit(5).expect("fits");
        left.outcome(&slot);
        left.room(&slot);
        flushes.push(Box::pin(admission.flushed()));
    }
    assert_eq!(left.len(), 6);
    wake(admission.release_all(&mut left));
    assert_eq!(admission.in_flight(), (0, 0));
    assert_eq!(left.len(), 0);
    assert!(
        flushes
            .into_iter()
            .all(|mut f| f.as_mut().now_or_never().is_some())
    );
}

#[derive(Default)]
struct Woken(std::sync::atomic::AtomicBool);

impl Woken {
    fn take(&self) -> bool {
        self.0.swap(false, std::sync::atomic::Ordering::SeqCst)
    }
}

impl std::task::Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, std::sync::atomic::Ordering::SeqCst);
    }
}

#[test]
fn an_outcome_without_its_report_ends_the_flush_and_keeps_the_room() {
    let admission = Admission::new(1, 100);
    let slot = admission.try_admit(60).expect("fits");
    let mut flush = Box::pin(admission.flushed());
    assert!(flush.as_mut().now_or_never().is_none());
    let mut left = Left::default();
    left.outcome(&slot);
    wake(admission.release_all(&mut left));
    assert!(flush.as_mut().now_or_never().is_some());
    assert_eq!((admission.pending(), admission.in_flight()), (0, (1, 60)));
    assert_eq!(admission.try_admit(1).err(), Some(Refused::Full));
    left.room(&slot);
    wake(admission.release_all(&mut left));
    assert_eq!(admission.in_flight(), (0, 0));
    assert!(admission.try_admit(1).is_ok());
}

#[test]
fn the_age_of_the_oldest_event_is_known_to_a_second_or_so() {
    let admission = Admission::new(10, 100);
    let start = Instant::now();
    assert_eq!(admission.oldest(start), Duration::ZERO);
    let old = admission.try_admit(1).expect("fits");
    let later = start + Duration::from_secs(30);
    assert!(admission.oldest(later) >= Duration::from_secs(28));
    let young = admission.try_admit(1).expect("fits");
    assert_ne!(old.epoch(), young.epoch(), "a new age has begun");
    admission.release(&old);
    assert!(admission.oldest(Instant::now()) < Duration::from_secs(20));
    admission.release(&young);
    assert_eq!(admission.oldest(later), Duration::ZERO);
}
