//! The judge of silence: what must have happened before the machine may have nothing to do.

use super::super::CommitMode;
use super::invariants::{Checked, ensure};
use super::model::{Phase, State};
use super::oracle::Oracle;
use super::scenario::ROUTES;

impl Oracle<'_> {
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
                        ensure!(false, Progress, "no dead letter of offset {offset}");
                    }
                    State::Retry { from, to } | State::LetterAgain { from, to, .. }
                        if from > model.now =>
                    {
                        deadline = Some(deadline.map_or(to, |deadline| deadline.min(to)));
                    }
                    State::Retry { to, .. } | State::LetterAgain { to, .. } if to > model.now => {}
                    State::LetterAgain { .. } => {
                        ensure!(false, Progress, "dead letter of {offset} not tried again");
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

    /// What keeps something that is done from being committed must have been started.
    pub(super) fn caught_up(&self) -> Checked {
        for (at, entry) in self.model.entries.iter().enumerate() {
            for n in 0..ROUTES {
                let owed = entry.states[n] == State::Owed && self.may_start(at, n);
                ensure!(
                    !owed,
                    Progress,
                    "drained, and offset {} is not caught up",
                    self.model.offset(at)
                );
            }
        }
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
        if !(model.phase == Phase::Active || model.may_catch_up(at))
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
