//! The contents of a schedule: a partition's records, the routes, the options. All from one seed.

use std::num::NonZeroU32;
use std::time::Duration;

use super::super::backoff::Jitter;
use super::super::{
    Backoff, Batch, CommitMode, Concurrency, Exhausted, Marks, OnUndecodable, OnUnmatched,
    PartitionConfig, Retry, RouteOptions, Start,
};

/// Routes at most; the slot after the last stands for 'no route'.
pub(super) const ROUTES: usize = 4;
pub(super) const NO_ROUTE: usize = ROUTES;

/// A seeded source of choices.
pub(super) struct Chance(Jitter);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(Jitter::new(seed))
    }

    pub(super) fn below(&mut self, limit: usize) -> usize {
        ((u128::from(self.0.next()) * limit as u128) >> 64) as usize
    }

    /// True once in `times`.
    pub(super) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// One record of the partition, and how each route's handler takes it.
pub(super) struct Record {
    /// The distance from the offset before it.
    pub(super) step: i64,
    pub(super) name: u8,
    pub(super) key: Option<u64>,
    pub(super) size: usize,
    pub(super) target: Target,
    pub(super) moods: [Mood; ROUTES],
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// Bit n: one route of class n.
    Classes(u8),
    Unmatched,
    Undecodable,
}

/// How a handler treats a record while there are faults; afterwards all succeed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    /// Fails this often, then succeeds.
    Fails(u32),
    Poison,
    Rejects,
}

pub(super) struct Scenario {
    pub(super) records: Vec<Record>,
    pub(super) routes: Vec<Policy>,
    pub(super) config: PartitionConfig,
    /// Handlers publish with their records.
    pub(super) stages: bool,
    /// The group has committed nothing yet.
    pub(super) starts_anew: bool,
    /// In the end handlers do not answer any more: their runtime is gone.
    pub(super) is_dead: bool,
}

/// A route's options, taken apart so that the oracle need not ask the machine's code.
#[derive(Clone, Copy)]
pub(super) struct Policy {
    /// Routes of one class are workers that compete for the names that they share.
    pub(super) class: usize,
    /// Bit n: records of name n.
    pub(super) names: u8,
    pub(super) concurrency: Concurrency,
    pub(super) max_attempts: Option<u32>,
    pub(super) then: Exhausted,
    pub(super) rejoin: bool,
    pub(super) backoff: Backoff,
    pub(super) batch: Option<Batch>,
    /// Attempts, and what follows them, for records of name n.
    pub(super) own: [Option<(Option<u32>, Exhausted)>; NAMES],
}

/// How many names records have.
const NAMES: usize = 2;

const ATTEMPTS: [Option<u32>; 4] = [None, Some(1), Some(2), Some(3)];
const EXHAUSTED: [Exhausted; 6] = [
    Exhausted::DeadLetter,
    Exhausted::DeadLetter,
    Exhausted::Skip,
    Exhausted::DeadLetter,
    Exhausted::Skip,
    Exhausted::Stop,
];

impl Policy {
    fn random(chance: &mut Chance, class: usize) -> Self {
        let n = chance.below(3) + 1;
        Self {
            class,
            names: chance.pick(&[3, 3, 3, 3, 1, 2]),
            concurrency: chance.pick(&[
                Concurrency::PerPartition,
                Concurrency::PerKey(n),
                Concurrency::PerKey(n),
                Concurrency::Serial,
            ]),
            max_attempts: chance.pick(&ATTEMPTS),
            then: chance.pick(&EXHAUSTED),
            rejoin: chance.once_in(25),
            backoff: random_backoff(chance),
            batch: random_batch(chance),
            own: std::array::from_fn(|_| {
                let own = chance.once_in(6);
                own.then(|| (chance.pick(&ATTEMPTS), chance.pick(&EXHAUSTED)))
            }),
        }
    }

    /// The policy for records of a name.
    pub(super) fn of(&self, name: u8) -> Self {
        match self.own[usize::from(name)] {
            Some((max_attempts, then)) => Self {
                max_attempts,
                then,
                rejoin: false,
                ..*self
            },
            None => *self,
        }
    }

    /// What the driver tells of a name with a policy of its own.
    pub(super) fn own_retry(&self, name: u8) -> Option<Retry> {
        self.own[usize::from(name)].map(|_| self.of(name).options().retry)
    }

    pub(super) fn options(&self) -> RouteOptions {
        let retry = if self.rejoin {
            Retry::Rejoin
        } else {
            Retry::InPlace {
                backoff: self.backoff,
                max_attempts: self.max_attempts.and_then(NonZeroU32::new),
                then: self.then,
            }
        };
        RouteOptions {
            concurrency: self.concurrency,
            retry,
            batch: self.batch,
        }
    }
}

fn random_batch(chance: &mut Chance) -> Option<Batch> {
    let batch = Batch::up_to(chance.pick(&[1, 2, 3, 8]));
    let within = Duration::from_millis(chance.pick(&[0, 5, 50]));
    chance.once_in(3).then(|| batch.within(within))
}

fn random_backoff(chance: &mut Chance) -> Backoff {
    Backoff::default()
        .initial(Duration::from_millis(10))
        .max(Duration::from_millis(chance.pick(&[10, 50, 1000])))
        .multiplier(chance.pick(&[1.0, 1.5, 2.0]))
        .jitter(chance.pick(&[0.0, 0.2, 1.0]))
}

impl Scenario {
    pub(super) fn random(chance: &mut Chance) -> Self {
        let count = chance.pick(&[1, 1, 2, 3, 4]);
        // All on their own, all workers of one name, or some of each.
        let classes = chance.pick(&[ROUTES, ROUTES, 1, 2]);
        let routes: Vec<_> = (0..count)
            .map(|n| Policy::random(chance, n % classes))
            .collect();
        let high = chance.pick(&[1, 2, 4, 8, 100]);
        let config = PartitionConfig {
            start: Start::Committed,
            commit: chance.pick(&[
                CommitMode::Auto,
                CommitMode::AfterEach,
                CommitMode::AsyncEach,
                CommitMode::BeforeProcessing,
            ]),
            on_unmatched: chance.pick(&[OnUnmatched::Acknowledge, OnUnmatched::DeadLetter]),
            on_undecodable: chance.pick(&[
                OnUndecodable::Skip,
                OnUndecodable::DeadLetter,
                OnUndecodable::DeadLetter,
                OnUndecodable::Stop,
            ]),
            records: Marks {
                high,
                low: chance.below(high),
            },
            bytes: chance.pick(&[
                Marks { high: 30, low: 10 },
                Marks {
                    high: 1000,
                    low: 500,
                },
            ]),
            span: chance.pick(&[
                Marks { high: 6, low: 3 },
                Marks {
                    high: 1000,
                    low: 500,
                },
            ]),
            backoff: random_backoff(chance),
            incarnation: 0,
            seed: chance.below(usize::MAX) as u64,
        };
        // Sick partitions, healthy ones, and most in between.
        let trouble = chance.pick(&[0, 10, 25, 60]);
        let most = chance.pick(&[4, 16, 60]);
        let count = 1 + chance.below(most);
        let keys = chance.pick(&[1, 2, 5]);
        let records = (0..count)
            .map(|_| Record {
                // Compaction, transactions and aborted batches leave gaps.
                step: 1 + if chance.once_in(5) {
                    chance.below(10) as i64
                } else {
                    0
                },
                name: chance.below(2) as u8,
                key: if chance.once_in(6) {
                    None
                } else {
                    Some(chance.below(keys) as u64)
                },
                size: chance.below(12),
                target: random_target(chance, count.min(classes)),
                moods: std::array::from_fn(|_| random_mood(chance, trouble)),
            })
            .collect();
        Self {
            records,
            routes,
            config,
            stages: chance.once_in(2),
            starts_anew: chance.once_in(3),
            is_dead: chance.once_in(30),
        }
    }

    /// The routes that may have a record of this name, by class: at most one gets it.
    pub(super) fn candidates(&self, at: usize, class: usize) -> impl Iterator<Item = usize> {
        let name = 1 << self.records[at].name;
        let routes = self.routes.iter().enumerate();
        routes
            .filter(move |(_, policy)| policy.class == class && policy.names & name != 0)
            .map(|(n, _)| n)
    }
}

fn random_target(chance: &mut Chance, classes: usize) -> Target {
    match chance.below(60) {
        0 => Target::Undecodable,
        1 | 2 => Target::Unmatched,
        _ => Target::Classes(1 + chance.below((1 << classes) - 1) as u8),
    }
}

fn random_mood(chance: &mut Chance, trouble: usize) -> Mood {
    if chance.below(100) >= trouble {
        return Mood::Fails(0);
    }
    match chance.below(8) {
        0 => Mood::Poison,
        1 => Mood::Rejects,
        n => Mood::Fails((n % 4) as u32),
    }
}
