//! Scale inside one process: many topics, groups and registrations.
//!
//! Each group registers a handler for each topic, so there are topics x groups registrations, and each group's one
//! member has all partitions: topics x partitions x groups of them are assigned in the process. The floor is one
//! `BaseConsumer` with a polling thread for each group, as the library makes, subscribed to the same topics with the
//! same options.

mod arrivals;
mod figures;
mod floor;
mod ours;
mod report;

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;
use harness::{Admin, Kafka};
use serde::Serialize;

use self::figures::Figures;
use crate::scenario::{Side, word};

/// How long each step of a run may take.
const PATIENCE: Duration = Duration::from_secs(300);

#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    size: Size,
    /// How often both sides run.
    #[arg(long, default_value_t = 1)]
    pairs: u32,
    #[command(flatten)]
    rest: Rest,
    /// `fetch.wait.max.ms` of both sides.
    #[arg(long, default_value_t = 500)]
    fetch_wait: u64,
    /// Brokers that run already. Default: a node of its own.
    #[arg(long)]
    brokers: Option<String>,
    /// Only the given size, not also a quarter of its topics, groups and partitions.
    #[arg(long)]
    alone: bool,
    /// Also register topic by topic, each awaited until it is read: a rebalance of each group for each of its topics.
    #[arg(long)]
    settled: bool,
}

#[derive(clap::Args, Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Size {
    #[arg(long, default_value_t = 200)]
    topics: usize,
    /// Partitions of each topic.
    #[arg(long, default_value_t = 25)]
    partitions: usize,
    /// Groups, each of which reads all topics.
    #[arg(long, default_value_t = 50)]
    groups: usize,
}

/// What happens between reading and stopping.
#[derive(clap::Args, Clone, Copy, Debug, Default)]
pub(crate) struct Rest {
    /// Seconds before idleness is measured: on both sides, librdkafka is busy for half a minute after thousands of
    /// partitions were assigned.
    #[arg(long, default_value_t = 45)]
    calm: u64,
    /// Seconds of idleness that are measured.
    #[arg(long, default_value_t = 20)]
    idle: u64,
}

impl Size {
    fn registrations(self) -> usize {
        self.topics * self.groups
    }

    /// The partitions of each group.
    fn of_group(self) -> usize {
        self.topics * self.partitions
    }

    /// Partitions assigned in the process.
    fn assigned(self) -> usize {
        self.of_group() * self.groups
    }

    /// This size, and with a quarter of each of its dimensions: what grows with what.
    fn with_quarters(self) -> Vec<Self> {
        let quarter = |n: usize| (n / 4).max(1);
        let topics = Self {
            topics: quarter(self.topics),
            ..self
        };
        let partitions = Self {
            partitions: quarter(self.partitions),
            ..self
        };
        let groups = Self {
            groups: quarter(self.groups),
            ..self
        };
        vec![self, topics, partitions, groups]
    }
}

/// How the library's side registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Registering {
    /// All at once (`join_all`).
    Together,
    /// One after another.
    InTurn,
    /// Topic by topic: the next one once all groups read the one before.
    Settled,
}

/// One side's run, in a process of its own.
#[derive(clap::Args)]
pub(crate) struct Run {
    side: Side,
    #[command(flatten)]
    size: Size,
    #[arg(long)]
    brokers: String,
    /// What the names of the topics begin with. Default: new topics are created.
    #[arg(long, default_value = "")]
    prefix: String,
    #[command(flatten)]
    rest: Rest,
    #[arg(long, default_value_t = 500)]
    fetch_wait: u64,
    #[arg(long, default_value = "together")]
    registering: Registering,
}

impl Run {
    pub(crate) fn run(&mut self) -> Result<()> {
        if self.prefix.is_empty() {
            self.prefix = topics(&Admin::new(&self.brokers)?, self.size)?;
        }
        let figures = match self.side {
            Side::Floor => floor::run(self)?,
            Side::Ours => ours::run(self)?,
        };
        println!("{}", serde_json::to_string(&figures)?);
        Ok(())
    }

    fn topic(&self, number: usize) -> String {
        format!("{}-{number}", self.prefix)
    }

    /// Groups of their own for each process.
    fn group(&self, number: usize) -> String {
        format!(
            "{}-{:?}-{}-{number}",
            self.prefix,
            self.side,
            std::process::id()
        )
    }

    fn in_child(&self) -> Result<Figures> {
        let size = self.size;
        let output = Command::new(std::env::current_exe()?)
            .arg("scale-child")
            .arg(word(self.side))
            .args(["--topics", &size.topics.to_string()])
            .args(["--partitions", &size.partitions.to_string()])
            .args(["--groups", &size.groups.to_string()])
            .args(["--brokers", &self.brokers, "--prefix", &self.prefix])
            .args(["--calm", &self.rest.calm.to_string()])
            .args(["--idle", &self.rest.idle.to_string()])
            .args(["--fetch-wait", &self.fetch_wait.to_string()])
            .args(["--registering", &word(self.registering)])
            .stderr(Stdio::inherit())
            .output()?;
        ensure!(
            output.status.success(),
            "{:?} of {size:?} failed: {}",
            self.side,
            output.status
        );
        let figures = serde_json::from_slice(&output.stdout).context("the figures of a child")?;
        eprintln!(
            "{size:?} {:?} {:?}: {figures:?}",
            self.side, self.registering
        );
        Ok(figures)
    }
}

/// What both sides measured at one size.
pub(crate) struct Measured {
    size: Size,
    /// Floor and ours.
    pairs: Vec<(Figures, Figures)>,
    /// Ours, registering one after another.
    in_turn: Vec<Figures>,
    /// Ours, registering topic by topic; if asked for.
    settled: Vec<Figures>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let own = match options.brokers {
        Some(_) => None,
        None => Some(broker()?),
    };
    let brokers = options
        .brokers
        .clone()
        .or_else(|| own.as_ref().map(Kafka::bootstrap))
        .context("no brokers")?;
    let admin = Admin::new(&brokers)?;
    let sizes = if options.alone {
        vec![options.size]
    } else {
        options.size.with_quarters()
    };
    let mut measured = Vec::new();
    let mut made: Option<(Size, String)> = None;
    for size in sizes {
        let reused = made
            .take()
            .filter(|(of, _)| of.topics >= size.topics && of.partitions == size.partitions);
        let (of, prefix) = match reused {
            Some(made) => made,
            None => (size, topics(&admin, size)?),
        };
        measured.push(pairs(options, &brokers, size, &prefix)?);
        made = Some((of, prefix));
    }
    report::print(&measured)
}

/// Consumers fetch all their partitions at once, and a broker keeps answered fetches until it purges them, by default
/// after a thousand; each partition has two indexes, which would be allocated with 10 MB each.
pub(crate) fn broker() -> Result<Kafka> {
    Kafka::builder()
        .for_throughput()
        .heap(6144)
        .property("fetch.purgatory.purge.interval.requests", "50")
        .property("log.index.size.max.bytes", "65536")
        .start()
}

fn topics(admin: &Admin, size: Size) -> Result<String> {
    let prefix = harness::unique_topic("bench-scale");
    let partitions = i32::try_from(size.partitions)?;
    for number in 0..size.topics {
        admin.create_topic(&format!("{prefix}-{number}"), partitions, 1, &[])?;
    }
    Ok(prefix)
}

fn pairs(options: &Options, brokers: &str, size: Size, prefix: &str) -> Result<Measured> {
    let run_of = |size, rest, side, registering| Run {
        side,
        size,
        brokers: brokers.to_owned(),
        prefix: prefix.to_owned(),
        rest,
        fetch_wait: options.fetch_wait,
        registering,
    };
    // It warms the broker up and is not counted.
    let few = Size {
        groups: size.groups.min(2),
        ..size
    };
    run_of(few, Rest::default(), Side::Floor, Registering::Together).in_child()?;
    let side = |side, registering| run_of(size, options.rest, side, registering).in_child();
    let (mut pairs, mut in_turn, mut settled) = (Vec::new(), Vec::new(), Vec::new());
    for pair in 0..options.pairs {
        // The second side of a pair may find a warmer or busier broker, so they take turns.
        let measured = if pair % 2 == 0 {
            let floor = side(Side::Floor, Registering::Together)?;
            (floor, side(Side::Ours, Registering::Together)?)
        } else {
            let ours = side(Side::Ours, Registering::Together)?;
            (side(Side::Floor, Registering::Together)?, ours)
        };
        pairs.push(measured);
        in_turn.push(side(Side::Ours, Registering::InTurn)?);
        if options.settled {
            settled.push(side(Side::Ours, Registering::Settled)?);
        }
    }
    Ok(Measured {
        size,
        pairs,
        in_turn,
        settled,
    })
}
