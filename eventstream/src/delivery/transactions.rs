//! What goes into the transactions of one member of a group, decided without IO.
//!
//! A member has at most one open transaction, over all of its partitions. Into it goes what the
//! partitions release, in order, committed together with the offsets that those outputs cover. The driver
//! carries out each action before it passes in the next input, and answers [`Action::Commit`] and
//! [`Action::Abort`].

use std::collections::{BTreeMap, VecDeque};

use super::sabotage::{self, Sabotage};

#[cfg(test)]
mod simulation;

/// One assignment of a partition. Each number is used once: a part that was given up never returns.
pub(crate) type Part = u64;

/// Inputs of the machine.
#[derive(Clone, Debug)]
pub(crate) enum Input<O> {
    /// A partition is read, from the offset that the group has committed.
    Assigned(Part),
    /// What was published by the records from the previous such input up to this offset.
    Released {
        part: Part,
        outputs: Vec<O>,
        up_to: i64,
    },
    /// These were given up or lost: whatever of them is not committed is dropped.
    Gone(Vec<Part>),
    CommitDue,
    /// The commit is confirmed.
    Committed,
    /// The transaction cannot be committed, or its commit has an unknown outcome.
    Failed,
    /// The transaction has ended and will not be committed: it was aborted, unless it had
    /// been committed already.
    Aborted,
}

/// What the driver must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action<O> {
    Begin,
    /// Send these in the open transaction.
    Produce {
        part: Part,
        outputs: Vec<O>,
    },
    /// Commit with these offsets; answered with [`Input::Committed`] or [`Input::Failed`].
    Commit(Vec<(Part, i64)>),
    /// End the transaction; answered with [`Input::Aborted`].
    Abort,
    /// These offsets are committed.
    Told(Vec<(Part, i64)>),
    /// What these have released is lost: read them again from the committed offsets.
    Again(Vec<Part>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    Open,
    Committing,
    Aborting,
}

/// The machine. `O` is something that was published.
pub(crate) struct Transactions<O> {
    phase: Phase,
    /// The current parts, and the offset up to which each is in the open transaction.
    parts: BTreeMap<Part, Option<i64>>,
    /// Of the transaction that is being aborted.
    aborted: Vec<Part>,
    actions: VecDeque<Action<O>>,
    sabotage: Option<Sabotage>,
}

impl<O> Transactions<O> {
    pub(crate) fn new() -> Self {
        Self {
            phase: Phase::Idle,
            parts: BTreeMap::new(),
            aborted: Vec::new(),
            actions: VecDeque::new(),
            sabotage: sabotage::chosen(),
        }
    }

    pub(crate) fn handle(&mut self, input: Input<O>) {
        match input {
            Input::Assigned(part) => {
                self.parts.insert(part, None);
            }
            Input::Released {
                part,
                outputs,
                up_to,
            } => self.released(part, outputs, up_to),
            Input::Gone(parts) => self.gone(&parts),
            Input::CommitDue => self.commit_due(),
            Input::Committed => self.committed(),
            Input::Failed => self.abort(),
            Input::Aborted => self.was_aborted(),
        }
    }

    pub(crate) fn poll(&mut self) -> Option<Action<O>> {
        self.actions.pop_front()
    }

    fn released(&mut self, part: Part, outputs: Vec<O>, up_to: i64) {
        // Late outputs of a part that is gone: its next owner reads those records again.
        let Some(covered) = self.parts.get_mut(&part) else {
            return;
        };
        *covered = Some(up_to);
        if self.phase == Phase::Idle {
            self.phase = Phase::Open;
            self.actions.push_back(Action::Begin);
        }
        if !outputs.is_empty() {
            self.actions.push_back(Action::Produce { part, outputs });
        }
    }

    fn gone(&mut self, parts: &[Part]) {
        if self.sabotaged(Sabotage::CommitTheGone) {
            return;
        }
        let mut stands = false;
        for part in parts {
            stands |= self.parts.remove(part).flatten().is_some();
            self.aborted.retain(|aborted| aborted != part);
        }
        // A transaction is committed as a whole or not at all.
        if stands {
            self.abort();
        }
    }

    fn commit_due(&mut self) {
        if self.phase != Phase::Open {
            return;
        }
        self.phase = Phase::Committing;
        let mut offsets = self.covered();
        if self.sabotaged(Sabotage::OffsetsOutside) {
            offsets.pop();
        }
        self.actions.push_back(Action::Commit(offsets));
    }

    fn covered(&self) -> Vec<(Part, i64)> {
        let parts = self.parts.iter();
        let covered = parts.filter_map(|(part, covered)| Some((*part, (*covered)?)));
        covered.collect()
    }

    fn committed(&mut self) {
        if self.phase != Phase::Committing {
            return;
        }
        self.phase = Phase::Idle;
        let offsets = self.covered();
        for covered in self.parts.values_mut() {
            *covered = None;
        }
        self.actions.push_back(Action::Told(offsets));
    }

    /// Everything in it is lost. Later outputs of the same parts would follow a gap, so they are
    /// dropped too, and those parts are read again.
    fn abort(&mut self) {
        if matches!(self.phase, Phase::Idle | Phase::Aborting) {
            return;
        }
        self.phase = Phase::Aborting;
        let facts = |action: &Action<O>| matches!(action, Action::Told(_) | Action::Again(_));
        self.actions.retain(facts);
        let stands = self.covered().into_iter().map(|(part, _)| part);
        self.aborted.extend(stands);
        if !self.sabotaged(Sabotage::KeepTheAborted) {
            self.parts.retain(|_, covered| covered.is_none());
        }
        self.actions.push_back(Action::Abort);
    }

    fn was_aborted(&mut self) {
        if self.phase != Phase::Aborting {
            return;
        }
        self.phase = Phase::Idle;
        let aborted = std::mem::take(&mut self.aborted);
        if !aborted.is_empty() && !self.sabotaged(Sabotage::ForgetTheAborted) {
            self.actions.push_back(Action::Again(aborted));
        }
    }

    fn sabotaged(&self, fault: Sabotage) -> bool {
        (cfg!(test) || sabotage::BUILT_FOR_IT) && self.sabotage == Some(fault)
    }
}
