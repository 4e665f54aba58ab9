//! How an assignment ends: in good weather with everything done, or with what is in flight.

use super::super::{CommitMode, Input, RouteId, Time};
use super::invariants::{Checked, ensure};
use super::model::{Phase, State};
use super::world::World;

impl World<'_> {
    /// The weather clears: with handlers that succeed, everything must come to its end.
    pub(super) fn clear_up(&mut self) -> Checked {
        self.bad = false;
        for n in 0..self.scenario.routes.len() {
            if self.oracle.model.routes[n].paused {
                self.oracle.model.routes[n].paused = false;
                self.machine.resume_route(RouteId(n as u32));
            }
        }
        self.settle()?;
        for _ in 0..10_000 {
            let model = &self.oracle.model;
            let unread = model.first + model.entries.len() < self.scenario.records.len();
            if !self.running.is_empty() {
                self.answer_handler()?;
            } else if !self.writing.is_empty() {
                self.answer_letter()?;
            } else if !model.commits.is_empty() {
                self.answer_commit()?;
            } else if let Some(at) = self.machine.poll_timeout() {
                let to = at.as_nanos().max(model.now);
                self.oracle.model.ticked(to);
                self.input(Input::Tick(Time::from_nanos(to)))?;
                self.settle()?;
            } else if unread && !model.paused {
                self.feed()?;
            } else {
                self.settle()?;
                if self.running.is_empty()
                    && self.writing.is_empty()
                    && self.oracle.model.commits.is_empty()
                {
                    return self.oracle.completed();
                }
            }
        }
        ensure!(false, Progress, "no end in sight");
        Ok(())
    }

    /// What is in flight ends, in any order; then the books are closed.
    pub(super) fn wind_down(mut self) -> Checked<usize> {
        for _ in 0..1_000 {
            if self.running.is_empty() && self.writing.is_empty() {
                self.settle()?;
            }
            let lost = self.oracle.model.phase == Phase::Lost;
            let commits =
                !lost && self.oracle.model.at_most_once() && !self.oracle.model.commits.is_empty();
            if self.running.is_empty() && self.writing.is_empty() && !commits {
                break;
            }
            match self.chance.below(8) {
                0..4 => self.answer_handler()?,
                4 | 5 => self.answer_letter()?,
                6 if !lost => self.answer_commit()?,
                7 if self.chance.once_in(40) && self.oracle.model.phase == Phase::Draining => {
                    self.leave(0)?;
                }
                7 if self.chance.once_in(8) => {
                    self.oracle.model.begun = 0;
                    self.input(Input::StopCatchingUp)?;
                }
                7 => self.disturb()?,
                _ => {}
            }
        }
        self.settle()?;
        let model = &self.oracle.model;
        ensure!(model.phase != Phase::Draining, DrainedOnce, "never drained");
        let committed = match (model.phase, model.mode()) {
            (Phase::Drained, _) => self.machine.watermark().max(model.confirmed),
            // Some of what was stored had been committed before the partition was lost.
            (_, CommitMode::Auto) => {
                let some = self.chance.below(model.front + 1);
                some.checked_sub(1).map(|last| model.offset(last) + 1)
            }
            _ => model.confirmed,
        };
        let read = |at: &usize| self.scenario.records[*at].offset;
        let next =
            (model.first..self.scenario.records.len()).find(|at| Some(read(at)) >= committed);
        let next = next.unwrap_or(self.scenario.records.len());
        for entry in 0..next - model.first {
            let states = &model.entries[entry].states;
            let told_or_run =
                |state: &State| state.is_done() || (model.at_most_once() && *state != State::Owed);
            ensure!(
                states.iter().all(told_or_run),
                NothingIsLost,
                "offset {} is committed, but {states:?}",
                model.offset(entry)
            );
        }
        Ok(next)
    }
}
