//! Which event has reached which group.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, Producer as _, ThreadedProducer};

use super::{PATIENCE, Run, Size};
use crate::event::Writer;

/// Counts what arrives; whoever waits is woken by the last one.
pub(super) struct Latch {
    left: AtomicUsize,
    lock: Mutex<()>,
    done: Condvar,
}

impl Latch {
    pub(super) fn new(count: usize) -> Self {
        Self {
            left: AtomicUsize::new(count),
            lock: Mutex::default(),
            done: Condvar::new(),
        }
    }

    fn arm(&self, count: usize) {
        self.left.store(count, Ordering::Release);
    }

    pub(super) fn count(&self) {
        let one_less = |left: usize| left.checked_sub(1);
        let relaxed = Ordering::AcqRel;
        let before = self.left.fetch_update(relaxed, Ordering::Acquire, one_less);
        if before == Ok(1) {
            drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
            self.done.notify_all();
        }
    }

    pub(super) fn wait(&self, what: &str) -> Result<()> {
        let guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let is_open = |(): &mut ()| self.left.load(Ordering::Acquire) > 0;
        let waited = self.done.wait_timeout_while(guard, PATIENCE, is_open);
        drop(waited);
        let left = self.left.load(Ordering::Acquire);
        ensure!(left == 0, "{left} {what} are missing");
        Ok(())
    }
}

/// How many events of each topic have reached each group.
pub(super) struct Arrivals {
    size: Size,
    seen: Vec<AtomicU32>,
    /// How many events each topic has got.
    published: AtomicU32,
    latch: Latch,
}

impl Arrivals {
    pub(super) fn new(size: Size) -> Self {
        let seen = (0..size.registrations()).map(|_| AtomicU32::new(0));
        Self {
            size,
            seen: seen.collect(),
            published: AtomicU32::new(0),
            latch: Latch::new(0),
        }
    }

    pub(super) fn note(&self, group: usize, topic: usize) {
        let at = group * self.size.topics + topic;
        let before = self.seen[at].fetch_add(1, Ordering::Relaxed);
        // One that comes again is not counted in the place of another; `check` tells of it.
        if before + 1 == self.published.load(Ordering::Acquire) {
            self.latch.count();
        }
    }

    /// Publishes an event to each topic, and waits until each has reached each group. Both sides
    /// publish with the same bare producer.
    pub(super) fn publish_and_wait(&self, run: &Run) -> Result<()> {
        self.latch.arm(self.size.registrations());
        self.published.fetch_add(1, Ordering::Release);
        let producer: ThreadedProducer<_> = ClientConfig::new()
            .set("bootstrap.servers", &run.brokers)
            .set("enable.idempotence", "true")
            .set("linger.ms", "0")
            .create_with_context(rdkafka::producer::DefaultProducerContext)?;
        let mut writer = Writer::default();
        for number in 0..self.size.topics {
            let topic = run.topic(number);
            let (key, value) = writer.write(number as u64);
            let mut record = BaseRecord::to(&topic).key(key).payload(value);
            while let Err((error, back)) = producer.send(record) {
                let full = KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
                ensure!(error == full, "{error}");
                std::thread::sleep(Duration::from_millis(1));
                record = back;
            }
        }
        producer.flush(PATIENCE)?;
        self.latch.wait("events").with_context(|| self.missing())
    }

    /// How many events each group misses.
    fn missing(&self) -> String {
        let published = self.published.load(Ordering::Relaxed);
        let groups = self.seen.chunks(self.size.topics).map(|of_group| {
            let seen = of_group.iter().map(|seen| seen.load(Ordering::Relaxed));
            seen.filter(|seen| *seen < published).count()
        });
        format!("missing by group: {:?}", groups.collect::<Vec<_>>())
    }

    /// At the end: each event has reached each group once.
    pub(super) fn check(&self) -> Result<()> {
        let published = self.published.load(Ordering::Relaxed);
        let counts = self.seen.iter().map(|seen| seen.load(Ordering::Relaxed));
        let wrong: Vec<_> = counts
            .enumerate()
            .filter(|(_, seen)| *seen != published)
            .collect();
        ensure!(
            wrong.is_empty(),
            "{} topics have not reached a group exactly once; the first: group {}, topic {}, {} events of {published}",
            wrong.len(),
            wrong[0].0 / self.size.topics,
            wrong[0].0 % self.size.topics,
            wrong[0].1
        );
        Ok(())
    }
}
