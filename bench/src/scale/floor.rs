//! The floor: a bare consumer with a polling thread for each group.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use rdkafka::Message as _;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;

use super::Run;
use super::arrivals::{Arrivals, Latch};
use super::figures::Figures;
use crate::measure::cpu;

/// As the library's thread sleeps, which is woken to stop.
const POLL: Duration = Duration::from_millis(500);

/// What the polling threads share.
struct Shared {
    arrivals: Arrivals,
    /// Counts partitions whose end was reached, so that their starts are fixed.
    ends: Latch,
    stops: AtomicBool,
}

pub(super) fn run(run: &Run) -> Result<Figures> {
    let mut figures = Figures::begin()?;
    let shared = Arc::new(Shared {
        arrivals: Arrivals::new(run.size),
        ends: Latch::new(run.size.assigned()),
        stops: AtomicBool::new(false),
    });

    let (before, start) = (cpu(), Instant::now());
    let topics: Vec<_> = (0..run.size.topics).map(|n| run.topic(n)).collect();
    let topics: Vec<_> = topics.iter().map(String::as_str).collect();
    let mut threads = Vec::new();
    for group in 0..run.size.groups {
        let consumer = consumer(run, group)?;
        consumer.subscribe(&topics)?;
        threads.push(poll(consumer, group, Arc::clone(&shared))?);
    }
    figures.registered = start.elapsed().as_secs_f64();
    shared.ends.wait("ends of partitions")?;
    figures.assigned = start.elapsed().as_secs_f64();
    shared.arrivals.publish_and_wait(run)?;
    figures.read = start.elapsed().as_secs_f64();
    figures.read_cpu = (cpu() - before).as_secs_f64();

    figures.rest(run.rest)?;
    let start = Instant::now();
    shared.arrivals.publish_and_wait(run)?;
    figures.arrived = start.elapsed().as_secs_f64();

    let start = Instant::now();
    shared.stops.store(true, Ordering::Release);
    for thread in threads {
        thread
            .join()
            .map_err(|_| anyhow!("a polling thread panicked"))??;
    }
    figures.stopped = start.elapsed().as_secs_f64();
    shared.arrivals.check()?;
    Ok(figures)
}

/// With the options that the library sets.
fn consumer(run: &Run, group: usize) -> Result<BaseConsumer> {
    let consumer = ClientConfig::new()
        .set("bootstrap.servers", &run.brokers)
        .set("group.id", run.group(group))
        .set("partition.assignment.strategy", "range,roundrobin")
        .set("session.timeout.ms", "10000")
        .set("heartbeat.interval.ms", "3000")
        .set("max.poll.interval.ms", "60000")
        .set("topic.metadata.refresh.interval.ms", "30000")
        .set("allow.auto.create.topics", "false")
        .set("auto.offset.reset", "latest")
        .set("auto.commit.interval.ms", "1000")
        .set("enable.partition.eof", "true")
        .set("fetch.queue.backoff.ms", "10")
        .set("fetch.wait.max.ms", run.fetch_wait.to_string())
        .set("socket.keepalive.enable", "true")
        .create()?;
    Ok(consumer)
}

fn poll(
    consumer: BaseConsumer,
    group: usize,
    shared: Arc<Shared>,
) -> Result<JoinHandle<Result<()>>> {
    let body = move || {
        let mut told = HashSet::new();
        while !shared.stops.load(Ordering::Acquire) {
            match consumer.poll(POLL) {
                Some(Err(KafkaError::PartitionEOF(_))) => shared.ends.count(),
                // Reported again and again while a broker is overloaded; `Arrivals` shows what is missing.
                Some(Err(error)) if told.insert(error.to_string()) => eprintln!("floor: {error}"),
                None | Some(Err(_)) => {}
                Some(Ok(message)) => {
                    let number = message.topic().rsplit('-').next();
                    let topic = number.context("a topic without a number")?.parse()?;
                    ensure!(message.payload().is_some(), "an event without a value");
                    shared.arrivals.note(group, topic);
                }
            }
        }
        // Closes: commits and leaves the group.
        drop(consumer);
        Ok(())
    };
    let thread = std::thread::Builder::new().name("floor-poller".to_owned());
    Ok(thread.spawn(body)?)
}
