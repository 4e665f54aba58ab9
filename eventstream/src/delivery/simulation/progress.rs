//! The judge of silence: what must have happened before the machine may have nothing to do.

use super::super::{CommitMode, Failure, Reason};
use super::invariants::{Checked, ensure};
use super::model::{Phase, RouteModel, State};
use super::oracle::{Oracle, slot};
use super::scenario::{NO_ROUTE, ROUTES};

impl Oracle<'_> {
    /// The machine claims to have nothing to do: checks that.
    pub(super) fn idle(&mut self, timeout: Option<u64>) -> Checked {
        self.batches_idle(timeout)?;
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
                    State::Orphan | State::TellSkip(Reason::Stopped) => {
                        let waits = model.halted || model.routes[n].halted;
                        ensure!(
                            waits && *state == State::Orphan,
                            NoSiblingStalls,
                            "offset {offset} is not given away by route {n}"
                        );
                    }
                    State::TellSkip(_) if model.is_old(at) && model.phase != Phase::Active => {
                        ensure!(
                            false,
                            NewHistoryIsRead,
                            "offset {offset} of an earlier history is forgotten: {state:?}"
                        );
                    }
                    State::TellSkip(_) | State::TellStop(_) | State::TellRejoin => {
                        ensure!(
                            false,
                            NothingIsLost,
                            "offset {offset} is not told: {state:?}"
                        );
                    }
                    State::Letter(_) => {
                        ensure!(
                            model.phase != Phase::Active && !model.may_catch_up(at),
                            Progress,
                            "no dead letter of offset {offset}"
                        );
                    }
                    State::Retry { .. }
                        if model.phase != Phase::Active && !model.may_try_again(at, n) => {}
                    State::Retry { from, to } | State::LetterAgain { from, to, .. }
                        if from > model.now =>
                    {
                        deadline = Some(deadline.map_or(to, |deadline| deadline.min(to)));
                    }
                    State::Retry { to, .. } | State::LetterAgain { to, .. } if to > model.now => {}
                    State::LetterAgain { .. } => {
                        ensure!(false, Progress, "dead letter of {offset} not tried again");
                    }
                    // Judged all together.
                    State::Owed if n < ROUTES && model.batch(n).is_some() => {}
                    State::Answered(_) if model.phase == Phase::Active => {
                        ensure!(
                            model.lane_blocked_by(at, n, &[]).is_some(),
                            Progress,
                            "offset {offset} has its answer and its turn"
                        );
                    }
                    State::Owed | State::Retry { .. } => {
                        let stalls = self.may_start(at, n);
                        let given_away = entry.came[n] != entry.read;
                        ensure!(
                            !stalls || !model.routes[n].closing && !given_away,
                            NoSiblingStalls,
                            "offset {offset} may start in route {n}, which closes or was given it"
                        );
                        ensure!(!stalls, Progress, "offset {offset} may start in route {n}");
                    }
                    _ => {}
                }
            }
        }
        if model.phase != Phase::Active {
            let awaited = model.retries_to_come();
            let waits = model.phase == Phase::Draining && model.in_flight() == 0;
            ensure!(
                !waits || awaited,
                DrainedOnce,
                "not drained though nothing is in flight"
            );
            ensure!(
                timeout.is_none() || awaited,
                NothingStartsAfterRevoke,
                "a deadline after it"
            );
        }
        if let Some(deadline) = deadline {
            ensure!(
                timeout.is_some_and(|timeout| timeout <= deadline),
                AttemptsAndBackoff,
                "next deadline {timeout:?}, wanted by {deadline}"
            );
        }
        if model.phase != Phase::Active {
            return Ok(());
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
        let waits = model.commit_retry.is_some() || model.awaited().next().is_some();
        ensure!(
            waits || model.started || model.history == 0,
            NewHistoryIsRead,
            "the commit of the new start is not asked for"
        );
        ensure!(
            waits || model.started,
            StartCommittedFirst,
            "the commit of the start is not asked for"
        );
        let (done, waits) = (
            model.contiguous(),
            waits || model.mode() == CommitMode::Auto,
        );
        ensure!(
            waits || model.confirmed >= done || model.last_commit > done,
            Progress,
            "done up to {done:?}, committed {:?}",
            model.confirmed
        );
        Ok(())
    }

    /// What keeps something that is done from being committed must have been started, tried again or
    /// dead-lettered.
    pub(super) fn caught_up(&self) -> Checked {
        for (at, entry) in self.model.entries.iter().enumerate() {
            let letter = entry.states.iter().any(|s| matches!(s, State::Letter(_)));
            ensure!(
                !letter || !self.model.may_catch_up(at),
                CatchesUp,
                "drained, and the dead letter of offset {} is not written",
                self.model.offset(at)
            );
            for n in 0..ROUTES {
                let is_batch =
                    n < self.model.scenario.routes.len() && self.model.batch(n).is_some();
                let owed = match entry.states[n] {
                    State::Owed if is_batch => self.batch_is_owed(n),
                    State::Owed | State::Retry { .. } => self.may_start(at, n),
                    _ => false,
                };
                ensure!(
                    !owed,
                    CatchesUp,
                    "drained, and offset {} is not caught up",
                    self.model.offset(at)
                );
            }
        }
        Ok(())
    }

    /// A drain ends: what it did not come to, and nobody can read again, is told.
    pub(super) fn tell_at_the_end(&mut self, failure: &Failure<u64>) -> Checked {
        let at = self.entry(failure.ticket, failure.offset, failure.body)?;
        let n = slot(failure.route);
        let state = self.model.entries[at].states[n];
        let over = self.model.phase == Phase::Draining
            && self.model.in_flight() == 0
            && self.model.is_old(at);
        let left = match state {
            State::TellLast(reason) | State::Letter(reason) => reason == failure.reason,
            State::Owed | State::Retry { .. } | State::Answered(_) => {
                failure.reason == Reason::Revoked && n != NO_ROUTE
            }
            _ => false,
        };
        if over && left {
            self.caught_up()?;
            self.model.begun = 0;
            self.model.entries[at].states[n] = State::TellSkip(failure.reason);
            self.model.advance();
        }
        Ok(())
    }

    pub(super) fn all_old_told(&self) -> Checked {
        let model = &self.model;
        for (at, entry) in model.entries[..model.began].iter().enumerate() {
            ensure!(
                entry.is_done(),
                NewHistoryIsRead,
                "offset {} of an earlier history is forgotten: {:?}",
                model.offset(at),
                entry.states
            );
        }
        Ok(())
    }

    /// Whether nothing but the machine itself keeps a record from starting.
    pub(super) fn may_start(&self, at: usize, n: usize) -> bool {
        let model = &self.model;
        if !(model.phase == Phase::Active || model.may_catch_up(at))
            || model.halted
            || model.routes[n].is_still()
            || model.running(n) >= model.limit(n)
            || model.is_held(at)
            || model.lane_blocked_by(at, n, &[]).is_some()
            || model
                .worker_blocked_by(at, n, &model.workers_and_heirs(at, n), true)
                .is_some()
        {
            return false;
        }
        let settled = || model.is_old(at) || model.confirmed >= model.contiguous();
        match model.mode() {
            CommitMode::Auto | CommitMode::AsyncEach => true,
            CommitMode::AfterEach => {
                // What failed in a batch need not be the front: another worker may have left one.
                let has_turn = at == model.front || model.entries[at].attempts[n] > 0;
                model.is_keyed(n) || (has_turn && settled())
            }
            CommitMode::BeforeProcessing => model.is_released(at),
        }
    }

    /// There are no more faults and no more inputs: everything read must be done, unless a
    /// subscription stopped.
    pub(super) fn completed(&self) -> Checked {
        let model = &self.model;
        let stopped = model.halted || model.routes.iter().any(|route| route.halted);
        ensure!(
            stopped || model.front == model.entries.len(),
            Progress,
            "stuck at {:?} of {}: {:?}",
            model.contiguous(),
            model.entries.len(),
            model.entries.get(model.front).map(|entry| entry.states)
        );
        let closing = |route: &RouteModel| route.closing && !route.gone;
        ensure!(
            stopped || !model.routes.iter().any(closing),
            NoSiblingStalls,
            "a closed route does not end"
        );
        Ok(())
    }
}
