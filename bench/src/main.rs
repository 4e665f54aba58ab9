//! The library beside bare librdkafka, on one broker in one run.
//!
//! ```text
//! cargo run --release -p eventstream-bench -- publish --events 400000 --pairs 5
//! cargo run --release -p eventstream-bench -- consume --events 400000 --pairs 5
//! cargo run --release -p eventstream-bench -- publish --tracing --metrics
//! cargo run --release -p eventstream-bench -- copy --pairs 5
//! cargo run --release -p eventstream-bench -- outbox --rows 200000 --relays 2
//! cargo run --release -p eventstream-bench -- scale --topics 200 --partitions 25 --groups 50
//! ```
//!
//! Absolute figures depend on the machine and on what else it does. The ratios are what counts:
//! both sides run in turns, each in a process of its own and on a fresh topic.

mod consuming;
mod event;
mod measure;
mod observed;
mod outbox;
mod publishing;
mod scale;
mod scenario;
mod table;

use std::cell::RefCell;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use harness::{Admin, Kafka};

use crate::measure::Figures;
use crate::observed::Observing;
use crate::scenario::{Run, Scenario, Side};

/// The broker writes data back and deletes topics.
const SETTLE: Duration = Duration::from_secs(1);

#[derive(Parser)]
#[command(about = "The library beside bare librdkafka, on one broker in one run")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Publishing.
    Publish(Options),
    /// Consuming.
    Consume(Options),
    /// Copying from topic to topic in transactions, every 100 ms.
    Copy(Options),
    /// The outbox: a relay's rows a second, and the latency from commit to acknowledgement.
    Outbox(outbox::Options),
    /// Many topics, groups and registrations in one process.
    Scale(scale::Options),
    /// One side of one scenario in this process; what the other commands start, and what to profile.
    Child {
        scenario: Scenario,
        side: Side,
        #[arg(long)]
        brokers: String,
        #[arg(long)]
        topic: String,
        #[arg(long, default_value_t = 400_000)]
        events: u64,
        /// What observes our side; the floor is then our side without it.
        #[arg(long, default_value = "nothing")]
        observing: Observing,
    },
    /// One side of the scale in this process; what `scale` starts, and what to profile.
    ScaleChild(scale::Run),
    /// A broker for benches, until its standard input ends.
    Broker {
        /// As `scale` starts it.
        #[arg(long)]
        scale: bool,
    },
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
    /// What tracing costs: with a tracer and with `tracing`'s bridge, 1 % and 100 % sampled, each
    /// beside the library without it.
    #[arg(long)]
    tracing: bool,
    /// What metrics cost, beside the library without them.
    #[arg(long)]
    metrics: bool,
}

impl Options {
    /// What the library is compared with itself by; empty for the comparison with the floor.
    fn observings(&self) -> Vec<Observing> {
        use Observing::{Bridge1, Bridge100, Metrics, Tracer1, Tracer100};
        let tracing = [Tracer1, Tracer100, Bridge1, Bridge100];
        let tracing = tracing.into_iter().filter(|_| self.tracing);
        tracing
            .chain([Metrics].into_iter().filter(|_| self.metrics))
            .collect()
    }
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Publish(options) => {
            use Scenario::{All, Fresh, Hundred, One};
            compare(&[All, One, Hundred, Fresh], All, &options)
        }
        Command::Consume(options) => {
            use Scenario::{Batches, Consume, Keys, Payload};
            compare(&[Consume, Batches, Payload, Keys], Consume, &options)
        }
        Command::Copy(options) => {
            use Scenario::{Copy, CopyKeys};
            compare(&[Copy, CopyKeys], Copy, &options)
        }
        Command::Outbox(options) => outbox::run(&options),
        Command::Scale(options) => scale::run(&options),
        Command::ScaleChild(mut run) => run.run(),
        Command::Child {
            scenario,
            side,
            brokers,
            topic,
            events,
            observing,
        } => {
            let run = Run {
                brokers,
                topic,
                events,
                observing,
                is_observed: observing != Observing::Nothing,
            };
            println!("{}", serde_json::to_string(&scenario.run(side, &run)?)?);
            Ok(())
        }
        Command::Broker { scale } => {
            let kafka = if scale {
                scale::broker()?
            } else {
                Kafka::builder().for_throughput().start()?
            };
            println!("{}", kafka.bootstrap());
            std::io::read_to_string(std::io::stdin())?;
            Ok(())
        }
    }
}

/// Runs the scenarios, side by side, and prints their table. `observed` is the one to run with what
/// the options ask to observe it with.
fn compare(scenarios: &[Scenario], observed: Scenario, options: &Options) -> Result<()> {
    let own = match options.brokers {
        Some(_) => None,
        None => Some(Kafka::builder().for_throughput().start()?),
    };
    let brokers = options
        .brokers
        .clone()
        .or_else(|| own.as_ref().map(Kafka::bootstrap))
        .context("no brokers")?;
    let bench = Bench {
        admin: Admin::new(&brokers)?,
        brokers,
        topics: RefCell::default(),
    };
    let mut rows = Vec::new();
    let with_floor = options.observings().is_empty();
    for &scenario in scenarios.iter().filter(|_| with_floor) {
        if options.only.is_empty() || options.only.contains(&scenario) {
            let pairs = bench.pairs(scenario, Observing::Nothing, options)?;
            rows.extend(table::rows(scenario, Observing::Nothing, &pairs));
        }
    }
    for observing in options.observings() {
        let pairs = bench.pairs(observed, observing, options)?;
        rows.extend(table::rows(observed, observing, &pairs));
    }
    table::print(&rows)
}

struct Bench {
    brokers: String,
    admin: Admin,
    /// Topics that were created and are no longer needed.
    topics: RefCell<Vec<String>>,
}

impl Bench {
    fn pairs(
        &self,
        scenario: Scenario,
        observing: Observing,
        options: &Options,
    ) -> Result<Vec<(Figures, Figures)>> {
        let events = scenario.share(options.events);
        let read = if scenario.reads() {
            let run = self.prepare(scenario, observing, events)?;
            consuming::fill(&run)?;
            Some(run)
        } else {
            None
        };
        let side = |side| match &read {
            Some(run) => scenario.run_in_child(side, run),
            None => scenario.run_in_child(side, &self.prepare(scenario, observing, events)?),
        };
        let mut pairs = Vec::new();
        // The first pair warms the broker up and is not counted.
        for pair in 0..=options.pairs {
            // The second side of a pair may find a warmer or busier broker, so they take turns.
            let measured = if pair % 2 == 0 {
                let floor = side(Side::Floor)?;
                (floor, side(Side::Ours)?)
            } else {
                let ours = side(Side::Ours)?;
                (side(Side::Floor)?, ours)
            };
            if read.is_none() {
                self.clear()?;
            }
            if pair > 0 {
                eprintln!(
                    "{scenario:?} {pair}: floor {:?}, ours {:?}",
                    measured.0, measured.1
                );
                pairs.push(measured);
            }
        }
        self.clear()?;
        Ok(pairs)
    }

    /// A run on a new topic.
    fn prepare(&self, scenario: Scenario, observing: Observing, events: u64) -> Result<Run> {
        let topic = harness::unique_topic("bench");
        self.admin
            .create_topic(&topic, scenario.partitions(), 1, &[])?;
        self.topics.borrow_mut().push(topic.clone());
        Ok(Run {
            brokers: self.brokers.clone(),
            topic,
            events,
            observing,
            is_observed: observing != Observing::Nothing,
        })
    }

    /// Deletes the topics created so far; between pairs, so that neither side pays for it.
    fn clear(&self) -> Result<()> {
        for topic in self.topics.take() {
            self.admin.delete_topic(&topic)?;
        }
        std::thread::sleep(SETTLE);
        Ok(())
    }
}
