//! A log subscriber that panics at each line and at each span ends nothing of ours.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use eventstream::{BrokerConfig, Client, Context, Event, Publish, Retry, StartOffset, Subscribe};
use tracing::span::{Attributes, Id, Record};
use tracing::{Metadata, Subscriber};

struct Broken;

impl Subscriber for Broken {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("eventstream")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        panic!("a span")
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &tracing::Event<'_>) {
        panic!("a line")
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

const SOON: Duration = Duration::from_secs(20);

async fn until(what: &str, mut is: impl FnMut() -> bool) {
    let end = Instant::now() + SOON;
    while !is() {
        assert!(Instant::now() < end, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_panics_ends_neither_consuming_nor_publishing() {
    // Panics are expected, and there are many.
    std::panic::set_hook(Box::new(|_| {}));
    tracing::subscriber::set_global_default(Broken).unwrap();
    let config = BrokerConfig::new().log_mode(eventstream::LogMode::Debug);
    let client = Client::embedded()
        .prefix("p")
        .config(config)
        .build()
        .unwrap();
    let subscribe = Subscribe::new("t")
        .group_id("g")
        .offset(StartOffset::Head)
        .retry(
            Retry::attempts(2)
                .backoff(eventstream::Backoff::default().initial(Duration::from_millis(5))),
        )
        .dead_letters(true)
        .on_error(|_| panic!("told"))
        .on_any(|context: Context, _: Event| async move {
            match context.offset() % 2 {
                0 => Ok(()),
                _ => Err(std::io::Error::other("odd")),
            }
        });
    let subscription = client.register(subscribe).await.unwrap();
    for _ in 0..10 {
        let stored = client.publish_sync(Publish::new("t", "tested").key("k"));
        tokio::time::timeout(SOON, stored).await.unwrap().unwrap();
    }
    until("handled", || {
        let stats = client.reader_stats();
        (stats.handled, stats.dead_lettered) == (5, 5)
    })
    .await;
    subscription.stop(SOON).await.unwrap();
    assert!(client.shutdown(SOON).await.is_empty());
}
