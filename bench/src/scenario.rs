//! What is measured, and the child processes that measure it.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;

use crate::measure::Figures;
use crate::observed::Observing;
use crate::{consuming, publishing};

/// Events before a latency run is measured, to warm up connections, caches and the broker's
/// compiler.
pub(crate) const WARM_UP: u64 = 500;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// Publish everything, await all receipts at the end.
    All,
    /// One event in flight.
    One,
    /// A hundred events in flight.
    Hundred,
    /// Publish everything to a topic of 500 partitions that nobody has written to.
    Fresh,
    /// Consume everything from the head, a handler counts.
    Consume,
    /// Consume everything in batches of 500; the floor is the library, one event at a time.
    Batches,
    /// Take the payload as an argument; the floor is the library, with a handler that decodes it.
    Payload,
    /// Handlers of 5 ms, 64 at once by key, on one partition.
    Keys,
    /// Copy everything to another topic, exactly once; the floor is the library, at least once.
    Copy,
    /// Handlers of 5 ms that each publish, as [`Keys`](Self::Keys), in transactions.
    CopyKeys,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Side {
    Floor,
    Ours,
}

/// One side's run.
pub(crate) struct Run {
    pub(crate) brokers: String,
    pub(crate) topic: String,
    pub(crate) events: u64,
    /// What observes this side.
    pub(crate) observing: Observing,
    /// One of the sides is observed.
    pub(crate) is_observed: bool,
}

impl Scenario {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::All => "all, receipts at the end",
            Self::One => "1 in flight",
            Self::Hundred => "100 in flight",
            Self::Fresh => "500 fresh partitions",
            Self::Consume => "consume, a handler counts",
            Self::Batches => "batches, to one by one",
            Self::Payload => "Payload<T>, to decode",
            Self::Keys => "64 handlers of 5 ms by key",
            Self::Copy => "copy exactly once, to at least once",
            Self::CopyKeys => "64 handlers of 5 ms, exactly once",
        }
    }

    /// The share of `events` for a run, so that no scenario takes much longer than another.
    pub(crate) fn share(self, events: u64) -> u64 {
        match self {
            Self::All => events,
            Self::One => (events / 100).max(1),
            Self::Hundred | Self::Fresh | Self::Copy => (events / 2).max(1),
            Self::Consume | Self::Batches | Self::Payload => events * 2,
            Self::Keys | Self::CopyKeys => (events / 8).max(1),
        }
    }

    pub(crate) fn partitions(self) -> i32 {
        match self {
            Self::Keys | Self::CopyKeys => 1,
            Self::Fresh => 500,
            _ => 4,
        }
    }

    /// Whether its runs only read, so that they can share one topic.
    pub(crate) fn reads(self) -> bool {
        matches!(
            self,
            Self::Consume
                | Self::Batches
                | Self::Payload
                | Self::Keys
                | Self::Copy
                | Self::CopyKeys
        )
    }

    /// Runs in this process.
    pub(crate) fn run(self, side: Side, run: &Run) -> Result<Figures> {
        if side == Side::Floor && run.observing != Observing::Nothing {
            let unobserved = Run {
                observing: Observing::Nothing,
                is_observed: true,
                brokers: run.brokers.clone(),
                topic: run.topic.clone(),
                events: run.events,
            };
            return self.run(Side::Ours, &unobserved);
        }
        match (self, side) {
            (Self::All, Side::Floor) => publishing::floor::all(run),
            (Self::All, Side::Ours) => publishing::ours::all(run),
            (Self::One, Side::Floor) => publishing::floor::one_in_flight(run),
            (Self::One, Side::Ours) => publishing::ours::one_in_flight(run),
            (Self::Hundred, Side::Floor) => publishing::floor::some_in_flight(run, 100),
            (Self::Hundred, Side::Ours) => publishing::ours::some_in_flight(run, 100),
            (Self::Fresh, Side::Floor) => publishing::floor::fresh(run),
            (Self::Fresh, Side::Ours) => publishing::ours::fresh(run),
            (Self::Consume, Side::Floor) => consuming::floor::all(run),
            (Self::Consume, Side::Ours) => consuming::ours::all(run),
            (Self::Batches, Side::Floor) => consuming::ours::one_by_one(run),
            (Self::Batches, Side::Ours) => consuming::ours::batches(run),
            (Self::Payload, Side::Floor) => consuming::ours::decode(run),
            (Self::Payload, Side::Ours) => consuming::ours::payload(run),
            (Self::Copy, Side::Floor) => consuming::copying::at_least_once(run),
            (Self::Copy, Side::Ours) => consuming::copying::exactly_once(run),
            (Self::CopyKeys, Side::Ours) => consuming::copying::keys(run),
            (Self::Keys | Self::CopyKeys, Side::Floor) => consuming::floor::keys(run),
            (Self::Keys, Side::Ours) => consuming::ours::keys(run),
        }
    }

    /// Runs in a separate process, so that neither side inherits memory or threads.
    pub(crate) fn run_in_child(self, side: Side, run: &Run) -> Result<Figures> {
        let output = Command::new(std::env::current_exe()?)
            .arg("child")
            .arg(word(self))
            .arg(word(side))
            .args(["--brokers", &run.brokers, "--topic", &run.topic])
            .args(["--events", &run.events.to_string()])
            .args(["--observing", &word(run.observing)])
            .stderr(std::process::Stdio::inherit())
            .output()?;
        ensure!(output.status.success(), "{side:?} of {self:?} failed");
        serde_json::from_slice(&output.stdout).context("the figures of a child process")
    }
}

/// As an argument of a child process.
pub(crate) fn word(value: impl ValueEnum) -> String {
    let possible = value.to_possible_value();
    possible.map_or_else(String::new, |value| value.get_name().to_owned())
}
