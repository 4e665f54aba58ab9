//! The actions of groups, against the log: each anomaly once, and near misses.
#![allow(clippy::unwrap_used, reason = "a failing step fails the test")]

mod story;

use eventstream_checker::Class;
use eventstream_checker::history::{Order, Outcome, Phase};
use story::Story;

/// Events 1 to `n` at the offsets from 0, with keys 1 and 2 alternating, and member `m` of group `g`.
fn story(n: u64, order: Order) -> Story {
    let mut story = Story::default();
    for id in 1..=n {
        story.event(id, key(id), offset(id));
    }
    story.ended("p");
    story.joined("m", "g", order);
    story
}

fn key(id: u64) -> u64 {
    2 - id % 2
}

fn offset(id: u64) -> i64 {
    i64::try_from(id).unwrap() - 1
}

/// Member `m` handles the events one after another.
fn all(story: &mut Story, member: &str, ids: impl IntoIterator<Item = u64>) {
    for id in ids {
        story.done(member, offset(id), id, key(id));
    }
}

fn start(story: &mut Story, member: &str, id: u64, attempt: u32) {
    story.handle(member, (0, offset(id)), id, Some(key(id)), attempt);
}

fn finish(story: &mut Story, member: &str, id: u64, outcome: Outcome) {
    story.handled(member, (0, offset(id)), outcome);
}

#[test]
fn finds_nothing_in_what_is_right() {
    let mut story = story(4, Order::Partition);
    all(&mut story, "m", 1..=2);
    start(&mut story, "m", 3, 1);
    finish(&mut story, "m", 3, Outcome::Error);
    start(&mut story, "m", 3, 2);
    finish(&mut story, "m", 3, Outcome::Panic);
    start(&mut story, "m", 3, 3);
    finish(&mut story, "m", 3, Outcome::Ok);
    story.committed("g", 0, 3);
    all(&mut story, "m", [4]);
    story.committed("g", 0, 4);
    story.left("m");
    let report = story.is_clean();
    assert_eq!((report.handlers.ok, report.handlers.retries), (4, 2));
    assert_eq!((report.groups[0].records, report.groups[0].handled), (4, 4));
}

#[test]
fn finds_a_record_that_was_passed_over() {
    let mut story = story(3, Order::Partition);
    all(&mut story, "m", [1, 3]);
    let report = story.finds(&[(Class::LostWrite, 1)]);
    let lost = &report.anomalies.examples[0];
    assert_eq!(
        (lost.id, lost.offset, lost.group.as_deref()),
        (Some(2), Some(1), Some("g"))
    );
}

#[test]
fn a_dead_letter_is_not_lost_for_its_group_alone() {
    let mut story = story(3, Order::Partition);
    all(&mut story, "m", [1]);
    start(&mut story, "m", 2, 1);
    finish(&mut story, "m", 2, Outcome::Error);
    all(&mut story, "m", [3]);
    story.dead_letter("g", 0, 1, Some(2));
    story.committed("g", 0, 3);
    let report = story.is_clean();
    assert_eq!(report.groups[0].dead_letters["exhausted"], 1);

    story.joined("other", "h", Order::Partition);
    all(&mut story, "other", [1, 3]);
    story.finds(&[(Class::LostWrite, 1)]);
}

#[test]
fn a_record_that_is_no_event_must_be_dead_lettered() {
    let mut story = story(1, Order::Partition);
    story.record(0, 1, None, None);
    all(&mut story, "m", [1]);
    let mut dead = story.clone();
    dead.dead_letter("g", 0, 1, None);
    dead.is_clean();
    story.finds(&[(Class::Unseen, 1)]);
}

#[test]
fn finds_what_a_group_has_not_seen_at_the_end() {
    let mut story = story(3, Order::Partition);
    all(&mut story, "m", [1]);
    start(&mut story, "m", 2, 1);
    finish(&mut story, "m", 2, Outcome::Error);
    let report = story.finds(&[(Class::Unseen, 2)]);
    assert!(report.anomalies.examples[0].detail.starts_with("started"));
    assert!(report.anomalies.examples[1].detail.starts_with("never"));
}

#[test]
fn finds_a_commit_above_what_is_not_done() {
    let mut story = story(3, Order::Partition);
    all(&mut story, "m", [1]);
    start(&mut story, "m", 2, 1);
    story.committed("g", 0, 2);
    finish(&mut story, "m", 2, Outcome::Ok);
    // What is committed again, or was not done at an earlier commit, is not reported again.
    all(&mut story, "m", [3]);
    story.committed("g", 0, 3);
    let report = story.finds(&[(Class::CommittedUnhandled, 1)]);
    assert!(report.anomalies.examples[0].at.is_some());
    assert_eq!(report.anomalies.examples[0].id, Some(2));
}

#[test]
fn a_commit_may_count_on_any_member() {
    let mut story = story(2, Order::Partition);
    all(&mut story, "m", [1]);
    story.joined("n", "g", Order::Partition);
    all(&mut story, "n", [2]);
    story.committed("g", 0, 2);
    story.committed("g", 0, 1);
    assert_eq!(story.is_clean().handlers.commits_went_back, 1);
}

#[test]
fn finds_another_event_at_an_offset_than_the_log() {
    let mut story = story(2, Order::Partition);
    all(&mut story, "m", [1]);
    story.done("m", 1, 9, key(2));
    story.finds(&[(Class::InconsistentOffset, 1)]);
}

#[test]
fn finds_an_offset_that_the_log_does_not_have() {
    let mut story = story(1, Order::Partition);
    all(&mut story, "m", 1..=2);
    story.finds(&[(Class::InconsistentOffset, 1)]);
}

#[test]
fn finds_a_member_that_goes_back() {
    let mut story = story(3, Order::Partition);
    all(&mut story, "m", 1..=2);
    start(&mut story, "m", 3, 1);
    finish(&mut story, "m", 3, Outcome::Error);
    start(&mut story, "m", 3, 1);
    finish(&mut story, "m", 3, Outcome::Ok);
    story.finds(&[(Class::NonMonotonicPoll, 1)]);
}

#[test]
fn a_member_may_go_back_after_a_rebalance() {
    let mut story = story(3, Order::Partition);
    all(&mut story, "m", 1..=2);
    start(&mut story, "m", 3, 1);
    finish(&mut story, "m", 3, Outcome::Error);
    story.joined("n", "g", Order::Partition);
    start(&mut story, "m", 3, 1);
    finish(&mut story, "m", 3, Outcome::Ok);
    story.is_clean();
}

#[test]
fn a_told_assignment_has_no_excuse() {
    let mut story = story(3, Order::Partition);
    story.assigned("m", 0);
    all(&mut story, "m", 1..=2);
    start(&mut story, "m", 3, 1);
    finish(&mut story, "m", 3, Outcome::Error);
    story.joined("n", "g", Order::Partition);
    let mut again = story.clone();
    again.revoked("m", 0);
    again.assigned("m", 0);
    for story in [&mut story, &mut again] {
        start(story, "m", 3, 1);
        finish(story, "m", 3, Outcome::Ok);
    }
    story.finds(&[(Class::NonMonotonicPoll, 1)]);
    again.is_clean();
}

#[test]
fn finds_a_record_that_an_assignment_passed_over() {
    let mut story = story(4, Order::Partition);
    all(&mut story, "m", [1, 2, 4]);
    // Another member makes up for it.
    story.joined("n", "g", Order::Partition);
    all(&mut story, "n", [3]);
    story.left("m");
    let report = story.finds(&[(Class::SkippedPoll, 1)]);
    assert_eq!(report.anomalies.examples[0].id, Some(3));
}

#[test]
fn a_member_that_was_out_of_its_group_goes_on_where_the_others_came_to() {
    let mut story = story(6, Order::Partition);
    story.joined("n", "g", Order::Partition);
    all(&mut story, "m", [1]);
    story.fault("paused", Phase::Begin, false);
    all(&mut story, "n", 2..=5);
    // It does not know yet, and then rejoins.
    all(&mut story, "m", [2]);
    story.fault("paused", Phase::End, false);
    all(&mut story, "m", [6]);
    story.left("m");
    story.left("n");
    assert_eq!(story.is_clean().handlers.duplicates_after_faults, 1);
}

#[test]
fn a_dead_letter_in_between_excuses_no_key_out_of_order() {
    let mut story = story(3, Order::Key);
    story.record(0, 3, None, None);
    story.event(4, 1, 4);
    start(&mut story, "m", 1, 1);
    finish(&mut story, "m", 1, Outcome::Error);
    all(&mut story, "m", [2]);
    // Key 1 goes on over its first event, which is not done; offset 3 is a dead letter.
    story.fault("cut off", Phase::Begin, false);
    story.dead_letter("g", 0, 3, None);
    story.handle("m", (0, 4), 4, Some(1), 1);
    story.handled("m", (0, 4), Outcome::Ok);
    all(&mut story, "m", [1, 3]);
    story.fault("cut off", Phase::End, false);
    story.left("m");
    story.finds(&[(Class::SkippedPoll, 1), (Class::HandleOrder, 1)]);
}

#[test]
fn finds_a_record_handled_late() {
    let mut story = story(4, Order::Partition);
    all(&mut story, "m", [1, 2, 4, 3]);
    story.finds(&[(Class::NonMonotonicPoll, 1)]);
}

#[test]
fn keys_run_side_by_side() {
    let mut story = story(6, Order::Key);
    start(&mut story, "m", 2, 1);
    start(&mut story, "m", 1, 1);
    finish(&mut story, "m", 1, Outcome::Ok);
    all(&mut story, "m", [3, 5]);
    finish(&mut story, "m", 2, Outcome::Ok);
    all(&mut story, "m", [4, 6]);
    story.committed("g", 0, 6);
    story.is_clean();
}

#[test]
fn finds_a_key_out_of_order() {
    let mut story = story(6, Order::Key);
    all(&mut story, "m", [1, 2, 5, 3, 4, 6]);
    story.finds(&[(Class::HandleOrder, 1)]);
}

#[test]
fn finds_a_record_started_before_the_one_before_is_done() {
    for order in [Order::Partition, Order::Key] {
        let mut story = story(3, order);
        start(&mut story, "m", 1, 1);
        finish(&mut story, "m", 1, Outcome::Error);
        let (next, last) = if order == Order::Key { (3, 2) } else { (2, 3) };
        all(&mut story, "m", [next]);
        start(&mut story, "m", 1, 2);
        finish(&mut story, "m", 1, Outcome::Ok);
        all(&mut story, "m", [last]);
        story.finds(&[(Class::HandleOrder, 1)]);
    }
}

#[test]
fn finds_two_handlers_of_a_key_at_one_time() {
    let mut story = story(3, Order::Key);
    start(&mut story, "m", 1, 1);
    start(&mut story, "m", 3, 1);
    finish(&mut story, "m", 1, Outcome::Ok);
    finish(&mut story, "m", 3, Outcome::Ok);
    all(&mut story, "m", [2]);
    story.finds(&[(Class::HandleOrder, 1)]);
}

#[test]
fn finds_two_members_at_one_record() {
    let mut story = story(1, Order::Partition);
    story.joined("n", "g", Order::Partition);
    start(&mut story, "m", 1, 1);
    start(&mut story, "n", 1, 1);
    finish(&mut story, "m", 1, Outcome::Error);
    finish(&mut story, "n", 1, Outcome::Ok);
    story.finds(&[(Class::HandleOrder, 1)]);
}

#[test]
fn two_members_may_overlap_during_a_fault() {
    let mut story = story(1, Order::Partition);
    story.joined("n", "g", Order::Partition);
    start(&mut story, "m", 1, 1);
    story.fault("cut off", Phase::Begin, false);
    start(&mut story, "n", 1, 1);
    finish(&mut story, "n", 1, Outcome::Ok);
    finish(&mut story, "m", 1, Outcome::Ok);
    story.fault("cut off", Phase::End, false);
    story.left("m");
    story.left("n");
    assert_eq!(story.is_clean().handlers.duplicates_after_faults, 1);
}

#[test]
fn a_killed_member_runs_nothing() {
    let mut story = story(2, Order::Partition);
    start(&mut story, "m", 1, 1);
    story.joined("n", "g", Order::Partition);
    all(&mut story, "n", 1..=2);
    assert_eq!(story.is_clean().handlers.killed, 1);
}

/// Member `m` handles everything, and then `n` handles the last one again.
fn handled_twice(n_comes: impl FnOnce(&mut Story)) -> Story {
    let mut story = story(3, Order::Partition);
    story.joined("n", "g", Order::Partition);
    all(&mut story, "m", 1..=3);
    n_comes(&mut story);
    all(&mut story, "n", [3]);
    story.left("n");
    story
}

#[test]
fn finds_a_duplicate_after_a_clean_stop() {
    let story = handled_twice(|story| {
        story.left("m");
        story.fault("partition added", Phase::Begin, true);
        story.fault("partition added", Phase::End, true);
    });
    story.finds(&[(Class::DuplicateHandled, 1)]);
}

#[test]
fn a_kill_or_a_fault_explains_a_duplicate() {
    let report = handled_twice(|_| ()).is_clean();
    assert_eq!(
        (
            report.handlers.duplicates,
            report.handlers.duplicates_after_faults
        ),
        (1, 1)
    );

    handled_twice(|story| {
        story.left("m");
        story.fault("broker killed", Phase::Begin, false);
        story.fault("broker killed", Phase::End, false);
    })
    .is_clean();
}

#[test]
fn a_fault_explains_a_duplicate_for_a_while() {
    let mut story = story(2, Order::Partition);
    story.joined("n", "g", Order::Partition);
    story.fault("broker killed", Phase::Begin, false);
    story.fault("broker killed", Phase::End, false);
    all(&mut story, "m", 1..=2);
    story.left("m");
    all(&mut story, "n", [2]);
    story.left("n");
    story.finds(&[(Class::DuplicateHandled, 1)]);
    assert_eq!(story.judge(1_000).anomalies.total(), 0);
}

#[test]
fn what_an_undone_record_holds_back_may_come_twice() {
    let mut story = story(3, Order::Key);
    story.joined("n", "g", Order::Key);
    start(&mut story, "m", 1, 1);
    finish(&mut story, "m", 1, Outcome::Error);
    all(&mut story, "m", [2]);
    story.left("m");
    all(&mut story, "n", 1..=3);
    story.left("n");
    assert_eq!(story.is_clean().handlers.duplicates_held_back, 1);
}

#[test]
fn finds_a_second_attempt_after_success() {
    let mut story = story(1, Order::Partition);
    all(&mut story, "m", [1]);
    start(&mut story, "m", 1, 2);
    finish(&mut story, "m", 1, Outcome::Ok);
    story.left("m");
    story.finds(&[(Class::DuplicateHandled, 1)]);
}

#[test]
fn tells_how_long_events_stood_still() {
    let mut story = story(1, Order::Partition);
    all(&mut story, "m", [1]);
    story.fault("broker killed", Phase::Begin, false);
    story.publish("q", 2, Some(2));
    story.now += 500;
    story.fault("broker killed", Phase::End, false);
    story.now += 300;
    story.accepted("q", 2);
    story.stored("q", 2, 0, 1);
    story.record(0, 1, Some(2), Some(2));
    story.publish("q", 3, Some(1));
    story.accepted("q", 3);
    story.stored("q", 3, 0, 2);
    story.record(0, 2, Some(3), Some(1));
    all(&mut story, "m", 2..=3);
    story.left("m");
    let report = story.is_clean();
    let fault = &report.faults[0];
    assert_eq!((fault.count, fault.unended), (1, 0));
    // Event 2 was published during the fault: only event 3 shows that publishing works again.
    assert_eq!(fault.stored.again_worst, Some(0.306));
    assert_eq!(fault.stored.gap_worst, Some(0.502));
    assert_eq!(fault.handled.again_median, Some(0.309));
}
