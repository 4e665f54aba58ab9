//! Behaviour that only shows with errors injected into librdkafka or its mock cluster.

use std::collections::HashMap;
use std::future::Future;
use std::task::{Context, Poll, Wake, Waker};

use futures_util::FutureExt as _;
use rdkafka::ClientContext as _;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka_sys::rd_kafka_resp_err_t as Answer;

use super::delivery::DeliveryContext;
use super::*;
use crate::config::BrokerConfig;
use crate::error::ErrorKind;
use crate::kafka::config::{ClientConfigs, EMBEDDED};
use crate::observe::metrics::ClientMeter;

/// Generous for two busy cores.
const SOON: Duration = Duration::from_secs(20);

type Failed = Arc<Mutex<Vec<(String, ErrorKind)>>>;

struct Setup {
    broker: EmbeddedBroker,
    producer: Producer,
    failed: Failed,
}

fn setup(config: &BrokerConfig) -> Setup {
    let broker = EmbeddedBroker::start().expect("a broker");
    broker.create_topic("t", 1).expect("a topic");
    let brokers = [broker.address().to_owned()];
    let configs = ClientConfigs::new(config, &brokers, EMBEDDED).expect("valid");
    let failed = Failed::default();
    let seen = Arc::clone(&failed);
    let producer = Producer::new(ProducerOptions {
        name: "test".into(),
        prefix: "".into(),
        config: configs.producer,
        buffer_events: config.buffer_events,
        buffer_bytes: config.buffer_bytes,
        publish_timeout: config.effective_publish_timeout(),
        message_max_bytes: config.effective_message_max_bytes(),
        on_error: Some(Arc::new(move |undelivered: Undelivered| {
            let value = String::from_utf8_lossy(undelivered.value()).into_owned();
            seen.lock().push((value, undelivered.error().kind()));
        })),
        reporter: Arc::new(Reporter::new("test".into(), config)),
        meter: ClientMeter::default(),
        witness: None,
        keep_alive: Some(broker.clone()),
    })
    .expect("a producer");
    producer.begin().expect("begun");
    Setup {
        broker,
        producer,
        failed,
    }
}

async fn publish(producer: &Producer, key: &str, value: &str) -> Result<Receipt> {
    let record = Outgoing {
        key: Some(key.as_bytes()),
        value: Some(value.as_bytes()),
        ..Outgoing::default()
    };
    let id = EventId::Chosen(value.into());
    producer.publish("t", record, id).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fatal_error_is_told_for_each_event_and_publishing_goes_on() {
    let Setup {
        broker,
        producer,
        failed,
    } = setup(&BrokerConfig::new());
    publish(&producer, "k", "first")
        .await
        .expect("accepted")
        .await
        .expect("stored");
    broker.broker_down(1).expect("down");
    let mut lost = Vec::new();
    for i in 0..300 {
        lost.push(
            publish(&producer, "k", &format!("lost-{i}"))
                .await
                .expect("accepted"),
        );
    }
    producer.inner.current.inject_fatal();
    for receipt in lost {
        let error = receipt.await.expect_err("lost");
        assert_eq!(error.kind(), ErrorKind::Fatal, "{error}");
        assert!(error.is_retriable());
    }
    broker.broker_up(1).expect("up");
    let mut later = Vec::new();
    for i in 0..300 {
        later.push(
            publish(&producer, "k", &format!("later-{i}"))
                .await
                .expect("accepted"),
        );
    }
    let mut offsets = Vec::new();
    for receipt in later {
        offsets.push(receipt.await.expect("stored").offset());
    }
    assert!(offsets.is_sorted(), "order in a key: {offsets:?}");
    let mut told: HashMap<String, usize> = HashMap::new();
    for (value, kind) in failed.lock().iter() {
        assert_eq!(*kind, ErrorKind::Fatal);
        *told.entry(value.clone()).or_default() += 1;
    }
    assert_eq!(told.len(), 300);
    assert!(told.values().all(|times| *times == 1), "told once");
    // A receipt completes first; its room is released with its batch.
    producer.flush(SOON).await.expect("room is released");
    let stats = producer.stats();
    assert_eq!(
        (stats.accepted, stats.stored, stats.failed),
        (601, 301, 300)
    );
    assert_eq!(stats.rebuilt, 1);
    // Room is released a little after the outcomes are reported.
    let empty = async {
        while producer.stats().in_flight != 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(SOON, empty).await.expect("room");
    assert!(producer.shutdown(SOON).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn publishers_in_full_run_survive_losing_the_producer_again_and_again() {
    let Setup {
        producer, failed, ..
    } = setup(&BrokerConfig::new().buffer_events(500usize));
    let producer = Arc::new(producer);
    let mut tasks = Vec::new();
    for task in 0..4 {
        let producer = Arc::clone(&producer);
        tasks.push(tokio::spawn(async move {
            let mut receipts = Vec::new();
            for i in 0..5_000 {
                let value = format!("{task}-{i}");
                receipts.push(publish(&producer, &value, &value).await.expect("accepted"));
            }
            let (mut stored, mut lost) = (0, 0);
            for receipt in receipts {
                match receipt.await {
                    Ok(_) => stored += 1,
                    Err(e) => {
                        assert_eq!(e.kind(), ErrorKind::Fatal, "{e}");
                        lost += 1;
                    }
                }
            }
            (stored, lost)
        }));
    }
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(30)).await;
        producer.inner.current.inject_fatal();
        tokio::time::sleep(Duration::from_millis(1100)).await;
    }
    let (mut stored, mut lost) = (0, 0);
    for task in tasks {
        let (s, l) = tokio::time::timeout(SOON, task)
            .await
            .expect("in time")
            .expect("no panic");
        stored += s;
        lost += l;
    }
    assert_eq!(stored + lost, 20_000, "each event has one outcome");
    assert_eq!(failed.lock().len(), lost);
    assert!(producer.shutdown(SOON).await.is_empty());
    assert_eq!(producer.stats().in_flight, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_producer_that_is_lost_at_once_is_not_replaced_in_a_storm() {
    let Setup { producer, .. } = setup(&BrokerConfig::new());
    producer.inner.current.inject_fatal();
    let again = Instant::now();
    // The first one lives a second before it is replaced, so nothing can be accepted until then.
    let refused = producer.try_publish(
        "t",
        Outgoing {
            value: Some(b"x"),
            ..Outgoing::default()
        },
        EventId::Chosen("x".into()),
    );
    assert_eq!(
        refused.expect_err("no producer").kind(),
        ErrorKind::BufferFull
    );
    let receipt = publish(&producer, "k", "waits").await.expect("waited");
    receipt.await.expect("stored");
    assert!(again.elapsed() > Duration::from_millis(500));
    assert_eq!(producer.stats().rebuilt, 1);
    producer.shutdown(SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_ends_a_client_whose_producer_is_just_being_replaced() {
    let Setup { producer, .. } = setup(&BrokerConfig::new());
    let producer = Arc::new(producer);
    producer.inner.current.inject_fatal();
    let waiting = tokio::spawn({
        let producer = Arc::clone(&producer);
        async move { publish(&producer, "k", "waits").await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let start = Instant::now();
    let left = producer.shutdown(Duration::ZERO).await;
    assert!(start.elapsed() < SOON);
    assert!(left.is_empty(), "it was never accepted: {left:?}");
    let refused = waiting.await.expect("no panic").expect_err("refused");
    assert_eq!(refused.kind(), ErrorKind::Closed);
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_does_not_wait_for_a_publish_that_nobody_polls() {
    let Setup { producer, .. } = setup(&BrokerConfig::new());
    let receipt = publish(&producer, "k", "stored").await.expect("accepted");
    receipt.await.expect("stored");
    producer.inner.current.inject_fatal();
    let mut waiting = Box::pin(publish(&producer, "k", "waits"));
    let now = waiting.as_mut().now_or_never();
    assert!(now.is_none(), "admitted, without an instance");
    let left = tokio::time::timeout(SOON, producer.shutdown(Duration::ZERO)).await;
    let left = left.expect("within its time");
    assert!(left.is_empty(), "it was never accepted: {left:?}");
    let refused = waiting.await.expect_err("refused");
    assert_eq!(refused.kind(), ErrorKind::Closed);
}

/// Each purge adds lines of its own to the queue.
#[tokio::test(flavor = "multi_thread")]
async fn shutdown_ends_at_its_deadline_with_the_debug_log() {
    let config = BrokerConfig::new().base_config("debug", "all");
    let Setup {
        broker, producer, ..
    } = setup(&config);
    broker.broker_down(1).expect("down");
    for n in 0..300 {
        drop(
            publish(&producer, "k", &n.to_string())
                .await
                .expect("accepted"),
        );
    }
    let left = tokio::time::timeout(SOON, producer.shutdown(Duration::ZERO)).await;
    assert_eq!(left.expect("within its time").len(), 300);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waker_that_panics_takes_no_other_outcome_with_it() {
    struct Panicking;
    impl Wake for Panicking {
        fn wake(self: Arc<Self>) {
            panic!("a waker of a test");
        }
    }
    let Setup {
        broker, producer, ..
    } = setup(&BrokerConfig::new());
    broker
        .round_trip_time(1, Duration::from_millis(100))
        .expect("slow");
    let mut bad = Box::pin(publish(&producer, "k", "bad").await.expect("accepted"));
    let good = publish(&producer, "k", "good").await.expect("accepted");
    let waker = Waker::from(Arc::new(Panicking));
    let poll = bad.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(matches!(poll, Poll::Pending));
    good.await.expect("stored");
    bad.await.expect("stored");
    producer.flush(SOON).await.expect("flushed");
    assert!(producer.shutdown(SOON).await.is_empty());
}

/// A panicking log subscriber.
struct Panics;

impl tracing::Subscriber for Panics {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, _: &tracing::Event<'_>) {
        panic!("a subscriber of a test");
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_subscriber_that_panics_does_not_reach_the_delivery_thread() {
    use rdkafka::error::KafkaError;
    let Setup { producer, .. } = setup(&BrokerConfig::new().log_mode(crate::LogMode::Warn));
    let context = DeliveryContext::new(&producer.inner.options, Arc::default(), true);
    tracing::subscriber::with_default(Panics, || {
        context.log(RDKafkaLogLevel::Error, "FAIL", "a line");
        context.error(
            KafkaError::Global(Code::BrokerTransportFailure),
            "a:1/bootstrap: x",
        );
    });
    producer.shutdown(SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_broker_s_own_reason_is_in_the_error_of_an_event_that_timed_out() {
    let config = BrokerConfig::new().publish_timeout(Duration::from_secs(6));
    let Setup {
        broker, producer, ..
    } = setup(&config);
    publish(&producer, "k", "first")
        .await
        .expect("accepted")
        .await
        .expect("stored");
    let code = Answer::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS;
    broker.refuse_to_store(code, 1_000);
    let receipt = publish(&producer, "k", "late").await.expect("accepted");
    let error = receipt.await.expect_err("refused until its time was over");
    assert_eq!(error.kind(), ErrorKind::Timeout);
    let text = error.to_string();
    assert!(text.contains("Not enough in-sync replicas"), "{text}");
    assert!(text.contains("min.insync.replicas"), "{text}");
    assert!(text.contains("partition 0, for "), "{text}");
    producer.shutdown(Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_may_not_be_written_to_is_named_with_the_right() {
    let Setup {
        broker, producer, ..
    } = setup(&BrokerConfig::new());
    let code = Answer::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    broker.refuse_to_store(code, 1);
    let receipt = publish(&producer, "k", "v").await.expect("accepted");
    let error = receipt.await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    let text = error.to_string();
    assert!(
        text.contains("User:ANONYMOUS has no right to Write on topic t"),
        "{text}"
    );
    assert!(text.contains("the event is not stored"), "{text}");
    producer.shutdown(SOON).await;
}
