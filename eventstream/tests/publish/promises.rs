//! What a full buffer, a timeout and a missing runtime must not do.

use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use eventstream::{BrokerConfig, ErrorKind};

use crate::support::{SOON, event, setup};

#[tokio::test(flavor = "multi_thread")]
async fn headers_count_in_the_buffer_s_bytes() {
    let s = setup(BrokerConfig::new().buffer_bytes(1024 * 1024usize));
    s.broker.broker_down(1).unwrap();
    let large = |i: usize| event(i).header("large", vec![b'x'; 300 * 1024]);
    for i in 0..3 {
        drop(s.client.try_publish(large(i)).unwrap());
    }
    let full = s.client.try_publish(large(3)).unwrap_err();
    assert_eq!(full.kind(), ErrorKind::BufferFull);
    assert!(s.client.writer_stats().in_flight_bytes > 900 * 1024);
    s.broker.broker_up(1).unwrap();
    assert!(s.client.shutdown(SOON).await.is_empty());
    let stats = s.client.writer_stats();
    assert_eq!((stats.in_flight, stats.in_flight_bytes), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_empty_headers_count_too() {
    let s = setup(BrokerConfig::new().buffer_bytes(1024 * 1024usize));
    s.broker.broker_down(1).unwrap();
    let mut accepted = 0;
    let full = loop {
        let many = (0..2_000).fold(event(accepted), |event, _| event.header("", ""));
        match s.client.try_publish(&many) {
            Ok(receipt) => drop(receipt),
            Err(full) => break full,
        }
        accepted += 1;
        assert!(accepted < 100, "librdkafka keeps 40 bytes for each");
    };
    assert_eq!(full.kind(), ErrorKind::BufferFull);
    s.client.shutdown(Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flush_and_shutdown_wait_for_outcomes_not_for_librdkafka() {
    let s = setup(BrokerConfig::new());
    s.broker.broker_down(1).unwrap();
    let hurried = event("hurried").timeout(Duration::from_millis(300));
    let error = s.client.publish_sync(hurried).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    let text = error.to_string();
    assert!(text.contains("Connection refused"), "the cause: {text}");
    let start = Instant::now();
    s.client.flush(SOON).await.unwrap();
    assert_eq!(s.client.writer_stats().in_flight, 0);
    assert!(s.client.shutdown(SOON).await.is_empty());
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!(s.failed.once_each(ErrorKind::Timeout), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_room_of_an_event_that_timed_out_stays_taken() {
    let s = setup(BrokerConfig::new().buffer_events(1usize));
    s.broker.broker_down(1).unwrap();
    let hurried = event("hurried").timeout(Duration::from_millis(200));
    s.client.publish_sync(hurried).await.unwrap_err();
    let full = s.client.try_publish(event("next")).unwrap_err();
    assert_eq!(full.kind(), ErrorKind::BufferFull, "librdkafka has it yet");
    s.broker.broker_up(1).unwrap();
    s.client.publish_sync(event("next")).await.unwrap();
    assert!(s.client.shutdown(SOON).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_timed_out_and_is_stored_all_the_same_is_counted_once() {
    let s = setup(BrokerConfig::new());
    s.client.publish_sync(event("first")).await.unwrap();
    s.broker
        .round_trip_time(1, Duration::from_millis(600))
        .unwrap();
    let hurried = event("hurried").timeout(Duration::from_millis(100));
    let error = s.client.publish_sync(hurried).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    // One partition: it is stored after the one that timed out.
    let last = s.client.publish_sync(event("last")).await.unwrap();
    assert_eq!(last.offset(), 2, "the broker has all three");
    let stats = s.client.writer_stats();
    assert_eq!((stats.accepted, stats.stored, stats.failed), (3, 2, 1));
    assert!(s.client.shutdown(SOON).await.is_empty());
}

/// An executor that knows no tokio.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

fn full() -> BrokerConfig {
    BrokerConfig::new().buffer_events(1usize)
}

#[test]
fn publishing_needs_no_runtime_also_where_the_buffer_is_full() {
    let s = setup(full());
    s.broker.broker_down(1).unwrap();
    drop(block_on(s.client.publish(event("first"))).unwrap());
    let start = Instant::now();
    let waits = event("waits").timeout(Duration::from_millis(300));
    let error = block_on(s.client.publish(waits)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(start.elapsed() < Duration::from_secs(5));
    s.broker.broker_up(1).unwrap();
    drop(block_on(s.client.publish(event("later"))).unwrap());
    block_on(s.client.flush(SOON)).unwrap();
}

#[test]
fn a_runtime_without_timers_will_do() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let s = setup(full());
        s.broker.broker_down(1).unwrap();
        drop(s.client.publish(event("first")).await.unwrap());
        let waits = event("waits").timeout(Duration::from_millis(300));
        let error = s.client.publish(waits).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        s.client
            .flush(Duration::from_millis(100))
            .await
            .unwrap_err();
    });
}
