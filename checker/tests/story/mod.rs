//! Handwritten histories.
#![allow(dead_code, reason = "each test uses a part")]

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use eventstream_checker::history::{
    Accepted, Assigned, Committed, DeadLetter, Ended, Entry, Event, Failed, Fault, Handle, Handled,
    Joined, Left, Order, Outcome, Output, Phase, Process, Publish, Record, Refused, Revoked,
    Sample, Stored,
};
use eventstream_checker::{Class, Report, check};

pub(crate) const TOPIC: &str = "orders";
const MILLISECOND: u64 = 1_000_000;
const BEGIN: u64 = 1_764_029_494_000_000_000;

static STORIES: AtomicU64 = AtomicU64::new(0);

/// A millisecond passes with each line.
#[derive(Clone, Default)]
pub(crate) struct Story {
    pub(crate) now: u64,
    pub(crate) files: BTreeMap<String, Vec<String>>,
    seq: u64,
}

impl Story {
    pub(crate) fn say(&mut self, process: &str, event: Event<'_>) {
        self.now += 1;
        let at = BEGIN + self.now * MILLISECOND;
        let lines = self.files.entry(process.to_owned()).or_insert_with(|| {
            let name = Event::Process(Process { name: process });
            vec![serde_json::to_string(&Entry { at, event: name }).unwrap()]
        });
        lines.push(serde_json::to_string(&Entry { at, event }).unwrap());
    }

    pub(crate) fn publish(&mut self, process: &str, id: u64, key: Option<u64>) {
        let seq = self.seq;
        self.seq += 1;
        self.say(
            process,
            Event::Publish(Publish {
                id,
                topic: TOPIC,
                key,
                seq,
            }),
        );
    }

    pub(crate) fn refused(&mut self, process: &str, id: u64) {
        let reason = Cow::Borrowed("full");
        self.say(process, Event::Refused(Refused { id, reason }));
    }

    pub(crate) fn accepted(&mut self, process: &str, id: u64) {
        self.say(process, Event::Accepted(Accepted { id }));
    }

    pub(crate) fn stored(&mut self, process: &str, id: u64, partition: i32, offset: i64) {
        self.say(
            process,
            Event::Stored(Stored {
                id,
                partition,
                offset,
            }),
        );
    }

    pub(crate) fn failed(&mut self, process: &str, id: u64) {
        let reason = Cow::Borrowed("timed out");
        self.say(
            process,
            Event::Failed(Failed {
                id,
                kind: "timeout",
                reason,
            }),
        );
    }

    pub(crate) fn record(
        &mut self,
        partition: i32,
        offset: i64,
        id: Option<u64>,
        key: Option<u64>,
    ) {
        let topic = TOPIC;
        self.say(
            "observer",
            Event::Record(Record {
                topic,
                partition,
                offset,
                id,
                key,
            }),
        );
    }

    /// An event from its publishing to the final read, on partition 0.
    pub(crate) fn event(&mut self, id: u64, key: u64, offset: i64) {
        self.publish("p", id, Some(key));
        self.accepted("p", id);
        self.stored("p", id, 0, offset);
        self.record(0, offset, Some(id), Some(key));
    }

    pub(crate) fn sample(&mut self, process: &str, sample: Sample) {
        self.say(process, Event::Sample(sample));
    }

    pub(crate) fn ended(&mut self, process: &str) {
        self.say(process, Event::Ended(Ended {}));
    }

    /// A member whose process has the same name.
    pub(crate) fn joined(&mut self, member: &str, group: &str, order: Order) {
        self.joins(member, group, order, None);
    }

    /// The same, in a group that copies each record in transactions.
    pub(crate) fn joined_to_copy(&mut self, member: &str, group: &str, order: Order) {
        self.joins(member, group, order, Some("copies"));
    }

    fn joins(&mut self, member: &str, group: &str, order: Order, output: Option<&str>) {
        let topics = vec![TOPIC];
        self.say(
            member,
            Event::Joined(Joined {
                member,
                group,
                topics,
                order,
                output,
            }),
        );
    }

    /// A member leaves cleanly, and its process ends.
    pub(crate) fn left(&mut self, member: &str) {
        self.say(
            member,
            Event::Left(Left {
                member,
                clean: true,
            }),
        );
        self.ended(member);
    }

    pub(crate) fn assigned(&mut self, member: &str, partition: i32) {
        let topic = TOPIC;
        self.say(
            member,
            Event::Assigned(Assigned {
                member,
                topic,
                partition,
            }),
        );
    }

    pub(crate) fn revoked(&mut self, member: &str, partition: i32) {
        let (topic, lost) = (TOPIC, false);
        self.say(
            member,
            Event::Revoked(Revoked {
                member,
                topic,
                partition,
                lost,
            }),
        );
    }

    pub(crate) fn handle(
        &mut self,
        member: &str,
        at: (i32, i64),
        id: u64,
        key: Option<u64>,
        attempt: u32,
    ) {
        let (topic, (partition, offset)) = (TOPIC, at);
        let handle = Handle {
            member,
            topic,
            partition,
            offset,
            id,
            key,
            attempt,
        };
        self.say(member, Event::Handle(handle));
    }

    pub(crate) fn handled(&mut self, member: &str, at: (i32, i64), outcome: Outcome) {
        let (topic, (partition, offset)) = (TOPIC, at);
        self.say(
            member,
            Event::Handled(Handled {
                member,
                topic,
                partition,
                offset,
                outcome,
            }),
        );
    }

    /// A record handled at its first attempt, on partition 0.
    pub(crate) fn done(&mut self, member: &str, offset: i64, id: u64, key: u64) {
        self.handle(member, (0, offset), id, Some(key), 1);
        self.handled(member, (0, offset), Outcome::Ok);
    }

    pub(crate) fn committed(&mut self, group: &str, partition: i32, offset: i64) {
        let topic = TOPIC;
        self.say(
            "observer",
            Event::Committed(Committed {
                group,
                topic,
                partition,
                offset,
            }),
        );
    }

    pub(crate) fn dead_letter(
        &mut self,
        group: &str,
        partition: i32,
        offset: i64,
        id: Option<u64>,
    ) {
        let (topic, reason) = (TOPIC, "exhausted");
        let letter = DeadLetter {
            group,
            reason,
            topic,
            partition,
            offset,
            id,
        };
        self.say("observer", Event::DeadLetter(letter));
    }

    /// What a group has committed: an output of the record `of`, at `at`.
    pub(crate) fn output(&mut self, group: &str, of: (i32, i64), key: Option<u64>, at: (i32, i64)) {
        let (topic, (partition, offset)) = (TOPIC, of);
        let output = Output {
            group,
            topic,
            partition,
            offset,
            key,
            at,
        };
        self.say("observer", Event::Output(output));
    }

    pub(crate) fn fault(&mut self, kind: &str, phase: Phase, clean: bool) {
        let (kind, target) = (Cow::Borrowed(kind), Cow::Borrowed("broker-1"));
        self.say(
            "nemesis",
            Event::Fault(Fault {
                kind,
                target,
                phase,
                clean,
            }),
        );
    }

    pub(crate) fn write(&self) -> PathBuf {
        let number = STORIES.fetch_add(1, Ordering::Relaxed);
        let name = format!("story-{}-{number}", std::process::id());
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&directory).unwrap();
        for (process, lines) in &self.files {
            let mut text = lines.join("\n");
            text.push('\n');
            std::fs::write(directory.join(format!("{process}.ndjson")), text).unwrap();
        }
        directory
    }

    /// Judges the story; a fault explains what happens up to `settle` milliseconds after it.
    pub(crate) fn judge(&self, settle: u64) -> Report {
        let directory = self.write();
        let report = check(&directory, Duration::from_millis(settle)).unwrap();
        std::fs::remove_dir_all(directory).unwrap();
        report
    }

    #[track_caller]
    pub(crate) fn finds(&self, classes: &[(Class, u64)]) -> Report {
        let report = self.judge(0);
        let found: Vec<_> = report
            .anomalies
            .counts
            .iter()
            .map(|(class, n)| (*class, *n))
            .collect();
        assert_eq!(found, classes, "{report}");
        report
    }

    #[track_caller]
    pub(crate) fn is_clean(&self) -> Report {
        self.finds(&[])
    }
}
