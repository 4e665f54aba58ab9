//! The floor: `rdkafka` by hand, with a counting context and one `serde_json` pass for each event.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{
    BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer,
};

use crate::event::Writer;
use crate::measure::{Figures, Span, quantile};
use crate::scenario::{Run, WARM_UP};

/// Counts deliveries and wakes the waiter once enough have arrived.
#[derive(Default)]
struct Counting {
    delivered: AtomicU64,
    failed: AtomicU64,
    /// The number of deliveries that a waiter waits for.
    awaited: AtomicU64,
    lock: Mutex<()>,
    changed: Condvar,
}

struct Context(Arc<Counting>);

impl ClientContext for Context {}

impl ProducerContext for Context {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if result.is_err() {
            self.0.failed.fetch_add(1, Ordering::Relaxed);
        }
        let now = self.0.delivered.fetch_add(1, Ordering::SeqCst) + 1;
        if now >= self.0.awaited.load(Ordering::SeqCst) {
            drop(self.0.lock.lock().unwrap_or_else(PoisonError::into_inner));
            self.0.changed.notify_one();
        }
    }
}

impl Counting {
    /// Waits until this many events are delivered.
    fn wait_for(&self, count: u64) {
        if self.delivered.load(Ordering::SeqCst) >= count {
            return;
        }
        self.awaited.store(count, Ordering::SeqCst);
        let mut guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        while self.delivered.load(Ordering::SeqCst) < count {
            guard = self
                .changed
                .wait(guard)
                .unwrap_or_else(PoisonError::into_inner);
        }
        self.awaited.store(u64::MAX, Ordering::SeqCst);
    }
}

struct Floor {
    producer: ThreadedProducer<Context>,
    counting: Arc<Counting>,
    writer: Writer,
    topic: String,
    sent: u64,
}

impl Floor {
    fn new(run: &Run) -> Result<Self> {
        let counting = Arc::new(Counting::default());
        counting.awaited.store(u64::MAX, Ordering::SeqCst);
        let producer = ClientConfig::new()
            .set("bootstrap.servers", &run.brokers)
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("linger.ms", "0")
            .set("partitioner", "consistent_random")
            // The same capacity as the library's buffer.
            .set("queue.buffering.max.messages", "100000")
            .set("queue.buffering.max.kbytes", "65536")
            .create_with_context(Context(Arc::clone(&counting)))?;
        Ok(Self {
            producer,
            counting,
            writer: Writer::default(),
            topic: run.topic.clone(),
            sent: 0,
        })
    }

    fn send(&mut self) -> Result<()> {
        let (key, value) = self.writer.write(self.sent);
        let mut record = BaseRecord::to(&self.topic).key(key).payload(value);
        while let Err((error, back)) = self.producer.send(record) {
            if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                return Err(error.into());
            }
            std::thread::sleep(Duration::from_millis(1));
            record = back;
        }
        self.sent += 1;
        Ok(())
    }

    fn wait_for_all(&self) {
        self.counting.wait_for(self.sent);
    }

    /// Sends everything and waits for the deliveries.
    fn everything(mut self, run: &Run) -> Result<Figures> {
        let span = Span::begin();
        for _ in 0..run.events {
            self.send()?;
        }
        self.wait_for_all();
        let figures = span.end(run.events);
        self.finish(figures)
    }

    fn finish(self, figures: Figures) -> Result<Figures> {
        self.producer.flush(Duration::from_secs(10))?;
        match self.counting.failed.load(Ordering::Relaxed) {
            0 => Ok(figures),
            failed => bail!("{failed} events of the floor failed"),
        }
    }
}

pub(crate) fn all(run: &Run) -> Result<Figures> {
    let mut floor = Floor::new(run)?;
    floor.send()?;
    floor.wait_for_all();
    floor.everything(run)
}

pub(crate) fn fresh(run: &Run) -> Result<Figures> {
    Floor::new(run)?.everything(run)
}

pub(crate) fn one_in_flight(run: &Run) -> Result<Figures> {
    let mut floor = Floor::new(run)?;
    for _ in 0..WARM_UP {
        floor.send()?;
        floor.wait_for_all();
    }
    let mut latencies = Vec::new();
    let span = Span::begin();
    for _ in 0..run.events {
        let start = Instant::now();
        floor.send()?;
        floor.wait_for_all();
        latencies.push(start.elapsed());
    }
    let mut figures = span.end(run.events);
    latencies.sort_unstable();
    figures.p50 = quantile(&latencies, 0.5);
    figures.p99 = quantile(&latencies, 0.99);
    floor.finish(figures)
}

pub(crate) fn some_in_flight(run: &Run, in_flight: u64) -> Result<Figures> {
    let mut floor = Floor::new(run)?;
    floor.send()?;
    floor.wait_for_all();
    let span = Span::begin();
    for _ in 0..run.events {
        floor
            .counting
            .wait_for((floor.sent + 1).saturating_sub(in_flight));
        floor.send()?;
    }
    floor.wait_for_all();
    let figures = span.end(run.events);
    floor.finish(figures)
}
