//! How an assignment ends: without faults and with everything done, or with work in flight.

use super::super::{CommitMode, Input, RouteId, Time};
use super::invariants::{Checked, ensure};
use super::model::{Phase, State};
use super::staging::Staged;
use super::world::{From, World};

impl World<'_> {
    /// The faults end: with handlers that succeed, everything must complete.
    pub(super) fn clear_up(&mut self) -> Checked {
        self.bad = false;
        for n in 0..self.scenario.routes.len() {
            if self.oracle.model.routes[n].closing {
                self.abandon(n);
            } else if self.oracle.model.routes[n].paused {
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
            } else if model
                .entries
                .iter()
                .any(|e| matches!(e.staged, Staged::Released(_)))
            {
                self.take_over()?;
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
                    && self.machine.poll_timeout().is_none()
                {
                    return self.oracle.completed();
                }
            }
        }
        ensure!(false, Progress, "no end in sight");
        Ok(())
    }

    /// The runtime of the handlers is gone: no answer ever comes, and the partition is lost.
    pub(super) fn die(mut self) -> Checked<From> {
        if matches!(self.oracle.model.phase, Phase::Active | Phase::Draining) {
            self.leave(0)?;
        }
        self.settle()?;
        let quiet = self.machine.poll().is_none() && self.machine.poll_timeout().is_none();
        ensure!(
            quiet,
            NothingStartsAfterRevoke,
            "a lost partition has wishes"
        );
        // Its handlers may have got anywhere; nothing more can be asked of this schedule.
        Ok(From {
            record: self.scenario.records.len(),
            start: None,
        })
    }

    /// What is in flight ends, in any order; then the books are closed.
    pub(super) fn wind_down(mut self) -> Checked<From> {
        for step in 0..2_000 {
            if self.running.is_empty() && self.writing.is_empty() {
                self.settle()?;
            }
            let lost = self.oracle.model.phase == Phase::Lost;
            let commits =
                !lost && self.oracle.model.at_most_once() && !self.oracle.model.commits.is_empty();
            if self.running.is_empty() && self.writing.is_empty() && !commits {
                if self.machine.poll_timeout().is_none() {
                    break;
                }
                // A retry that the drain waits for.
                self.pass_time()?;
            }
            if step == 500 && self.oracle.model.phase == Phase::Draining {
                self.stop_catching_up()?;
            }
            match self.chance.below(8) {
                0..4 => self.answer_handler()?,
                4 | 5 => self.answer_letter()?,
                6 if !lost => self.answer_commit()?,
                7 if self.chance.once_in(40) && self.oracle.model.phase == Phase::Draining => {
                    self.leave(0)?;
                }
                7 if self.chance.once_in(8) => self.stop_catching_up()?,
                7 if self.chance.once_in(4) => self.pass_time()?,
                7 if self.chance.once_in(8) => self.withdraw()?,
                7 => self.disturb()?,
                _ => {}
            }
        }
        self.settle()?;
        self.close_books()
    }

    fn stop_catching_up(&mut self) -> Checked {
        self.oracle.model.begun = 0;
        self.input(Input::StopCatchingUp)
    }

    /// From where the next owner reads; everything before it must have come to its end.
    fn close_books(self) -> Checked<From> {
        let model = &self.oracle.model;
        ensure!(model.phase != Phase::Draining, DrainedOnce, "never drained");
        let committed = match (model.phase, model.mode()) {
            (Phase::Drained, _) => self.machine.watermark().max(model.confirmed),
            // Some of what was stored had been committed before the partition was lost.
            (_, CommitMode::Auto) if model.started && model.front > model.began => {
                let some = self.chance.below(model.front - model.began + 1);
                match some.checked_sub(1) {
                    Some(last) => Some(model.offset(model.began + last) + 1),
                    None => model.start,
                }
            }
            (_, CommitMode::Auto) if model.started => model.start,
            (_, CommitMode::Auto) => None,
            _ => model.confirmed,
        };
        let offsets = &self.oracle.ledger.offsets;
        let present = model.first + model.began;
        let next = (present..offsets.len()).find(|at| Some(offsets[*at]) >= committed);
        let next = next.unwrap_or(offsets.len());
        for entry in 0..next - model.first {
            let states = &model.entries.get(entry).map(|entry| entry.states);
            let Some(states) = states else {
                continue;
            };
            let given_up = model.at_most_once() && !model.is_old(entry);
            let ended = |state: &State| state.is_done() || (given_up && *state != State::Owed);
            ensure!(
                states.iter().all(ended),
                NothingIsLost,
                "offset {} is committed or of the past, but {states:?}",
                model.offset(entry)
            );
        }
        let is_new = committed.is_none() || self.chance.once_in(6);
        let start = committed.or(offsets.get(next).copied());
        Ok(From {
            record: next,
            start: start.filter(|_| is_new),
        })
    }
}
