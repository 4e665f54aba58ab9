//! The outcomes that publishers got, against the log: each anomaly once, and near misses.
#![allow(clippy::unwrap_used, reason = "a failing step fails the test")]

mod story;

use eventstream_checker::Class;
use story::Story;

fn event(story: &mut Story, id: u64) {
    story.publish("p", id, Some(1));
    story.accepted("p", id);
}

#[test]
fn finds_nothing_in_what_is_right() {
    let mut story = Story::default();
    story.event(1, 1, 0);
    story.event(2, 1, 1);
    story.publish("p", 3, Some(1));
    story.refused("p", 3);
    event(&mut story, 4);
    story.failed("p", 4);
    story.ended("p");
    let report = story.is_clean();
    assert_eq!((report.outcomes.published, report.outcomes.stored), (4, 2));
    assert_eq!((report.outcomes.refused, report.outcomes.failed), (1, 1));
}

#[test]
fn finds_an_acknowledged_event_that_the_log_lacks() {
    let mut story = Story::default();
    story.event(1, 1, 0);
    event(&mut story, 2);
    story.stored("p", 2, 0, 1);
    let report = story.finds(&[(Class::LostWrite, 1)]);
    let lost = &report.anomalies.examples[0];
    assert_eq!(
        (lost.id, lost.partition, lost.offset),
        (Some(2), Some(0), Some(1))
    );
    assert_eq!(lost.topic.as_deref(), Some(story::TOPIC));
}

#[test]
fn a_failed_event_may_be_missing_or_stored() {
    let mut story = Story::default();
    story.event(1, 1, 0);
    event(&mut story, 2);
    story.failed("p", 2);
    event(&mut story, 3);
    story.failed("p", 3);
    story.record(0, 1, Some(3), Some(1));
    assert_eq!(story.is_clean().outcomes.aborted_reads, 1);
}

#[test]
fn finds_an_event_stored_twice() {
    let mut story = Story::default();
    story.event(1, 1, 0);
    story.record(0, 1, Some(1), Some(1));
    story.finds(&[(Class::DuplicateStored, 1)]);
}

#[test]
fn a_record_may_be_read_twice() {
    let mut story = Story::default();
    story.event(1, 1, 0);
    story.record(0, 0, Some(1), Some(1));
    story.is_clean();
}

#[test]
fn finds_a_refused_event_in_the_log() {
    let mut story = Story::default();
    story.publish("p", 1, Some(1));
    story.refused("p", 1);
    story.record(0, 0, Some(1), Some(1));
    story.finds(&[(Class::RefusedYetStored, 1)]);
}

#[test]
fn finds_a_record_that_nobody_published() {
    let mut story = Story::default();
    story.event(1, 1, 0);
    story.record(0, 1, Some(9), Some(1));
    story.finds(&[(Class::Phantom, 1)]);
}

#[test]
fn finds_a_receipt_with_another_offset_than_the_log() {
    let mut story = Story::default();
    event(&mut story, 1);
    story.stored("p", 1, 0, 5);
    story.record(0, 4, Some(1), Some(1));
    story.finds(&[(Class::InconsistentOffset, 1)]);
}

#[test]
fn finds_two_reads_that_disagree() {
    let mut story = Story::default();
    story.event(1, 1, 0);
    event(&mut story, 2);
    story.failed("p", 2);
    story.record(0, 0, Some(2), Some(1));
    story.record(0, 0, Some(1), Some(1));
    // Each of the two reads contradicts the one before.
    story.finds(&[(Class::InconsistentOffset, 2)]);
}

#[test]
fn finds_a_key_stored_in_another_order_than_published() {
    let mut story = Story::default();
    event(&mut story, 1);
    event(&mut story, 2);
    story.stored("p", 1, 0, 1);
    story.stored("p", 2, 0, 0);
    story.record(0, 0, Some(2), Some(1));
    story.record(0, 1, Some(1), Some(1));
    story.finds(&[(Class::PublishOrder, 1)]);
}

#[test]
fn keys_and_publishers_have_no_common_order() {
    let mut story = Story::default();
    story.publish("p", 1, Some(1));
    story.publish("p", 2, Some(2));
    story.publish("q", 3, Some(1));
    story.publish("p", 4, None);
    story.publish("p", 5, None);
    for (offset, (id, key)) in (0..).zip([
        (5, None),
        (4, None),
        (3, Some(1)),
        (2, Some(2)),
        (1, Some(1)),
    ]) {
        story.record(0, offset, Some(id), key);
    }
    story.is_clean();
}

#[test]
fn a_failed_event_may_be_stored_out_of_order() {
    let mut story = Story::default();
    event(&mut story, 1);
    story.failed("p", 1);
    event(&mut story, 2);
    story.stored("p", 2, 0, 0);
    story.record(0, 0, Some(2), Some(1));
    story.record(0, 1, Some(1), Some(1));
    assert_eq!(story.is_clean().outcomes.failed_out_of_order, 1);
}

#[test]
fn finds_an_accepted_event_without_an_outcome() {
    let mut story = Story::default();
    event(&mut story, 1);
    story.ended("p");
    story.finds(&[(Class::SilentFailure, 1)]);
}

#[test]
fn a_killed_publisher_need_not_tell_an_outcome() {
    let mut story = Story::default();
    event(&mut story, 1);
    assert_eq!(story.is_clean().outcomes.unknown, 1);
}

#[test]
fn finds_a_second_outcome() {
    let mut story = Story::default();
    story.event(1, 1, 0);
    story.failed("p", 1);
    story.finds(&[(Class::SecondOutcome, 1)]);
}

#[test]
fn refuses_a_history_that_contradicts_itself() {
    let settle = std::time::Duration::ZERO;
    let mut story = Story::default();
    story.stored("p", 1, 0, 0);
    let error = eventstream_checker::check(&story.write(), settle).unwrap_err();
    assert!(
        format!("{error:#}").contains("event 1 was not published"),
        "{error:#}"
    );

    let mut story = Story::default();
    event(&mut story, 1);
    story.stored("p", 1, 0, 0);
    let error = eventstream_checker::check(&story.write(), settle).unwrap_err();
    assert!(format!("{error:#}").contains("no final read"), "{error:#}");
}
