//! What was replayed, parked or edited, and the records that store it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::offsets::Offsets;

/// Offsets by partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Done {
    partitions: BTreeMap<i32, Offsets>,
}

impl Done {
    pub(super) fn insert(&mut self, partition: i32, offset: i64) {
        self.partitions.entry(partition).or_default().insert(offset);
    }

    pub(super) fn contains(&self, partition: i32, offset: i64) -> bool {
        let offsets = self.partitions.get(&partition);
        offsets.is_some_and(|offsets| offsets.contains(offset))
    }

    pub(super) fn partitions(&self) -> impl Iterator<Item = (i32, &Offsets)> {
        self.partitions.iter().map(|(id, offsets)| (*id, offsets))
    }

    pub(super) fn get(&self, partition: i32) -> Option<&Offsets> {
        self.partitions.get(&partition)
    }

    pub(super) fn len(&self) -> u64 {
        self.partitions.values().map(Offsets::len).sum()
    }

    /// How many of `others` are in it.
    pub(super) fn count_of(&self, others: &Self) -> u64 {
        let common = others.partitions().filter_map(|(partition, offsets)| {
            let ours = self.get(partition)?;
            let all = offsets.runs().flat_map(|(start, end)| start..end);
            Some(all.filter(|offset| ours.contains(*offset)).count() as u64)
        });
        common.sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.partitions.is_empty()
    }

    /// As [`Runs`], to store in a record.
    fn to_runs(&self) -> Runs {
        let runs = |(id, offsets): (i32, &Offsets)| (id, offsets.runs().collect());
        self.partitions().map(runs).collect()
    }

    fn insert_runs(&mut self, runs: &Runs) {
        for (partition, runs) in runs {
            let offsets = self.partitions.entry(*partition).or_default();
            for (start, end) in runs {
                offsets.insert_run(*start, *end);
            }
        }
    }
}

/// By partition, ranges of offsets: the first, and the one after the last.
type Runs = BTreeMap<i32, Vec<(i64, i64)>>;

/// What was done with dead letters, as recorded. Stable, as other versions read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    Replayed,
    Parked,
    Edited,
}

/// One record: what was done with dead letters of the topic with this id.
#[derive(Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub(super) struct Entry {
    #[serde(default)]
    topic_id: Option<String>,
    #[serde(default, skip_serializing_if = "Runs::is_empty")]
    replayed: Runs,
    #[serde(default, skip_serializing_if = "Runs::is_empty")]
    parked: Runs,
    #[serde(default, skip_serializing_if = "Runs::is_empty")]
    edited: Runs,
}

impl Entry {
    pub(super) fn new(topic_id: Option<&str>, deeds: &[(Deed, &Done)]) -> Self {
        let mut entry = Self {
            topic_id: topic_id.map(str::to_owned),
            ..Self::default()
        };
        for (deed, done) in deeds {
            let runs = match deed {
                Deed::Replayed => &mut entry.replayed,
                Deed::Parked => &mut entry.parked,
                Deed::Edited => &mut entry.edited,
            };
            *runs = done.to_runs();
        }
        entry
    }

    /// Adds the entry if it is about the topic with this id. If the brokers have no topic ids, the name must do.
    pub(super) fn add_to(&self, done: &mut Done, topic_id: Option<&str>) {
        let other = (self.topic_id.as_deref()).zip(topic_id);
        if other.is_some_and(|(recorded, now)| recorded != now) {
            return;
        }
        for runs in [&self.replayed, &self.parked, &self.edited] {
            done.insert_runs(runs);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scattered(partition: i32, every: usize) -> Done {
        let mut done = Done::default();
        for offset in (0..100_000).step_by(every) {
            done.insert(partition, offset);
        }
        done
    }

    fn read_again(entry: &Entry, topic_id: Option<&str>) -> Done {
        let json = serde_json::to_string(entry).expect("plain data");
        let read: Entry = serde_json::from_str(&json).expect("our own");
        let mut done = Done::default();
        read.add_to(&mut done, topic_id);
        done
    }

    #[test]
    fn ten_thousand_scattered_offsets_are_read_as_recorded() {
        let done = scattered(3, 10);
        assert_eq!(done.len(), 10_000);
        let entry = Entry::new(Some("a"), &[(Deed::Replayed, &done)]);
        assert_eq!(read_again(&entry, Some("a")), done);
        assert_eq!(done.count_of(&scattered(3, 15)), 3_334);
        assert_eq!(done.count_of(&scattered(2, 15)), 0);
    }

    #[test]
    fn a_record_of_a_batch_is_small() {
        let mut batch = Done::default();
        for n in 0..super::super::IN_FLIGHT as i64 {
            batch.insert(11, 1_000_000_000 + 10 * n);
        }
        let entry = Entry::new(Some(&"f".repeat(32)), &[(Deed::Replayed, &batch)]);
        let json = serde_json::to_vec(&entry).expect("plain data");
        assert!(json.len() < 16 * 1024, "{} bytes", json.len());
    }

    #[test]
    fn deeds_of_another_topic_of_the_name_do_not_count() {
        let done = scattered(0, 1000);
        let mut parked = Done::default();
        parked.insert(1, 7);
        let entry = Entry::new(
            Some("a"),
            &[(Deed::Replayed, &done), (Deed::Parked, &parked)],
        );
        assert!(read_again(&entry, Some("b")).is_empty());
        assert_eq!(read_again(&entry, None).len(), 101);
    }
}
