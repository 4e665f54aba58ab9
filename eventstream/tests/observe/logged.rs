//! Failures that are reported nowhere else are logged.

use std::fmt::{Debug, Write as _};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use eventstream::{BrokerConfig, Client, EmbeddedBroker, Publish, Receipt};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use crate::ways::exporter;

/// Records logged errors, and panics at the end of a delivery of the topic `panics`.
pub(crate) struct Logged;

/// The span that publishes to the topic `panics`, then the one that delivers.
static PANICS: Mutex<Option<Id>> = Mutex::new(None);

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, "{}={value:?} ", field.name()).unwrap();
    }
}

impl<S: Subscriber> Layer<S> for Logged {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, _: Context<'_, S>) {
        let mut line = Line(String::new());
        attributes.record(&mut line);
        let mut panics = PANICS.lock().unwrap();
        let delivers = panics.is_some() && attributes.parent() == panics.as_ref();
        if delivers || line.0.contains("destination.name=panics ") {
            *panics = Some(id.clone());
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        let mut line = Line(String::new());
        values.record(&mut line);
        let is_it = PANICS.lock().unwrap().as_ref() == Some(id);
        assert!(
            !(is_it && line.0.contains("kafka.offset")),
            "a layer that panics"
        );
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() == Level::ERROR {
            let mut line = Line(String::new());
            event.record(&mut line);
            LINES.lock().unwrap().push(line.0);
        }
    }
}

/// The lines about a topic.
fn lines(topic: &str) -> Vec<String> {
    let topic = format!("topic=\"{topic}\"");
    let all = LINES.lock().unwrap();
    all.iter()
        .filter(|line| line.contains(&topic))
        .cloned()
        .collect()
}

/// A client whose events fail.
fn failing(told: bool) -> Client {
    exporter();
    let broker = EmbeddedBroker::start().unwrap();
    broker.broker_down(1).unwrap();
    let mut builder = Client::embedded()
        .embedded_broker(&broker)
        .config(BrokerConfig::new());
    if told {
        builder = builder.on_error(|_| {});
    }
    builder.build().unwrap()
}

async fn publish(client: &Client, topic: &str) -> Receipt {
    let event = Publish::new(topic, "levelUp").id("the-id");
    let event = event.timeout(Duration::from_millis(100));
    client.publish(event).await.unwrap()
}

async fn failed(client: &Client, count: u64) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while client.writer_stats().failed < count {
        assert!(Instant::now() < deadline, "{:?}", client.writer_stats());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_without_receipt_and_callback_is_logged() {
    let client = failing(false);
    drop(publish(&client, "dropped-before").await);
    let held = publish(&client, "dropped-after").await;
    let deadline = Instant::now() + Duration::from_secs(20);
    while lines("dropped-before").is_empty() || !held.is_done() {
        assert!(Instant::now() < deadline, "not logged");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(
        lines("dropped-after"),
        [""; 0],
        "the receipt may still tell"
    );
    drop(held);
    for topic in ["dropped-before", "dropped-after"] {
        let lines = lines(topic);
        assert_eq!(lines.len(), 1, "{lines:?}");
        for part in ["event=\"levelUp\"", "id=\"the-id\"", "kind=\"timeout\""] {
            assert!(lines[0].contains(part), "{part} in {}", lines[0]);
        }
    }
    client.shutdown(Duration::from_millis(10)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_that_is_told_is_not_logged() {
    let client = failing(false);
    assert!(publish(&client, "awaited").await.await.is_err());
    // Events in the report of a shutdown are reported as well.
    let late = Publish::new("reported", "e");
    drop(client.publish(late).await.unwrap());
    assert_eq!(client.shutdown(Duration::from_millis(10)).await.len(), 1);
    let client = failing(true);
    drop(publish(&client, "called-back").await);
    failed(&client, 1).await;
    client.shutdown(Duration::from_millis(10)).await;
    for topic in ["awaited", "reported", "called-back"] {
        assert_eq!(lines(topic), [""; 0], "{topic}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_that_panics_does_not_take_the_outcome_with_it() {
    exporter();
    let broker = EmbeddedBroker::start().unwrap();
    let builder = Client::embedded().embedded_broker(&broker);
    let client = builder.build().unwrap();
    let first = client.publish_sync(Publish::new("panics", "e"));
    let first = tokio::time::timeout(Duration::from_secs(20), first).await;
    first.expect("an outcome").unwrap();
    client
        .publish_sync(Publish::new("goes-on", "e"))
        .await
        .unwrap();
    client.shutdown(Duration::from_secs(20)).await;
    let lines = LINES.lock().unwrap();
    let told = lines
        .iter()
        .any(|line| line.contains("ending a span panicked"));
    assert!(told, "nothing panicked");
}
