//! The judge: every action of the machine against the model.

use super::super::{Action, CommitMode, Failure, Reason, RouteId, Ticket};
use super::invariants::{Checked, ensure};
use super::ledger::Ledger;
use super::model::{Model, Phase, State};
use super::scenario::NO_ROUTE;

pub(super) struct Oracle<'a> {
    pub(super) model: Model<'a>,
    pub(super) ledger: &'a mut Ledger,
    /// The last one of the present history.
    pub(super) watermark: Option<i64>,
}

pub(super) fn slot(route: Option<RouteId>) -> usize {
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
                let n = slot(Some(*route));
                ensure!(
                    self.model.batch(n).is_none(),
                    BatchBounds,
                    "one alone where batches are asked for"
                );
                self.model.calls += 1;
                self.run(entry, n, *attempt, &[])
            }
            Action::RunBatch { route, records } => self.run_batch(slot(Some(*route)), records),
            Action::DeadLetter(failure) => self.dead_letter(failure),
            Action::Release { ticket } => self.released(*ticket),
            Action::Commit { history, up_to } => self.commit(*history, *up_to),
            Action::Pause | Action::Resume => self.pause(matches!(action, Action::Pause)),
            Action::Skipped(failure) => {
                self.tell_at_the_end(failure)?;
                let told = State::TellSkip(failure.reason);
                self.told(failure, told, State::Done)
            }
            Action::StopSubscription(failure) => {
                let told = State::TellStop(failure.reason);
                self.told(failure, told, State::Given)
            }
            Action::Rejoin(failure) => self.told(failure, State::TellRejoin, State::Given),
            Action::Orphaned { .. } => Ok(()),
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
                let n = slot(Some(*route));
                let mut entries = self.model.entries.iter();
                let at = entries.position(|entry| entry.ticket == Some(*ticket));
                let last_chance = at.is_some_and(|at| self.model.is_last_chance(at));
                let state = at.map(|at| &mut self.model.entries[at].states[n]);
                ensure!(
                    state.as_deref() == Some(&State::Running),
                    NothingIsLost,
                    "cancel of what does not run"
                );
                if let (Some(state), false) = (state, last_chance) {
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
                    self.model.in_flight() == 0,
                    DrainedOnce,
                    "drained with work in flight"
                );
                self.caught_up()?;
                self.all_old_told()?;
                self.model.phase = Phase::Drained;
                Ok(())
            }
        }
    }

    /// The record of an action.
    pub(super) fn entry(&mut self, ticket: Ticket, offset: i64, body: u64) -> Checked<usize> {
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

    pub(super) fn run(
        &mut self,
        entry: usize,
        n: usize,
        attempt: u32,
        beside: &[usize],
    ) -> Checked {
        let model = &mut self.model;
        let (lane, offset) = (model.lane(entry, n), model.offset(entry));
        ensure!(
            !model.is_held(entry),
            StartCommittedFirst,
            "offset {offset} ran before the start was committed"
        );
        ensure!(
            model.phase == Phase::Active || model.may_catch_up(entry),
            NothingStartsAfterRevoke,
            "offset {offset} ran in {:?}",
            model.phase
        );
        let route = model.routes[n];
        ensure!(
            !model.halted,
            StopsTheGroup,
            "offset {offset} ran after the group stopped"
        );
        ensure!(
            !route.is_still(),
            Progress,
            "offset {offset} ran in a still route"
        );
        let earlier = model.lane_blocked_by(entry, n, beside);
        ensure!(
            earlier.is_none(),
            LaneOrder,
            "offset {offset} ran before entry {earlier:?}"
        );
        let earlier = model.worker_blocked_by(entry, n, &model.workers(entry, n), false);
        ensure!(
            earlier.is_none(),
            WorkerOrder,
            "offset {offset} ran in {n}, before entry and worker {earlier:?}"
        );
        let running = |at: &usize| model.entries[*at].states[n] == State::Running;
        let others = |at: &usize| running(at) && !beside.contains(at);
        let busy: Vec<_> = (0..model.entries.len()).filter(others).collect();
        let calls = model.running(n) - usize::from(!beside.is_empty());
        ensure!(
            calls < model.limit(n),
            Concurrency,
            "{calls} already run in route {n}"
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
        let name = model.scenario.records[model.first + entry].name;
        if let Some(max) = model.scenario.routes[n].of(name).max_attempts {
            ensure!(
                attempts <= max,
                AttemptsAndBackoff,
                "attempt {attempt} of {max}"
            );
        }
        if model.mode() == CommitMode::AfterEach && !model.is_keyed(n) {
            ensure!(
                model.is_old(entry) || model.confirmed >= model.contiguous(),
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
            let class = model.scenario.routes[n].class;
            let ran = &mut self.ledger.ran[model.first + entry][class];
            ensure!(
                !*ran,
                AtMostOnce,
                "offset {offset} ran twice in class {class}"
            );
            *ran = true;
        }
        model.clock += 1;
        let found = &mut model.entries[entry];
        found.states[n] = State::Running;
        found.call[n] = model.calls;
        found.attempts[n] = attempts;
        if found.began[n] == 0 {
            found.began[n] = model.clock;
        }
        Ok(())
    }

    fn dead_letter(&mut self, failure: &Failure<u64>) -> Checked {
        let at = self.entry(failure.ticket, failure.offset, failure.body)?;
        let model = &mut self.model;
        let (n, offset) = (slot(failure.route), failure.offset);
        ensure!(
            model.phase == Phase::Active || model.may_catch_up(at),
            NothingStartsAfterRevoke,
            "dead letter of {offset} after it"
        );
        let held = model.entries[at].states[n] == State::Held;
        ensure!(
            !held,
            StartCommittedFirst,
            "dead letter of {offset} before the start was committed"
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
            *state != State::Held,
            StartCommittedFirst,
            "offset {} told before the start was committed",
            failure.offset
        );
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
        let left = self.model.phase != Phase::Active;
        if left && then == State::Given && self.model.is_old(at) {
            let now = self.model.phase == Phase::Lost || self.model.at_most_once();
            self.model.entries[at].states[n] = if now {
                State::TellSkip(Reason::Revoked)
            } else {
                State::TellLast(Reason::Revoked)
            };
            self.model.advance();
        }
        Ok(())
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

    /// A handler was not started after all.
    pub(super) fn withdrawn(&mut self, entry: usize, n: usize) {
        let class = self.model.scenario.routes[n].class;
        self.ledger.ran[self.model.first + entry][class] = false;
        self.model.withdrawn(entry, n);
    }
}
