use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use eventstream::{Client, Error};
use tokio::task::JoinSet;

use super::Common;
use super::figures::{Figures, Mark};
use super::publish::Failures;
use crate::progress::Progress;
use crate::signals::Interrupt;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(super) common: Common,
    /// How many publishes are in flight at the same time
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    in_flight: u32,
}

pub(crate) const EXAMPLES: &str = "\
Adds \"latency_us\": p50, p99 and max in microseconds, from the call to the receipt.

Examples:
  eventstream bench latency --events 10000
  eventstream bench latency --events 1000000 --in-flight 100 --topic bench";

pub(super) async fn run(
    args: Args,
    client: &Client,
    interrupt: &Interrupt,
) -> anyhow::Result<Option<Figures>> {
    let common = Arc::new(args.common);
    let events = common.events;
    let progress = Progress::new(Some(events), false);
    // The connection is made by the first event, which is not what is asked for here.
    let Some(first) = interrupt.or(client.publish_sync(common.event(0))).await else {
        return Ok(None);
    };
    first?;
    let next = Arc::new(AtomicU64::new(0));
    let mut publishers = JoinSet::new();
    let start = Mark::now()?;
    for _ in 0..u64::from(args.in_flight).min(events) {
        let publisher = Publisher {
            client: client.clone(),
            common: Arc::clone(&common),
            next: Arc::clone(&next),
            progress: progress.clone(),
            interrupt: interrupt.clone(),
        };
        publishers.spawn(publisher.run());
    }
    let mut latencies = Vec::new();
    let mut failures = Failures::default();
    while let Some(done) = publishers.join_next().await {
        let (micros, failed) = done??;
        latencies.extend(micros);
        failures.merge(failed);
    }
    let end = Mark::now()?;
    progress.end();
    if interrupt.is_asked() {
        return Ok(None);
    }
    failures.say();
    let figures = Figures::between(start, end, events, failures.count)?;
    Ok(Some(figures.with_latencies(latencies)))
}

/// Publishes one event after another; one of these runs for each publish in flight.
struct Publisher {
    client: Client,
    common: Arc<Common>,
    next: Arc<AtomicU64>,
    progress: Progress,
    interrupt: Interrupt,
}

impl Publisher {
    async fn run(self) -> Result<(Vec<u32>, Failures), Error> {
        let mut micros = Vec::new();
        let mut failures = Failures::default();
        loop {
            let n = self.next.fetch_add(1, Ordering::Relaxed);
            if n >= self.common.events || self.interrupt.is_asked() {
                return Ok((micros, failures));
            }
            let event = self.common.event(n);
            let start = Instant::now();
            match self.client.publish_sync(event).await {
                Ok(_) => {
                    let took = start.elapsed().as_micros();
                    micros.push(u32::try_from(took).unwrap_or(u32::MAX));
                }
                Err(error) => failures.add(error)?,
            }
            self.progress.inc();
        }
    }
}
