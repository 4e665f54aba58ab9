use std::collections::BTreeSet;
use std::fmt;

use super::DeadLetters;
use super::done::Done;
use super::follow::Follow;
use super::letter::Letter;
use super::plan::Plan;
use crate::error::Error;
use crate::kafka::Bounds;
use crate::name::Topic;
use crate::publish::receipt::Delivery;

/// The maximum number of groups and failures kept for the report.
const KEPT: usize = 100;

/// A run's progress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Written to the target and recorded.
    pub replayed: u64,
    /// Written to the parking topic and recorded.
    pub parked: u64,
    /// Not written.
    pub failed: u64,
}

/// How a run ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum End {
    /// Everything planned was attempted.
    Complete,
    /// It was stopped; running it again continues.
    Stopped,
    /// An error ended it; running it again continues.
    Failed(Error),
}

/// The result of a [`Plan`].
pub struct Report {
    pub(super) progress: Progress,
    selected: u64,
    pub(super) already: u64,
    failures: Vec<(String, Error)>,
    pub(super) end: End,
    /// For following what happens afterwards.
    letters: DeadLetters,
    target: Topic,
    sent: Done,
    groups: BTreeSet<String>,
    watched: Option<Bounds>,
}

impl Report {
    /// The report of a plan before it runs.
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            progress: Progress::default(),
            selected: plan.causes().count() + plan.already_done(),
            already: plan.already_done(),
            failures: Vec::new(),
            end: End::Complete,
            letters: plan.letters.clone(),
            target: plan.target.clone(),
            sent: Done::default(),
            groups: BTreeSet::new(),
            watched: plan.watched.clone(),
        }
    }

    /// A record was replayed.
    pub(super) fn note(&mut self, letter: &Letter, delivery: &Delivery) {
        self.sent.insert(delivery.partition(), delivery.offset());
        if let Some(origin) = letter.origin()
            && self.groups.len() < KEPT
        {
            self.groups.insert(origin.group().to_owned());
        }
    }

    /// A record could not be written.
    pub(super) fn fail(&mut self, letter: &Letter, error: Error) {
        self.progress.failed += 1;
        if self.failures.len() < KEPT {
            self.failures.push((letter.place(), error));
        }
    }

    /// How many dead letters matched the filter, including those dealt with before.
    pub fn selected(&self) -> u64 {
        self.selected
    }

    /// How many were written to the target. This does not mean that they were handled: see [`follow`](Self::follow).
    pub fn replayed(&self) -> u64 {
        self.progress.replayed
    }

    /// How many were written to the parking topic.
    pub fn parked(&self) -> u64 {
        self.progress.parked
    }

    /// How many were dealt with before.
    pub fn already_replayed(&self) -> u64 {
        self.already
    }

    /// How many could not be written, including those of their keys that were held back.
    pub fn failed(&self) -> u64 {
        self.progress.failed
    }

    /// Where the first 100 that could not be written are, as `player-dlq/3@17`, and why.
    pub fn failures(&self) -> &[(String, Error)] {
        &self.failures
    }

    /// How it ended.
    pub fn end(&self) -> &End {
        &self.end
    }

    /// Tracks what becomes of the replayed records.
    pub fn follow(&self) -> Follow {
        Follow::new(
            &self.letters,
            &self.target,
            self.sent.clone(),
            &self.groups,
            self.watched.as_ref(),
        )
    }
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Report")
            .field("selected", &self.selected)
            .field("progress", &self.progress)
            .field("already_replayed", &self.already)
            .field("failures", &self.failures)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}
