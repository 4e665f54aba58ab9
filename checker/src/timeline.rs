//! The data of the page: figures per second, and which members were there when.

use std::collections::{HashMap, HashSet};

use crate::history::Sample;

pub(crate) const SECOND: u64 = 1_000_000_000;
/// A process without a sample for this long has no figures.
const CARRY: usize = 3;

/// A second of the run.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Second {
    pub(crate) stored: u32,
    pub(crate) handled: u32,
    /// Sums over the processes that sampled.
    pub(crate) in_flight: u64,
    pub(crate) lag: u64,
    /// The maximum over the processes, in bytes.
    pub(crate) rss: u64,
    /// Members in their groups at the end of the second.
    pub(crate) members: u32,
}

/// A member joins or leaves.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) at: u64,
    pub(crate) member: String,
    pub(crate) joined: bool,
}

#[derive(Debug)]
pub(crate) struct Timeline {
    pub(crate) begin: u64,
    pub(crate) end: u64,
    pub(crate) seconds: Vec<Second>,
    pub(crate) changes: Vec<Change>,
    present: HashSet<String>,
    sampled: HashMap<u32, (usize, Sample)>,
}

impl Timeline {
    pub(crate) fn new(begin: u64, end: u64) -> Self {
        let seconds = usize::try_from((end - begin) / SECOND + 1).unwrap_or(1);
        Self {
            begin,
            end,
            seconds: vec![Second::default(); seconds],
            changes: Vec::new(),
            present: HashSet::new(),
            sampled: HashMap::new(),
        }
    }

    fn index(&self, at: u64) -> usize {
        let index = usize::try_from((at - self.begin) / SECOND).unwrap_or(usize::MAX);
        index.min(self.seconds.len() - 1)
    }

    pub(crate) fn stored(&mut self, at: u64) {
        let index = self.index(at);
        self.seconds[index].stored += 1;
    }

    pub(crate) fn handled(&mut self, at: u64) {
        let index = self.index(at);
        self.seconds[index].handled += 1;
    }

    /// Adds a process's figures to the seconds since its last sample.
    pub(crate) fn sample(&mut self, at: u64, process: u32, sample: Sample) {
        let index = self.index(at);
        let before = self.sampled.insert(process, (index, sample));
        let first = match before {
            Some((before, _)) if index - before <= CARRY => before + 1,
            _ => index,
        };
        for second in &mut self.seconds[first..=index] {
            second.in_flight += sample.in_flight;
            second.lag += sample.lag;
            second.rss = second.rss.max(sample.rss);
        }
    }

    pub(crate) fn member(&mut self, at: u64, member: &str, joined: bool) {
        let changed = if joined {
            self.present.insert(member.to_owned())
        } else {
            self.present.remove(member)
        };
        if changed {
            let index = self.index(at);
            self.changes.push(Change {
                at,
                member: member.to_owned(),
                joined,
            });
            let members = u32::try_from(self.present.len()).unwrap_or(u32::MAX);
            for second in &mut self.seconds[index..] {
                second.members = members;
            }
        }
    }
}
