//! What is left at the end: records that a group never handled, and holes of assignments.

use std::collections::HashMap;

use super::consuming::{Consuming, GroupCounts, Handlers};
use super::located;
use super::view::View;
use crate::anomaly::{Anomaly, Class, Findings};
use crate::history::Order;
use crate::log::{Log, Slot};
use crate::world::World;

impl Consuming<'_> {
    pub(super) fn finish(mut self, found: &mut Findings) -> (Handlers, Vec<GroupCounts>) {
        let world = self.world;
        for view in 0..self.views.len() {
            self.close(world.end, view, |_| true);
        }
        let mut groups = counts(world);
        for view in &mut self.views {
            let counts = &mut groups[view.group as usize];
            if world.groups[view.group as usize]
                .topics
                .contains(&world.places[view.place as usize].0)
            {
                undone(world, view, counts, found);
            }
        }
        for skipped in &self.skipped {
            let view = &self.views[skipped.view];
            let (hole, log) = (skipped.hole, world.log(view.place));
            // A record that nobody handled is reported as lost.
            if view.is_undone(log, hole.offset) {
                continue;
            }
            let id = log.get(hole.offset).and_then(Slot::id);
            let member = world.member_names.name(skipped.member);
            let detail = format!(
                "{member}: offset {} started in its assignment, this did not",
                hole.later
            );
            found.add(Class::SkippedPoll, Some(skipped.at), || Anomaly {
                id,
                group: Some(world.group_names.name(view.group).to_owned()),
                ..located(world, Class::SkippedPoll, detail, view.place, hole.offset)
            });
        }
        (self.counts, groups)
    }
}

fn counts(world: &World) -> Vec<GroupCounts> {
    let group = |number: u32| GroupCounts {
        group: world.group_names.name(number).to_owned(),
        records: 0,
        handled: 0,
        dead_lettered: 0,
        outputs: None,
        dead_letters: world
            .letter_counts
            .iter()
            .filter(|((group, _), _)| *group == number)
            .map(|((_, reason), count)| (reason.clone(), *count))
            .collect(),
    };
    (0..)
        .zip(&world.groups)
        .map(|(number, _)| group(number))
        .collect()
}

/// Counts the records of a partition, and reports those that the group did not handle.
fn undone(world: &World, view: &View, counts: &mut GroupCounts, found: &mut Findings) {
    let log = world.log(view.place);
    let mut ahead = None;
    for (offset, slot) in log.records() {
        let cell = view.cells[log.index(offset).expect("an offset of the log")];
        counts.records += 1;
        counts.handled += u64::from(cell.done > 0);
        counts.dead_lettered += u64::from(cell.dead);
        if cell.is_done() {
            continue;
        }
        let ahead = ahead.get_or_insert_with(|| Ahead::new(world, view, log));
        let committed = view.committed.filter(|committed| *committed > offset);
        let later = ahead.later(offset, slot).filter(|_| !cell.started);
        let (class, detail) = match (committed, later) {
            (Some(committed), _) => {
                let detail = format!("not done, and the committed offset is {committed}");
                (Class::LostWrite, detail)
            }
            (None, Some(later)) => (
                Class::LostWrite,
                format!("never started, and offset {later} after it did"),
            ),
            (None, None) if cell.started => {
                (Class::Unseen, "started, and not done at the end".to_owned())
            }
            (None, None) => (Class::Unseen, "never started".to_owned()),
        };
        found.add(class, None, || Anomaly {
            id: slot.id(),
            group: Some(counts.group.clone()),
            ..located(world, class, detail, view.place, offset)
        });
    }
}

/// The highest offsets that a group started, by what it keeps in order.
struct Ahead {
    order: Order,
    partition: Option<i64>,
    keys: HashMap<u64, i64>,
}

impl Ahead {
    fn new(world: &World, view: &View, log: &Log) -> Self {
        let mut ahead = Self {
            order: world.groups[view.group as usize].order,
            partition: None,
            keys: HashMap::new(),
        };
        for (offset, slot) in log.records() {
            if view.cells[log.index(offset).expect("an offset of the log")].started {
                ahead.partition = Some(offset);
                if let Some(key) = slot.key() {
                    ahead.keys.insert(key, offset);
                }
            }
        }
        ahead
    }

    /// A later record that was started although this one should have come first.
    fn later(&self, offset: i64, slot: Slot) -> Option<i64> {
        let later = match self.order {
            Order::Partition => self.partition,
            Order::Key => self.keys.get(&slot.key()?).copied(),
            Order::None => None,
        };
        later.filter(|later| *later > offset)
    }
}
