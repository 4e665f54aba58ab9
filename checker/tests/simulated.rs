//! Random runs: a correct one has no anomaly, and a corrupted one has the anomaly that was put in.
#![allow(clippy::unwrap_used, reason = "a failing step fails the test")]

mod simulation;
mod story;

use eventstream_checker::history::{Entry, Event, Outcome, Output};
use eventstream_checker::{Class, Report};
use proptest::prelude::*;
use simulation::simulate;
use story::Story;

fn seeds() -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// The lines of a story that `pick` accepts, as file and index.
fn lines(story: &Story, pick: impl Fn(&Event<'_>) -> bool) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    for (file, lines) in &story.files {
        for (index, line) in lines.iter().enumerate() {
            let entry: Entry<'_> = serde_json::from_str(line).unwrap();
            if pick(&entry.event) {
                found.push((file.clone(), index));
            }
        }
    }
    found
}

/// Changes one of the lines that `pick` accepts; returns whether there is one.
fn spoil(
    story: &mut Story,
    draw: prop::sample::Index,
    pick: impl Fn(&Event<'_>) -> bool,
    change: impl Fn(&mut Entry<'_>),
) -> bool {
    let candidates = lines(story, pick);
    if candidates.is_empty() {
        return false;
    }
    let (file, index) = draw.get(&candidates);
    let line = &mut story.files.get_mut(file).unwrap()[*index];
    let mut entry: Entry<'_> = serde_json::from_str(line).unwrap();
    change(&mut entry);
    let changed = serde_json::to_string(&entry).unwrap();
    *line = changed;
    true
}

fn count(report: &Report, class: Class) -> u64 {
    report.anomalies.counts.get(&class).copied().unwrap_or(0)
}

/// A random event of those with a stored receipt.
fn a_stored_event(story: &Story, draw: prop::sample::Index) -> Option<u64> {
    let candidates = lines(story, |event| matches!(event, Event::Stored(_)));
    if candidates.is_empty() {
        return None;
    }
    let (file, index) = draw.get(&candidates);
    let entry: Entry<'_> = serde_json::from_str(&story.files[file][*index]).unwrap();
    match entry.event {
        Event::Stored(stored) => Some(stored.id),
        _ => None,
    }
}

/// A random output, with its file and line.
fn an_output(story: &Story, draw: prop::sample::Index) -> Option<(String, usize, String)> {
    let candidates = lines(story, |event| matches!(event, Event::Output(_)));
    if candidates.is_empty() {
        return None;
    }
    let (file, index) = draw.get(&candidates);
    Some((file.clone(), *index, story.files[file][*index].clone()))
}

fn output(line: &str) -> Output<'_> {
    let entry: Entry<'_> = serde_json::from_str(line).unwrap();
    match entry.event {
        Event::Output(output) => output,
        _ => unreachable!("an output"),
    }
}

proptest! {
    #![proptest_config(seeds())]

    #[test]
    fn a_right_run_has_no_anomaly(seed: u64) {
        let story = simulate(seed, true);
        let report = story.judge(0);
        prop_assert_eq!(report.anomalies.total(), 0, "{}", report);
        for group in &report.groups {
            prop_assert!(group.handled + group.dead_lettered >= group.records, "{}", report);
        }
        // The same without the assignments; then a rebalance explains a repetition for a while.
        // What was held back over several rebalances in a row may look like a duplicate (README).
        let report = simulate(seed, false).judge(1_000_000);
        let again = count(&report, Class::DuplicateHandled);
        prop_assert!(again <= 3, "{}", report);
        prop_assert_eq!(report.anomalies.total(), again, "{}", report);
        // A page can be rendered from any run.
        prop_assert!(report.page().ends_with("</html>\n"));
    }

    #[test]
    fn an_event_that_vanishes_is_lost(seed: u64, draw: prop::sample::Index) {
        let mut story = simulate(seed, true);
        let Some(id) = a_stored_event(&story, draw) else { return Ok(()) };
        let stored = lines(&story, |event| matches!(event, Event::Stored(s) if s.id == id));
        let (file, index) = &stored[0];
        let entry: Entry<'_> = serde_json::from_str(&story.files[file][*index]).unwrap();
        let Event::Stored(stored) = entry.event else { unreachable!() };
        let of_it = |event: &Event<'_>| match event {
            Event::Record(record) => record.id == Some(id),
            Event::Handle(handle) => handle.id == id,
            Event::DeadLetter(letter) => letter.id == Some(id),
            Event::Output(it) => (it.partition, it.offset) == (stored.partition, stored.offset),
            _ => false,
        };
        for (file, index) in lines(&story, of_it).into_iter().rev() {
            story.files.get_mut(&file).unwrap().remove(index);
        }
        let report = story.judge(0);
        prop_assert_eq!(count(&report, Class::LostWrite), 1, "{}", report);
        // If it held others back, nothing explains their repetition any more.
        let again = count(&report, Class::DuplicateHandled);
        prop_assert_eq!(report.anomalies.total(), 1 + again, "{}", report);
    }

    #[test]
    fn an_event_that_a_group_never_handles_is_found(seed: u64, draw: prop::sample::Index) {
        let mut story = simulate(seed, true);
        let Some(id) = a_stored_event(&story, draw) else { return Ok(()) };
        let of_it = |event: &Event<'_>| match event {
            Event::Handle(handle) => handle.id == id,
            Event::DeadLetter(letter) => letter.id == Some(id),
            _ => false,
        };
        for (file, index) in lines(&story, of_it).into_iter().rev() {
            story.files.get_mut(&file).unwrap().remove(index);
        }
        let report = story.judge(0);
        let found = count(&report, Class::LostWrite) + count(&report, Class::Unseen);
        prop_assert_eq!(found, report.groups.len() as u64, "{}", report);
        prop_assert!(count(&report, Class::CommittedUnhandled) > 0, "{}", report);
    }

    #[test]
    fn an_outcome_that_is_not_told_is_found(seed: u64, draw: prop::sample::Index) {
        let mut story = simulate(seed, true);
        let told = lines(&story, |event| matches!(event, Event::Stored(_) | Event::Failed(_)));
        prop_assume!(!told.is_empty());
        let (file, index) = draw.get(&told);
        story.files.get_mut(file).unwrap().remove(*index);
        let report = story.judge(0);
        // A publisher that was killed might have reported it, had it lived.
        let ended = story.files[file].last().unwrap().contains("ended");
        prop_assert_eq!(count(&report, Class::SilentFailure), u64::from(ended), "{}", report);
        prop_assert_eq!(report.anomalies.total(), u64::from(ended), "{}", report);
    }

    #[test]
    fn an_outcome_that_is_told_twice_is_found(seed: u64, draw: prop::sample::Index) {
        let mut story = simulate(seed, true);
        let told = lines(&story, |event| matches!(event, Event::Stored(_) | Event::Failed(_)));
        prop_assume!(!told.is_empty());
        let (file, index) = draw.get(&told);
        let line = story.files[file][*index].clone();
        story.files.get_mut(file).unwrap().insert(*index, line);
        let report = story.judge(0);
        prop_assert_eq!(count(&report, Class::SecondOutcome), 1, "{}", report);
        prop_assert_eq!(report.anomalies.total(), 1, "{}", report);
    }

    #[test]
    fn a_wrong_receipt_is_found(seed: u64, draw: prop::sample::Index) {
        let mut story = simulate(seed, true);
        let spoilt = spoil(&mut story, draw, |event| matches!(event, Event::Stored(_)), |entry| {
            if let Event::Stored(stored) = &mut entry.event {
                stored.offset += 1;
            }
        });
        prop_assume!(spoilt);
        let report = story.judge(0);
        prop_assert_eq!(count(&report, Class::InconsistentOffset), 1, "{}", report);
        prop_assert_eq!(report.anomalies.total(), 1, "{}", report);
    }

    #[test]
    fn a_handler_that_sees_another_event_is_found(seed: u64, draw: prop::sample::Index) {
        let mut story = simulate(seed, true);
        let spoilt = spoil(&mut story, draw, |event| matches!(event, Event::Handle(_)), |entry| {
            if let Event::Handle(handle) = &mut entry.event {
                handle.id += 1_000_000;
            }
        });
        prop_assume!(spoilt);
        let report = story.judge(0);
        prop_assert_eq!(count(&report, Class::InconsistentOffset), 1, "{}", report);
        prop_assert_eq!(report.anomalies.total(), 1, "{}", report);
    }

    #[test]
    fn an_event_stored_twice_is_found(seed: u64, draw: prop::sample::Index) {
        let mut story = simulate(seed, true);
        let Some(id) = a_stored_event(&story, draw) else { return Ok(()) };
        let key = lines(&story, |event| matches!(event, Event::Record(r) if r.id == Some(id)));
        let (file, index) = &key[0];
        let line = story.files[file][*index].clone();
        let entry: Entry<'_> = serde_json::from_str(&line).unwrap();
        let Event::Record(record) = entry.event else { unreachable!() };
        story.record(record.partition, 1_000, record.id, record.key);
        let report = story.judge(0);
        prop_assert_eq!(count(&report, Class::DuplicateStored), 1, "{}", report);
        // Nobody handled the second one.
        prop_assert_eq!(count(&report, Class::Unseen), report.groups.len() as u64, "{}", report);
    }

    #[test]
    fn an_output_that_is_missing_is_found(seed: u64, draw: prop::sample::Index) {
        let mut story = simulate(seed, true);
        let Some((file, index, _)) = an_output(&story, draw) else { return Ok(()) };
        story.files.get_mut(&file).unwrap().remove(index);
        let report = story.judge(0);
        prop_assert_eq!(count(&report, Class::OutputLost), 1, "{}", report);
        prop_assert_eq!(report.anomalies.total(), 1, "{}", report);
    }

    #[test]
    fn an_output_that_is_there_twice_is_found(seed: u64, draw: prop::sample::Index) {
        let mut story = simulate(seed, true);
        let Some((_, _, line)) = an_output(&story, draw) else { return Ok(()) };
        let it = output(&line);
        story.output(it.group, (it.partition, it.offset), it.key, (it.at.0, 1_000));
        let report = story.judge(0);
        prop_assert_eq!(count(&report, Class::OutputTwice), 1, "{}", report);
        prop_assert_eq!(report.anomalies.total(), 1, "{}", report);
    }

    #[test]
    fn an_output_of_no_record_is_found(seed: u64, draw: prop::sample::Index) {
        let mut story = simulate(seed, true);
        let Some((_, _, line)) = an_output(&story, draw) else { return Ok(()) };
        let it = output(&line);
        story.output(it.group, (it.partition, 1_000), it.key, (it.at.0, 1_000));
        let report = story.judge(0);
        prop_assert_eq!(count(&report, Class::OutputFromNothing), 1, "{}", report);
        prop_assert_eq!(report.anomalies.total(), 1, "{}", report);
    }

    #[test]
    fn an_output_that_comes_after_later_ones_of_its_key_is_found(
        seed: u64,
        draw: prop::sample::Index,
    ) {
        let mut story = simulate(seed, true);
        let Some((file, index, line)) = an_output(&story, draw) else { return Ok(()) };
        let it = output(&line);
        let later = lines(&story, |event| match event {
            Event::Output(other) => {
                (other.group, other.partition, other.at.0) == (it.group, it.partition, it.at.0)
                    && (other.key, it.key.is_some()) == (it.key, true)
                    && other.offset > it.offset
            }
            _ => false,
        });
        story.files.get_mut(&file).unwrap().remove(index);
        story.output(it.group, (it.partition, it.offset), it.key, (it.at.0, 1_000));
        let report = story.judge(0);
        let expected = u64::from(!later.is_empty());
        prop_assert_eq!(count(&report, Class::OutputOrder), expected, "{}", report);
        prop_assert_eq!(report.anomalies.total(), expected, "{}", report);
    }

    #[test]
    fn a_commit_ahead_of_the_handlers_is_found(seed: u64) {
        let mut story = simulate(seed, true);
        let groups: Vec<String> = story.judge(0).groups.into_iter().map(|group| group.group).collect();
        // At the time of the first publish, nothing is handled.
        for group in &groups {
            let mut early = Story::default();
            early.committed(group, 0, i64::MAX);
            let lines = early.files.remove("observer").unwrap();
            story.files.insert(format!("early-{group}"), lines);
        }
        let report = story.judge(0);
        let dead = |event: &Event<'_>| matches!(event, Event::DeadLetter(d) if d.partition == 0);
        let records = lines(&story, |event| matches!(event, Event::Record(r) if r.partition == 0));
        let expected = records.len() * groups.len() - lines(&story, dead).len();
        prop_assert_eq!(count(&report, Class::CommittedUnhandled), expected as u64, "{}", report);
        // What was held back and repeated should not have been, after such a commit.
        let again = count(&report, Class::DuplicateHandled);
        prop_assert_eq!(report.anomalies.total(), expected as u64 + again, "{}", report);
    }

    #[test]
    fn a_record_that_comes_twice_without_a_reason_is_found(seed: u64, draw: prop::sample::Index) {
        let mut story = simulate(seed, true);
        let done = lines(&story, |event| matches!(event, Event::Handle(_)));
        prop_assume!(!done.is_empty());
        let (file, index) = draw.get(&done);
        let line = story.files[file][*index].clone();
        let entry: Entry<'_> = serde_json::from_str(&line).unwrap();
        let Event::Handle(handle) = entry.event else { unreachable!() };
        let dead = |event: &Event<'_>| match event {
            Event::DeadLetter(d) => (d.partition, d.offset) == (handle.partition, handle.offset),
            _ => false,
        };
        prop_assume!(lines(&story, dead).is_empty());
        // A member that joins when everything is done, and leaves cleanly.
        let group = handle.member.split('-').next().unwrap();
        let (order, copies) = simulation::kind_of(&story, group);
        // The rebalance could have aborted its transaction.
        prop_assume!(!copies);
        let late = format!("{group}-late");
        story.now += 10_000;
        story.joined(&late, group, order);
        let at = (handle.partition, handle.offset);
        for attempt in 1..=2 {
            story.handle(&late, at, handle.id, handle.key, attempt);
            let outcome = if attempt == 1 { Outcome::Error } else { Outcome::Ok };
            story.handled(&late, at, outcome);
        }
        story.left(&late);
        let report = story.judge(0);
        prop_assert_eq!(count(&report, Class::DuplicateHandled), 1, "{}", report);
        prop_assert_eq!(report.anomalies.total(), 1, "{}", report);
    }
}
