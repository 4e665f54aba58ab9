//! What groups publish in transactions, against the log: each anomaly once, and near misses.
#![allow(clippy::unwrap_used, reason = "a failing step fails the test")]

mod story;

use eventstream_checker::Class;
use eventstream_checker::history::{Order, Outcome, Phase};
use story::Story;

/// Events 1 to `n` at the offsets from 0, with keys 1 and 2 alternating, all handled by member `m` of group `g`, which
/// copies them.
fn story(n: u64) -> Story {
    let mut story = Story::default();
    for id in 1..=n {
        story.event(id, key(id), offset(id));
    }
    story.ended("p");
    story.joined_to_copy("m", "g", Order::Key);
    for id in 1..=n {
        story.done("m", offset(id), id, key(id));
    }
    story.committed("g", 0, i64::try_from(n).unwrap());
    story.left("m");
    story
}

fn key(id: u64) -> u64 {
    2 - id % 2
}

fn offset(id: u64) -> i64 {
    i64::try_from(id).unwrap() - 1
}

/// The copies of these events, in this order. Between them are gaps, as a transaction leaves them.
fn copied(story: &mut Story, ids: impl IntoIterator<Item = u64>) {
    for (id, at) in ids.into_iter().zip((0..).step_by(2)) {
        story.output("g", (0, offset(id)), Some(key(id)), (0, at));
    }
}

#[test]
fn finds_nothing_in_what_is_right() {
    let mut story = story(4);
    // Keys 1 and 2 have no order with each other.
    copied(&mut story, [2, 1, 4, 3]);
    let report = story.is_clean();
    assert_eq!(report.groups[0].outputs, Some(4));
    assert!(report.to_string().contains("g: committed outputs"));
    assert!(report.page().contains("g: committed outputs"));
}

#[test]
fn finds_a_record_without_an_output() {
    let mut story = story(4);
    copied(&mut story, [1, 2, 4]);
    let report = story.finds(&[(Class::OutputLost, 1)]);
    let lost = &report.anomalies.examples[0];
    assert_eq!(
        (lost.id, lost.partition, lost.offset),
        (Some(3), Some(0), Some(2))
    );
    assert_eq!(lost.group.as_deref(), Some("g"));
}

#[test]
fn finds_that_a_group_has_copied_nothing() {
    story(4).finds(&[(Class::OutputLost, 4)]);
}

#[test]
fn a_group_that_does_not_copy_owes_no_output() {
    let mut story = Story::default();
    story.event(1, 1, 0);
    story.joined("m", "g", Order::Key);
    story.done("m", 0, 1, 1);
    story.left("m");
    assert_eq!(story.is_clean().groups[0].outputs, None);
}

#[test]
fn finds_a_record_with_two_outputs() {
    let mut story = story(3);
    // Those that come again are not out of order, too.
    copied(&mut story, [1, 2, 3, 1, 2]);
    story.finds(&[(Class::OutputTwice, 2)]);
}

#[test]
fn outputs_may_be_read_twice() {
    let mut story = story(3);
    copied(&mut story, 1..=3);
    copied(&mut story, 1..=3);
    story.is_clean();
}

#[test]
fn finds_the_outputs_of_a_key_in_another_order() {
    let mut story = story(4);
    copied(&mut story, [3, 2, 1, 4]);
    let report = story.finds(&[(Class::OutputOrder, 1)]);
    assert_eq!(report.anomalies.examples[0].id, Some(1));
}

#[test]
fn the_order_is_that_of_a_partition_of_outputs() {
    let mut story = story(4);
    story.output("g", (0, 2), Some(1), (0, 0));
    story.output("g", (0, 0), Some(1), (1, 5));
    story.output("g", (0, 1), Some(2), (1, 6));
    story.output("g", (0, 3), Some(2), (1, 7));
    story.is_clean();
}

#[test]
fn a_dead_letter_stands_for_an_output() {
    let mut story = story(3);
    copied(&mut story, [1, 3]);
    story.dead_letter("g", 0, offset(2), Some(2));
    story.is_clean();
}

#[test]
fn finds_a_record_with_an_output_and_a_dead_letter() {
    let mut story = story(3);
    copied(&mut story, 1..=3);
    story.dead_letter("g", 0, offset(2), Some(2));
    story.finds(&[(Class::OutputTwice, 1)]);
}

#[test]
fn finds_a_record_with_two_dead_letters() {
    let mut story = story(3);
    copied(&mut story, [1, 3]);
    story.dead_letter("g", 0, offset(2), Some(2));
    story.dead_letter("g", 0, offset(2), Some(2));
    story.finds(&[(Class::OutputTwice, 1)]);
}

#[test]
fn the_dead_letter_of_another_group_stands_for_nothing() {
    let mut story = story(2);
    story.joined("n", "h", Order::Key);
    story.done("n", 0, 1, 1);
    story.left("n");
    copied(&mut story, [1]);
    story.dead_letter("h", 0, offset(2), Some(2));
    story.finds(&[(Class::OutputLost, 1)]);
}

#[test]
fn finds_an_output_of_a_record_that_is_not_there() {
    let mut story = story(3);
    copied(&mut story, 1..=4);
    story.finds(&[(Class::OutputFromNothing, 1)]);
}

#[test]
fn finds_an_output_with_the_key_of_another_record() {
    let mut story = story(3);
    copied(&mut story, [1, 3]);
    story.output("g", (0, 1), Some(7), (0, 9));
    story.finds(&[(Class::OutputFromNothing, 1)]);
}

/// A rebalance, even a planned one, may abort a transaction, so its records are handled again.
#[test]
fn a_rebalance_excuses_what_is_handled_again_and_not_two_outputs() {
    let mut story = Story::default();
    story.event(1, 1, 0);
    story.joined_to_copy("m", "g", Order::Key);
    story.assigned("m", 0);
    story.done("m", 0, 1, 1);
    story.joined_to_copy("n", "g", Order::Key);
    story.revoked("m", 0);
    story.assigned("n", 0);
    story.done("n", 0, 1, 1);
    story.left("m");
    story.left("n");
    story.output("g", (0, 0), Some(1), (0, 3));
    assert_eq!(story.is_clean().handlers.duplicates_after_faults, 1);
    story.output("g", (0, 0), Some(1), (0, 5));
    story.finds(&[(Class::OutputTwice, 1)]);
}

#[test]
fn nothing_excuses_what_is_handled_again_without_a_rebalance_or_a_fault() {
    let mut story = Story::default();
    story.event(1, 1, 0);
    story.fault("partitions-added", Phase::Begin, true);
    story.fault("partitions-added", Phase::End, true);
    story.joined_to_copy("m", "g", Order::Key);
    story.assigned("m", 0);
    story.done("m", 0, 1, 1);
    story.handle("m", (0, 0), 1, Some(1), 2);
    story.handled("m", (0, 0), Outcome::Ok);
    story.left("m");
    story.output("g", (0, 0), Some(1), (0, 3));
    story.finds(&[(Class::DuplicateHandled, 1)]);
}
