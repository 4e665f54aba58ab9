//! Random schedules of a partition's life: records with gaps and with or without keys, one to four
//! routes with any order and retry policy, some of them workers of one name, failures of handlers,
//! dead letter writes and commits in any order, starts that are not committed yet, offsets that begin
//! anew, users who pause, close and abandon routes, time that stands still or jumps, late and double
//! answers, rebalances at any moment and the owners after them, handlers that never answer.
//! Everything comes from one seed.
//!
//! `EVENTSTREAM_SIM_SCHEDULES` runs more or fewer schedules than the 100,000 of a normal run;
//! `EVENTSTREAM_SIM_SEED` runs one, the seed that a failure prints, and shows every input and action
//! (with `--nocapture`).

mod batches;
mod changes;
mod ending;
mod events;
mod invariants;
mod ledger;
mod model;
mod offsets;
mod oracle;
mod plan;
mod progress;
mod scenario;
mod staging;
mod world;

use std::panic::AssertUnwindSafe;
use std::time::Instant;

use super::sabotage::Sabotage;
use invariants::{Checked, Invariant};
use ledger::Ledger;
use scenario::{Chance, Scenario};
use world::{From, World};

/// One partition's life over up to three owners.
fn run(seed: u64, sabotage: Option<Sabotage>) -> Checked {
    play(seed, sabotage, false, &mut Ledger::default())
}

fn play(seed: u64, sabotage: Option<Sabotage>, traced: bool, ledger: &mut Ledger) -> Checked {
    let mut chance = Chance::new(seed);
    let scenario = Scenario::random(&mut chance);
    let first = chance.pick(&[-1, -1, 7, 1_000_000]);
    ledger.begin(&scenario, first);
    let owners = chance.pick(&[1, 1, 2, 3]);
    let mut next = From {
        record: 0,
        start: scenario.starts_anew.then_some(first + 1),
    };
    for owner in 1..=owners {
        let world = World::new(&scenario, &mut chance, ledger, next, owner, sabotage);
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
        play(seed, None, true, &mut Ledger::default())
            .unwrap_or_else(|violation| panic!("seed {seed}: {violation:?}"));
        return;
    }
    let schedules = setting("EVENTSTREAM_SIM_SCHEDULES").unwrap_or(100_000);
    let mut ledger = Ledger::default();
    let start = Instant::now();
    for seed in 0..schedules {
        let schedule = AssertUnwindSafe(|| play(seed, None, false, &mut ledger));
        let held = std::panic::catch_unwind(schedule);
        match held {
            Ok(Ok(())) => {}
            Ok(Err(violation)) => panic!("EVENTSTREAM_SIM_SEED={seed}: {violation:?}"),
            Err(_) => panic!("EVENTSTREAM_SIM_SEED={seed}: the machine panicked"),
        }
    }
    println!(
        "{schedules} schedules in {:?}: {:#?}",
        start.elapsed(),
        ledger.seen
    );
    // A simulation that no longer reaches something proves nothing about it.
    assert!(
        schedules < 10_000 || ledger.seen.len() == 27,
        "not every action was reached: {:?}",
        ledger.seen
    );
}

#[test]
fn repeats_a_schedule_from_its_seed() {
    let first = run(7, Some(Sabotage::ForgetLaneOrder));
    let again = run(7, Some(Sabotage::ForgetLaneOrder));
    assert_eq!(format!("{first:?}"), format!("{again:?}"));
}

/// The simulation finds each fault built into the machine.
#[test]
fn finds_every_fault_that_is_built_in() {
    use Invariant as I;
    let faults = [
        (Sabotage::StoreBeforeDone, I::StoresOnlyWhatIsDone),
        (Sabotage::CommitNotContiguous, I::StoresOnlyWhatIsDone),
        (Sabotage::WatermarkGoesBack, I::NeverGoesBack),
        (Sabotage::BelieveFailedCommit, I::EachCommitAwaited),
        (Sabotage::DispatchAfterRevoke, I::NothingStartsAfterRevoke),
        (Sabotage::ForgetLaneOrder, I::LaneOrder),
        (Sabotage::ReleaseBeforeDeadLetterAck, I::LaneOrder),
        (Sabotage::PassOverFailedDeadLetter, I::StoresOnlyWhatIsDone),
        (Sabotage::OneKeyTooMany, I::Concurrency),
        // Seen before the attempt: the end of the record is not told.
        (Sabotage::OneAttemptTooMany, I::NothingIsLost),
        (Sabotage::RetryAtOnce, I::AttemptsAndBackoff),
        (Sabotage::ForgetRetry, I::AttemptsAndBackoff),
        (Sabotage::ForgetResume, I::PauseAndResume),
        (Sabotage::LeavePlacesEmpty, I::Progress),
        (Sabotage::DrainedTooEarly, I::DrainedOnce),
        (Sabotage::DrainForgetsRetries, I::CatchesUp),
        (Sabotage::DrainForgetsLetters, I::CatchesUp),
        (Sabotage::RunBeforeCommit, I::AtMostOnce),
        (Sabotage::SkipSilently, I::NothingIsLost),
        (Sabotage::StartBeforeCommit, I::StartCommittedFirst),
        (Sabotage::TakeNewHistoryForSeen, I::NewHistoryIsRead),
        (Sabotage::KeepOldWatermark, I::NewHistoryIsRead),
        (Sabotage::BelieveLateAnswer, I::StartCommittedFirst),
        (Sabotage::ForgetOldSilently, I::NewHistoryIsRead),
        (Sabotage::IgnoreGap, I::StoresOnlyWhatIsDone),
        (Sabotage::ChangeWorkersAtOnce, I::WorkerOrder),
        (Sabotage::CloseKeepsPause, I::NoSiblingStalls),
        (Sabotage::KeepAbandoned, I::NoSiblingStalls),
        (Sabotage::SiblingsGoOn, I::StopsTheGroup),
        (Sabotage::CountWithdrawn, I::AttemptsAndBackoff),
        (Sabotage::BatchTooLarge, I::BatchBounds),
        (Sabotage::BatchAtOnce, I::BatchInTime),
        (Sabotage::BatchNeverDue, I::BatchInTime),
        (Sabotage::RetryInBatch, I::TriedAgainAlone),
        (Sabotage::RunAllAgain, I::NothingIsLost),
        (Sabotage::BatchForgetsOrder, I::LaneOrder),
        (Sabotage::ReleaseAtOnce, I::ReleasedBelowWatermark),
        (Sabotage::ForgetStaged, I::Progress),
        (Sabotage::ReleaseAfterLoss, I::NothingReleasedAfterLoss),
        (Sabotage::CoverBeforeRelease, I::OffsetsEqualOutputs),
    ];
    for (fault, named) in faults {
        let start = Instant::now();
        let found = (0..10_000).find_map(|seed| {
            let violation = run(seed, Some(fault)).err()?;
            // Most faults break several things; each must break the one it is made for.
            (violation.invariant == named).then_some((seed, violation))
        });
        let (seed, violation) = found.unwrap_or_else(|| panic!("{fault:?} went unseen"));
        println!(
            "{fault:?}: seed {seed} in {:?}: {named:?}: {}",
            start.elapsed(),
            violation.detail
        );
    }
}
