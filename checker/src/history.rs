//! The history of a run: what every process did and saw, one JSON object a line.
//!
//! A process writes into a file of its own, `*.ndjson` in the directory of the run. Its first line is
//! [`Event::Process`]; the lines up to the next one of that kind are that process's. Times are those
//! of the machine's clock, so the processes of a run share a machine.
//!
//! ```text
//! {"at":1764029494000000000,"process":{"name":"p1#0"}}
//! {"at":1764029494000100000,"publish":{"id":7,"topic":"orders","key":3,"seq":0}}
//! {"at":1764029494000200000,"accepted":{"id":7}}
//! {"at":1764029494000300000,"stored":{"id":7,"partition":2,"offset":31}}
//! ```

mod reader;
mod writer;

use std::borrow::Cow;
use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

pub use reader::{FileReader, Tail, files};
pub use writer::Writer;

/// What happened, and when.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry<'a> {
    /// Nanoseconds since the Unix epoch.
    pub at: u64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event<'a>,
}

/// Everything that a history can say. The variant's name in lower case is the key of its line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event<'a> {
    /// The process that writes the lines that follow.
    #[serde(borrow)]
    Process(Process<'a>),
    /// The process exits by itself, having reported everything. Without this it was killed.
    Ended(Ended),
    /// The settings of the run; written once, by the process that started the others.
    Run(Run<'a>),
    /// An event is about to be published.
    Publish(Publish<'a>),
    /// `publish` returned an error: the event was never accepted.
    Refused(Refused<'a>),
    /// `publish` returned a receipt.
    Accepted(Accepted),
    /// The receipt says where the event is.
    Stored(Stored),
    /// An accepted event was reported as failed.
    Failed(Failed<'a>),
    /// A member joins its group. It comes before the member's first `handle`.
    Joined(Joined<'a>),
    /// A member left its group, or ended.
    Left(Left<'a>),
    /// A partition was assigned to a member, if the library reports it.
    Assigned(Assigned<'a>),
    /// A partition was revoked from a member, if the library reports it.
    Revoked(Revoked<'a>),
    /// A handler starts.
    Handle(Handle<'a>),
    /// A handler is about to return.
    Handled(Handled<'a>),
    /// A group's committed offset, as read from the broker.
    Committed(Committed<'a>),
    /// A record of the log, read at the end of the run by a consumer without a group.
    Record(Record<'a>),
    /// A record of a dead letter topic, read at the end of the run.
    DeadLetter(DeadLetter<'a>),
    /// A record that a group published in a transaction, read at the end of the run by a reader of committed
    /// transactions.
    Output(Output<'a>),
    /// A process's figures, once a second.
    Sample(Sample),
    /// Something is broken on purpose, or repaired.
    Fault(Fault<'a>),
    /// A member reads its partitions. For the lives of topics, like the next two.
    Ready(Ready<'a>),
    /// A member was notified that its group skips records, or starts a recreated topic.
    Told(Told<'a>),
    /// Records were deleted.
    Deleted(Deleted<'a>),
}

/// [`Event::Process`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Process<'a> {
    /// Unique in the run: an incarnation has its own, such as `p1#0`.
    pub name: &'a str,
}

/// [`Event::Ended`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Ended {}

/// [`Event::Run`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run<'a> {
    /// The seed of the run.
    pub seed: u64,
    /// The configuration of the run, for readers.
    #[serde(borrow)]
    pub config: Cow<'a, str>,
    /// Protections that were switched off on purpose, so that the checker has something to find.
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    pub off: Vec<Cow<'a, str>>,
}

/// [`Event::Publish`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Publish<'a> {
    /// Unique in the run. Numbers near each other cost the checker less memory.
    pub id: u64,
    /// Topic without prefix.
    pub topic: &'a str,
    /// The key that orders events; absent for an event without order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<u64>,
    /// Increases with each event that this process publishes to this topic and key, one after
    /// another.
    pub seq: u64,
}

/// [`Event::Refused`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Refused<'a> {
    /// The event.
    pub id: u64,
    /// The error.
    #[serde(borrow)]
    pub reason: Cow<'a, str>,
}

/// [`Event::Accepted`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Accepted {
    /// The event.
    pub id: u64,
}

/// [`Event::Stored`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Stored {
    /// The event.
    pub id: u64,
    /// Partition of the event's topic.
    pub partition: i32,
    /// Offset in the partition.
    pub offset: i64,
}

/// [`Event::Failed`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failed<'a> {
    /// The event.
    pub id: u64,
    /// The kind of the error, such as `timeout`.
    pub kind: &'a str,
    /// The error.
    #[serde(borrow)]
    pub reason: Cow<'a, str>,
}

/// What a group keeps in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Records of a partition, one at a time.
    Partition,
    /// Records of a key, one at a time.
    Key,
    /// Nothing.
    None,
}

/// [`Event::Joined`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Joined<'a> {
    /// Unique in the run: an incarnation has its own, such as `g1-m2#3`.
    pub member: &'a str,
    /// Its group. The group reads its topics from the head.
    pub group: &'a str,
    /// Every topic of the group.
    #[serde(borrow)]
    pub topics: Vec<&'a str>,
    /// What it keeps in order.
    pub order: Order,
    /// It copies each record to this topic, in transactions with the offsets: every record has exactly one
    /// [`Event::Output`] or [`Event::DeadLetter`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<&'a str>,
}

/// [`Event::Left`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Left<'a> {
    /// The member.
    pub member: &'a str,
    /// Whether it drained and committed within its time.
    pub clean: bool,
}

/// [`Event::Assigned`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Assigned<'a> {
    /// The member.
    pub member: &'a str,
    /// Topic without prefix.
    pub topic: &'a str,
    /// Partition.
    pub partition: i32,
}

/// [`Event::Revoked`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Revoked<'a> {
    /// The member.
    pub member: &'a str,
    /// Topic without prefix.
    pub topic: &'a str,
    /// Partition.
    pub partition: i32,
    /// Whether it was already gone, so that nothing could be committed.
    #[serde(default)]
    pub lost: bool,
}

/// [`Event::Handle`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Handle<'a> {
    /// The member.
    pub member: &'a str,
    /// Topic without prefix.
    pub topic: &'a str,
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// The event.
    pub id: u64,
    /// Its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<u64>,
    /// From 1.
    pub attempt: u32,
}

/// How a handler ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The record is done.
    Ok,
    /// The handler returns an error.
    Error,
    /// The handler is about to panic.
    Panic,
}

/// [`Event::Handled`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Handled<'a> {
    /// The member.
    pub member: &'a str,
    /// Topic without prefix.
    pub topic: &'a str,
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// How it ends.
    pub outcome: Outcome,
}

/// [`Event::Committed`]. Written once the broker has answered.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Committed<'a> {
    /// The group.
    pub group: &'a str,
    /// Topic without prefix.
    pub topic: &'a str,
    /// Partition.
    pub partition: i32,
    /// The committed offset.
    pub offset: i64,
}

/// [`Event::Record`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Record<'a> {
    /// Topic without prefix.
    pub topic: &'a str,
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// The event; absent if the record is not an event, in which case every group must dead-letter
    /// it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// Its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<u64>,
}

/// [`Event::DeadLetter`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DeadLetter<'a> {
    /// The group that gave the record up.
    pub group: &'a str,
    /// Why, as its header says.
    pub reason: &'a str,
    /// Topic the record came from, without prefix.
    pub topic: &'a str,
    /// Partition the record came from.
    pub partition: i32,
    /// Offset the record came from.
    pub offset: i64,
    /// The event; absent if the record is not an event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
}

/// [`Event::Output`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Output<'a> {
    /// The group that published it.
    pub group: &'a str,
    /// Topic of the record that it was published for, without prefix.
    pub topic: &'a str,
    /// Partition of that record.
    pub partition: i32,
    /// Offset of that record.
    pub offset: i64,
    /// The output's own key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<u64>,
    /// Partition and offset of the output itself.
    pub at: (i32, i64),
}

/// [`Event::Sample`], of the process that writes it. Absent values are 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sample {
    /// Events published since the process began.
    #[serde(skip_serializing_if = "is_zero")]
    pub published: u64,
    /// Events handled since the process began.
    #[serde(skip_serializing_if = "is_zero")]
    pub handled: u64,
    /// Accepted events without an outcome, or records read but not done.
    #[serde(skip_serializing_if = "is_zero")]
    pub in_flight: u64,
    /// How many records the process's members are behind.
    #[serde(skip_serializing_if = "is_zero")]
    pub lag: u64,
    /// Resident memory in bytes.
    #[serde(skip_serializing_if = "is_zero")]
    pub rss: u64,
    /// Threads.
    #[serde(skip_serializing_if = "is_zero")]
    pub threads: u64,
    /// Open file descriptors.
    #[serde(skip_serializing_if = "is_zero")]
    pub fds: u64,
}

/// Whether a fault begins or ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// A fault starts here.
    Begin,
    /// The fault is over.
    End,
}

/// [`Event::Fault`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fault<'a> {
    /// Such as `broker-killed` or `member-paused`.
    #[serde(borrow)]
    pub kind: Cow<'a, str>,
    /// What it hits, such as `broker-2` or `g1-m2#3`. The end of a fault repeats its kind and target.
    #[serde(borrow)]
    pub target: Cow<'a, str>,
    /// Begin or end.
    pub phase: Phase,
    /// A clean event, such as a planned stop or a new partition: it excuses no duplicate.
    #[serde(default, skip_serializing_if = "is_false")]
    pub clean: bool,
}

/// [`Event::Ready`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Ready<'a> {
    /// The member.
    pub member: &'a str,
    /// Its group started at the tail: events published before the first of these lines are not for it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub tail: bool,
}

/// [`Event::Told`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Told<'a> {
    /// The member.
    pub member: &'a str,
    /// Topic without prefix and incarnation.
    pub topic: &'a str,
    /// Partition.
    pub partition: i32,
    /// The first skipped offset; absent if the topic was recreated, and so is `to`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<i64>,
    /// The one after the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<i64>,
}

/// [`Event::Deleted`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Deleted<'a> {
    /// Topic without prefix and incarnation.
    pub topic: &'a str,
    /// Partition.
    pub partition: i32,
    /// Everything below it was deleted; absent if the topic was deleted, and so everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub below: Option<i64>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands the field by reference"
)]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands the field by reference"
)]
fn is_false(value: &bool) -> bool {
    !*value
}

/// By hand, as the derived one for a flattened enum first copies every line into a tree.
impl<'de: 'a, 'a> Deserialize<'de> for Entry<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Line;

        impl<'de> Visitor<'de> for Line {
            type Value = Entry<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object with `at` first and then what happened")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entry<'de>, A::Error> {
                if map.next_key::<&str>()? != Some("at") {
                    return Err(A::Error::custom("the first key is not `at`"));
                }
                let at = map.next_value()?;
                let event = Event::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Entry { at, event })
            }
        }

        deserializer.deserialize_map(Line)
    }
}
