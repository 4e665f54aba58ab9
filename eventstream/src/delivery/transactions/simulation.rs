//! Random schedules of a member's transactions: partitions that are given, lost and taken by another
//! member, commits that fail before or after they took effect, a member that dies at any moment. The
//! broker is a model: offsets and outputs of a transaction become visible at once, or never; offsets
//! of a member that is no longer the owner are refused; an offset that a transaction holds back is
//! waited for. Everything comes from one seed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::super::backoff::Jitter;
use super::super::sabotage::Sabotage;
use super::{Action, Input, Part, Transactions};

/// What must hold in every schedule. ARCHITECTURE.md lists the same names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Invariant {
    /// A commit has exactly the outputs of the records from the committed offset to the new one.
    OffsetsEqualOutputs,
    /// The outputs of an aborted transaction, and those that follow them, are in no later one.
    NothingAfterAbort,
    /// Nothing of a partition that is gone is sent or committed.
    NothingOfTheGone,
    /// At the end, each record's outputs are visible once, in order.
    OnceInOrder,
    /// One transaction at a time, each step in its place.
    InTurn,
}

struct Violation {
    invariant: Invariant,
    detail: String,
}

type Checked<T = ()> = Result<T, Violation>;

fn violated<T>(invariant: Invariant, detail: String) -> Checked<T> {
    Err(Violation { invariant, detail })
}

/// Partition, record, and which of the record's outputs.
type Output = (usize, i64, u8);

const PARTITIONS: usize = 3;
const RECORDS: i64 = 12;

/// A partition as the member sees it.
struct Owned {
    part: Part,
    /// Up to where it has released.
    next: i64,
}

struct World {
    chance: Jitter,
    machine: Transactions<Output>,
    inbox: VecDeque<Input<Output>>,
    owned: [Option<Owned>; PARTITIONS],
    parts: Part,
    /// To which partition a part belongs.
    names: BTreeMap<Part, usize>,
    /// Parts that the machine knows to be gone.
    gone: BTreeSet<Part>,
    aborted: BTreeSet<Part>,
    /// The contents of the open transaction.
    open: Option<Vec<(Part, Output)>>,
    committed: [i64; PARTITIONS],
    visible: Vec<Output>,
    bad: bool,
    has_died: bool,
    sabotage: Option<Sabotage>,
}

/// How many outputs a record has.
fn outputs_of(partition: usize, record: i64) -> impl Iterator<Item = Output> {
    let count = [1, 0, 2, 1][(partition + usize::try_from(record).unwrap_or(0)) % 4];
    (0..count).map(move |n| (partition, record, n))
}

impl World {
    fn new(seed: u64, sabotage: Option<Sabotage>) -> Self {
        let mut world = Self {
            chance: Jitter::new(seed),
            machine: Transactions::new(),
            inbox: VecDeque::new(),
            owned: std::array::from_fn(|_| None),
            parts: 0,
            names: BTreeMap::new(),
            gone: BTreeSet::new(),
            aborted: BTreeSet::new(),
            open: None,
            committed: [0; PARTITIONS],
            visible: Vec::new(),
            bad: true,
            has_died: false,
            sabotage,
        };
        world.machine.sabotage = sabotage;
        world
    }

    fn below(&mut self, limit: usize) -> usize {
        ((u128::from(self.chance.next()) * limit as u128) >> 64) as usize
    }

    fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn play(mut self) -> Checked {
        for _ in 0..self.below(300) {
            self.step()?;
        }
        self.bad = false;
        for _ in 0..200 {
            for partition in 0..PARTITIONS {
                self.assign(partition);
                self.release(partition);
            }
            self.inbox.push_back(Input::CommitDue);
            while !self.inbox.is_empty() {
                self.serve()?;
            }
        }
        for partition in 0..PARTITIONS {
            let expected = (0..RECORDS).flat_map(|record| outputs_of(partition, record));
            let found = self.visible.iter().filter(|output| output.0 == partition);
            if !found.copied().eq(expected) || self.committed[partition] != RECORDS {
                let detail = format!("of {partition}: {:?}", self.visible);
                return violated(Invariant::OnceInOrder, detail);
            }
        }
        Ok(())
    }

    fn step(&mut self) -> Checked {
        let partition = self.below(PARTITIONS);
        match self.below(100) {
            0..30 => self.release(partition),
            30..45 => self.assign(partition),
            45..55 => self.inbox.push_back(Input::CommitDue),
            55..58 => self.lose(partition),
            58..61 => self.take_elsewhere(partition),
            61..63 => self.inbox.push_back(Input::Failed),
            63 => self.die(),
            _ => return self.serve(),
        }
        Ok(())
    }

    /// The partition is given to this member, which reads from what is committed.
    fn assign(&mut self, partition: usize) {
        if self.owned[partition].is_some() {
            return;
        }
        self.parts += 1;
        self.names.insert(self.parts, partition);
        self.owned[partition] = Some(Owned {
            part: self.parts,
            next: self.committed[partition],
        });
        self.inbox.push_back(Input::Assigned(self.parts));
    }

    fn release(&mut self, partition: usize) {
        let count = 1 + self.below(3) as i64;
        let Some(owned) = &mut self.owned[partition] else {
            return;
        };
        let from = owned.next;
        let up_to = (from + count).min(RECORDS);
        if from == up_to {
            return;
        }
        owned.next = up_to;
        let outputs = (from..up_to).flat_map(|record| outputs_of(partition, record));
        self.inbox.push_back(Input::Released {
            part: owned.part,
            outputs: outputs.collect(),
            up_to,
        });
    }

    fn lose(&mut self, partition: usize) {
        if let Some(owned) = self.owned[partition].take() {
            self.inbox.push_back(Input::Gone(vec![owned.part]));
        }
    }

    /// Another member has the partition for a while, and commits some of it.
    fn take_elsewhere(&mut self, partition: usize) {
        self.lose(partition);
        let record = self.committed[partition];
        if record < RECORDS {
            self.committed[partition] = record + 1;
            self.visible.extend(outputs_of(partition, record));
        }
    }

    /// The process is killed: its open transaction times out. Another begins.
    fn die(&mut self) {
        self.machine = Transactions::new();
        self.machine.sabotage = self.sabotage;
        self.inbox.clear();
        self.owned = std::array::from_fn(|_| None);
        self.open = None;
        self.gone.extend(self.names.keys());
        self.has_died = true;
    }

    /// The driver passes in one input and carries out all that follows.
    fn serve(&mut self) -> Checked {
        let Some(input) = self.inbox.pop_front() else {
            return Ok(());
        };
        if let Input::Gone(parts) = &input {
            self.gone.extend(parts);
        }
        self.machine.handle(input);
        self.has_died = false;
        while let Some(action) = self.machine.poll() {
            self.act(action)?;
            if self.has_died {
                break;
            }
        }
        Ok(())
    }

    fn act(&mut self, action: Action<Output>) -> Checked {
        match action {
            Action::Begin if self.bad && self.once_in(20) => self.machine.handle(Input::Failed),
            Action::Begin => {
                if self.open.replace(Vec::new()).is_some() {
                    return violated(Invariant::InTurn, "two transactions at once".into());
                }
            }
            Action::Produce { part, outputs } => {
                self.may_count(part)?;
                let Some(open) = &mut self.open else {
                    return violated(Invariant::InTurn, "sent outside a transaction".into());
                };
                open.extend(outputs.into_iter().map(|output| (part, output)));
            }
            Action::Commit(offsets) => return self.commit(&offsets),
            Action::Abort => {
                let open = self.open.take();
                let parts = open.iter().flatten().map(|(part, _)| *part);
                self.aborted.extend(parts);
                self.disturb();
                if !self.has_died {
                    self.machine.handle(Input::Aborted);
                }
            }
            Action::Told(_) => {}
            Action::Again(parts) => {
                for owned in &mut self.owned {
                    owned.take_if(|owned| parts.contains(&owned.part));
                }
            }
        }
        Ok(())
    }

    fn may_count(&self, part: Part) -> Checked {
        if self.gone.contains(&part) {
            return violated(Invariant::NothingOfTheGone, format!("part {part}"));
        }
        if self.aborted.contains(&part) {
            return violated(Invariant::NothingAfterAbort, format!("part {part}"));
        }
        Ok(())
    }

    fn commit(&mut self, offsets: &[(Part, i64)]) -> Checked {
        for (part, _) in offsets {
            self.may_count(*part)?;
        }
        // Anything may happen while it is in flight.
        self.disturb();
        if self.has_died {
            return Ok(());
        }
        let fails = self.bad && self.once_in(4);
        let is_owner = |(part, _): &(Part, i64)| {
            let owned = self.owned[self.names[part]].as_ref();
            owned.is_some_and(|owned| owned.part == *part)
        };
        if fails || !offsets.iter().all(is_owner) {
            self.machine.handle(Input::Failed);
            return Ok(());
        }
        self.take_effect(offsets)?;
        if self.bad && self.once_in(10) {
            self.die();
        } else if self.bad && self.once_in(6) {
            // The answer is lost.
            self.machine.handle(Input::Failed);
        } else {
            self.machine.handle(Input::Committed);
        }
        Ok(())
    }

    /// The broker makes all of it visible.
    fn take_effect(&mut self, offsets: &[(Part, i64)]) -> Checked {
        let sent = self.open.take().unwrap_or_default();
        let mut expected = Vec::new();
        for (part, up_to) in offsets {
            let partition = self.names[part];
            let records = self.committed[partition]..*up_to;
            expected.extend(records.flat_map(|record| outputs_of(partition, record)));
            self.committed[partition] = *up_to;
        }
        let mut found: Vec<_> = sent.iter().map(|(_, output)| *output).collect();
        self.visible.extend(&found);
        expected.sort_unstable();
        // Sorted by partition alone: within one the order matters.
        found.sort_by_key(|output| output.0);
        if found != expected {
            let detail = format!("{offsets:?}: {found:?}, not {expected:?}");
            return violated(Invariant::OffsetsEqualOutputs, detail);
        }
        Ok(())
    }

    fn disturb(&mut self) {
        if !self.bad {
            return;
        }
        let partition = self.below(PARTITIONS);
        match self.below(12) {
            0 | 1 => self.release(partition),
            2 => self.lose(partition),
            3 => self.inbox.push_back(Input::CommitDue),
            4 if self.once_in(3) => self.die(),
            _ => {}
        }
    }
}

const SCHEDULES: u64 = 50_000;

#[test]
fn each_output_is_visible_once_whatever_happens() {
    for seed in 0..SCHEDULES {
        if let Err(violation) = World::new(seed, None).play() {
            let Violation { invariant, detail } = violation;
            panic!("seed {seed}: {invariant:?}: {detail}");
        }
    }
}

#[test]
fn every_fault_that_is_built_in_is_found() {
    use Invariant as I;
    for (fault, named) in [
        (Sabotage::OffsetsOutside, I::OffsetsEqualOutputs),
        (Sabotage::KeepTheAborted, I::NothingAfterAbort),
        (Sabotage::CommitTheGone, I::NothingOfTheGone),
        (Sabotage::ForgetTheAborted, I::OnceInOrder),
    ] {
        let found = (0..10_000).find_map(|seed| {
            let violation = World::new(seed, Some(fault)).play().err()?;
            (violation.invariant == named).then_some((seed, violation.detail))
        });
        let (seed, detail) = found.unwrap_or_else(|| panic!("{fault:?} went unseen"));
        println!("{fault:?}: seed {seed}: {named:?}: {detail}");
    }
}
