use std::collections::BTreeMap;

use super::super::{Action, Reason};
use super::scenario::ROUTES;

/// What outlives an assignment.
#[derive(Default)]
pub(super) struct Ledger {
    /// Which routes ever ran which record.
    pub(super) ran: Vec<[bool; ROUTES]>,
    /// How often each kind of action was seen.
    pub(super) seen: BTreeMap<&'static str, u64>,
}

impl Ledger {
    pub(super) fn begin(&mut self, records: usize) {
        self.ran = vec![[false; ROUTES]; records];
    }

    pub(super) fn saw(&mut self, action: &Action<u64>) {
        let name = match action {
            Action::Run { attempt: 1, .. } => "first run",
            Action::Run { .. } => "later run",
            Action::DeadLetter(failure) => match failure.reason {
                Reason::Undecodable => "dead letter: undecodable",
                Reason::Unmatched => "dead letter: unmatched",
                Reason::Exhausted => "dead letter: exhausted",
                Reason::Rejected => "dead letter: rejected",
                Reason::Revoked => "dead letter: revoked",
            },
            Action::Commit { .. } => "commit",
            Action::Pause => "pause",
            Action::Resume => "resume",
            Action::Skipped(failure) => match failure.reason {
                Reason::Undecodable => "skipped: undecodable",
                Reason::Unmatched => "skipped: unmatched",
                Reason::Exhausted => "skipped: exhausted",
                Reason::Rejected => "skipped: rejected",
                Reason::Revoked => "skipped: revoked",
            },
            Action::StopSubscription(failure) if failure.route.is_none() => "stop the group",
            Action::StopSubscription(_) => "stop a subscription",
            Action::Rejoin(_) => "rejoin",
            Action::RouteDrained { .. } => "route drained",
            Action::Cancel { .. } => "cancel",
            Action::Drained => "drained",
        };
        *self.seen.entry(name).or_default() += 1;
    }
}
