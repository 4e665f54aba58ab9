//! The judge: every action of the machine against the model.

use std::collections::BTreeMap;

use super::super::{Action, CommitMode, Failure, Reason, RouteId, Ticket};
use super::invariants::{Checked, ensure};
use super::model::{Model, Phase, State};
use super::scenario::{NO_ROUTE, ROUTES};

/// What outlives an assignment.
#[derive(Default)]
pub(super) struct Ledger {
    /// Which routes ever ran which record.
    ran: Vec<[bool; ROUTES]>,
    /// How often each kind of action was seen.
    pub(super) seen: BTreeMap<&'static str, u64>,
}

impl Ledger {
    pub(super) fn begin(&mut self, records: usize) {
        self.ran = vec![[false; ROUTES]; records];
    }

    fn saw(&mut self, action: &Action<u64>) {
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

pub(super) struct Oracle<'a> {
    pub(super) model: Model<'a>,
    pub(super) ledger: &'a mut Ledger,
    watermark: Option<i64>,
}

fn slot(route: Option<RouteId>) -> usize {
    route.map_or(NO_ROUTE, |id| id.0 as usize)
}

impl<'a> Oracle<'a> {
    pub(super) fn new(model: Model<'a>, ledger: &'a mut Ledger) -> Self {
        Self {
            model,
            ledger,
            watermark: None,
        }
    }

    /// One action was handed out.
    pub(super) fn action(&mut self, action: &Action<u64>) -> Checked {
        self.ledger.saw(action);
        match action {
            Action::Run {
                ticket,
                route,
                attempt,
                offset,
                body,
            } => {
                let entry = self.entry(*ticket, *offset, *body)?;
                self.run(entry, slot(Some(*route)), *attempt)
            }
            Action::DeadLetter(failure) => self.dead_letter(failure),
            Action::Commit { up_to } => self.commit(*up_to),
            Action::Pause | Action::Resume => self.pause(matches!(action, Action::Pause)),
            Action::Skipped(failure) => {
                let told = State::TellSkip(failure.reason);
                self.told(failure, told, State::Done)
            }
            Action::StopSubscription(failure) => {
                let told = State::TellStop(failure.reason);
                self.told(failure, told, State::Undone)
            }
            Action::Rejoin(failure) => self.told(failure, State::TellRejoin, State::Undone),
            Action::RouteDrained { route } => {
                let n = slot(Some(*route));
                let owes = self
                    .model
                    .entries
                    .iter()
                    .any(|entry| !entry.states[n].is_done());
                let model = &mut self.model.routes[n];
                ensure!(
                    model.closing && !model.gone && !owes,
                    NothingIsLost,
                    "route {n} drained while it owes"
                );
                model.gone = true;
                Ok(())
            }
            Action::Cancel { ticket, route } => {
                ensure!(
                    self.model.phase == Phase::Lost,
                    NothingStartsAfterRevoke,
                    "cancel without loss"
                );
                let (n, at_most_once) = (slot(Some(*route)), self.model.at_most_once());
                let entry = self
                    .model
                    .entries
                    .iter_mut()
                    .find(|entry| entry.ticket == Some(*ticket));
                let state = entry.map(|entry| &mut entry.states[n]);
                ensure!(
                    state.as_deref() == Some(&State::Running),
                    NothingIsLost,
                    "cancel of what does not run"
                );
                if let (Some(state), false) = (state, at_most_once) {
                    *state = State::Undone;
                }
                Ok(())
            }
            Action::Drained => {
                ensure!(
                    self.model.phase == Phase::Draining,
                    DrainedOnce,
                    "drained in {:?}",
                    self.model.phase
                );
                ensure!(
                    self.in_flight() == 0,
                    DrainedOnce,
                    "drained with work in flight"
                );
                self.model.phase = Phase::Drained;
                Ok(())
            }
        }
    }

    /// The record an action speaks of.
    fn entry(&mut self, ticket: Ticket, offset: i64, body: u64) -> Checked<usize> {
        let at = usize::try_from(body)
            .unwrap_or(usize::MAX)
            .wrapping_sub(self.model.first);
        ensure!(
            at < self.model.entries.len(),
            NothingIsLost,
            "record {body} was never read"
        );
        ensure!(
            self.model.offset(at) == offset,
            NothingIsLost,
            "record {body} at offset {offset}"
        );
        let known = self.model.entries[at].ticket.get_or_insert(ticket);
        ensure!(
            *known == ticket,
            NothingIsLost,
            "record {body} changed its ticket"
        );
        Ok(at)
    }

    fn run(&mut self, entry: usize, n: usize, attempt: u32) -> Checked {
        let model = &mut self.model;
        let (lane, offset) = (model.lane(entry, n), model.offset(entry));
        ensure!(
            model.phase == Phase::Active,
            NothingStartsAfterRevoke,
            "offset {offset} ran in {:?}",
            model.phase
        );
        let route = model.routes[n];
        ensure!(
            !route.paused && !route.halted && !route.gone,
            Progress,
            "offset {offset} ran in a still route"
        );
        ensure!(
            !model.halted,
            Progress,
            "offset {offset} ran after the group stopped"
        );
        for earlier in 0..entry {
            let free = model.lane(earlier, n) != lane || model.entries[earlier].states[n].is_done();
            ensure!(
                free,
                LaneOrder,
                "offset {offset} ran before offset {}",
                model.offset(earlier)
            );
        }
        let running = |at: &usize| model.entries[*at].states[n] == State::Running;
        let busy: Vec<_> = (0..model.entries.len()).filter(running).collect();
        ensure!(
            busy.len() < model.limit(n),
            Concurrency,
            "{} already run in route {n}",
            busy.len()
        );
        ensure!(
            busy.iter().all(|at| model.lane(*at, n) != lane),
            Concurrency,
            "two run in lane {lane} of route {n}"
        );
        match model.entries[entry].states[n] {
            State::Owed => {}
            State::Retry { from, .. } => {
                ensure!(
                    model.now >= from,
                    AttemptsAndBackoff,
                    "offset {offset} again {} ns early",
                    from - model.now
                );
            }
            state => ensure!(false, NothingIsLost, "offset {offset} ran while {state:?}"),
        }
        let attempts = model.entries[entry].attempts[n] + 1;
        ensure!(
            attempt == attempts,
            AttemptsAndBackoff,
            "attempt {attempt}, in truth {attempts}"
        );
        if let Some(max) = model.scenario.routes[n].max_attempts {
            ensure!(
                attempts <= max,
                AttemptsAndBackoff,
                "attempt {attempt} of {max}"
            );
        }
        if model.mode() == CommitMode::AfterEach && !model.is_keyed(n) {
            let settled = entry == 0 || model.confirmed > Some(model.offset(entry - 1));
            ensure!(
                settled,
                EachCommitAwaited,
                "offset {offset} ran before the commit of the one before"
            );
        }
        if model.at_most_once() {
            ensure!(
                model.is_released(entry),
                AtMostOnce,
                "offset {offset} ran before its commit"
            );
            let ran = &mut self.ledger.ran[model.first + entry][n];
            ensure!(!*ran, AtMostOnce, "offset {offset} ran twice in route {n}");
            *ran = true;
        }
        model.entries[entry].states[n] = State::Running;
        model.entries[entry].attempts[n] = attempts;
        Ok(())
    }

    fn dead_letter(&mut self, failure: &Failure<u64>) -> Checked {
        let at = self.entry(failure.ticket, failure.offset, failure.body)?;
        let model = &mut self.model;
        let (n, offset) = (slot(failure.route), failure.offset);
        ensure!(
            model.phase == Phase::Active,
            NothingStartsAfterRevoke,
            "dead letter of {offset} after it"
        );
        let reason = match model.entries[at].states[n] {
            State::Letter(reason) => reason,
            State::LetterAgain { reason, from, .. } => {
                ensure!(
                    model.now >= from,
                    AttemptsAndBackoff,
                    "dead letter of {offset} again too early"
                );
                reason
            }
            state => {
                ensure!(
                    false,
                    NothingIsLost,
                    "dead letter of {offset} while {state:?}"
                );
                return Ok(());
            }
        };
        ensure!(
            reason == failure.reason,
            NothingIsLost,
            "reason {:?} for {reason:?}",
            failure.reason
        );
        let attempts = model.entries[at].attempts[n];
        ensure!(
            failure.attempts == attempts,
            AttemptsAndBackoff,
            "{} attempts for {attempts}",
            failure.attempts
        );
        model.entries[at].states[n] = State::Writing(reason);
        Ok(())
    }

    fn told(&mut self, failure: &Failure<u64>, told: State, then: State) -> Checked {
        let at = self.entry(failure.ticket, failure.offset, failure.body)?;
        let n = slot(failure.route);
        let entry = &mut self.model.entries[at];
        let state = &mut entry.states[n];
        ensure!(
            *state == told,
            NothingIsLost,
            "offset {}: {told:?}, in truth {state:?}",
            failure.offset
        );
        ensure!(
            failure.attempts == entry.attempts[n],
            AttemptsAndBackoff,
            "told of {} attempts, in truth {}",
            failure.attempts,
            entry.attempts[n]
        );
        *state = then;
        Ok(())
    }

    fn commit(&mut self, up_to: i64) -> Checked {
        let model = &mut self.model;
        ensure!(
            model.phase == Phase::Active,
            NothingStartsAfterRevoke,
            "commit of {up_to} after it"
        );
        ensure!(
            model.mode() != CommitMode::Auto,
            EachCommitAwaited,
            "commit of {up_to} unasked"
        );
        ensure!(
            model.last_commit <= Some(up_to),
            NeverGoesBack,
            "commit of {up_to} after {:?}",
            model.last_commit
        );
        if let Some((from, _)) = model.commit_retry.take() {
            ensure!(
                model.now >= from,
                AttemptsAndBackoff,
                "commit of {up_to} again too early"
            );
        }
        if model.mode() != CommitMode::AsyncEach {
            ensure!(
                model.commits.is_empty(),
                EachCommitAwaited,
                "two commits at once"
            );
        }
        if !(model.at_most_once() && self.releases(up_to)) {
            let done = self.contiguous();
            ensure!(
                done == Some(up_to),
                StoresOnlyWhatIsDone,
                "commit of {up_to}, done are {done:?}"
            );
        }
        self.model.commits.push_back(up_to);
        self.model.last_commit = Some(up_to);
        Ok(())
    }

    /// At most once: whether this commit may release the next record.
    fn releases(&self, up_to: i64) -> bool {
        let model = &self.model;
        let Some(at) = (0..model.entries.len()).find(|at| model.offset(*at) + 1 == up_to) else {
            return false;
        };
        (0..at).all(|lower| model.entries[lower].is_done() || model.is_released(lower))
            && model.entries[at].states[NO_ROUTE] == State::No
    }

    fn pause(&mut self, pause: bool) -> Checked {
        let model = &mut self.model;
        ensure!(
            model.phase == Phase::Active,
            PauseAndResume,
            "pause or resume after a revoke"
        );
        ensure!(
            model.paused != pause,
            PauseAndResume,
            "paused or resumed twice"
        );
        let (records, bytes, span) = model.levels();
        let config = &model.scenario.config;
        if pause {
            let full = records >= config.records.high
                || bytes >= config.bytes.high
                || span >= config.span.high;
            ensure!(
                full,
                PauseAndResume,
                "paused at {records} records, {bytes} bytes, {span} wide"
            );
        } else {
            let low = records <= config.records.low
                && bytes <= config.bytes.low
                && span <= config.span.low;
            ensure!(
                low,
                PauseAndResume,
                "resumed at {records} records, {bytes} bytes, {span} wide"
            );
        }
        model.paused = pause;
        Ok(())
    }

    /// Up to where all is done.
    fn contiguous(&self) -> Option<i64> {
        self.model
            .front
            .checked_sub(1)
            .map(|last| self.model.offset(last) + 1)
    }

    pub(super) fn watermark(&mut self, watermark: Option<i64>) -> Checked {
        if self.model.phase == Phase::Lost {
            ensure!(
                watermark.is_none(),
                NothingStartsAfterRevoke,
                "a watermark of a lost partition"
            );
            return Ok(());
        }
        ensure!(
            watermark >= self.watermark,
            NeverGoesBack,
            "from {:?} to {watermark:?}",
            self.watermark
        );
        self.watermark = watermark;
        let done = self.contiguous();
        let expected = if self.model.at_most_once() {
            let released = (0..self.model.entries.len())
                .take_while(|at| self.model.entries[*at].is_done() || self.model.is_released(*at))
                .last();
            done.max(released.map(|at| self.model.offset(at) + 1))
        } else {
            done
        };
        // At most once, what needs no handler may count only once all before it is done.
        ensure!(
            done <= watermark && watermark <= expected,
            StoresOnlyWhatIsDone,
            "watermark {watermark:?}, in truth {expected:?}"
        );
        Ok(())
    }

    pub(super) fn in_flight(&self) -> usize {
        let model = &self.model;
        let states = model.entries.iter().flat_map(|entry| &entry.states);
        let work = states
            .filter(|state| matches!(state, State::Running | State::Writing(_)))
            .count();
        let releasing = model.at_most_once()
            && model
                .commits
                .front()
                .is_some_and(|up_to| self.is_release(*up_to));
        work + usize::from(releasing)
    }

    /// At most once: whether a commit on its way is the release of a record.
    fn is_release(&self, up_to: i64) -> bool {
        let model = &self.model;
        (0..model.entries.len()).any(|at| {
            model.offset(at) + 1 == up_to
                && !model.entries[at].is_done()
                && model.entries[at].states[..ROUTES].contains(&State::Owed)
        })
    }

    /// The machine has nothing to do now: is that so?
    pub(super) fn idle(&self, timeout: Option<u64>) -> Checked {
        let model = &self.model;
        // Between its bounds a wait may be over or not: only chance knows.
        let mut deadline = model
            .commit_retry
            .filter(|(from, _)| *from > model.now)
            .map(|(_, to)| to);
        for (at, entry) in model.entries.iter().enumerate() {
            for (n, state) in entry.states.iter().enumerate() {
                let offset = model.offset(at);
                match *state {
                    State::TellSkip(_) | State::TellStop(_) | State::TellRejoin => {
                        ensure!(
                            false,
                            NothingIsLost,
                            "offset {offset} is not told: {state:?}"
                        );
                    }
                    State::Letter(_) => {
                        ensure!(false, Progress, "no dead letter of offset {offset}")
                    }
                    State::Retry { from, to } | State::LetterAgain { from, to, .. }
                        if to > model.now =>
                    {
                        if from > model.now {
                            deadline = Some(deadline.map_or(to, |deadline| deadline.min(to)));
                        }
                    }
                    State::LetterAgain { .. } => {
                        ensure!(false, Progress, "dead letter of {offset} not tried again")
                    }
                    State::Owed | State::Retry { .. } => {
                        ensure!(
                            !self.may_start(at, n),
                            Progress,
                            "offset {offset} may start in route {n}"
                        );
                    }
                    _ => {}
                }
            }
        }
        if model.phase != Phase::Active {
            let waits = model.phase == Phase::Draining && self.in_flight() == 0;
            ensure!(
                !waits,
                DrainedOnce,
                "not drained though nothing is in flight"
            );
            ensure!(
                timeout.is_none(),
                NothingStartsAfterRevoke,
                "a deadline after it"
            );
            return Ok(());
        }
        if let Some(deadline) = deadline {
            ensure!(
                timeout.is_some_and(|timeout| timeout <= deadline),
                AttemptsAndBackoff,
                "next deadline {timeout:?}, wanted by {deadline}"
            );
        }
        let (records, bytes, span) = model.levels();
        let config = &model.scenario.config;
        let full = records >= config.records.high
            || bytes >= config.bytes.high
            || span >= config.span.high;
        ensure!(
            model.paused || !full,
            PauseAndResume,
            "{records} records, {bytes} bytes, {span} wide, not paused"
        );
        ensure!(
            !model.paused || records > 0,
            PauseAndResume,
            "paused and empty"
        );
        let waits = model.commit_retry.is_some()
            || !model.commits.is_empty()
            || model.mode() == CommitMode::Auto;
        ensure!(
            waits || model.confirmed >= self.contiguous() || model.last_commit > self.contiguous(),
            Progress,
            "done up to {:?}, committed {:?}",
            self.contiguous(),
            model.confirmed
        );
        Ok(())
    }

    /// Whether nothing but the machine's own sloth keeps a record from starting.
    fn may_start(&self, at: usize, n: usize) -> bool {
        let model = &self.model;
        let route = model.routes[n];
        let running = model
            .entries
            .iter()
            .filter(|entry| entry.states[n] == State::Running)
            .count();
        if model.phase != Phase::Active
            || model.halted
            || route.paused
            || route.halted
            || running >= model.limit(n)
        {
            return false;
        }
        let lane = model.lane(at, n);
        if (0..at).any(|earlier| {
            model.lane(earlier, n) == lane && !model.entries[earlier].states[n].is_done()
        }) {
            return false;
        }
        match model.mode() {
            CommitMode::Auto | CommitMode::AsyncEach => true,
            CommitMode::AfterEach => {
                model.is_keyed(n)
                    || (at == model.front
                        && (at == 0 || model.confirmed > Some(model.offset(at - 1))))
            }
            CommitMode::BeforeProcessing => model.is_released(at),
        }
    }

    /// All is well again and nothing is left to come: everything read must be done, unless a
    /// subscription stopped.
    pub(super) fn completed(&self) -> Checked {
        let model = &self.model;
        let stopped = model.halted || model.routes.iter().any(|route| route.halted);
        ensure!(
            stopped || model.front == model.entries.len(),
            Progress,
            "stuck at {:?} of {}",
            self.contiguous(),
            model.entries.len()
        );
        Ok(())
    }
}
