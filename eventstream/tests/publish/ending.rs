//! Shutdown, and a client dropped without one.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use eventstream::{BrokerConfig, Client, ErrorKind, Publish, Undelivered};

use crate::support::{SOON, event, read, setup};

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_delivers_what_was_accepted_and_refuses_the_rest() {
    let s = setup(BrokerConfig::new());
    let mut receipts = Vec::new();
    for i in 0..5_000 {
        receipts.push(s.client.publish(event(i)).await.unwrap());
    }
    assert!(s.client.shutdown(SOON).await.is_empty());
    assert!(receipts.iter().all(eventstream::Receipt::is_done));
    assert_eq!(s.client.writer_stats().stored, 5_000);
    let refused = s.client.publish(event("late")).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Closed);
    let refused = s.client.try_publish(event("late")).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Closed);
    let start = Instant::now();
    assert!(s.client.shutdown(SOON).await.is_empty(), "a second time");
    s.client.flush(SOON).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_hands_back_what_it_could_not_deliver() {
    let s = setup(BrokerConfig::new());
    s.broker.broker_down(1).unwrap();
    let mut receipts = Vec::new();
    for i in 0..200 {
        receipts.push(s.client.publish(event(i)).await.unwrap());
    }
    let start = Instant::now();
    let left = s.client.shutdown(Duration::from_millis(300)).await;
    assert!(start.elapsed() < Duration::from_secs(10));
    let keys: BTreeSet<_> = left.iter().map(|u| u.key().unwrap().to_vec()).collect();
    assert_eq!((left.len(), keys.len()), (200, 200));
    for undelivered in &left {
        assert_eq!(undelivered.topic(), "t");
        assert_eq!(undelivered.error().kind(), ErrorKind::Closed);
        assert_eq!(undelivered.event().unwrap().name(), "tested");
    }
    for receipt in receipts {
        assert_eq!(receipt.await.unwrap_err().kind(), ErrorKind::Closed);
    }
    assert_eq!(s.failed.once_each(ErrorKind::Closed), 200);
    assert!(s.client.shutdown(Duration::ZERO).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_during_a_shutdown_is_handed_back_too() {
    let s = setup(BrokerConfig::new().publish_timeout(Duration::from_millis(700)));
    s.broker.broker_down(1).unwrap();
    for i in 0..10 {
        drop(s.client.publish(event(i)).await.unwrap());
    }
    let left = s.client.shutdown(SOON).await;
    assert_eq!(left.len(), 10);
    assert_eq!(s.failed.once_each(ErrorKind::Timeout), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_of_a_busy_client_gives_each_event_one_outcome() {
    let s = setup(BrokerConfig::new().buffer_events(64usize));
    s.broker
        .round_trip_time(1, Duration::from_millis(5))
        .unwrap();
    let mut tasks = Vec::new();
    for task in 0..8 {
        let client = s.client.clone();
        tasks.push(tokio::spawn(async move {
            let (mut stored, mut failed) = (0, 0);
            for i in 0.. {
                match client.publish(event(format!("{task}-{i}"))).await {
                    Ok(receipt) => match receipt.await {
                        Ok(_) => stored += 1,
                        Err(_) => failed += 1,
                    },
                    Err(e) => {
                        assert_eq!(e.kind(), ErrorKind::Closed);
                        break;
                    }
                }
            }
            (stored, failed)
        }));
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let (one, two) = tokio::join!(s.client.shutdown(Duration::ZERO), s.client.shutdown(SOON));
    let (mut stored, mut failed) = (0, 0);
    for task in tasks {
        let (s, f) = tokio::time::timeout(SOON, task).await.unwrap().unwrap();
        stored += s;
        failed += f;
    }
    let stats = s.client.writer_stats();
    assert_eq!((stats.stored, stats.failed), (stored, failed));
    assert_eq!(stats.accepted, stored + failed);
    assert_eq!((one.len() + two.len()) as u64, failed);
    assert_eq!((stats.in_flight, stats.in_flight_bytes), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_that_is_dropped_can_be_called_again() {
    let s = setup(BrokerConfig::new());
    s.broker.broker_down(1).unwrap();
    drop(s.client.publish(event("k")).await.unwrap());
    let shutdown = s.client.shutdown(SOON);
    let cut = tokio::time::timeout(Duration::from_millis(100), shutdown).await;
    assert!(cut.is_err());
    assert_eq!(s.client.shutdown(Duration::ZERO).await.len(), 1);
}

/// Keeps the text of warnings.
struct Warnings(Arc<Mutex<Vec<String>>>);

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::WARN
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        struct Text(String);
        impl tracing::field::Visit for Text {
            fn record_debug(&mut self, _: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                self.0 += &format!("{value:?} ");
            }
        }
        let mut text = Text(String::new());
        event.record(&mut text);
        self.0.lock().unwrap().push(text.0);
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_dropped_without_shutdown_delivers_in_the_background_and_says_so() {
    let s = setup(BrokerConfig::new());
    s.broker
        .round_trip_time(1, Duration::from_millis(200))
        .unwrap();
    let mut receipts = Vec::new();
    for i in 0..100 {
        receipts.push(s.client.publish(event(i)).await.unwrap());
    }
    let warnings = Arc::new(Mutex::new(Vec::new()));
    tracing::subscriber::with_default(Warnings(Arc::clone(&warnings)), || drop(s.client));
    let said = warnings.lock().unwrap().concat();
    assert!(said.contains("call `shutdown`"), "{said}");
    for receipt in receipts {
        receipt.await.unwrap();
    }
    assert_eq!(read(&s.broker, "t", 1, 100).len(), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_delivered_is_published_again_as_it_was() {
    let s = setup(BrokerConfig::new());
    let full = |event: Publish| {
        event
            .user_id("48bf8a020b584f31bc605bf65d3300ed")
            .key_bytes(*b"\xff\0")
            .header("origin", "shop")
            .header("origin", *b"\xfe")
    };
    s.broker.broker_down(1).unwrap();
    let pending = full(event("k").id("pending"));
    let expired = full(event("k").id("expired").timeout(Duration::from_millis(50)));
    let told: Arc<Mutex<Vec<Undelivered>>> = Arc::default();
    let into = Arc::clone(&told);
    let client = Client::embedded()
        .embedded_broker(&s.broker)
        .on_error(move |undelivered| into.lock().unwrap().push(undelivered))
        .build()
        .unwrap();
    drop(client.publish(pending).await.unwrap());
    let receipt = client.publish(expired).await.unwrap();
    receipt.await.unwrap_err();
    client.shutdown(Duration::ZERO).await;
    s.broker.broker_up(1).unwrap();
    let mut told = std::mem::take(&mut *told.lock().unwrap());
    told.sort_by_key(|undelivered| undelivered.event().unwrap().id().to_owned());
    assert_eq!(told.len(), 2);
    for undelivered in &told {
        let again = undelivered.clone().into_publish().unwrap();
        s.client.publish_sync(again).await.unwrap();
    }
    for (record, undelivered) in read(&s.broker, "t", 1, 2).iter().zip(&told) {
        let (stored, failed) = (record.json(), undelivered.value());
        assert_eq!(
            stored,
            serde_json::from_slice::<serde_json::Value>(failed).unwrap()
        );
        assert_eq!(record.key.as_deref(), Some(&b"\xff\0"[..]));
        let headers = record.headers.iter();
        let headers: Vec<_> = headers.map(|(n, v)| (&**n, v.as_deref())).collect();
        assert!(
            undelivered.headers().eq(headers.iter().copied()),
            "{headers:?}"
        );
        assert_eq!(headers.last(), Some(&("origin", Some(&b"\xfe"[..]))));
    }
    s.client.shutdown(SOON).await;
}
