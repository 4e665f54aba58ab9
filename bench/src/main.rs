//! The library beside bare librdkafka, on one broker in one run.
//!
//! ```text
//! cargo run --release -p eventstream-bench -- publish --events 400000 --pairs 5
//! ```
//!
//! Absolute figures depend on the machine and on what else it does. The ratios are what counts:
//! both sides run in turns, each in a process of its own and on a fresh topic.

mod event;
mod floor;
mod measure;
mod ours;
mod scenario;
mod table;

use std::cell::RefCell;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use harness::{Admin, Kafka};

use crate::scenario::{Run, Scenario, Side};

/// The broker writes back what it was given and deletes what it was told to.
const SETTLE: Duration = Duration::from_secs(1);

#[derive(Parser)]
#[command(about = "The library beside bare librdkafka, on one broker in one run")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The publishing side.
    Publish(Options),
    /// One side of one scenario in this process; what `publish` starts, and what to profile.
    Child {
        scenario: Scenario,
        side: Side,
        #[arg(long)]
        brokers: String,
        #[arg(long)]
        topic: String,
        #[arg(long, default_value_t = 400_000)]
        events: u64,
    },
    /// A broker for benches, until its standard input ends.
    Broker,
}

#[derive(clap::Args)]
struct Options {
    /// Events of a run that publishes everything; the other scenarios take a share.
    #[arg(long, default_value_t = 400_000)]
    events: u64,
    /// How often both sides run.
    #[arg(long, default_value_t = 5)]
    pairs: u32,
    /// Brokers that run already. Default: a node of its own.
    #[arg(long)]
    brokers: Option<String>,
    /// Only this scenario; may be given more than once.
    #[arg(long)]
    only: Vec<Scenario>,
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Publish(options) => publish(&options),
        Command::Child {
            scenario,
            side,
            brokers,
            topic,
            events,
        } => {
            let run = Run {
                brokers,
                topic,
                events,
            };
            println!("{}", serde_json::to_string(&scenario.run(side, &run)?)?);
            Ok(())
        }
        Command::Broker => {
            let kafka = Kafka::builder().for_throughput().start()?;
            println!("{}", kafka.bootstrap());
            std::io::read_to_string(std::io::stdin())?;
            Ok(())
        }
    }
}

fn publish(options: &Options) -> Result<()> {
    let own = match options.brokers {
        Some(_) => None,
        None => Some(Kafka::builder().for_throughput().start()?),
    };
    let brokers = options
        .brokers
        .clone()
        .or_else(|| own.as_ref().map(Kafka::bootstrap))
        .context("no brokers")?;
    let admin = Admin::new(&brokers)?;
    let mut rows = Vec::new();
    for (scenario, events) in [
        (Scenario::All, options.events),
        (Scenario::One, (options.events / 100).max(1)),
        (Scenario::Hundred, (options.events / 4).max(1)),
    ] {
        if !options.only.is_empty() && !options.only.contains(&scenario) {
            continue;
        }
        let mut pairs = Vec::new();
        let topics = RefCell::new(Vec::new());
        // The first pair warms the broker up and is not counted.
        for pair in 0..=options.pairs {
            let side = |side| {
                let topic = harness::unique_topic("bench");
                admin.create_topic(&topic, 4, 1, &[])?;
                let run = Run {
                    brokers: brokers.clone(),
                    topic: topic.clone(),
                    events,
                };
                let figures = scenario.run_in_child(side, &run)?;
                topics.borrow_mut().push(topic);
                anyhow::Ok(figures)
            };
            // Whoever comes second may find a warmer or a busier broker: take turns.
            let measured = if pair % 2 == 0 {
                let floor = side(Side::Floor)?;
                (floor, side(Side::Ours)?)
            } else {
                let ours = side(Side::Ours)?;
                (side(Side::Floor)?, ours)
            };
            // Between pairs, so that the deleting falls on neither side.
            for topic in topics.take() {
                admin.delete_topic(&topic)?;
            }
            std::thread::sleep(SETTLE);
            if pair > 0 {
                eprintln!(
                    "{scenario:?} {pair}: floor {:?}, ours {:?}",
                    measured.0, measured.1
                );
                pairs.push(measured);
            }
        }
        rows.extend(table::rows(scenario, &pairs));
    }
    table::print(&rows)
}
