//! The judge: every action of the machine against the model.

use super::super::{Action, CommitMode, Failure, RouteId, Ticket};
use super::invariants::{Checked, ensure};
use super::ledger::Ledger;
use super::model::{Model, Phase, State};
use super::scenario::NO_ROUTE;

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
            Action::Commit { up_to, .. } => self.commit(*up_to),
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
                self.caught_up()?;
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
            model.phase == Phase::Active || model.may_catch_up(entry),
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
    pub(super) fn contiguous(&self) -> Option<i64> {
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
}
