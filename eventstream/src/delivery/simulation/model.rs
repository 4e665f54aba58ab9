//! The oracle's own account of one assignment: what it was told, and what must follow from it.

use std::collections::{BTreeSet, VecDeque};

use super::super::{Batch, CommitMode, Concurrency, Outcome, Reason, Ticket};
use super::scenario::{ROUTES, Scenario};
use super::staging::Staged;

/// Where one record stands with one route.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum State {
    /// The record does not go to this route.
    No,
    /// It goes to none, and where its history begins is not committed.
    Held,
    Owed,
    Running,
    /// Waits for another attempt; it comes between these moments.
    Retry {
        from: u64,
        to: u64,
    },
    /// Not done in a batch, behind a record of its lane that was not either.
    Answered(Outcome),
    /// Failed in a route that was abandoned.
    Orphan,
    /// A dead letter must be written now.
    Letter(Reason),
    Writing(Reason),
    LetterAgain {
        reason: Reason,
        from: u64,
        to: u64,
    },
    /// Decided; the user must be told now.
    TellSkip(Reason),
    TellStop(Reason),
    TellRejoin,
    /// The partition drains and nobody can read it again: told at the end.
    TellLast(Reason),
    /// Told that the group stops or rejoins because of it.
    Given,
    /// Given up without being done: the subscription stops, or the partition left.
    Undone,
    Done,
}

impl State {
    pub(super) fn is_done(self) -> bool {
        matches!(self, Self::No | Self::Done | Self::TellSkip(_))
    }

    /// Still with its route, so that what comes after it in its lane waits.
    pub(super) fn is_open(self) -> bool {
        // What an abandoned route gave away is in none of its lanes.
        !self.is_done()
            && !matches!(
                self,
                Self::Letter(Reason::Stopped)
                    | Self::Writing(Reason::Stopped)
                    | Self::LetterAgain {
                        reason: Reason::Stopped,
                        ..
                    }
            )
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    Active,
    Draining,
    Drained,
    Lost,
}

#[derive(Clone, Copy, Default)]
pub(super) struct RouteModel {
    pub(super) closing: bool,
    pub(super) abandoned: bool,
    pub(super) gone: bool,
    pub(super) paused: bool,
    pub(super) halted: bool,
    /// Since when a batch could start, and since when it certainly could.
    pub(super) could: Option<u64>,
    pub(super) can: Option<u64>,
}

impl RouteModel {
    pub(super) fn is_open(self) -> bool {
        !self.closing && !self.gone
    }

    pub(super) fn is_still(self) -> bool {
        self.paused || self.halted || self.abandoned || self.gone
    }
}

#[derive(Clone)]
pub(super) struct Entry {
    pub(super) offset: i64,
    /// By route; the last is for a record that goes to none.
    pub(super) states: [State; ROUTES + 1],
    pub(super) attempts: [u32; ROUTES + 1],
    /// The call that it runs in, or ran in.
    pub(super) call: [u32; ROUTES],
    pub(super) letter_failures: [u32; ROUTES + 1],
    /// When it was read.
    pub(super) read: u64,
    /// When it came to the route, and when the route first started it; 0: never.
    pub(super) came: [u64; ROUTES],
    pub(super) began: [u64; ROUTES],
    pub(super) ticket: Option<Ticket>,
    pub(super) staged: Staged,
}

impl Entry {
    pub(super) fn is_done(&self) -> bool {
        self.states.iter().all(|state| state.is_done())
    }
}

pub(super) struct Model<'a> {
    pub(super) scenario: &'a Scenario,
    /// The first record of this assignment; `entries` counts from it.
    pub(super) first: usize,
    pub(super) entries: Vec<Entry>,
    /// How many entries are done without a gap.
    pub(super) front: usize,
    pub(super) routes: [RouteModel; ROUTES],
    /// Routes that were abandoned, and those that got something of theirs.
    pub(super) heirs: Vec<(usize, usize)>,
    pub(super) phase: Phase,
    pub(super) halted: bool,
    /// While it drains: only entries before this one go on.
    pub(super) begun: usize,
    pub(super) paused: bool,
    pub(super) now: u64,
    /// Counts what happens.
    pub(super) clock: u64,
    /// Counts calls of handlers.
    pub(super) calls: u32,
    /// How many new histories there were, and the first entry of the present one.
    pub(super) history: u32,
    pub(super) began: usize,
    /// Where the present history begins, if that was not committed before; and whether it is.
    pub(super) start: Option<i64>,
    pub(super) started: bool,
    /// How many entries there were, and up to where there is nothing after them.
    pub(super) gaps: Vec<(usize, i64)>,
    pub(super) confirmed: Option<i64>,
    /// In flight, with their histories.
    pub(super) commits: VecDeque<(u32, i64)>,
    pub(super) last_commit: Option<i64>,
    pub(super) commit_failures: u32,
    pub(super) commit_retry: Option<(u64, u64)>,
}

impl<'a> Model<'a> {
    pub(super) fn new(scenario: &'a Scenario, first: usize, start: Option<i64>) -> Self {
        Self {
            scenario,
            first,
            entries: Vec::new(),
            front: 0,
            routes: [RouteModel::default(); ROUTES],
            heirs: Vec::new(),
            phase: Phase::Active,
            halted: false,
            begun: 0,
            paused: false,
            now: 0,
            clock: 1,
            calls: 0,
            history: 0,
            began: 0,
            start,
            started: start.is_none(),
            gaps: Vec::new(),
            confirmed: None,
            commits: VecDeque::new(),
            last_commit: None,
            commit_failures: 0,
            commit_retry: None,
        }
    }

    pub(super) fn mode(&self) -> CommitMode {
        self.scenario.config.commit
    }

    pub(super) fn at_most_once(&self) -> bool {
        self.mode() == CommitMode::BeforeProcessing
    }

    pub(super) fn offset(&self, entry: usize) -> i64 {
        self.entries[entry].offset
    }

    /// Whether the record is of an earlier history.
    pub(super) fn is_old(&self, entry: usize) -> bool {
        entry < self.began
    }

    /// Whether the record waits for the commit of where its history begins.
    pub(super) fn is_held(&self, entry: usize) -> bool {
        !self.started && entry >= self.began
    }

    /// Whether nobody would read the record again.
    pub(super) fn is_last_chance(&self, entry: usize) -> bool {
        self.at_most_once() || self.is_old(entry)
    }

    /// At most once: whether the record's own commit was confirmed, or is not needed.
    pub(super) fn is_released(&self, entry: usize) -> bool {
        self.at_most_once()
            && (self.is_old(entry) || self.confirmed > Some(self.entries[entry].offset))
    }

    /// The commits in flight that still count.
    pub(super) fn awaited(&self) -> impl Iterator<Item = i64> {
        let present = self.commits.iter().filter(|(of, _)| *of == self.history);
        present.map(|(_, up_to)| *up_to)
    }

    /// Up to where all is done.
    pub(super) fn contiguous(&self) -> Option<i64> {
        let done = (self.front > self.began).then(|| self.offset(self.front - 1) + 1);
        let gaps = self.gaps.iter().filter(|(at, _)| *at <= self.front);
        let gap = gaps.map(|(_, offset)| *offset).max();
        self.start.max(done).max(gap)
    }

    pub(super) fn lane(&self, entry: usize, route: usize) -> u64 {
        match self.scenario.routes[route].concurrency {
            Concurrency::PerKey(_) => self.scenario.records[self.first + entry]
                .key
                .unwrap_or(1_000 + entry as u64),
            _ => 0,
        }
    }

    pub(super) fn is_keyed(&self, route: usize) -> bool {
        matches!(
            self.scenario.routes[route].concurrency,
            Concurrency::PerKey(_)
        )
    }

    /// What backpressure looks at: records and bytes that are not done, and the width from the
    /// first of them to the last record.
    pub(super) fn levels(&self) -> (usize, usize, usize) {
        let open = || (self.front..self.entries.len()).filter(|at| !self.entries[*at].is_done());
        let held = || self.entries.iter().filter_map(|entry| entry.staged.held());
        let bytes: usize = open()
            .map(|at| self.scenario.records[self.first + at].size)
            .sum();
        let levels = (
            open().count() + held().count(),
            bytes + held().sum::<usize>(),
        );
        (levels.0, levels.1, self.entries.len() - self.front)
    }

    pub(super) fn limit(&self, route: usize) -> usize {
        match self.scenario.routes[route].concurrency {
            Concurrency::PerKey(keys) => keys,
            _ => 1,
        }
    }

    /// The route's batches, if it takes several records at once.
    pub(super) fn batch(&self, n: usize) -> Option<Batch> {
        let batch = self.scenario.routes[n].batch?;
        Some(if self.at_most_once() {
            Batch { up_to: 1, ..batch }
        } else {
            batch
        })
    }

    /// How many calls of its handler run.
    pub(super) fn running(&self, n: usize) -> usize {
        let running = self
            .entries
            .iter()
            .filter(|entry| entry.states[n] == State::Running);
        let calls: BTreeSet<_> = running.map(|entry| entry.call[n]).collect();
        calls.len()
    }

    /// What must be done before the record starts in a route: earlier ones of its lane, but not
    /// such as came from another worker while this one was at work, nor those it starts `beside`.
    pub(super) fn lane_blocked_by(
        &self,
        entry: usize,
        n: usize,
        beside: &[usize],
    ) -> Option<usize> {
        let lane = self.lane(entry, n);
        let (own, at_work) = (&self.entries[entry], self.entries[entry].began[n]);
        let blocks = |at: &usize| {
            let other = &self.entries[*at];
            if *at == entry
                || beside.contains(at)
                || self.lane(*at, n) != lane
                || !other.states[n].is_open()
            {
                return false;
            }
            if *at < entry {
                at_work == 0 || other.came[n] < at_work
            } else {
                other.began[n] > 0 && own.came[n] > other.began[n]
            }
        };
        (0..self.entries.len()).find(blocks)
    }

    /// The workers that compete for a record of a route.
    pub(super) fn workers(&self, entry: usize, n: usize) -> Vec<usize> {
        let class = self.scenario.routes[n].class;
        let workers = self.scenario.candidates(self.first + entry, class);
        workers.collect()
    }

    /// And those that were given something of theirs: they may be waited for as well.
    pub(super) fn workers_and_heirs(&self, entry: usize, n: usize) -> Vec<usize> {
        let mut workers = self.workers(entry, n);
        let mut at = 0;
        while let Some(worker) = workers.get(at).copied() {
            at += 1;
            for (from, to) in &self.heirs {
                if *from == worker && !workers.contains(to) {
                    workers.push(*to);
                }
            }
        }
        workers
    }

    /// An earlier record of the same lane that a competing worker still owes: one of `workers`. One
    /// that was given to that worker counts with another name or key only `if_given`: when the two
    /// came, they had nothing to do with each other.
    pub(super) fn worker_blocked_by(
        &self,
        entry: usize,
        n: usize,
        workers: &[usize],
        if_given: bool,
    ) -> Option<(usize, usize)> {
        let key = |at: usize| self.scenario.records[self.first + at].key;
        let name = |at: usize| self.scenario.records[self.first + at].name;
        for other in workers.iter().copied() {
            if other == n {
                continue;
            }
            let blocks = |at: &usize| {
                let earlier = &self.entries[*at];
                let given = earlier.came[other] != earlier.read && !if_given;
                let keyed = self.is_keyed(n) && (self.is_keyed(other) || given);
                earlier.states[other].is_open()
                    && (!given || name(*at) == name(entry))
                    && (!keyed || key(*at).is_some() && key(*at) == key(entry))
            };
            if let Some(at) = (0..entry).find(blocks) {
                return Some((at, other));
            }
        }
        None
    }

    /// Whether it leaves with a chance to catch up.
    pub(super) fn drains(&self) -> bool {
        self.phase == Phase::Draining && !self.at_most_once()
    }

    /// While it drains: whether something after the record is done or at work, so that this one must
    /// be done, or nobody can read it again; and nothing before it keeps the watermark back for good.
    pub(super) fn may_catch_up(&self, at: usize) -> bool {
        self.drains() && at < self.begun && !self.entries[..=at].iter().any(|e| self.is_stuck(e))
    }

    /// In a drain: whether a record that waits for another attempt gets it.
    pub(super) fn may_try_again(&self, at: usize, n: usize) -> bool {
        self.may_catch_up(at) && !self.routes[n].is_still() && !self.halted
    }

    /// In a drain: whether an attempt is still to come that may not be due yet.
    pub(super) fn retries_to_come(&self) -> bool {
        self.entries.iter().enumerate().any(|(at, entry)| {
            let waits = |n: usize| match entry.states[n] {
                State::Retry { to, .. } => to >= self.now && self.may_try_again(at, n),
                _ => false,
            };
            (0..ROUTES).any(waits)
        })
    }

    /// In a drain: whether the record will not be done.
    fn is_stuck(&self, entry: &Entry) -> bool {
        let given_up = |state: &State| {
            matches!(
                state,
                State::Undone
                    | State::Given
                    | State::TellStop(_)
                    | State::TellRejoin
                    | State::TellLast(_)
            )
        };
        let mut routes = self.routes.iter().zip(&entry.states);
        entry.states.iter().any(given_up)
            || routes.any(|(route, state)| {
                (route.is_still() || self.halted)
                    && matches!(
                        state,
                        State::Owed | State::Retry { .. } | State::Answered(_)
                    )
            })
    }

    /// While it drains, what lies behind the last record that is done or at work is left, and so is
    /// what lies behind one that will not be done: for good.
    pub(super) fn lower_begun(&mut self) {
        if !self.drains() {
            return;
        }
        let begun = |state: &State| {
            matches!(
                state,
                State::Done
                    | State::TellSkip(_)
                    | State::Running
                    | State::Letter(_)
                    | State::Writing(_)
            )
        };
        let begun = |entry: &Entry| entry.states[..ROUTES].iter().any(begun);
        let last = self.entries.iter().rposition(begun).map_or(0, |at| at + 1);
        let stuck = self.entries.iter().position(|entry| self.is_stuck(entry));
        let old = if self.front < self.began {
            self.began
        } else {
            0
        };
        let end = last.max(old);
        self.begun = self.begun.min(end).min(stuck.unwrap_or(end));
    }

    pub(super) fn in_flight(&self) -> usize {
        let states = self.entries.iter().flat_map(|entry| &entry.states);
        let work = states
            .filter(|state| matches!(state, State::Running | State::Writing(_)))
            .count();
        let releasing = self.at_most_once()
            && self
                .awaited()
                .next()
                .is_some_and(|up_to| self.releasing(up_to).is_some());
        work + usize::from(releasing)
    }

    /// At most once: the record that a commit in flight releases.
    pub(super) fn releasing(&self, up_to: i64) -> Option<usize> {
        let mut entries = self.began..self.entries.len();
        entries.find(|at| {
            let at = *at;
            self.at_most_once()
                && self.offset(at) + 1 == up_to
                && !self.entries[at].is_done()
                && self.entries[at].states[..ROUTES].contains(&State::Owed)
        })
    }

    pub(super) fn advance(&mut self) {
        while self.entries.get(self.front).is_some_and(Entry::is_done) {
            self.front += 1;
        }
    }
}
