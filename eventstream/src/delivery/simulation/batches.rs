//! Batches: which records may share one, when it must start, and what its outcomes lead to.

use super::super::{CommitMode, Outcome, Started};
use super::invariants::{Checked, ensure};
use super::model::{Model, Phase, State};
use super::oracle::Oracle;

/// Which earlier records of other workers a record certainly waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Waits {
    /// Those that it must wait for.
    Surely,
    /// Those that it may wait for.
    Maybe,
}

impl Model<'_> {
    /// Each record of a batch has its outcome.
    pub(super) fn batch_answered(&mut self, n: usize, mut outcomes: Vec<(usize, Outcome)>) {
        outcomes.sort_by_key(|(entry, _)| (self.lane(*entry, n), *entry));
        for (entry, _) in outcomes.iter().filter(|(_, o)| *o == Outcome::Handled) {
            self.answered(*entry, n, Outcome::Handled);
        }
        outcomes.retain(|(_, outcome)| *outcome != Outcome::Handled);
        let mut first = Vec::new();
        for of_lane in outcomes.chunk_by(|one, other| self.lane(one.0, n) == self.lane(other.0, n))
        {
            // What is lost is decided at once.
            let decided = if self.phase == Phase::Lost {
                of_lane.len()
            } else {
                1
            };
            first.extend(of_lane[..decided].iter().copied());
        }
        for (entry, outcome) in &outcomes {
            if first.iter().any(|(decided, _)| decided == entry) {
                continue;
            }
            self.entries[*entry].states[n] = State::Answered(*outcome);
        }
        for (entry, outcome) in first {
            self.answered(entry, n, outcome);
        }
    }

    /// Records that have their answers, and whose turn in their lane has come.
    pub(super) fn move_up(&mut self) {
        if !matches!(self.phase, Phase::Active | Phase::Draining) {
            return;
        }
        for n in 0..self.scenario.routes.len() {
            for entry in 0..self.entries.len() {
                if let State::Answered(outcome) = self.entries[entry].states[n]
                    && self.lane_blocked_by(entry, n, &[]).is_none()
                {
                    self.answered(entry, n, outcome);
                }
            }
        }
    }

    /// The records that a batch of the route could begin with now.
    fn joinable(&self, n: usize, waits: Waits) -> Vec<usize> {
        let mut joined = Vec::new();
        if self.halted || self.routes[n].is_still() || self.running(n) >= self.limit(n) {
            return joined;
        }
        for at in 0..self.entries.len() {
            if self.entries[at].states[n] == State::Owed && self.joins(at, n, waits, &joined) {
                joined.push(at);
            }
        }
        joined
    }

    fn joins(&self, at: usize, n: usize, waits: Waits, joined: &[usize]) -> bool {
        let here = self.phase == Phase::Active || self.may_catch_up(at);
        let workers = match waits {
            Waits::Surely => self.workers(at, n),
            Waits::Maybe => self.workers_and_heirs(at, n),
        };
        let if_given = waits == Waits::Maybe;
        if !here
            || self.is_held(at)
            || self.lane_blocked_by(at, n, joined).is_some()
            || self.worker_blocked_by(at, n, &workers, if_given).is_some()
        {
            return false;
        }
        let settled = || self.is_old(at) || self.confirmed >= self.contiguous();
        match self.mode() {
            CommitMode::Auto | CommitMode::AsyncEach => true,
            CommitMode::AfterEach => {
                self.is_keyed(n) || (settled() && (at == self.front || !joined.is_empty()))
            }
            CommitMode::BeforeProcessing => self.is_released(at),
        }
    }

    /// Whether a batch of the route starts at once, however few there are.
    fn hurries(&self, n: usize) -> bool {
        self.phase != Phase::Active || self.paused || self.routes[n].closing
    }
}

impl Oracle<'_> {
    /// A handler was given several records.
    pub(super) fn run_batch(&mut self, n: usize, records: &[Started<u64>]) -> Checked {
        let mut entries = Vec::new();
        for record in records {
            entries.push(self.entry(record.ticket, record.offset, record.body)?);
        }
        let model = &mut self.model;
        let Some(batch) = model.batch(n) else {
            ensure!(false, BatchBounds, "a batch for route {n}");
            return Ok(());
        };
        let count = entries.len();
        ensure!(
            count >= 1 && count <= batch.up_to,
            BatchBounds,
            "{count} records of {}",
            batch.up_to
        );
        ensure!(
            entries.is_sorted(),
            BatchBounds,
            "a batch out of order: {entries:?}"
        );
        let failed = |at: &usize| model.entries[*at].attempts[n] > 0;
        if entries.iter().any(failed) {
            ensure!(
                count == 1,
                TriedAgainAlone,
                "one that has failed is among {count}"
            );
        } else {
            let least = model.joinable(n, Waits::Maybe).len().min(batch.up_to);
            ensure!(
                count >= least,
                BatchInTime,
                "{count} records where {least} are there"
            );
            let since = model.routes[n].could.unwrap_or(model.now);
            let due = since + batch.within.as_nanos() as u64;
            ensure!(
                count == batch.up_to || model.hurries(n) || model.now >= due,
                BatchInTime,
                "{count} records at {}, due at {due}",
                model.now
            );
            (model.routes[n].could, model.routes[n].can) = (None, None);
        }
        model.calls += 1;
        for (at, record) in records.iter().enumerate() {
            self.run(entries[at], n, record.attempt, &entries[..at])?;
        }
        Ok(())
    }

    /// The machine has nothing to do: is no batch due?
    pub(super) fn batches_idle(&mut self, timeout: Option<u64>) -> Checked {
        for n in 0..self.model.scenario.routes.len() {
            let Some(batch) = self.model.batch(n) else {
                continue;
            };
            let model = &mut self.model;
            if !model.joinable(n, Waits::Surely).is_empty() {
                model.routes[n].could.get_or_insert(model.now);
            }
            let there = model.joinable(n, Waits::Maybe);
            let Some(first) = there.first() else {
                continue;
            };
            let offset = model.offset(*first);
            ensure!(
                !model.routes[n].closing,
                NoSiblingStalls,
                "offset {offset} waits for others in route {n}, which closes"
            );
            ensure!(
                !model.hurries(n) && there.len() < batch.up_to,
                Progress,
                "{} records from offset {offset} may start in route {n}",
                there.len()
            );
            let since = *model.routes[n].can.get_or_insert(model.now);
            let due = since + batch.within.as_nanos() as u64;
            ensure!(
                model.now < due && timeout.is_some_and(|timeout| timeout <= due),
                BatchInTime,
                "at {} the next deadline is {timeout:?}, a batch is due at {due}",
                model.now
            );
        }
        Ok(())
    }

    /// Whether what waits in a route that takes batches must start in a drain.
    pub(super) fn batch_is_owed(&self, n: usize) -> bool {
        !self.model.joinable(n, Waits::Maybe).is_empty()
    }
}
