//! Topics that are deleted, trimmed and recreated: each anomaly, and near misses.
#![allow(clippy::unwrap_used, reason = "a failing step fails the test")]

mod story;

use std::fs;

use eventstream_checker::history::{
    Deleted, Event, Handle, Handled, Joined, Order, Outcome, Publish, Ready, Record, Told,
};
use eventstream_checker::{Class, LIVES, SETTLE, check};
use story::Story;

const TOPIC: &str = "trimmed";

#[derive(Default)]
struct Life(Story);

impl Life {
    /// Events of these numbers, stored at the offset of that number.
    fn of(ids: impl IntoIterator<Item = u64>) -> Self {
        let mut life = Self::default();
        life.joined("m");
        life.stored(ids);
        life
    }

    fn joined(&mut self, member: &str) {
        let joined = Joined {
            member,
            group: "g",
            topics: vec![TOPIC],
            order: Order::Partition,
            output: None,
        };
        self.0.say(member, Event::Joined(joined));
    }

    fn stored(&mut self, ids: impl IntoIterator<Item = u64>) {
        for id in ids {
            let publish = Publish {
                id,
                topic: TOPIC,
                key: None,
                seq: id,
            };
            self.0.say("p", Event::Publish(publish));
            self.0.stored("p", id, 0, id.try_into().unwrap());
        }
    }

    fn handled(&mut self, member: &str, ids: impl IntoIterator<Item = u64>) {
        for id in ids {
            self.begun(member, id);
            let handled = Handled {
                member,
                topic: TOPIC,
                partition: 0,
                offset: id.try_into().unwrap(),
                outcome: Outcome::Ok,
            };
            self.0.say(member, Event::Handled(handled));
        }
    }

    fn begun(&mut self, member: &str, id: u64) {
        let handle = Handle {
            member,
            topic: TOPIC,
            partition: 0,
            offset: id.try_into().unwrap(),
            id,
            key: None,
            attempt: 1,
        };
        self.0.say(member, Event::Handle(handle));
    }

    fn deleted(&mut self, below: Option<i64>) {
        let deleted = Deleted {
            topic: TOPIC,
            partition: 0,
            below,
        };
        self.0.say("lives", Event::Deleted(deleted));
    }

    fn told(&mut self, range: Option<(i64, i64)>) {
        let told = Told {
            member: "m",
            topic: TOPIC,
            partition: 0,
            from: range.map(|(from, _)| from),
            to: range.map(|(_, to)| to),
        };
        self.0.say("m", Event::Told(told));
    }

    fn ready(&mut self, member: &str) {
        let ready = Ready { member, tail: true };
        self.0.say(member, Event::Ready(ready));
    }

    fn in_log(&mut self, ids: impl IntoIterator<Item = u64>) {
        for id in ids {
            let record = Record {
                topic: TOPIC,
                partition: 0,
                offset: id.try_into().unwrap(),
                id: Some(id),
                key: None,
            };
            self.0.say("reader", Event::Record(record));
        }
    }

    fn finds(&self, classes: &[(Class, u64)]) {
        let life = self.0.write();
        // A run of nothing else.
        let mut run = Story::default();
        run.ended("torture");
        let directory = run.write();
        let within = directory.join(LIVES);
        fs::create_dir(&within).unwrap();
        for file in fs::read_dir(&life).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), within.join(file.file_name())).unwrap();
        }
        let report = check(&directory, SETTLE).unwrap();
        fs::remove_dir_all(directory).unwrap();
        fs::remove_dir_all(life).unwrap();
        let found: Vec<_> = report.anomalies.counts.into_iter().collect();
        assert_eq!(found, classes);
    }
}

#[test]
fn what_is_deleted_is_handled_or_told() {
    let mut life = Life::of(0..5);
    life.handled("m", 0..2);
    life.deleted(Some(4));
    life.told(Some((2, 4)));
    life.handled("m", 4..5);
    life.in_log(4..5);
    life.finds(&[]);
}

#[test]
fn what_is_deleted_and_not_told_is_a_silent_gap() {
    let mut life = Life::of(0..5);
    life.handled("m", 0..2);
    life.deleted(Some(4));
    life.told(Some((3, 4)));
    life.handled("m", 4..5);
    life.in_log(4..5);
    life.finds(&[(Class::SilentGap, 1)]);
}

#[test]
fn what_is_gone_and_was_not_deleted_is_lost() {
    let mut life = Life::of(0..5);
    life.handled("m", 0..5);
    life.deleted(Some(3));
    life.in_log(4..5);
    life.finds(&[(Class::LostWrite, 1)]);
}

#[test]
fn what_went_with_its_topic_is_told() {
    let mut life = Life::of(0..3);
    life.handled("m", 0..2);
    life.deleted(None);
    life.told(None);
    life.finds(&[]);
}

#[test]
fn what_went_with_its_topic_and_was_not_told_is_a_silent_gap() {
    let mut life = Life::of(0..3);
    life.handled("m", 0..2);
    life.deleted(None);
    life.finds(&[(Class::SilentGap, 1)]);
}

/// An event of a new topic at an offset that the old one had too.
#[test]
fn what_is_in_the_new_topic_has_to_be_handled() {
    let mut life = Life::of(0..3);
    life.handled("m", 0..3);
    life.deleted(None);
    life.told(None);
    life.0.now += 5_000;
    life.stored(10..13);
    life.in_log(10..13);
    life.handled("m", 11..12);
    life.finds(&[(Class::LostWrite, 1), (Class::Unseen, 1)]);
}

#[test]
fn what_is_published_after_ready_is_handled_also_by_a_successor() {
    let mut life = Life::default();
    life.joined("m");
    life.stored(0..2);
    life.ready("m");
    life.stored(2..5);
    life.begun("m", 2);
    life.joined("n");
    life.ready("n");
    life.handled("n", 2..5);
    life.in_log(0..5);
    life.finds(&[]);
}

#[test]
fn a_successor_that_begins_at_the_tail_again_loses() {
    let mut life = Life::default();
    life.joined("m");
    life.stored(0..2);
    life.ready("m");
    life.stored(2..5);
    life.begun("m", 2);
    life.joined("n");
    life.ready("n");
    life.stored(5..6);
    life.handled("n", 5..6);
    life.in_log(0..6);
    life.finds(&[(Class::LostWrite, 3)]);
}

/// The first member died in its first event, before it was ready: it had committed its start.
#[test]
fn what_stands_after_the_first_that_was_begun_has_to_be_handled() {
    for (handled, classes) in [(2..6, vec![]), (5..6, vec![(Class::LostWrite, 3)])] {
        let mut life = Life::default();
        life.joined("m");
        life.stored(0..5);
        life.begun("m", 2);
        life.joined("n");
        life.ready("n");
        life.stored(5..6);
        life.handled("n", handled);
        life.in_log(0..6);
        life.finds(&classes);
    }
}

/// In a recreated topic, what counts is the first record that any member started.
#[test]
fn the_heir_of_a_new_topic_goes_on_where_its_forerunner_began() {
    for (handled, classes) in [(10..13, vec![]), (12..13, vec![(Class::LostWrite, 2)])] {
        let mut life = Life::default();
        life.joined("m");
        life.ready("m");
        life.deleted(None);
        life.0.now += 5_000;
        life.stored(10..13);
        life.begun("m", 10);
        life.joined("n");
        life.handled("n", handled);
        life.in_log(10..13);
        life.finds(&classes);
    }
}

/// The group silently read on in the new topic; being notified of the next deletion excuses only that one.
#[test]
fn a_word_about_a_later_deletion_does_not_excuse_an_earlier_one() {
    let mut life = Life::of(0..3);
    life.handled("m", 0..2);
    life.deleted(None);
    life.0.now += 5_000;
    life.stored(10..12);
    life.handled("m", 10..12);
    life.0.now += 5_000;
    life.deleted(None);
    life.told(None);
    life.finds(&[(Class::SilentGap, 1)]);
}

/// Its publisher got no outcome, or a timeout, but it is in the log.
#[test]
fn what_is_in_the_log_has_to_be_handled_also_without_a_receipt() {
    let mut life = Life::of(0..2);
    life.handled("m", 0..2);
    let publish = Publish {
        id: 2,
        topic: TOPIC,
        key: None,
        seq: 2,
    };
    life.0.say("p", Event::Publish(publish));
    life.0.failed("p", 2);
    life.in_log(0..3);
    life.finds(&[(Class::Unseen, 1)]);
}

/// The group saw neither the topic in between nor its deletion, and is notified once.
#[test]
fn a_word_excuses_all_that_went_since_the_group_last_went_on() {
    let mut life = Life::of(0..3);
    life.handled("m", 0..2);
    life.deleted(None);
    life.0.now += 5_000;
    life.stored(10..12);
    life.0.now += 5_000;
    life.deleted(None);
    life.told(None);
    life.finds(&[]);
}
