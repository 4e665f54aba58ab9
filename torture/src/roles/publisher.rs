//! A publishing process: several tasks, each with its own keys, at the requested rate.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use checker::history::{self, Sample, Writer};
use clap::Args;
use eventstream::{Backend, BrokerConfig, Client, Compression, Publish, Receipt};
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::{Common, sample};
use crate::layout::{PREFIX, TOPICS, TopicPlan};

/// Events are published in windows, so that pacing costs little.
const WINDOW: Duration = Duration::from_millis(50);
/// The maximum number of accepted events without an outcome; if the brokers stall, `publish` waits.
const BUFFER: usize = 20_000;
const KEYS: u64 = 64;
const TASKS: u64 = 2;
const FLUSH: Duration = Duration::from_secs(90);

#[derive(Args)]
pub(crate) struct PublisherArgs {
    #[command(flatten)]
    common: Common,
    /// Which of the publishers it is, from 0
    #[arg(long)]
    number: u64,
    /// Of how many
    #[arg(long)]
    of: u64,
    /// Events a second
    #[arg(long)]
    rate: u32,
    /// How long an event may take, in seconds
    #[arg(long)]
    timeout: u64,
    /// Without the idempotent producer
    #[arg(long)]
    not_idempotent: bool,
}

/// About 150 bytes as JSON.
#[derive(Serialize)]
struct Payload<'a> {
    number: u64,
    seq: u64,
    note: &'a str,
}

const NOTE: &str = "a parcel from the warehouse by the river to the house on the hill, \
                    to be left with the neighbour if need be";

struct Publisher {
    client: Client,
    history: Writer,
    ended: AtomicBool,
    /// The number of the next event, which ids are derived from.
    next: AtomicU64,
    number: u64,
    of: u64,
}

type Outcomes = mpsc::UnboundedSender<(u64, Receipt)>;

/// Publishes until SIGTERM, then waits for every outcome.
pub(crate) async fn run(args: PublisherArgs) -> Result<()> {
    let config = BrokerConfig::new()
        .client_id("publisher")
        .compression(Compression::Zstd)
        .linger(Duration::from_millis(10))
        .buffer_events(BUFFER)
        .publish_timeout(Duration::from_secs(args.timeout))
        .idempotence(args.not_idempotent.then_some(false));
    let client = Client::builder(Backend::Kafka)
        .prefix(PREFIX)
        .brokers(args.common.brokers())
        .config(config)
        .build()?;
    let publisher = Arc::new(Publisher {
        client,
        history: Writer::create(&args.common.history, &args.common.name)?,
        ended: AtomicBool::new(false),
        next: AtomicU64::new(0),
        number: args.number,
        of: args.of,
    });
    let mut terminated = signal(SignalKind::terminate())?;
    let shares: u32 = TOPICS.iter().map(|topic| topic.share).sum();
    let mut tasks = Vec::new();
    for topic in &TOPICS {
        let rate = args.rate * topic.share / shares;
        for task in 0..TASKS {
            let per_window = f64::from(rate) * WINDOW.as_secs_f64() / TASKS as f64;
            let keys = (args.number * TASKS + task) * KEYS;
            let publisher = Arc::clone(&publisher);
            tasks.push(tokio::spawn(publisher.publish(topic, keys, per_window)));
        }
    }
    let mut second = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            _ = terminated.recv() => break,
            _ = second.tick() => publisher.sample(),
        }
    }
    publisher.ended.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await?;
    }
    // Whatever is pending fails with the shutdown.
    publisher.client.flush(FLUSH).await.ok();
    publisher.client.shutdown(FLUSH).await;
    publisher.history.ended()?;
    Ok(())
}

impl Publisher {
    async fn publish(self: Arc<Self>, topic: &'static TopicPlan, keys: u64, per_window: f64) {
        let (outcomes, receipts) = mpsc::unbounded_channel();
        let resolver = tokio::spawn(Arc::clone(&self).resolve(receipts));
        let mut seqs = [0_u64; KEYS as usize];
        let mut random = fastrand::Rng::with_seed(keys);
        let mut windows = tokio::time::interval(WINDOW);
        // The backlog of a stall is not caught up at once.
        windows.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut due = 0.0;
        let mut turn = 0;
        while !self.ended.load(Ordering::Relaxed) {
            windows.tick().await;
            due += per_window;
            while due >= 1.0 && !self.ended.load(Ordering::Relaxed) {
                due -= 1.0;
                let key = random.usize(..KEYS as usize);
                let name = if topic.name_of_key { key } else { turn };
                let name = topic.events[name % topic.events.len()];
                turn += 1;
                let event = Draft {
                    topic: topic.name,
                    name,
                    key: keys + key as u64,
                    seq: seqs[key],
                };
                seqs[key] += 1;
                self.one(&event, &outcomes).await;
            }
        }
        drop(outcomes);
        if let Err(error) = resolver.await {
            eprintln!("the outcomes of {}: {error}", topic.name);
            std::process::abort();
        }
    }

    async fn one(&self, draft: &Draft, outcomes: &Outcomes) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let id = number * self.of + self.number;
        self.note(history::Event::Publish(history::Publish {
            id,
            topic: draft.topic,
            key: Some(draft.key),
            seq: draft.seq,
        }));
        let event = Publish::new(draft.topic, draft.name)
            .id(id.to_string())
            .key(draft.key.to_string())
            .payload(&Payload {
                number,
                seq: draft.seq,
                note: NOTE,
            });
        match self.client.publish(event).await {
            Ok(receipt) => {
                self.note(history::Event::Accepted(history::Accepted { id }));
                // The resolver ends after the last receipt.
                let _ = outcomes.send((id, receipt));
            }
            Err(error) => self.note(history::Event::Refused(history::Refused {
                id,
                reason: error.to_string().into(),
            })),
        }
    }

    async fn resolve(self: Arc<Self>, mut receipts: mpsc::UnboundedReceiver<(u64, Receipt)>) {
        while let Some((id, receipt)) = receipts.recv().await {
            self.note(match receipt.await {
                Ok(delivery) => history::Event::Stored(history::Stored {
                    id,
                    partition: delivery.partition(),
                    offset: delivery.offset(),
                }),
                Err(error) => history::Event::Failed(history::Failed {
                    id,
                    kind: error.kind().as_str(),
                    reason: error.to_string().into(),
                }),
            });
        }
    }

    fn note(&self, event: history::Event<'_>) {
        if let Err(error) = self.history.write(event) {
            eprintln!("writing the history: {error}");
            std::process::abort();
        }
    }

    fn sample(&self) {
        self.note(history::Event::Sample(Sample {
            published: self.next.load(Ordering::Relaxed),
            in_flight: self.client.writer_stats().in_flight as u64,
            ..sample::of_this_process()
        }));
    }
}

/// An event without its id.
struct Draft {
    topic: &'static str,
    name: &'static str,
    key: u64,
    seq: u64,
}
