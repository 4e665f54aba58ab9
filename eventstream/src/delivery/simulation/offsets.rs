//! The judge of offsets: commits and the watermark.

use super::super::CommitMode;
use super::invariants::{Checked, ensure};
use super::model::{Phase, State};
use super::oracle::Oracle;
use super::scenario::NO_ROUTE;

impl Oracle<'_> {
    pub(super) fn commit(&mut self, history: u32, up_to: i64) -> Checked {
        let model = &mut self.model;
        ensure!(
            model.phase == Phase::Active,
            NothingStartsAfterRevoke,
            "commit of {up_to} after it"
        );
        ensure!(
            history == model.history,
            NewHistoryIsRead,
            "commit in history {history}, in truth {}",
            model.history
        );
        ensure!(
            model.started || model.start == Some(up_to),
            StartCommittedFirst,
            "commit of {up_to} before that of {:?}",
            model.start
        );
        ensure!(
            !model.started || model.mode() != CommitMode::Auto,
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
        if model.mode() != CommitMode::AsyncEach || !model.started {
            ensure!(
                model.awaited().next().is_none(),
                EachCommitAwaited,
                "two commits at once"
            );
        }
        if model.started && !(model.at_most_once() && self.releases(up_to)) {
            let done = self.model.contiguous();
            ensure!(
                done == Some(up_to),
                StoresOnlyWhatIsDone,
                "commit of {up_to}, done are {done:?}"
            );
        }
        self.model.commits.push_back((history, up_to));
        self.model.last_commit = Some(up_to);
        Ok(())
    }

    /// At most once: whether this commit may release the next record.
    fn releases(&self, up_to: i64) -> bool {
        let model = &self.model;
        let mut entries = model.began..model.entries.len();
        let Some(at) = entries.find(|at| model.offset(*at) + 1 == up_to) else {
            return false;
        };
        (0..at).all(|lower| model.entries[lower].is_done() || model.is_released(lower))
            && model.entries[at].states[NO_ROUTE] == State::No
    }

    /// The offsets restart: the watermark may go back once.
    pub(super) fn new_history(&mut self, start: i64) {
        self.model.new_history(start);
        self.watermark = None;
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
        let model = &self.model;
        let moved = model.confirmed > model.start;
        if model.history > 0 && model.front <= model.began && model.gaps.is_empty() && !moved {
            ensure!(
                watermark == model.start,
                NewHistoryIsRead,
                "watermark {watermark:?} after a new history from {:?}",
                model.start
            );
        }
        ensure!(
            watermark >= self.watermark,
            NeverGoesBack,
            "from {:?} to {watermark:?}",
            self.watermark
        );
        self.watermark = watermark;
        let done = self.model.contiguous();
        let expected = if self.model.at_most_once() {
            let released = (0..self.model.entries.len())
                .take_while(|at| self.model.entries[*at].is_done() || self.model.is_released(*at))
                .last()
                .filter(|at| !self.model.is_old(*at));
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
