//! Draws faults from the seed and runs them, one after another and sometimes overlapping.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::fault::{self, Came, Kind};
use super::recovery;
use super::world::World;

/// The maximum number of concurrent faults in the storm; one may be a killed broker, which needs a minute on a busy
/// machine.
const AT_ONCE: usize = 5;
/// A fault that takes longer is no longer waited for.
const ALONE: Duration = Duration::from_secs(6);
const LOOK: Duration = Duration::from_millis(50);
/// Long enough for a fault of nodes in between, in milliseconds: some lives need all nodes to start.
const BETWEEN_LIVES: Range<u64> = 1_000..4_000;

/// How many faults of each kind there were.
#[derive(Debug, Default)]
pub(super) struct Tally(Mutex<BTreeMap<Kind, usize>>);

impl Tally {
    pub(super) fn total(&self) -> usize {
        self.counts().values().sum()
    }

    pub(super) fn counts(&self) -> BTreeMap<Kind, usize> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.clone()
    }

    fn count(&self, kind: Kind) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(kind).or_default() += 1;
    }
}

/// Kinds in random order, each in proportion.
struct Deck {
    random: fastrand::Rng,
    /// Each as often as it is in a deck.
    kinds: Vec<Kind>,
    cards: VecDeque<Kind>,
}

impl Deck {
    /// Of the lives of topics, or of everything else. One by one, all kinds are equally frequent, so that their
    /// figures cover the same number of faults.
    fn new(plan: &Plan, of_lives: bool) -> Self {
        let wanted = Kind::DECK.into_iter().filter(|(kind, _)| {
            plan.kinds.contains(kind) && kind.is_of_a_topic_s_life() == of_lives
        });
        let often = |(kind, times)| vec![kind; if plan.one_by_one { 1 } else { times }];
        Self {
            random: fastrand::Rng::with_seed(plan.seed),
            kinds: wanted.flat_map(often).collect(),
            cards: VecDeque::new(),
        }
    }

    fn next(&mut self) -> Option<Kind> {
        if self.cards.is_empty() {
            let mut cards = self.kinds.clone();
            self.random.shuffle(&mut cards);
            self.cards = cards.into();
        }
        self.cards.pop_front()
    }
}

/// What will happen.
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) kinds: Vec<Kind>,
    pub(super) until: Instant,
    /// Each fault alone, and the next one only when both probes see events again.
    pub(super) one_by_one: bool,
}

/// Runs faults until the time is up or something unplanned fails, and ends all of them.
pub(super) fn rage(world: &World, plan: &Plan, tally: &Tally) -> Result<()> {
    let until = plan.until;
    let mut deck = Deck::new(plan, false);
    let mut lives = Deck::new(plan, true);
    let failure = Mutex::new(None);
    let fail = |error| {
        let mut failure = failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.get_or_insert(error);
    };
    thread::scope(|scope| {
        // They have their own publishers and members: one after another, beside everything else.
        let of_lives = || {
            while Instant::now() < until && !failed(&failure) {
                let Some(kind) = lives.next() else { return };
                let mut random = lives.random.fork();
                match fault::happen(world, kind, false, &mut random) {
                    Ok(Came::Done) => tally.count(kind),
                    Ok(Came::NotNow) => {}
                    Err(error) => fail(error.context(kind.word())),
                }
                let calm = lives.random.u64(BETWEEN_LIVES);
                thread::sleep(Duration::from_millis(calm));
            }
        };
        scope.spawn(of_lives);
        let mut ongoing: Vec<thread::ScopedJoinHandle<'_, ()>> = Vec::new();
        while Instant::now() < until && !failed(&failure) {
            let Some(kind) = deck.next() else { break };
            // Each fault has its own random numbers, so that how long another takes changes
            // nothing.
            let mut random = deck.random.fork();
            let (alone, calm) = (random.u8(0..100) < 50, random.u64(500..=2_000));
            let fail = &fail;
            ongoing.push(scope.spawn(move || {
                match fault::happen(world, kind, plan.one_by_one, &mut random) {
                    Ok(Came::Done) => tally.count(kind),
                    Ok(Came::NotNow) => {}
                    Err(error) => fail(error.context(kind.word())),
                }
            }));
            let begun = Instant::now();
            loop {
                ongoing.retain(|thread| !thread.is_finished());
                let most = if plan.one_by_one || (alone && begun.elapsed() < ALONE) {
                    0
                } else {
                    AT_ONCE - 1
                };
                if let Err(error) = world.members.check() {
                    fail(error);
                }
                if ongoing.len() <= most || failed(&failure) {
                    break;
                }
                thread::sleep(LOOK);
            }
            thread::sleep(Duration::from_millis(calm));
            if plan.one_by_one
                && let Err(error) = recovery::wait_for_flow(&world.directory)
            {
                fail(error);
            }
        }
    });
    world.proxy.calm();
    world.lives.calm();
    match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

fn failed(failure: &Mutex<Option<anyhow::Error>>) -> bool {
    failure
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deck(one_by_one: bool, of_lives: bool) -> Deck {
        let plan = Plan {
            seed: 7,
            kinds: Kind::all().to_vec(),
            until: Instant::now(),
            one_by_one,
        };
        Deck::new(&plan, of_lives)
    }

    fn wanted(of_lives: bool) -> Vec<(Kind, usize)> {
        let deck = Kind::DECK.into_iter();
        deck.filter(|(kind, _)| kind.is_of_a_topic_s_life() == of_lives)
            .collect()
    }

    fn count(cards: &[Kind]) -> BTreeMap<Kind, usize> {
        let mut counts = BTreeMap::new();
        for card in cards {
            *counts.entry(*card).or_default() += 1;
        }
        counts
    }

    #[test]
    fn one_by_one_no_kind_comes_again_before_all_have_come() {
        let mut deck = deck(true, false);
        let kinds = wanted(false);
        let size = kinds.len();
        let dealt: Vec<_> = std::iter::from_fn(|| deck.next()).take(size * 3).collect();
        for round in dealt.chunks(size) {
            let once = kinds.iter().map(|(kind, _)| (*kind, 1));
            assert_eq!(count(round), once.collect::<BTreeMap<_, _>>());
        }
        assert_ne!(dealt[..size], dealt[size..size * 2]);
    }

    #[test]
    fn a_storm_has_each_kind_as_often_as_the_deck_of_its_sort() {
        for of_lives in [false, true] {
            let mut deck = deck(false, of_lives);
            let size = wanted(of_lives).iter().map(|(_, times)| times).sum();
            let dealt: Vec<_> = std::iter::from_fn(|| deck.next()).take(size).collect();
            let whole: BTreeMap<_, _> = wanted(of_lives).into_iter().collect();
            assert_eq!(count(&dealt), whole);
        }
    }
}
