//! The outcomes that publishers got, against the log.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context as _, Result, bail};
use serde::Serialize;

use super::{event_name, located};
use crate::anomaly::{Anomaly, Class, Findings};
use crate::events::{
    ACCEPTED, Events, FAILED, IN_LOG, IN_PLACE, PUBLISHED, Published, REFUSED, STORED,
};
use crate::history::{Publish, Stored};
use crate::log::Slot;
use crate::names::Names;
use crate::world::World;

/// What happened to the published events.
#[derive(Debug, Default, Serialize)]
pub struct Outcomes {
    /// Calls of `publish`.
    pub published: u64,
    /// Refused by `publish`.
    pub refused: u64,
    /// Accepted by `publish`.
    pub accepted: u64,
    /// Acknowledged.
    pub stored: u64,
    /// Reported as failed after they were accepted.
    pub failed: u64,
    /// The same by kind of error.
    pub failed_by_kind: BTreeMap<String, u64>,
    /// Without an outcome, because their publisher was killed.
    pub unknown: u64,
    /// Records in the log.
    pub in_log: u64,
    /// Reported as failed, but in the log: Kafka allows that after a timeout.
    pub aborted_reads: u64,
    /// Pairs of events of a key that the log has in another order, one of them reported as failed.
    pub failed_out_of_order: u64,
}

pub(super) struct Publishing<'w> {
    world: &'w World,
    events: Events,
    /// The world's topics, and those with nothing in the log.
    topics: Names,
    outcomes: Outcomes,
}

impl<'w> Publishing<'w> {
    pub(super) fn new(world: &'w World) -> Self {
        let mut topics = Names::default();
        for number in 0..world.topics.len() {
            topics.intern(
                world
                    .topics
                    .name(u32::try_from(number).expect("a name's number")),
            );
        }
        Self {
            world,
            events: Events::default(),
            topics,
            outcomes: Outcomes::default(),
        }
    }

    pub(super) fn publish(&mut self, at: u64, process: u32, publish: &Publish<'_>) -> Result<()> {
        let topic = self.topics.intern(publish.topic);
        let row = self.events.row(publish.id);
        if row.has(PUBLISHED) {
            bail!("event {} was published twice", publish.id);
        }
        *row = Published {
            at,
            seq: publish.seq,
            key: publish.key.unwrap_or(u64::MAX),
            publisher: process,
            topic,
            flags: PUBLISHED,
            ..*row
        };
        self.outcomes.published += 1;
        Ok(())
    }

    pub(super) fn refused(&mut self, id: u64) -> Result<()> {
        self.row(id)?.flags |= REFUSED;
        self.outcomes.refused += 1;
        Ok(())
    }

    pub(super) fn accepted(&mut self, id: u64) -> Result<()> {
        self.row(id)?.flags |= ACCEPTED;
        self.outcomes.accepted += 1;
        Ok(())
    }

    /// Notes the outcome, and returns when the event was published.
    pub(super) fn stored(&mut self, at: u64, stored: Stored, found: &mut Findings) -> Result<u64> {
        self.outcome(at, stored.id, found)?;
        let row = self.row(stored.id)?;
        row.flags |= STORED;
        row.partition = stored.partition;
        row.offset = stored.offset;
        let published = row.at;
        self.outcomes.stored += 1;
        Ok(published)
    }

    pub(super) fn failed(
        &mut self,
        at: u64,
        id: u64,
        kind: &str,
        found: &mut Findings,
    ) -> Result<()> {
        self.outcome(at, id, found)?;
        self.row(id)?.flags |= FAILED;
        self.outcomes.failed += 1;
        if let Some(count) = self.outcomes.failed_by_kind.get_mut(kind) {
            *count += 1;
        } else {
            self.outcomes.failed_by_kind.insert(kind.to_owned(), 1);
        }
        Ok(())
    }

    fn outcome(&mut self, at: u64, id: u64, found: &mut Findings) -> Result<()> {
        let row = *self.row(id)?;
        if row.any(STORED | FAILED | REFUSED) {
            let told = if row.has(STORED) {
                "stored"
            } else if row.has(FAILED) {
                "failed"
            } else {
                "refused"
            };
            found.add(Class::SecondOutcome, Some(at), || {
                self.described(id, row, Class::SecondOutcome, format!("already {told}"))
            });
        }
        Ok(())
    }

    fn row(&mut self, id: u64) -> Result<&mut Published> {
        let row = self.events.get(id);
        row.with_context(|| format!("event {id} was not published before"))
    }

    pub(super) fn finish(mut self, found: &mut Findings) -> Outcomes {
        let world = self.world;
        for (place, log) in (0..).zip(&world.logs) {
            // The last event of each publisher and key.
            let mut order: HashMap<(u32, u64), Last> = HashMap::new();
            for (offset, slot) in log.records() {
                self.outcomes.in_log += 1;
                self.logged(place, offset, slot, &mut order, found);
            }
        }
        let events = std::mem::take(&mut self.events);
        for (id, row) in events.all() {
            self.at_the_end(id, *row, found);
        }
        self.outcomes
    }

    /// A record of the log.
    fn logged(
        &mut self,
        place: u32,
        offset: i64,
        slot: Slot,
        order: &mut HashMap<(u32, u64), Last>,
        found: &mut Findings,
    ) {
        let world = self.world;
        let Some(id) = slot.id() else { return };
        let mut report = |class: Class, detail: String| {
            found.add(class, None, || Anomaly {
                id: Some(id),
                ..located(world, class, detail, place, offset)
            });
        };
        let (topic, partition) = world.places[place as usize];
        let Some(row) = self.events.get(id) else {
            return report(Class::Phantom, "nobody published it".to_owned());
        };
        if row.topic != topic || row.key() != slot.key() {
            report(
                Class::InconsistentOffset,
                "the log has it under another topic or key than it was published".to_owned(),
            );
        }
        if row.has(STORED) && (row.partition, row.offset) == (partition, offset) {
            row.flags |= IN_PLACE;
        }
        if row.has(IN_LOG) {
            return report(
                Class::DuplicateStored,
                "the log has it before, too".to_owned(),
            );
        }
        row.flags |= IN_LOG;
        if row.has(REFUSED) {
            report(
                Class::RefusedYetStored,
                "publish returned an error".to_owned(),
            );
        }
        self.outcomes.aborted_reads += u64::from(row.has(FAILED));
        let Some(key) = row.key() else { return };
        let now = Last {
            seq: row.seq,
            id,
            failed: row.has(FAILED),
        };
        let last = order.entry((row.publisher, key)).or_insert(now);
        if now.seq >= last.seq {
            *last = now;
        } else if now.failed || last.failed {
            self.outcomes.failed_out_of_order += 1;
        } else {
            let before = last.id;
            let detail = format!("published before event {before} of key {key}, stored after it");
            report(Class::PublishOrder, detail);
        }
    }

    /// An event, once the whole log is known.
    fn at_the_end(&mut self, id: u64, row: Published, found: &mut Findings) {
        let told = row.any(STORED | FAILED | REFUSED);
        let ended = self.world.processes[row.publisher as usize].ended;
        if row.has(STORED) && !row.has(IN_LOG) {
            found.add(Class::LostWrite, None, || {
                let there = self.at_receipt(&row);
                let detail = format!("acknowledged, and the log has it nowhere; there is {there}");
                self.described(id, row, Class::LostWrite, detail)
            });
        } else if row.has(STORED) && !row.has(IN_PLACE) {
            found.add(Class::InconsistentOffset, None, || {
                let there = self.at_receipt(&row);
                let detail = format!("the receipt says here; here is {there}");
                self.described(id, row, Class::InconsistentOffset, detail)
            });
        } else if row.has(ACCEPTED) && !told && ended {
            found.add(Class::SilentFailure, Some(row.at), || {
                let detail = "accepted, no outcome, and its publisher ended in good order";
                self.described(id, row, Class::SilentFailure, detail.to_owned())
            });
        }
        self.outcomes.unknown += u64::from(!told && !ended);
    }

    fn at_receipt(&self, row: &Published) -> String {
        let place = self.world.place_of(row.topic, row.partition);
        let slot = place.and_then(|place| self.world.log(place).get(row.offset));
        slot.map_or_else(|| "nothing".to_owned(), |slot| event_name(slot.id()))
    }

    fn described(&self, id: u64, row: Published, class: Class, detail: String) -> Anomaly {
        let publisher = &self.world.processes[row.publisher as usize].name;
        Anomaly {
            id: Some(id),
            topic: Some(self.topics.name(row.topic).to_owned()),
            partition: row.has(STORED).then_some(row.partition),
            offset: row.has(STORED).then_some(row.offset),
            ..Anomaly::new(class, format!("{detail} (published by {publisher})"))
        }
    }
}

/// The last event of a key.
#[derive(Debug, Clone, Copy)]
struct Last {
    seq: u64,
    id: u64,
    failed: bool,
}
