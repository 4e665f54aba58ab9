//! Each accepted event has one outcome, and it is reported.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use eventstream::{BrokerConfig, Client, EmbeddedBroker, ErrorKind};

use crate::support::{SOON, event, setup};

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_says_where_the_event_is() {
    let s = setup(BrokerConfig::new());
    for offset in 0..3 {
        let receipt = s
            .client
            .publish(event("k").id(format!("id-{offset}")))
            .await
            .unwrap();
        assert_eq!(receipt.id(), format!("id-{offset}"));
        let delivery = receipt.await.unwrap();
        assert_eq!(delivery.topic().as_str(), "t");
        assert_eq!((delivery.partition(), delivery.offset()), (0, offset));
        // librdkafka's mock cluster acknowledges with a constant.
        assert_eq!(delivery.timestamp_millis(), 1234);
    }
    s.client.shutdown(SOON).await;
}

/// librdkafka by itself gets the producer id after half a second.
#[tokio::test(flavor = "multi_thread")]
async fn a_clients_first_event_is_stored_as_soon_as_a_broker_is_connected() {
    let mut took = Vec::new();
    for n in 0..9 {
        let s = setup(BrokerConfig::new());
        let start = Instant::now();
        s.client.publish_sync(event(n)).await.unwrap();
        took.push(start.elapsed());
        assert!(s.client.shutdown(SOON).await.is_empty());
    }
    took.sort_unstable();
    // Not the slowest, as other tests may hold up the machine.
    assert!(took[6] < Duration::from_millis(400), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_s_own_timeout_is_told_once_while_others_go_on() {
    let s = setup(BrokerConfig::new());
    s.broker.broker_down(1).unwrap();
    let patient = s.client.publish(event("patient")).await.unwrap();
    let start = Instant::now();
    let hurried = event("hurried").timeout(Duration::from_millis(300));
    let hurried = s.client.publish(hurried).await.unwrap();
    let error = hurried.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.to_string().contains("may be stored later"), "{error}");
    assert!(start.elapsed() >= Duration::from_millis(300));
    assert!(start.elapsed() < Duration::from_secs(10));
    assert!(!patient.is_done());
    s.broker.broker_up(1).unwrap();
    patient.await.unwrap();
    s.client.flush(SOON).await.unwrap();
    assert_eq!(s.failed.once_each(ErrorKind::Timeout), 1);
    assert!(s.client.shutdown(SOON).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_of_dropped_receipts_reach_the_callback() {
    let s = setup(BrokerConfig::new().publish_timeout(Duration::from_millis(700)));
    s.broker.broker_down(1).unwrap();
    for i in 0..50 {
        drop(s.client.publish(event(i)).await.unwrap());
    }
    s.client.flush(SOON).await.unwrap();
    assert_eq!(s.failed.once_each(ErrorKind::Timeout), 50);
    assert_eq!(s.client.writer_stats().failed, 50);
    s.client.shutdown(SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_that_panics_or_publishes_harms_nothing() {
    let broker = EmbeddedBroker::start().unwrap();
    broker.create_topic("t", 1).unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    let client: Arc<std::sync::OnceLock<Client>> = Arc::default();
    let (seen, own) = (Arc::clone(&calls), Arc::clone(&client));
    let made = Client::embedded()
        .embedded_broker(&broker)
        .config(BrokerConfig::new().publish_timeout(Duration::from_millis(700)))
        .on_error(move |undelivered| {
            let call = seen.fetch_add(1, Ordering::SeqCst);
            let again = own.get().unwrap().try_publish(event("again"));
            assert!(again.is_ok());
            assert!(undelivered.event().is_ok());
            assert!(call % 2 == 0, "every other call panics");
        })
        .build()
        .unwrap();
    client.set(made.clone()).unwrap();
    broker.broker_down(1).unwrap();
    let mut receipts = Vec::new();
    for i in 0..10 {
        receipts.push(made.publish(event(i)).await.unwrap());
    }
    for receipt in receipts {
        assert_eq!(receipt.await.unwrap_err().kind(), ErrorKind::Timeout);
    }
    broker.broker_up(1).unwrap();
    made.flush(SOON).await.unwrap();
    assert!(calls.load(Ordering::SeqCst) >= 10);
    made.shutdown(SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_forgets_a_broker_s_absence_once_events_are_stored_again() {
    let s = setup(BrokerConfig::new());
    s.client.publish_sync(event("before")).await.unwrap();
    s.broker.broker_down(1).unwrap();
    let receipt = s.client.publish(event("meanwhile")).await.unwrap();
    let deadline = Instant::now() + SOON;
    while s.client.health().problems.is_empty() {
        assert!(Instant::now() < deadline, "the absence shows");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    s.broker.broker_up(1).unwrap();
    receipt.await.unwrap();
    s.client.publish_sync(event("after")).await.unwrap();
    assert!(
        s.client.health().problems.is_empty(),
        "{:?}",
        s.client.health()
    );
    s.client.shutdown(SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_waits_for_what_was_accepted_before_it() {
    let s = setup(BrokerConfig::new());
    s.broker
        .round_trip_time(1, Duration::from_millis(100))
        .unwrap();
    let mut receipts = Vec::new();
    for i in 0..20 {
        receipts.push(s.client.publish(event(i)).await.unwrap());
    }
    let left = s.client.flush(Duration::ZERO).await.unwrap_err();
    assert_eq!(left.kind(), ErrorKind::Timeout);
    assert_eq!(
        left.to_string(),
        "flush: 20 events are still pending after 0ns"
    );
    s.client.flush(SOON).await.unwrap();
    assert!(receipts.iter().all(eventstream::Receipt::is_done));
    s.client.shutdown(SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_retries_means_that_the_first_failure_is_the_outcome() {
    let s = setup(
        BrokerConfig::new()
            .publish_retries(0)
            .idempotence(false)
            .publish_timeout(Duration::from_secs(30)),
    );
    s.client.publish_sync(event("first")).await.unwrap();
    s.broker
        .round_trip_time(1, Duration::from_millis(500))
        .unwrap();
    let receipt = s.client.publish(event("second")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    s.broker.broker_down(1).unwrap();
    let start = Instant::now();
    let outcome = receipt.await;
    assert!(start.elapsed() < Duration::from_secs(15), "no retry");
    if let Err(error) = outcome {
        assert_ne!(error.kind(), ErrorKind::Timeout, "{error}");
    }
    s.broker.broker_up(1).unwrap();
    s.client.shutdown(SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_outlive_a_short_absence() {
    let s = setup(BrokerConfig::new());
    s.client.publish_sync(event("first")).await.unwrap();
    s.broker.broker_down(1).unwrap();
    let mut receipts = Vec::new();
    for i in 0..100 {
        receipts.push(s.client.publish(event(i)).await.unwrap());
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    s.broker.broker_up(1).unwrap();
    for (i, receipt) in (1..).zip(receipts) {
        assert_eq!(receipt.await.unwrap().offset(), i, "in order");
    }
    assert_eq!(s.failed.count(), 0);
    s.client.shutdown(SOON).await;
}
