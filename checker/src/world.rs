//! The first pass: everything that must be known before the history is judged in order of time.
//!
//! That is the log, the dead letters, the faults, the members, and how every process ended.

mod faults;
mod scan;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use crate::disturbance::Disturbances;
use crate::history::Order;
use crate::log::Log;
use crate::names::Names;

pub(crate) use faults::Window;
pub(crate) use scan::{scan, time_of};

/// One incarnation of a process.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) name: String,
    /// When it wrote its last line.
    pub(crate) last: u64,
    /// Whether it ended by itself.
    pub(crate) ended: bool,
}

/// One incarnation of a member.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) group: u32,
    pub(crate) process: u32,
    /// Whether the history reports its assignments.
    pub(crate) tells: bool,
}

#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) topics: HashSet<u32>,
    pub(crate) order: Order,
    /// Whether it copies its records in transactions.
    pub(crate) copies: bool,
    /// When the group may have reassigned its partitions, cleanly or not.
    pub(crate) rebalances: Disturbances,
}

/// A file of the history.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) path: PathBuf,
    /// The time of its first line.
    pub(crate) first: u64,
    /// Its processes, in order of their lines.
    pub(crate) processes: Vec<u32>,
}

/// A record that a group dead-lettered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Letter {
    pub(crate) group: u32,
    pub(crate) place: u32,
    pub(crate) offset: i64,
}

/// A committed output of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Output {
    pub(crate) group: u32,
    /// Where it is.
    pub(crate) at: (i32, i64),
    /// The record that it was published for.
    pub(crate) place: u32,
    pub(crate) offset: i64,
    pub(crate) key: Option<u64>,
}

/// An offset at which two reads found different records.
#[derive(Debug)]
pub(crate) struct Contradiction {
    pub(crate) place: u32,
    pub(crate) offset: i64,
    pub(crate) ids: [Option<u64>; 2],
}

/// The run that a history belongs to.
#[derive(Debug, Default)]
pub(crate) struct RunText {
    pub(crate) seed: u64,
    pub(crate) config: String,
    pub(crate) off: Vec<String>,
}

#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) run: Option<RunText>,
    pub(crate) files: Vec<File>,
    pub(crate) processes: Vec<Process>,
    pub(crate) topics: Names,
    pub(crate) group_names: Names,
    pub(crate) groups: Vec<Group>,
    pub(crate) member_names: Names,
    pub(crate) members: Vec<Member>,
    /// Topic and partition by number, and back.
    pub(crate) places: Vec<(u32, i32)>,
    place_numbers: HashMap<(u32, i32), u32>,
    /// By place.
    pub(crate) logs: Vec<Log>,
    pub(crate) contradictions: Vec<Contradiction>,
    pub(crate) letters: Vec<Letter>,
    pub(crate) outputs: Vec<Output>,
    /// Dead letters by group and reason.
    pub(crate) letter_counts: HashMap<(u32, String), u64>,
    pub(crate) faults: Vec<Window>,
    /// When a member may have lost uncommitted work.
    pub(crate) losses: Disturbances,
    pub(crate) lines: u64,
    pub(crate) truncated: u64,
    /// The first and last time of the history.
    pub(crate) begin: u64,
    pub(crate) end: u64,
}

impl World {
    /// The number of a partition, a new one if necessary.
    fn place(&mut self, topic: &str, partition: i32) -> u32 {
        let topic = self.topics.intern(topic);
        *self
            .place_numbers
            .entry((topic, partition))
            .or_insert_with(|| {
                self.places.push((topic, partition));
                self.logs.push(Log::default());
                u32::try_from(self.places.len() - 1).expect("fewer than 2^32 partitions")
            })
    }

    /// The number of a partition that appears in the final read or elsewhere in the history.
    pub(crate) fn find_place(&self, topic: &str, partition: i32) -> Option<u32> {
        let topic = self.topics.find(topic)?;
        self.place_of(topic, partition)
    }

    /// The same for a topic's number.
    pub(crate) fn place_of(&self, topic: u32, partition: i32) -> Option<u32> {
        self.place_numbers.get(&(topic, partition)).copied()
    }

    /// Topic and partition of a place.
    pub(crate) fn place_name(&self, place: u32) -> (&str, i32) {
        let (topic, partition) = self.places[place as usize];
        (self.topics.name(topic), partition)
    }

    pub(crate) fn log(&self, place: u32) -> &Log {
        &self.logs[place as usize]
    }
}
