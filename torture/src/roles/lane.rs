//! A probe: one producer and one consumer on the partitions that all probes share, by the library or by bare librdkafka.
//! When an event arrives is all that it writes down; how long nothing arrives around a fault is the recovery time.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use checker::history::{self, Sample, Writer};
use clap::{Args, ValueEnum};
use eventstream::{Backend, BrokerConfig, Client, Context, Event, Publish, StartOffset, Subscribe};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use tokio::signal::unix::{SignalKind, signal};

use super::{Common, sample};
use crate::layout::{PREFIX, offsets_partition, on_broker};

/// The topic of all probes.
pub(crate) const TOPIC: &str = "lane";
pub(crate) const PARTITIONS: i32 = 6;
const KEYS: u64 = 24;
const PACE: Duration = Duration::from_millis(5);
/// As for the members of the run.
const SESSION: Duration = Duration::from_secs(6);
const STOP: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    Library,
    Bare,
}

impl Kind {
    pub(crate) const ALL: [Self; 2] = [Self::Library, Self::Bare];

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Library => "library",
            Self::Bare => "bare",
        }
    }

    /// Groups with the same coordinator: the names have the same hash.
    pub(crate) fn group(self) -> String {
        let wanted = offsets_partition("lane-library");
        let stem = format!("lane-{}", self.word());
        (0..)
            .map(|number| match number {
                0 => stem.clone(),
                number => format!("{stem}-{number}"),
            })
            .find(|name| offsets_partition(name) == wanted)
            .unwrap_or(stem)
    }
}

#[derive(Args)]
pub(crate) struct LaneArgs {
    #[command(flatten)]
    common: Common,
    #[arg(long)]
    kind: Kind,
}

/// The file of a probe's arrivals, with lines of the form `nanoseconds partition`.
pub(crate) fn arrivals_path(history: &Path, kind: Kind) -> PathBuf {
    history.join(format!("lane-{}.arrivals", kind.word()))
}

struct Lane {
    arrivals: Mutex<BufWriter<File>>,
    arrived: AtomicU64,
    sent: AtomicU64,
    ended: AtomicBool,
    history: Writer,
}

/// Runs until SIGTERM.
pub(crate) async fn run(args: LaneArgs) -> Result<()> {
    let common = &args.common;
    let path = arrivals_path(&common.history, args.kind);
    let file = File::create(&path).with_context(|| format!("creating {}", path.display()))?;
    let lane = Arc::new(Lane {
        arrivals: Mutex::new(BufWriter::new(file)),
        arrived: AtomicU64::new(0),
        sent: AtomicU64::new(0),
        ended: AtomicBool::new(false),
        history: Writer::create(&common.history, &common.name)?,
    });
    match args.kind {
        Kind::Library => lane.library(common).await?,
        Kind::Bare => lane.bare(common).await?,
    }
    lane.sample()?;
    lane.history.ended()?;
    Ok(())
}

impl Lane {
    fn arrive(&self, partition: i32) {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        self.arrived.fetch_add(1, Ordering::Relaxed);
        let mut arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        // A probe that cannot write has no figures, which the report shows.
        let _ = writeln!(arrivals, "{} {partition}", now.as_nanos());
    }

    fn sample(&self) -> Result<()> {
        self.arrivals
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .flush()?;
        self.history.write(history::Event::Sample(Sample {
            published: self.sent.load(Ordering::Relaxed),
            handled: self.arrived.load(Ordering::Relaxed),
            ..sample::of_this_process()
        }))?;
        Ok(())
    }

    async fn until_terminated(&self) -> Result<()> {
        let mut terminated = signal(SignalKind::terminate())?;
        let mut second = tokio::time::interval(Duration::from_secs(1));
        loop {
            tokio::select! {
                _ = terminated.recv() => break,
                _ = second.tick() => self.sample()?,
            }
        }
        self.ended.store(true, Ordering::Relaxed);
        Ok(())
    }

    async fn library(self: &Arc<Self>, common: &Common) -> Result<()> {
        let client = Client::builder(Backend::Kafka)
            .prefix(PREFIX)
            .brokers(common.brokers())
            .config(BrokerConfig::new().session_timeout(SESSION))
            .build()?;
        let lane = Arc::clone(self);
        let subscribe = Subscribe::new(TOPIC)
            .group_id(Kind::Library.group())
            .offset(StartOffset::Head)
            .on("library", move |context: Context, _: Event| {
                lane.arrive(context.partition());
                std::future::ready(Ok::<_, String>(()))
            });
        let subscription = client.register(subscribe).await?;
        let (lane, publishing) = (Arc::clone(self), client.clone());
        let publisher = tokio::spawn(async move {
            let mut pace = tokio::time::interval(PACE);
            pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
            while !lane.ended.load(Ordering::Relaxed) {
                pace.tick().await;
                let number = lane.sent.fetch_add(1, Ordering::Relaxed);
                let event = Publish::new(TOPIC, "library").key((number % KEYS).to_string());
                // Rejected only while the buffer is full; the next tick publishes again.
                let _ = publishing.try_publish(&event);
            }
        });
        self.until_terminated().await?;
        publisher.await?;
        subscription.stop(STOP).await?;
        client.shutdown(STOP).await;
        Ok(())
    }

    async fn bare(self: &Arc<Self>, common: &Common) -> Result<()> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &common.brokers);
        let producer: ThreadedProducer<DefaultProducerContext> = config
            .clone()
            .set("enable.idempotence", "true")
            .set("linger.ms", "0")
            .set("partitioner", "consistent_random")
            .create()?;
        let consumer: BaseConsumer = config
            .set("group.id", on_broker(&Kind::Bare.group()))
            .set("session.timeout.ms", SESSION.as_millis().to_string())
            .set("auto.offset.reset", "earliest")
            .create()?;
        let topic = on_broker(TOPIC);
        consumer.subscribe(&[&topic])?;
        let lane = Arc::clone(self);
        let consuming = thread::spawn(move || {
            while !lane.ended.load(Ordering::Relaxed) {
                // Errors are ignored, as in most loops: librdkafka recovers by itself.
                if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100))
                    && message.payload().is_some_and(is_bare)
                {
                    lane.arrive(message.partition());
                }
            }
        });
        let lane = Arc::clone(self);
        let producing = thread::spawn(move || {
            while !lane.ended.load(Ordering::Relaxed) {
                thread::sleep(PACE);
                let number = lane.sent.fetch_add(1, Ordering::Relaxed);
                let key = (number % KEYS).to_string();
                // An envelope with its own name, so that the library's probe ignores it.
                let value = format!(r#"{{"id":"{number}","name":"bare","version":1}}"#);
                let record = BaseRecord::to(&topic).key(&key).payload(&value);
                // Rejected only while the queue is full; the next tick publishes again.
                let _ = producer.send(record);
            }
            // Events that are not sent are not looked for.
            let _ = producer.flush(STOP);
        });
        self.until_terminated().await?;
        for thread in [consuming, producing] {
            if thread.join().is_err() {
                anyhow::bail!("a thread of the bare probe panicked");
            }
        }
        Ok(())
    }
}

fn is_bare(value: &[u8]) -> bool {
    value
        .windows(12)
        .take(64)
        .any(|window| window == br#""name":"bare"#)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_have_the_same_coordinator() {
        let partitions = Kind::ALL.map(|kind| offsets_partition(&kind.group()));
        assert_eq!(partitions[0], partitions[1]);
        assert_ne!(Kind::Library.group(), Kind::Bare.group());
    }

    #[test]
    fn a_bare_event_is_told_from_the_library_s() {
        assert!(is_bare(br#"{"id":"17","name":"bare","version":1}"#));
        assert!(!is_bare(br#"{"id":"17","name":"library","version":1}"#));
    }
}
