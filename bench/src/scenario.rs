//! What is measured, and the child processes that measure it.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;

use crate::measure::Figures;
use crate::{floor, ours};

/// Events before the span of a latency run begins: connections, caches, the broker's compiler.
pub(crate) const WARM_UP: u64 = 500;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// Publish everything, await all receipts at the end.
    All,
    /// One event in flight.
    One,
    /// A hundred events in flight.
    Hundred,
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
}

impl Scenario {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::All => "all, receipts at the end",
            Self::One => "1 in flight",
            Self::Hundred => "100 in flight",
        }
    }

    /// Runs in this process.
    pub(crate) fn run(self, side: Side, run: &Run) -> Result<Figures> {
        match (self, side) {
            (Self::All, Side::Floor) => floor::all(run),
            (Self::All, Side::Ours) => ours::all(run),
            (Self::One, Side::Floor) => floor::one_in_flight(run),
            (Self::One, Side::Ours) => ours::one_in_flight(run),
            (Self::Hundred, Side::Floor) => floor::some_in_flight(run, 100),
            (Self::Hundred, Side::Ours) => ours::some_in_flight(run, 100),
        }
    }

    /// Runs in a process of its own, so that neither side inherits memory or threads.
    pub(crate) fn run_in_child(self, side: Side, run: &Run) -> Result<Figures> {
        let word = |value: Option<clap::builder::PossibleValue>| {
            value.map_or_else(String::new, |v| v.get_name().to_owned())
        };
        let output = Command::new(std::env::current_exe()?)
            .arg("child")
            .arg(word(self.to_possible_value()))
            .arg(word(side.to_possible_value()))
            .args(["--brokers", &run.brokers, "--topic", &run.topic])
            .args(["--events", &run.events.to_string()])
            .stderr(std::process::Stdio::inherit())
            .output()?;
        ensure!(output.status.success(), "{side:?} of {self:?} failed");
        serde_json::from_slice(&output.stdout).context("the figures of a child process")
    }
}
