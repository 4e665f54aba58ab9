//! The oracle's own account of one assignment: what it was told, and what must follow from it.

use std::collections::VecDeque;

use super::super::{
    CommitMode, Exhausted, OnUndecodable, OnUnmatched, Ordering, Outcome, Reason, Ticket,
};
use super::scenario::{NO_ROUTE, ROUTES, Scenario, Target};

/// Where one record stands with one route.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum State {
    /// The record does not go to this route.
    No,
    Owed,
    Running,
    /// Waits for another attempt; it comes between these moments.
    Retry {
        from: u64,
        to: u64,
    },
    /// A dead letter must be written now.
    Letter(Reason),
    Writing(Reason),
    LetterAgain {
        reason: Reason,
        from: u64,
        to: u64,
    },
    /// Decided; the user must be told now.
    TellSkip(Reason),
    TellStop(Reason),
    TellRejoin,
    /// Given up without being done: the subscription stops, or the partition left.
    Undone,
    Done,
}

impl State {
    pub(super) fn is_done(self) -> bool {
        matches!(self, Self::No | Self::Done | Self::TellSkip(_))
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    Active,
    Draining,
    Drained,
    Lost,
}

#[derive(Clone, Copy, Default)]
pub(super) struct RouteModel {
    pub(super) closing: bool,
    pub(super) gone: bool,
    pub(super) paused: bool,
    pub(super) halted: bool,
}

pub(super) struct Entry {
    /// By route; the last is for a record that goes to none.
    pub(super) states: [State; ROUTES + 1],
    pub(super) attempts: [u32; ROUTES + 1],
    pub(super) letter_failures: [u32; ROUTES + 1],
    pub(super) ticket: Option<Ticket>,
}

impl Entry {
    pub(super) fn is_done(&self) -> bool {
        self.states.iter().all(|state| state.is_done())
    }
}

pub(super) struct Model<'a> {
    pub(super) scenario: &'a Scenario,
    /// The first record of this assignment; `entries` counts from it.
    pub(super) first: usize,
    pub(super) entries: Vec<Entry>,
    /// How many entries are done without a gap.
    pub(super) front: usize,
    pub(super) routes: [RouteModel; ROUTES],
    pub(super) phase: Phase,
    pub(super) halted: bool,
    /// While it drains: only entries before this one may start.
    pub(super) begun: usize,
    pub(super) paused: bool,
    pub(super) now: u64,
    pub(super) confirmed: Option<i64>,
    pub(super) commits: VecDeque<i64>,
    pub(super) last_commit: Option<i64>,
    pub(super) commit_failures: u32,
    pub(super) commit_retry: Option<(u64, u64)>,
}

impl<'a> Model<'a> {
    pub(super) fn new(scenario: &'a Scenario, first: usize) -> Self {
        Self {
            scenario,
            first,
            entries: Vec::new(),
            front: 0,
            routes: [RouteModel::default(); ROUTES],
            phase: Phase::Active,
            halted: false,
            begun: 0,
            paused: false,
            now: 0,
            confirmed: None,
            commits: VecDeque::new(),
            last_commit: None,
            commit_failures: 0,
            commit_retry: None,
        }
    }

    pub(super) fn mode(&self) -> CommitMode {
        self.scenario.config.commit
    }

    pub(super) fn at_most_once(&self) -> bool {
        self.mode() == CommitMode::BeforeProcessing
    }

    pub(super) fn offset(&self, entry: usize) -> i64 {
        self.scenario.records[self.first + entry].offset
    }

    /// At most once: whether the record's own commit was confirmed.
    pub(super) fn is_released(&self, entry: usize) -> bool {
        self.at_most_once() && self.confirmed > Some(self.offset(entry))
    }

    /// The lane of a record in a route; records without a key have one each.
    pub(super) fn lane(&self, entry: usize, route: usize) -> u64 {
        match self.scenario.routes[route].ordering {
            Ordering::PerKey(_) => self.scenario.records[self.first + entry]
                .key
                .unwrap_or(1_000 + entry as u64),
            _ => 0,
        }
    }

    pub(super) fn is_keyed(&self, route: usize) -> bool {
        matches!(self.scenario.routes[route].ordering, Ordering::PerKey(_))
    }

    /// What backpressure looks at: records and bytes that are not done, and the width from the
    /// first of them to the last record.
    pub(super) fn levels(&self) -> (usize, usize, usize) {
        let open = || (self.front..self.entries.len()).filter(|at| !self.entries[*at].is_done());
        let bytes = open()
            .map(|at| self.scenario.records[self.first + at].size)
            .sum();
        (open().count(), bytes, self.entries.len() - self.front)
    }

    pub(super) fn limit(&self, route: usize) -> usize {
        match self.scenario.routes[route].ordering {
            Ordering::PerKey(keys) => keys,
            _ => 1,
        }
    }

    pub(super) fn fed(&mut self) {
        let record = &self.scenario.records[self.first + self.entries.len()];
        let config = &self.scenario.config;
        let mut states = [State::No; ROUTES + 1];
        if let Target::Routes(mask) = record.target {
            for (n, state) in states
                .iter_mut()
                .enumerate()
                .take(self.scenario.routes.len())
            {
                if mask & (1 << n) != 0 && !self.routes[n].closing {
                    *state = State::Owed;
                }
            }
        }
        if states == [State::No; ROUTES + 1] {
            states[NO_ROUTE] = match (record.target, config.on_undecodable, config.on_unmatched) {
                (Target::Undecodable, OnUndecodable::DeadLetter, _) => {
                    State::Letter(Reason::Undecodable)
                }
                (Target::Undecodable, OnUndecodable::Stop, _) => {
                    self.halted = true;
                    State::TellStop(Reason::Undecodable)
                }
                (Target::Undecodable, OnUndecodable::Skip, _) => {
                    State::TellSkip(Reason::Undecodable)
                }
                (_, _, OnUnmatched::DeadLetter) => State::Letter(Reason::Unmatched),
                (_, _, OnUnmatched::Acknowledge) => State::TellSkip(Reason::Unmatched),
            };
        }
        self.entries.push(Entry {
            states,
            attempts: [0; ROUTES + 1],
            letter_failures: [0; ROUTES + 1],
            ticket: None,
        });
        self.advance();
    }

    pub(super) fn answered(&mut self, entry: usize, route: usize, outcome: Outcome) {
        let attempts = self.entries[entry].attempts[route];
        let state = match outcome {
            _ if self.phase == Phase::Lost && !self.at_most_once() => State::Undone,
            Outcome::Handled => State::Done,
            Outcome::Rejected => self.gave_up(route, Reason::Rejected, Some(Exhausted::DeadLetter)),
            Outcome::Failed { now } => {
                let policy = &self.scenario.routes[route];
                let last = if self.at_most_once() {
                    Some(1)
                } else {
                    policy.max_attempts
                };
                let then = match (self.at_most_once(), policy.rejoin, policy.max_attempts) {
                    (true, true, _) | (true, _, None) => Some(Exhausted::Skip),
                    (false, true, _) => None,
                    _ => Some(policy.then),
                };
                if (policy.rejoin && !self.at_most_once())
                    || last.is_some_and(|last| attempts >= last)
                {
                    self.gave_up(route, Reason::Exhausted, then)
                } else if self.phase == Phase::Active {
                    let (from, to) = bounds(&policy.backoff, attempts, now.as_nanos());
                    State::Retry { from, to }
                } else {
                    State::Undone
                }
            }
        };
        self.entries[entry].states[route] = state;
        self.advance();
    }

    /// `then`: `None` is to rejoin.
    fn gave_up(&mut self, route: usize, reason: Reason, then: Option<Exhausted>) -> State {
        let active = self.phase == Phase::Active;
        match then {
            Some(Exhausted::Skip) => State::TellSkip(reason),
            _ if !active && self.at_most_once() => State::TellSkip(reason),
            _ if !active => State::Undone,
            Some(Exhausted::DeadLetter) => State::Letter(reason),
            stop_or_rejoin => {
                if std::mem::replace(&mut self.routes[route].halted, true) {
                    return if self.at_most_once() {
                        State::TellSkip(reason)
                    } else {
                        State::Undone
                    };
                }
                if stop_or_rejoin.is_some() {
                    State::TellStop(reason)
                } else {
                    State::TellRejoin
                }
            }
        }
    }

    pub(super) fn letter_answered(&mut self, entry: usize, slot: usize, stored: bool) {
        let State::Writing(reason) = self.entries[entry].states[slot] else {
            return;
        };
        let state = if self.phase == Phase::Lost && !self.at_most_once() {
            State::Undone
        } else if stored {
            State::Done
        } else if self.phase == Phase::Active {
            self.entries[entry].letter_failures[slot] += 1;
            let failures = self.entries[entry].letter_failures[slot];
            let (from, to) = bounds(&self.scenario.config.backoff, failures, self.now);
            State::LetterAgain { reason, from, to }
        } else if self.at_most_once() && slot != NO_ROUTE {
            State::TellSkip(reason)
        } else {
            State::Undone
        };
        self.entries[entry].states[slot] = state;
        self.advance();
    }

    pub(super) fn commit_answered(&mut self, up_to: i64, ok: bool) {
        self.commits.pop_front();
        if ok {
            self.confirmed = self.confirmed.max(Some(up_to));
            self.commit_failures = 0;
            if self.phase == Phase::Draining {
                self.tell_released();
            }
        } else if self.phase == Phase::Active
            && self.commit_retry.is_none()
            && (self.mode() != CommitMode::AsyncEach || self.last_commit == Some(up_to))
        {
            self.commit_failures += 1;
            self.commit_retry = Some(bounds(
                &self.scenario.config.backoff,
                self.commit_failures,
                self.now,
            ));
        }
    }

    pub(super) fn ticked(&mut self, now: u64) {
        self.now = now;
        if self.commit_retry.is_some_and(|(_, to)| to <= now) {
            self.commit_retry = None;
        }
    }

    /// While it drains: whether a later record was begun, so that this one must be done, and
    /// nothing before it keeps the watermark back for good.
    pub(super) fn may_catch_up(&self, at: usize) -> bool {
        let stuck = |entry: &Entry| {
            let routes = self.routes.iter().zip(&entry.states);
            let mut states = entry.states.iter();
            states.any(|state| {
                matches!(
                    state,
                    State::Undone | State::TellStop(_) | State::TellRejoin
                )
            }) || routes
                .filter(|(route, _)| route.paused || route.halted)
                .any(|(_, state)| *state == State::Owed)
        };
        self.phase == Phase::Draining
            && !self.at_most_once()
            && at < self.begun
            && !self.entries[..=at].iter().any(stuck)
    }

    /// Revoke, drain or loss.
    pub(super) fn leave(&mut self, phase: Phase) {
        self.phase = phase;
        let begun = |state: &State| {
            matches!(
                state,
                State::Done | State::TellSkip(_) | State::Running | State::Writing(_)
            )
        };
        let begun = |entry: &Entry| entry.states[..ROUTES].iter().any(begun);
        self.begun = self.entries.iter().rposition(begun).map_or(0, |at| at + 1);
        self.commit_retry = None;
        if phase == Phase::Lost
            && self.at_most_once()
            && let Some(up_to) = self.commits.front()
        {
            // It may have arrived.
            self.confirmed = self.confirmed.max(Some(*up_to));
        }
        self.tell_released();
        let keep_told = |state: &mut State| {
            if !matches!(
                state,
                State::No
                    | State::Done
                    | State::Owed
                    | State::Running
                    | State::Writing(_)
                    | State::TellSkip(_)
                    | State::TellStop(_)
                    | State::TellRejoin
            ) {
                *state = State::Undone;
            }
        };
        self.entries
            .iter_mut()
            .for_each(|entry| entry.states.iter_mut().for_each(keep_told));
        self.advance();
    }

    /// At most once: what nobody will run any more is told.
    fn tell_released(&mut self) {
        for entry in 0..self.entries.len() {
            if !self.is_released(entry) {
                continue;
            }
            for state in &mut self.entries[entry].states[..ROUTES] {
                match *state {
                    State::Owed => *state = State::TellSkip(Reason::Revoked),
                    State::Letter(reason) | State::LetterAgain { reason, .. } => {
                        *state = State::TellSkip(reason);
                    }
                    _ => {}
                }
            }
        }
    }

    pub(super) fn advance(&mut self) {
        while self.entries.get(self.front).is_some_and(Entry::is_done) {
            self.front += 1;
        }
    }
}

/// When a wait that starts now may end.
fn bounds(backoff: &super::super::Backoff, failures: u32, now: u64) -> (u64, u64) {
    let ceiling = backoff.ceiling(failures);
    let floor = ceiling.mul_f64(1.0 - backoff.jitter_part());
    // A nanosecond for rounding.
    (
        (now + floor.as_nanos() as u64).saturating_sub(1),
        now + ceiling.as_nanos() as u64,
    )
}
