//! `bench`: figures of publishing and consuming, each as one JSON line.

use std::time::Duration;

use clap::Subcommand;
use eventstream::{Client, ErrorKind, Metrics, Publish, Topic};
use prometheus::{Registry, TextEncoder};
use tokio::task::JoinHandle;

use crate::connection::Connection;
use crate::exit::Exit;
use crate::output;
use crate::signals::Interrupt;

mod consume;
mod event;
mod figures;
mod latency;
mod publish;
mod traced;

#[derive(Subcommand)]
pub(crate) enum Bench {
    /// Publish events and await every receipt
    #[command(after_help = publish::EXAMPLES)]
    Publish(publish::Args),
    /// Read, decode and count events from the head, without a group
    #[command(after_help = consume::EXAMPLES)]
    Consume(consume::Args),
    /// Time each event from publish to receipt
    #[command(after_help = latency::EXAMPLES)]
    Latency(latency::Args),
}

pub(crate) const EXAMPLES: &str = "\
Each command prints one JSON line: events, failed, seconds, events_per_second, cpu_us_per_event (user and
system time of this process) and max_rss_mib. Every event is a userLoggedIn of about 650 bytes.

Examples:
  eventstream bench publish --events 1000000 --topic bench
  eventstream bench consume --events 1000000 --topic bench
  eventstream bench latency --events 10000 --in-flight 100
  eventstream bench publish --events 1000000 --metrics --tracing 0.01";

/// Options of every measurement.
#[derive(clap::Args)]
pub(crate) struct Common {
    /// How many events
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    events: u64,
    /// The topic, without the prefix; created if it is missing
    #[arg(long, value_name = "TOPIC", default_value = "bench")]
    topic: Topic,
    /// Partitions of a topic created here
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    partitions: u32,
    /// Replication factor of a topic created here
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    replication: u16,
    /// Collect Prometheus metrics, and scrape them every second
    #[arg(long)]
    metrics: bool,
    /// Record the spans of this share of the traces, from 0 to 1, and propagate each trace with
    /// its events
    #[arg(long, value_name = "SHARE", value_parser = share)]
    tracing: Option<f64>,
}

impl Common {
    /// Event number `n`. A traced event gets its span context from its trace.
    fn event(&self, n: u64) -> Publish {
        let event = event::event(self.topic.as_str(), n);
        match self.tracing {
            Some(_) => event,
            None => event.span_context(event::SPAN_CONTEXT),
        }
    }
}

impl Bench {
    fn common(&self) -> &Common {
        match self {
            Self::Publish(args) => &args.common,
            Self::Consume(args) => &args.common,
            Self::Latency(args) => &args.common,
        }
    }
}

fn share(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|share| (0.0..=1.0).contains(share))
        .ok_or_else(|| "must be a number from 0 to 1".to_owned())
}

/// Metrics, scraped every second, more often than Prometheus usually does.
fn scraped() -> anyhow::Result<(Metrics, JoinHandle<()>)> {
    let (registry, metrics) = (Registry::new(), Metrics::new());
    registry.register(Box::new(metrics.clone()))?;
    let scraper = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        let mut text = String::new();
        loop {
            ticks.tick().await;
            text.clear();
            if let Err(error) = TextEncoder::new().encode_utf8(&registry.gather(), &mut text) {
                output::say(&format!("scraping: {error}"));
            }
        }
    });
    Ok((metrics, scraper))
}

pub(crate) async fn run(
    bench: Bench,
    connection: &Connection,
    interrupt: &Interrupt,
) -> anyhow::Result<Exit> {
    let common = bench.common();
    let scraped = common.metrics.then(scraped).transpose()?;
    let traced = common.tracing.map(traced::tracer);
    let client = connection.client_observed(|mut builder| {
        if let Some((metrics, _)) = &scraped {
            builder = builder.metrics(metrics);
        }
        match &traced {
            Some((tracer, _)) => builder.tracer(tracer.clone()),
            None => builder,
        }
    })?;
    let ready = interrupt.or(prepare(&client, common, connection.patience()));
    let Some(ready) = ready.await else {
        return Ok(Exit::Interrupted);
    };
    ready?;
    let figures = match bench {
        Bench::Publish(args) => publish::run(&args, &client, interrupt).await?,
        Bench::Consume(args) => consume::run(&args, &client, interrupt).await?,
        Bench::Latency(args) => latency::run(args, &client, interrupt).await?,
    };
    client.shutdown(Duration::from_secs(10)).await;
    if let Some((_, scraper)) = scraped {
        scraper.abort();
    }
    let Some(figures) = figures else {
        return Ok(Exit::Interrupted);
    };
    output::print(&figures.line())?;
    Ok(if figures.failed == 0 {
        Exit::Done
    } else {
        Exit::Failed
    })
}

async fn prepare(client: &Client, common: &Common, patience: Duration) -> anyhow::Result<()> {
    let topic = common.topic.as_str();
    let patience = patience.min(Duration::from_secs(30));
    let created = client
        .create_topic(topic, common.partitions, common.replication, patience)
        .await;
    match created {
        // It creates topics at their first use.
        Err(error) if error.kind() == ErrorKind::Unsupported => Ok(()),
        created => Ok(created.map(drop)?),
    }
}
