//! Publishing to a real Kafka that checks rights: a client that only reads needs no write permission, and a refusal
//! names the missing right.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::sync::Arc;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::Result;
use eventstream::{
    BrokerConfig, Client, Context, ErrorKind, Event, LogMode, Publish, SaslMechanism, Security,
    Subscribe,
};
use eventstream_harness::{Kafka, Operation, Resource};

const SOON: Duration = Duration::from_secs(30);

/// Warnings and errors of the process.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl tracing::Subscriber for Lines {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::WARN
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        struct Text(String);
        impl tracing::field::Visit for Text {
            fn record_debug(&mut self, f: &tracing::field::Field, v: &dyn std::fmt::Debug) {
                self.0 += &format!("{}={v:?} ", f.name());
            }
        }
        let mut text = Text(String::new());
        event.record(&mut text);
        self.0.lock().unwrap().push(text.0);
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

impl Lines {
    /// Those with this field: lines about a group do not name the client.
    fn with(&self, field: &str, value: &str) -> Vec<String> {
        let lines = self.0.lock().unwrap();
        let of = |line: &&String| line.contains(&format!("{field}=\"{value}\""));
        lines.iter().filter(of).cloned().collect()
    }
}

fn client(kafka: &Kafka, user: &str) -> Result<Client> {
    let to = kafka.secured()?;
    let name = to.user(user)?;
    let security = Security::sasl(SaslMechanism::Plain, &name.name, &*name.password);
    let config = BrokerConfig::new()
        .security(security.sasl_without_tls(true))
        .log_mode(LogMode::Warn);
    Ok(Client::kafka([&*to.sasl_plaintext])
        .config(config)
        .name(user)
        .build()?)
}

fn event(topic: &str) -> Publish {
    Publish::new(topic, "tested").key("k")
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_to_write() -> Result<()> {
    let lines = Lines::default();
    tracing::subscriber::set_global_default(lines.clone())?;
    let kafka = Kafka::builder()
        .authorizing()
        .user("reader")
        .user("writer")
        .start()?;
    let admin = kafka.admin()?;
    let (topic, other) = (
        eventstream_harness::unique_topic("rights"),
        eventstream_harness::unique_topic("other"),
    );
    for name in [&topic, &other] {
        admin.create_topic(name, 1, 1, &[])?;
    }
    admin.allow("reader", Operation::Read, Resource::Topic(&topic))?;
    admin.allow("reader", Operation::Read, Resource::Group(".readers"))?;
    admin.allow("writer", Operation::Write, Resource::Topic(&topic))?;

    // A client that only reads creates no producer, and is healthy.
    let reader = client(&kafka, "reader")?;
    let subscription = reader
        .register(
            Subscribe::new(&topic)
                .group_id("readers")
                .on("tested", |_: Context, _: Event| async {
                    Ok::<(), std::io::Error>(())
                })
                .offset(eventstream::StartOffset::Head),
        )
        .await?;
    let writer = client(&kafka, "writer")?;
    writer.publish_sync(event(&topic)).await?;
    let deadline = Instant::now() + SOON;
    while reader.reader_stats().handled == 0 {
        assert!(Instant::now() < deadline, "{:?}", reader.health());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(reader.health().problems.is_empty(), "{:?}", reader.health());
    let mut told = lines.with("client", "reader");
    told.extend(lines.with("group", ".readers"));
    assert_eq!(told, Vec::<String>::new());

    // Another topic: the right and the topic are named, the rest of the client continues.
    let error = writer.publish_sync(event(&other)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized, "{error}");
    let text = error.to_string();
    let wanted = format!("User:writer has no right to Write on topic {other}");
    assert!(text.contains(&wanted), "{text}");
    writer.publish_sync(event(&topic)).await?;
    // The same from librdkafka's memory, before any request.
    let error = writer.publish_sync(event(&other)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized, "{error}");
    writer.publish_sync(event(&topic)).await?;

    // No right to write at all: reported at once, once, with the cause.
    let start = Instant::now();
    let mut receipts = Vec::new();
    for _ in 0..20 {
        receipts.push(reader.publish(event(&topic)).await?);
    }
    for receipt in receipts {
        let error = receipt.await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthorized, "{error}");
        let text = error.to_string();
        let wanted = format!("User:reader has no right to Write on topic {topic}");
        assert!(text.contains(&wanted), "{text}");
        assert!(text.contains("the event is not stored"), "{text}");
    }
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "{:?}",
        start.elapsed()
    );
    assert!(!reader.health().problems.is_empty());
    // Refused again and again, but reported once.
    let until = Instant::now() + Duration::from_secs(8);
    while Instant::now() < until {
        let error = reader.publish_sync(event(&topic)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthorized, "{error}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let rebuilt = reader.writer_stats().rebuilt;
    assert!((1..=4).contains(&rebuilt), "{rebuilt} instances in 8 s");
    let told: Vec<_> = lines
        .with("client", "reader")
        .into_iter()
        .filter(|line| !line.contains("an event was not stored"))
        .filter(|line| !line.contains("more events were not stored"))
        .collect();
    assert_eq!(told.len(), 1, "{told:#?}");
    let wanted = format!("User:reader has no right to Write on topic {topic}");
    assert!(told[0].contains(&wanted), "{told:#?}");

    // Once the right is granted, publishing resumes by itself.
    admin.allow("reader", Operation::Write, Resource::Topic(&topic))?;
    let deadline = Instant::now() + 2 * SOON;
    while let Err(error) = reader.publish_sync(event(&topic)).await {
        assert!(Instant::now() < deadline, "{error}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(reader.health().problems.is_empty(), "{:?}", reader.health());
    subscription.stop(SOON).await.expect("stopped");
    assert!(reader.shutdown(SOON).await.is_empty());
    assert!(writer.shutdown(SOON).await.is_empty());
    Ok(())
}
