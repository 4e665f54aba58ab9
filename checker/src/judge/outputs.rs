//! What groups have published in transactions: each record of theirs once, in order of its key.

use std::collections::{BTreeMap, HashMap};

use super::consuming::GroupCounts;
use super::{key_name, located};
use crate::anomaly::{Anomaly, Class, Findings};
use crate::log::Slot;
use crate::world::{Output, World};

/// Judges the committed outputs and dead letters of the groups that copy.
pub(super) fn judge(world: &World, counts: &mut [GroupCounts], found: &mut Findings) {
    for (number, group) in (0..).zip(&world.groups) {
        if !group.copies {
            continue;
        }
        let mut copies = Copies::new(world, number);
        let letters = world.letters.iter();
        for letter in letters.filter(|letter| letter.group == number) {
            copies.seen(
                letter.place,
                letter.offset,
                || "a dead letter".to_owned(),
                found,
            );
        }
        let (mut last, mut outputs) = (HashMap::new(), 0);
        for output in world.outputs.iter().filter(|it| it.group == number) {
            outputs += 1;
            copies.output(output, &mut last, found);
        }
        copies.missing(found);
        counts[number as usize].outputs = Some(outputs);
    }
}

/// The last record of a key in an output partition: its offset, and where its output is. Records of a key that
/// changed partitions are not ordered, so its partition is part of the key.
type Last = HashMap<(i32, u32, u64), (i64, i64)>;

/// The records of a group by place.
struct Copies<'w> {
    world: &'w World,
    group: u32,
    /// Parallel to the logs: whether the record has an output or a dead letter.
    seen: BTreeMap<u32, Vec<bool>>,
}

impl<'w> Copies<'w> {
    fn new(world: &'w World, group: u32) -> Self {
        let topics = &world.groups[group as usize].topics;
        let places = (0..).zip(&world.places);
        let own = places.filter(|(_, (topic, _))| topics.contains(topic));
        let seen = own.map(|(place, _)| (place, vec![false; world.log(place).len()]));
        Self {
            world,
            group,
            seen: seen.collect(),
        }
    }

    fn slot(&self, place: u32, offset: i64) -> Option<Slot> {
        self.seen.get(&place)?;
        self.world.log(place).get(offset)
    }

    /// Notes an output or a dead letter, described by `what`; returns whether it is the first of its record.
    fn seen(
        &mut self,
        place: u32,
        offset: i64,
        what: impl Fn() -> String,
        found: &mut Findings,
    ) -> bool {
        if self.slot(place, offset).is_none() {
            self.report(found, Class::OutputFromNothing, (place, offset), || {
                format!("the log has nothing here, and there is {}", what())
            });
            return false;
        }
        let log = self.world.log(place);
        let (seen, index) = (self.seen.get_mut(&place), log.index(offset));
        let (Some(seen), Some(index)) = (seen, index) else {
            return false;
        };
        if std::mem::replace(&mut seen[index], true) {
            self.report(found, Class::OutputTwice, (place, offset), || {
                format!("there is {}, not the first of this record", what())
            });
            return false;
        }
        true
    }

    /// Outputs come in the order of their own partitions.
    fn output(&mut self, output: &Output, last: &mut Last, found: &mut Findings) {
        let &Output { place, offset, .. } = output;
        let (partition, at) = output.at;
        let what = || format!("an output at {at} of partition {partition}");
        if !self.seen(place, offset, what, found) {
            return;
        }
        let key = self.slot(place, offset).and_then(Slot::key);
        if output.key != key {
            self.report(found, Class::OutputFromNothing, (place, offset), || {
                let [here, there] = [key, output.key].map(key_name);
                format!("{} has {there}, and the record {here}", what())
            });
        }
        let Some(key) = key else { return };
        let lane = (partition, place, key);
        let (before, place_of_it) = *last.entry(lane).or_insert((offset, at));
        if before <= offset {
            last.insert(lane, (offset, at));
            return;
        }
        self.report(found, Class::OutputOrder, (place, offset), || {
            format!(
                "{}, after that of offset {before}, which has the same key, at {place_of_it}",
                what()
            )
        });
    }

    /// What has neither an output nor a dead letter.
    fn missing(&self, found: &mut Findings) {
        for (place, seen) in &self.seen {
            for (offset, _) in self.world.log(*place).records() {
                let index = self.world.log(*place).index(offset);
                if index.is_some_and(|index| !seen[index]) {
                    self.report(found, Class::OutputLost, (*place, offset), || {
                        "neither an output nor a dead letter of it is committed".to_owned()
                    });
                }
            }
        }
    }

    fn report(
        &self,
        found: &mut Findings,
        class: Class,
        (place, offset): (u32, i64),
        detail: impl FnOnce() -> String,
    ) {
        found.add(class, None, || Anomaly {
            id: self.slot(place, offset).and_then(Slot::id),
            group: Some(self.world.group_names.name(self.group).to_owned()),
            ..located(self.world, class, detail(), place, offset)
        });
    }
}
