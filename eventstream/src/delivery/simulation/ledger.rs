use std::collections::BTreeMap;

use super::super::{Action, Reason};
use super::scenario::{ROUTES, Scenario};

/// What outlives an assignment.
#[derive(Default)]
pub(super) struct Ledger {
    /// Which routes ever ran which record.
    pub(super) ran: Vec<[bool; ROUTES]>,
    /// The offsets of the records in the log as it is now.
    pub(super) offsets: Vec<i64>,
    /// How often each kind of action was seen.
    pub(super) seen: BTreeMap<&'static str, u64>,
}

impl Ledger {
    pub(super) fn begin(&mut self, scenario: &Scenario, first: i64) {
        let records = scenario.records.len();
        self.ran = vec![[false; ROUTES]; records];
        self.offsets = vec![0; records];
        self.number(scenario, 0, first);
    }

    /// From a record on, the offsets follow `offset`.
    pub(super) fn number(&mut self, scenario: &Scenario, from: usize, mut offset: i64) {
        let records = scenario.records.iter().zip(&mut self.offsets);
        for (record, numbered) in records.skip(from) {
            offset += record.step;
            *numbered = offset;
        }
    }

    pub(super) fn saw(&mut self, action: &Action<u64>) {
        let name = match action {
            Action::Run { attempt: 1, .. } => "first run",
            Action::Run { .. } => "later run",
            Action::RunBatch { records, .. } if records.len() == 1 => "batch of one",
            Action::RunBatch { .. } => "batch",
            Action::DeadLetter(failure) => match failure.reason {
                Reason::Undecodable => "dead letter: undecodable",
                Reason::Unmatched => "dead letter: unmatched",
                Reason::Exhausted => "dead letter: exhausted",
                Reason::Rejected => "dead letter: rejected",
                Reason::Revoked => "dead letter: revoked",
                Reason::Stopped => "dead letter: stopped",
            },
            Action::Release { .. } => "release",
            Action::Commit { history: 0, .. } => "commit",
            Action::Commit { .. } => "commit in a new history",
            Action::Pause => "pause",
            Action::Resume => "resume",
            Action::Skipped(failure) => match failure.reason {
                Reason::Undecodable => "skipped: undecodable",
                Reason::Unmatched => "skipped: unmatched",
                Reason::Exhausted => "skipped: exhausted",
                Reason::Rejected => "skipped: rejected",
                Reason::Revoked => "skipped: revoked",
                Reason::Stopped => "skipped: stopped",
            },
            Action::StopSubscription(failure) if failure.route.is_none() => "stop the group",
            Action::StopSubscription(_) => "stop a subscription",
            Action::Rejoin(_) => "rejoin",
            Action::Orphaned { .. } => "orphaned",
            Action::RouteDrained { .. } => "route drained",
            Action::Cancel { .. } => "cancel",
            Action::Drained => "drained",
        };
        *self.seen.entry(name).or_default() += 1;
    }
}
