//! The floor: one thread that polls, decodes into an owned struct and counts.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rdkafka::Message as _;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::consuming::{Count, HANDLERS, WORK};
use crate::measure::Figures;
use crate::scenario::Run;

/// How long the first event may take, including the group's first assignment.
const PATIENCE: Duration = Duration::from_secs(30);

/// The envelope, owned, so that a handler could keep it: one pass of `serde_json`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "decoded to be handed over, as a service would")]
struct Envelope {
    id: String,
    name: String,
    namespace: String,
    client_id: String,
    trace_id: String,
    span_context: String,
    user_id: String,
    session_id: String,
    timestamp: String,
    timestamp_unix_nano: i64,
    version: i64,
    payload: Box<RawValue>,
}

pub(crate) fn all(run: &Run) -> Result<Figures> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &run.brokers)
        .set(
            "group.id",
            format!("{}-floor-{}", run.topic, std::process::id()),
        )
        .set("auto.offset.reset", "earliest")
        .set("auto.commit.interval.ms", "1000")
        .set("fetch.queue.backoff.ms", "10")
        .create()?;
    consumer.subscribe(&[&run.topic])?;
    let count = Count::new(run.events);
    let mut silent_since = Instant::now();
    for _ in 0..run.events {
        let message = loop {
            if let Some(message) = consumer.poll(Duration::from_millis(100)) {
                break message?;
            }
            ensure!(silent_since.elapsed() < PATIENCE, "no events come");
        };
        silent_since = Instant::now();
        let envelope: Envelope = serde_json::from_slice(message.payload().context("no value")?)?;
        black_box(&envelope);
        count.add();
    }
    count.wait()
}

/// The cost of the handlers alone: as many tasks, each doing its work sequentially.
pub(crate) fn keys(run: &Run) -> Result<Figures> {
    let runtime = tokio::runtime::Runtime::new()?;
    let count = Arc::new(Count::new(run.events));
    for task in 0..u64::from(HANDLERS) {
        let counted = Arc::clone(&count);
        let share =
            run.events / u64::from(HANDLERS) + u64::from(task < run.events % u64::from(HANDLERS));
        runtime.spawn(async move {
            for _ in 0..share {
                async_io::Timer::after(WORK).await;
                counted.add();
            }
        });
    }
    count.wait()
}
