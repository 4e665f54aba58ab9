//! The actions of group members, against the log and each other.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::assignment::{Hole, Term};
use super::located;
use super::view::View;
use crate::anomaly::{Anomaly, Class, Findings};
use crate::history::{Assigned, Handled, Left, Outcome, Revoked};
use crate::log::Slot;
use crate::timeline::Timeline;
use crate::world::World;

/// How far back to look for a record that held this one back.
const LOOK_BACK: i64 = 100_000;

/// What handlers did.
#[derive(Debug, Default, Serialize)]
pub struct Handlers {
    /// Started handlers.
    pub started: u64,
    /// Of these, at a second attempt or a later one.
    pub retries: u64,
    /// Handlers that returned `Ok`.
    pub ok: u64,
    /// Handlers that returned an error.
    pub errors: u64,
    /// Handlers that panicked.
    pub panics: u64,
    /// Handlers whose process was killed.
    pub killed: u64,
    /// Records that a group handled once more.
    pub duplicates: u64,
    /// Of these, those that a fault, a kill or a lost partition explains.
    pub duplicates_after_faults: u64,
    /// Of these, those that could not be committed, because an earlier record was not done.
    pub duplicates_held_back: u64,
    /// How often a committed offset went back.
    pub commits_went_back: u64,
}

/// What happened to the records of a group's topics.
#[derive(Debug, Serialize)]
pub struct GroupCounts {
    /// The group.
    pub group: String,
    /// Records of its topics.
    pub records: u64,
    /// Of these, handled.
    pub handled: u64,
    /// Of these, dead-lettered.
    pub dead_lettered: u64,
    /// Dead letters by reason; one record may have several.
    pub dead_letters: BTreeMap<String, u64>,
    /// Committed outputs; absent if the group does not copy in transactions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outputs: Option<u64>,
}

pub(super) struct Consuming<'w> {
    pub(super) world: &'w World,
    pub(super) views: Vec<View>,
    view_numbers: HashMap<(u32, u32), usize>,
    pub(super) running: HashMap<(u32, u32, i64), Vec<Running>>,
    /// What runs in each lane.
    pub(super) lanes: HashMap<(usize, u64), Vec<InLane>>,
    pub(super) skipped: Vec<Skipped>,
    pub(super) counts: Handlers,
}

/// A running handler.
#[derive(Debug, Clone, Copy)]
pub(super) struct Running {
    pub(super) at: u64,
    pub(super) lane: Option<u64>,
    /// Of the assignment it started in.
    pub(super) term: Term,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct InLane {
    pub(super) member: u32,
    pub(super) offset: i64,
    pub(super) at: u64,
    /// When its assignment started.
    pub(super) begun: u64,
}

/// A hole left by an assignment.
#[derive(Debug)]
pub(super) struct Skipped {
    pub(super) view: usize,
    pub(super) member: u32,
    pub(super) at: u64,
    pub(super) hole: Hole,
}

/// Where a handler starts.
#[derive(Clone, Copy)]
pub(super) struct Start {
    pub(super) at: u64,
    pub(super) view: usize,
    pub(super) member: u32,
    pub(super) offset: i64,
    pub(super) id: u64,
    pub(super) key: Option<u64>,
}

impl<'w> Consuming<'w> {
    pub(super) fn new(world: &'w World) -> Self {
        let mut consuming = Self {
            world,
            views: Vec::new(),
            view_numbers: HashMap::new(),
            running: HashMap::new(),
            lanes: HashMap::new(),
            skipped: Vec::new(),
            counts: Handlers::default(),
        };
        for (group, known) in (0..).zip(&world.groups) {
            for (place, (topic, _)) in (0..).zip(&world.places) {
                if known.topics.contains(topic) {
                    consuming.view(group, place);
                }
            }
        }
        for letter in &world.letters {
            let view = consuming.view(letter.group, letter.place);
            let log = world.log(letter.place);
            if let Some(cell) = consuming.views[view].cell(log, letter.offset) {
                cell.dead = true;
            }
        }
        consuming
    }

    pub(super) fn view(&mut self, group: u32, place: u32) -> usize {
        *self.view_numbers.entry((group, place)).or_insert_with(|| {
            self.views
                .push(View::new(group, place, self.world.log(place)));
            self.views.len() - 1
        })
    }

    pub(super) fn member(&self, name: &str) -> Result<u32> {
        let member = self.world.member_names.find(name);
        member.with_context(|| format!("member {name} did not join"))
    }

    pub(super) fn view_of(&mut self, member: u32, topic: &str, partition: i32) -> Option<usize> {
        let place = self.world.find_place(topic, partition)?;
        Some(self.view(self.world.members[member as usize].group, place))
    }

    pub(super) fn assigned(&mut self, at: u64, assigned: &Assigned<'_>) -> Result<()> {
        let member = self.member(assigned.member)?;
        if let Some(view) = self.view_of(member, assigned.topic, assigned.partition) {
            self.close(at, view, |open| open.member == member);
            self.open(at, view, member, true);
        }
        Ok(())
    }

    pub(super) fn revoked(&mut self, at: u64, revoked: &Revoked<'_>) -> Result<()> {
        let member = self.member(revoked.member)?;
        if let Some(view) = self.view_of(member, revoked.topic, revoked.partition) {
            self.close(at, view, |open| open.member == member);
        }
        Ok(())
    }

    pub(super) fn left(&mut self, at: u64, left: &Left<'_>, timeline: &mut Timeline) -> Result<()> {
        let member = self.member(left.member)?;
        for view in 0..self.views.len() {
            self.close(at, view, |open| open.member == member);
        }
        timeline.member(at, left.member, false);
        Ok(())
    }

    /// A process is gone, with its members and their running handlers.
    pub(super) fn gone(&mut self, at: u64, process: u32, timeline: &mut Timeline) {
        let world = self.world;
        let of_process = |member: u32| world.members[member as usize].process == process;
        for view in 0..self.views.len() {
            self.close(at, view, |open| of_process(open.member));
        }
        self.running.retain(|(member, ..), running| {
            let keep = !of_process(*member);
            if !keep {
                self.counts.killed += running.len() as u64;
            }
            keep
        });
        self.lanes.retain(|_, lane| {
            lane.retain(|running| !of_process(running.member));
            !lane.is_empty()
        });
        for (number, member) in world.members.iter().enumerate() {
            if member.process == process {
                let number = u32::try_from(number).expect("a member's number");
                timeline.member(at, world.member_names.name(number), false);
            }
        }
    }

    /// A handler ends. Returns when it started, if its record is now done.
    pub(super) fn handled(
        &mut self,
        at: u64,
        handled: &Handled<'_>,
        found: &mut Findings,
    ) -> Result<Option<u64>> {
        let member = self.member(handled.member)?;
        match handled.outcome {
            Outcome::Ok => self.counts.ok += 1,
            Outcome::Error => self.counts.errors += 1,
            Outcome::Panic => self.counts.panics += 1,
        }
        let offset = handled.offset;
        let Some(view) = self.view_of(member, handled.topic, handled.partition) else {
            return Ok(None);
        };
        let key = (member, self.views[view].place, offset);
        let Some(running) = self.running.get_mut(&key).and_then(Vec::pop) else {
            return Ok(None);
        };
        if self.running.get(&key).is_some_and(Vec::is_empty) {
            self.running.remove(&key);
        }
        if let Some(lane) = running.lane {
            self.leave_lane((view, lane), member, offset);
        }
        if handled.outcome != Outcome::Ok {
            return Ok(None);
        }
        self.done(at, view, member, offset, running, found);
        Ok(Some(running.at))
    }

    fn leave_lane(&mut self, lane: (usize, u64), member: u32, offset: i64) {
        let Some(inside) = self.lanes.get_mut(&lane) else {
            return;
        };
        let of_it = |other: &InLane| other.member == member && other.offset == offset;
        if let Some(index) = inside.iter().rposition(of_it) {
            inside.swap_remove(index);
        }
        if inside.is_empty() {
            self.lanes.remove(&lane);
        }
    }

    fn done(
        &mut self,
        at: u64,
        view: usize,
        member: u32,
        offset: i64,
        running: Running,
        found: &mut Findings,
    ) {
        let world = self.world;
        let log = world.log(self.views[view].place);
        let slot = log.get(offset);
        let Some(cell) = self.views[view].cell(log, offset) else {
            return;
        };
        let before = *cell;
        cell.done = cell.done.saturating_add(1);
        cell.done_at = millis(at - world.begin);
        if before.done == 0 {
            return;
        }
        self.counts.duplicates += 1;
        let done_at = u64::from(before.done_at);
        // Once a commit was seen, only a member that does not know yet that it was evicted handles it again.
        let committed = offset < running.term.base && !world.losses.within(at, at);
        let group = &world.groups[self.views[view].group as usize];
        // Whatever ends a transaction makes its records be handled again: a clean rebalance, too.
        let excuses = if group.copies {
            &group.rebalances
        } else {
            &world.losses
        };
        if !committed && excuses.within(world.begin + done_at * 1_000_000, at) {
            self.counts.duplicates_after_faults += 1;
        } else if self.held_back(view, offset, running.term, before.done_at) {
            self.counts.duplicates_held_back += 1;
            let view = &mut self.views[view];
            view.held_back = view.held_back.max(view.high);
        } else {
            let id = slot.and_then(Slot::id).unwrap_or_default();
            let start = Start {
                at,
                view,
                member,
                offset,
                id,
                key: None,
            };
            self.report(found, Class::DuplicateHandled, start, || {
                let before = done_at as f64 / 1e3;
                format!("already handled {before:.3} s after the begin, and no fault since")
            });
        }
    }

    /// Whether a record, last done at `done_at`, may be repeated because an earlier one was not
    /// done.
    fn held_back(&self, view: usize, offset: i64, term: Term, done_at: u32) -> bool {
        let Term { told, begun, base } = term;
        let before = done_at <= millis(begun - self.world.begin);
        let view = &self.views[view];
        let log = self.world.log(view.place);
        before
            && if told {
                offset >= base
            } else {
                let low = offset.saturating_sub(LOOK_BACK).max(log.base());
                offset >= base
                    && (base <= view.held_back || view.holds_back(log, low, offset, done_at))
            }
    }

    /// Reports an anomaly of a start.
    pub(super) fn report(
        &self,
        found: &mut Findings,
        class: Class,
        start: Start,
        detail: impl FnOnce() -> String,
    ) {
        let view = &self.views[start.view];
        found.add(class, Some(start.at), || {
            let member = self.world.member_names.name(start.member);
            Anomaly {
                id: Some(start.id),
                group: Some(self.world.group_names.name(view.group).to_owned()),
                ..located(
                    self.world,
                    class,
                    format!("{member}: {}", detail()),
                    view.place,
                    start.offset,
                )
            }
        });
    }
}

/// A time since the start of the history, as stored in cells.
pub(super) fn millis(nanos: u64) -> u32 {
    u32::try_from(nanos / 1_000_000).unwrap_or(u32::MAX)
}
