//! Random schedules of a partition's life: records with gaps and with or without keys, one to three
//! routes with any order and retry policy, failures of handlers, dead letter writes and commits in
//! any order, users who pause and close routes, time that stands still or jumps, late and double
//! answers, rebalances at any moment and the owners after them. Everything comes from one seed.
//!
//! `EVENTSTREAM_SIM_SCHEDULES` runs more or fewer schedules than the 100,000 of a normal run;
//! `EVENTSTREAM_SIM_SEED` runs one, the seed that a failure prints, and shows every input and action
//! (with `--nocapture`).

mod invariants;
mod model;
mod oracle;
mod scenario;
mod world;

use std::time::Instant;

use super::sabotage::Sabotage;
use invariants::{Checked, Invariant};
use scenario::{Chance, ROUTES, Scenario};
use world::World;

/// One partition's life over up to three owners.
fn run(seed: u64, sabotage: Option<Sabotage>) -> Checked {
    play(seed, sabotage, false)
}

fn play(seed: u64, sabotage: Option<Sabotage>, traced: bool) -> Checked {
    let mut chance = Chance::new(seed);
    let scenario = Scenario::random(&mut chance);
    let mut ledger = vec![[false; ROUTES]; scenario.records.len()];
    let owners = chance.pick(&[1, 1, 2, 3]);
    let mut next = 0;
    for owner in 1..=owners {
        let world = World::new(&scenario, &mut chance, &mut ledger, next, owner, sabotage);
        next = world.traced(traced).play(owner == owners)?;
    }
    Ok(())
}

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} must be a number")),
    )
}

#[test]
fn holds_its_invariants_in_every_schedule() {
    if let Some(seed) = setting("EVENTSTREAM_SIM_SEED") {
        play(seed, None, true).unwrap_or_else(|violation| panic!("seed {seed}: {violation:?}"));
        return;
    }
    let schedules = setting("EVENTSTREAM_SIM_SCHEDULES").unwrap_or(100_000);
    let start = Instant::now();
    for seed in 0..schedules {
        let held = std::panic::catch_unwind(|| run(seed, None));
        match held {
            Ok(Ok(())) => {}
            Ok(Err(violation)) => panic!("EVENTSTREAM_SIM_SEED={seed}: {violation:?}"),
            Err(_) => panic!("EVENTSTREAM_SIM_SEED={seed}: the machine panicked"),
        }
    }
    println!("{schedules} schedules in {:?}", start.elapsed());
}

#[test]
fn repeats_a_schedule_from_its_seed() {
    let first = run(7, Some(Sabotage::ForgetLaneOrder));
    let again = run(7, Some(Sabotage::ForgetLaneOrder));
    assert_eq!(format!("{first:?}"), format!("{again:?}"));
}

/// The proof that the simulation sees: each fault built into the machine is found.
#[test]
fn finds_every_fault_that_is_built_in() {
    use Invariant as I;
    let faults: &[(Sabotage, &[Invariant])] = &[
        (Sabotage::StoreBeforeDone, &[I::StoresOnlyWhatIsDone]),
        (Sabotage::CommitNotContiguous, &[I::StoresOnlyWhatIsDone]),
        (
            Sabotage::BelieveFailedCommit,
            &[
                I::AtMostOnce,
                I::EachCommitAwaited,
                I::Progress,
                I::AttemptsAndBackoff,
                I::StoresOnlyWhatIsDone,
            ],
        ),
        (
            Sabotage::DispatchAfterRevoke,
            &[I::NothingStartsAfterRevoke],
        ),
        (
            Sabotage::ForgetLaneOrder,
            &[I::LaneOrder, I::AttemptsAndBackoff],
        ),
        (Sabotage::ReleaseBeforeDeadLetterAck, &[I::LaneOrder]),
        (
            Sabotage::PassOverFailedDeadLetter,
            &[I::StoresOnlyWhatIsDone, I::LaneOrder],
        ),
        (Sabotage::OneKeyTooMany, &[I::Concurrency]),
        (
            Sabotage::OneAttemptTooMany,
            &[I::AttemptsAndBackoff, I::NothingIsLost],
        ),
        (Sabotage::RetryAtOnce, &[I::AttemptsAndBackoff]),
        (Sabotage::ForgetRetry, &[I::AttemptsAndBackoff, I::Progress]),
        (Sabotage::ForgetResume, &[I::PauseAndResume]),
        (Sabotage::DrainedTooEarly, &[I::DrainedOnce]),
        (Sabotage::RunBeforeCommit, &[I::AtMostOnce]),
        (Sabotage::SkipSilently, &[I::NothingIsLost]),
    ];
    for (fault, named) in faults {
        let start = Instant::now();
        let found = (0..10_000).find_map(|seed| {
            run(seed, Some(*fault))
                .err()
                .map(|violation| (seed, violation))
        });
        let (seed, violation) = found.unwrap_or_else(|| panic!("{fault:?} went unseen"));
        println!(
            "{fault:?}: seed {seed} in {:?}: {:?}: {}",
            start.elapsed(),
            violation.invariant,
            violation.detail
        );
        assert!(
            named.contains(&violation.invariant),
            "{fault:?} found as {violation:?}"
        );
    }
}
