//! What happens to the model: records, answers, the time.

use super::super::{Backoff, CommitMode, Exhausted, OnUndecodable, OnUnmatched, Outcome, Reason};
use super::model::{Entry, Model, Phase, State};
use super::scenario::{NO_ROUTE, ROUTES, Target};
use super::staging::Staged;

impl Model<'_> {
    /// A record was read, and goes to the routes of `mask`.
    pub(super) fn fed(&mut self, offset: i64, mask: u8) {
        let at = self.entries.len();
        let mut states = [State::No; ROUTES + 1];
        for (n, state) in states.iter_mut().enumerate().take(ROUTES) {
            if mask & (1 << n) != 0 {
                *state = State::Owed;
            }
        }
        if mask == 0 {
            states[NO_ROUTE] = State::Held;
        }
        self.clock += 1;
        self.entries.push(Entry {
            offset,
            states,
            attempts: [0; ROUTES + 1],
            call: [0; ROUTES],
            letter_failures: [0; ROUTES + 1],
            read: self.clock,
            came: [self.clock; ROUTES],
            began: [0; ROUTES],
            ticket: None,
            staged: Staged::Nothing,
        });
        self.decide(at);
    }

    /// What becomes of a record that goes to no route.
    pub(super) fn decide(&mut self, at: usize) {
        if self.entries[at].states[NO_ROUTE] == State::Held && !self.is_held(at) {
            let config = &self.scenario.config;
            let target = self.scenario.records[self.first + at].target;
            let state = match (target, config.on_undecodable, config.on_unmatched) {
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
            self.entries[at].states[NO_ROUTE] = state;
        }
        self.advance();
    }

    /// The offsets restart.
    pub(super) fn new_history(&mut self, start: i64) {
        self.history += 1;
        self.began = self.entries.len();
        self.start = Some(start);
        self.started = false;
        self.gaps.clear();
        self.confirmed = None;
        self.last_commit = None;
        self.commit_failures = 0;
        self.commit_retry = None;
        for at in 0..self.began {
            self.decide(at);
        }
    }

    pub(super) fn read_to(&mut self, offset: i64) {
        let last = (self.entries.len() > self.began).then(|| self.offset(self.entries.len() - 1));
        if last.is_none_or(|last| offset > last) {
            self.gaps.push((self.entries.len(), offset));
        }
    }

    pub(super) fn answered(&mut self, entry: usize, route: usize, outcome: Outcome) {
        let attempts = self.entries[entry].attempts[route];
        let orphan = self.routes[route].abandoned
            && self.phase == Phase::Active
            && !self.halted
            && !self.routes[route].halted
            && !self.at_most_once();
        let state = match outcome {
            _ if self.phase == Phase::Lost && !self.is_last_chance(entry) => State::Undone,
            Outcome::Handled => State::Done,
            Outcome::Rejected => {
                let then = Some(Exhausted::DeadLetter);
                self.gave_up(entry, route, Reason::Rejected, then)
            }
            Outcome::Failed { .. } if orphan => State::Orphan,
            Outcome::Failed { now, .. } => {
                let name = self.scenario.records[self.first + entry].name;
                let policy = &self.scenario.routes[route].of(name);
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
                    self.gave_up(entry, route, Reason::Exhausted, then)
                } else if self.phase == Phase::Active || self.drains() {
                    let (from, to) = bounds(&policy.backoff, attempts, now.as_nanos());
                    State::Retry { from, to }
                } else if self.is_last_chance(entry) {
                    State::TellSkip(Reason::Revoked)
                } else {
                    State::Undone
                }
            }
        };
        self.entries[entry].states[route] = state;
        self.lower_begun();
        self.advance();
        self.move_up();
    }

    /// `then`: `None` is to rejoin.
    fn gave_up(
        &mut self,
        entry: usize,
        route: usize,
        reason: Reason,
        then: Option<Exhausted>,
    ) -> State {
        let active = self.phase == Phase::Active;
        match then {
            Some(Exhausted::Skip) => State::TellSkip(reason),
            Some(Exhausted::DeadLetter) if active || self.drains() => State::Letter(reason),
            _ if self.drains() && self.is_old(entry) => State::TellLast(Reason::Revoked),
            _ if !active && !self.drains() && self.is_last_chance(entry) => State::TellSkip(reason),
            _ if !active => State::Undone,
            Some(Exhausted::DeadLetter) => State::Letter(reason),
            stop_or_rejoin => {
                if std::mem::replace(&mut self.routes[route].halted, true) {
                    return if self.is_last_chance(entry) {
                        State::TellSkip(reason)
                    } else {
                        State::Undone
                    };
                }
                if stop_or_rejoin.is_some() {
                    self.halted = true;
                    State::TellStop(reason)
                } else {
                    State::TellRejoin
                }
            }
        }
    }

    /// The handler was not started after all.
    pub(super) fn withdrawn(&mut self, entry: usize, route: usize) {
        let last_chance = self.is_last_chance(entry);
        let found = &mut self.entries[entry];
        found.attempts[route] -= 1;
        let again = found.attempts[route] > 0;
        if !again {
            found.began[route] = 0;
        }
        found.states[route] = match self.phase {
            Phase::Lost | Phase::Drained if last_chance => State::TellSkip(Reason::Revoked),
            Phase::Lost | Phase::Drained => State::Undone,
            Phase::Draining if self.scenario.config.commit == CommitMode::BeforeProcessing => {
                State::TellSkip(Reason::Revoked)
            }
            Phase::Active if self.routes[route].abandoned => State::Orphan,
            Phase::Active | Phase::Draining if again => State::Retry { from: 0, to: 0 },
            Phase::Active | Phase::Draining => State::Owed,
        };
        self.lower_begun();
        self.advance();
    }

    pub(super) fn letter_answered(&mut self, entry: usize, slot: usize, stored: bool) {
        let State::Writing(reason) = self.entries[entry].states[slot] else {
            return;
        };
        let old = self.is_old(entry);
        let state = if self.phase == Phase::Lost && !self.is_last_chance(entry) {
            State::Undone
        } else if stored {
            State::Done
        } else if self.phase == Phase::Active {
            self.entries[entry].letter_failures[slot] += 1;
            let failures = self.entries[entry].letter_failures[slot];
            let (from, to) = bounds(&self.scenario.config.backoff, failures, self.now);
            State::LetterAgain { reason, from, to }
        } else if old || self.at_most_once() && slot != NO_ROUTE {
            State::TellSkip(reason)
        } else {
            State::Undone
        };
        self.entries[entry].states[slot] = state;
        self.lower_begun();
        self.advance();
        self.move_up();
    }

    pub(super) fn commit_answered(&mut self, history: u32, up_to: i64, ok: bool) {
        self.commits.pop_front();
        if history != self.history {
            return;
        }
        let releasing = self.releasing(up_to);
        if ok {
            self.confirmed = self.confirmed.max(Some(up_to));
            self.commit_failures = 0;
            if !std::mem::replace(&mut self.started, true) && self.phase == Phase::Active {
                for at in self.began..self.entries.len() {
                    self.decide(at);
                }
            }
            if self.phase == Phase::Draining {
                self.tell_unstarted();
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
        if let Some(at) = releasing.filter(|_| self.phase == Phase::Active) {
            for (n, state) in self.entries[at].states[..ROUTES].iter_mut().enumerate() {
                if *state == State::Owed && self.routes[n].abandoned {
                    *state = State::Orphan;
                }
            }
        }
    }

    pub(super) fn ticked(&mut self, now: u64) {
        self.now = now;
        if self.commit_retry.is_some_and(|(_, to)| to <= now) {
            self.commit_retry = None;
        }
    }

    /// A route's time to close is over. `heir`: the worker for a record, if any.
    pub(super) fn abandoned(&mut self, n: usize, heir: &dyn Fn(usize) -> Option<usize>) {
        let route = &mut self.routes[n];
        if self.phase != Phase::Active || self.halted || route.halted || route.gone {
            return;
        }
        route.closing = true;
        route.paused = false;
        route.abandoned = true;
        self.clock += 1;
        for at in 0..self.entries.len() {
            if !matches!(
                self.entries[at].states[n],
                State::Owed | State::Retry { .. } | State::Answered(_) | State::Orphan
            ) {
                continue;
            }
            let on_its_way = self.awaited().next();
            if on_its_way.and_then(|up_to| self.releasing(up_to)) == Some(at) {
                continue;
            }
            let unseen = self.is_held(at) || self.at_most_once() && !self.is_released(at);
            let on_unmatched = self.scenario.config.on_unmatched;
            let to = heir(self.first + at);
            let entry = &mut self.entries[at];
            entry.states[n] = match (to, on_unmatched) {
                (Some(_), _) => State::No,
                _ if unseen => State::No,
                (None, OnUnmatched::DeadLetter) => State::Letter(Reason::Stopped),
                (None, OnUnmatched::Acknowledge) => State::TellSkip(Reason::Stopped),
            };
            if let Some(to) = to {
                self.heirs.push((n, to));
                entry.states[to] = State::Owed;
                entry.attempts[to] = 0;
                entry.began[to] = 0;
                entry.came[to] = self.clock;
            } else if entry.states == [State::No; ROUTES + 1] {
                entry.states[NO_ROUTE] = State::Held;
            }
            self.decide(at);
        }
    }

    /// Revoke, drain or loss.
    pub(super) fn leave(&mut self, phase: Phase) {
        self.phase = phase;
        self.commit_retry = None;
        let awaited = self.awaited().next();
        if phase == Phase::Lost
            && self.at_most_once()
            && self.started
            && let Some(up_to) = awaited
        {
            // It may have arrived.
            self.confirmed = self.confirmed.max(Some(up_to));
        }
        self.tell_unstarted();
        // At most once all is told at once, else a drain may still come to it.
        let now = phase == Phase::Lost || self.at_most_once();
        let drains = self.drains();
        for at in 0..self.entries.len() {
            let old = self.is_old(at);
            for state in &mut self.entries[at].states {
                *state = match *state {
                    State::Retry { .. } | State::Answered(_) | State::Letter(_) if drains => {
                        continue;
                    }
                    State::Owed | State::Retry { .. } | State::Answered(_) | State::Orphan
                        if now && old =>
                    {
                        State::TellSkip(Reason::Revoked)
                    }
                    State::Letter(reason) | State::LetterAgain { reason, .. } if now && old => {
                        State::TellSkip(reason)
                    }
                    State::LetterAgain { reason, .. } if old => State::TellLast(reason),
                    State::Given | State::Undone if now && old => State::TellSkip(Reason::Revoked),
                    State::Given | State::Undone | State::Orphan if old => {
                        State::TellLast(Reason::Revoked)
                    }
                    State::TellLast(reason) if now => State::TellSkip(reason),
                    State::Held
                    | State::Retry { .. }
                    | State::Answered(_)
                    | State::Orphan
                    | State::Letter(_)
                    | State::LetterAgain { .. } => State::Undone,
                    state => state,
                };
            }
        }
        self.advance();
        self.begun = self.entries.len();
        self.lower_begun();
    }

    /// At most once: what nobody will run any more is told.
    fn tell_unstarted(&mut self) {
        for entry in 0..self.entries.len() {
            if !self.is_released(entry) {
                continue;
            }
            for state in &mut self.entries[entry].states[..ROUTES] {
                match *state {
                    State::Owed | State::Orphan => *state = State::TellSkip(Reason::Revoked),
                    State::Letter(reason) | State::LetterAgain { reason, .. } => {
                        *state = State::TellSkip(reason);
                    }
                    _ => {}
                }
            }
        }
        self.advance();
    }
}

/// When a wait that starts now may end.
fn bounds(backoff: &Backoff, failures: u32, now: u64) -> (u64, u64) {
    let ceiling = backoff.ceiling(failures);
    let floor = ceiling.mul_f64(1.0 - backoff.jitter_part());
    // A nanosecond for rounding.
    (
        (now + floor.as_nanos() as u64).saturating_sub(1),
        now + ceiling.as_nanos() as u64,
    )
}
