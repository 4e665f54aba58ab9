//! Admission: bounded, first come first served, nothing leaks.

use std::time::{Duration, Instant};

use eventstream::{BrokerConfig, ErrorKind};
use futures_util::FutureExt as _;

use crate::support::{SOON, event, setup};

const SHORT: Duration = Duration::from_millis(1500);

fn small() -> BrokerConfig {
    BrokerConfig::new()
        .buffer_events(8usize)
        .publish_timeout(SHORT)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_down_fills_the_buffer_and_every_failure_is_told_once() {
    let s = setup(small());
    s.broker.broker_down(1).unwrap();
    let mut receipts = Vec::new();
    for i in 0..8 {
        receipts.push(s.client.publish(event(i)).await.unwrap());
    }
    let full = s.client.try_publish(event("full")).unwrap_err();
    assert_eq!(full.kind(), ErrorKind::BufferFull);
    assert!(full.is_retriable());
    let mut waiting = Box::pin(s.client.publish(event("waits")));
    assert!(waiting.as_mut().now_or_never().is_none(), "it waits");
    assert_eq!(s.client.writer_stats().waiting, 1);
    let behind = s.client.try_publish(event("behind")).unwrap_err();
    assert_eq!(behind.kind(), ErrorKind::BufferFull, "nobody overtakes");
    for receipt in receipts {
        assert_eq!(receipt.await.unwrap_err().kind(), ErrorKind::Timeout);
    }
    assert_eq!(s.failed.once_each(ErrorKind::Timeout), 8);
    s.broker.broker_up(1).unwrap();
    match waiting.await {
        Ok(receipt) => drop(receipt.await),
        Err(e) => assert_eq!(e.kind(), ErrorKind::Timeout),
    }
    s.client.flush(SOON).await.unwrap();
    let stats = s.client.writer_stats();
    assert_eq!(
        (stats.in_flight, stats.in_flight_bytes, stats.waiting),
        (0, 0, 0)
    );
    s.client.publish_sync(event("after")).await.unwrap();
    assert!(s.client.shutdown(SOON).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn publish_gives_up_when_there_is_no_room_in_time() {
    let s = setup(small().publish_timeout(Duration::from_secs(30)));
    s.broker.broker_down(1).unwrap();
    for i in 0..8 {
        drop(s.client.publish(event(i)).await.unwrap());
    }
    let start = Instant::now();
    let hurried = event("hurried").timeout(Duration::from_millis(200));
    let error = s.client.publish(hurried).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.to_string().contains("not accepted"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(10));
    assert_eq!(s.client.writer_stats().waiting, 0);
    assert_eq!(s.failed.count(), 0, "it was never accepted");
    s.broker.broker_up(1).unwrap();
    assert!(s.client.shutdown(SOON).await.is_empty());
    assert_eq!(s.client.writer_stats().stored, 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publish_that_is_dropped_while_it_waits_publishes_nothing_and_holds_no_room() {
    let s = setup(small().publish_timeout(Duration::from_secs(30)));
    s.broker.broker_down(1).unwrap();
    for i in 0..8 {
        drop(s.client.publish(event(i)).await.unwrap());
    }
    for i in 0..20 {
        let mut dropped = Box::pin(s.client.publish(event(format!("dropped-{i}"))));
        assert!(dropped.as_mut().now_or_never().is_none());
    }
    assert_eq!(s.client.writer_stats().waiting, 0);
    s.broker.broker_up(1).unwrap();
    s.client.flush(SOON).await.unwrap();
    for i in 0..100 {
        drop(s.client.publish(event(i)).await.unwrap());
    }
    assert!(s.client.shutdown(SOON).await.is_empty());
    let stats = s.client.writer_stats();
    assert_eq!((stats.accepted, stats.stored), (108, 108));
    assert_eq!((stats.in_flight, stats.in_flight_bytes), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_buffer_of_one_event_lets_many_publishers_through() {
    let s = setup(BrokerConfig::new().buffer_events(1usize));
    let mut tasks = Vec::new();
    for task in 0..20 {
        let client = s.client.clone();
        tasks.push(tokio::spawn(async move {
            for i in 0..20 {
                client
                    .publish_sync(event(format!("{task}-{i}")))
                    .await
                    .unwrap();
            }
        }));
    }
    for task in tasks {
        tokio::time::timeout(SOON, task).await.unwrap().unwrap();
    }
    assert_eq!(s.client.writer_stats().stored, 400);
    assert!(s.client.shutdown(SOON).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_bound_the_buffer_too() {
    let s = setup(BrokerConfig::new().buffer_bytes(1024 * 1024usize));
    s.broker.broker_down(1).unwrap();
    let large = "x".repeat(300 * 1024);
    let large = |i: usize| event(i).additional_fields(serde_json::json!({"large": large}));
    for i in 0..3 {
        drop(s.client.try_publish(large(i)).unwrap());
    }
    let full = s.client.try_publish(large(3)).unwrap_err();
    assert_eq!(full.kind(), ErrorKind::BufferFull);
    drop(s.client.try_publish(event("small")).unwrap());
    s.broker.broker_up(1).unwrap();
    assert!(s.client.shutdown(SOON).await.is_empty());
}
