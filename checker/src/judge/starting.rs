//! Starts of handlers: whether they are in order.

use anyhow::Result;

use super::assignment::{Back, Term};
use super::consuming::{Consuming, InLane, Running, Start};
use super::{event_name, key_name};
use crate::anomaly::{Anomaly, Class, Findings};
use crate::history::{Handle, Order};

impl Consuming<'_> {
    pub(super) fn handle(
        &mut self,
        at: u64,
        handle: &Handle<'_>,
        found: &mut Findings,
    ) -> Result<()> {
        self.counts.started += 1;
        self.counts.retries += u64::from(handle.attempt > 1);
        let member = self.member(handle.member)?;
        let view = self.view_of(member, handle.topic, handle.partition);
        let (offset, id, key) = (handle.offset, handle.id, handle.key);
        let slot = view.and_then(|view| self.world.log(self.views[view].place).get(offset));
        let (Some(view), Some(slot)) = (view, slot) else {
            found.add(Class::InconsistentOffset, Some(at), || Anomaly {
                id: Some(id),
                topic: Some(handle.topic.to_owned()),
                partition: Some(handle.partition),
                offset: Some(offset),
                ..Anomaly::new(
                    Class::InconsistentOffset,
                    format!("{} handled it, and the log has nothing here", handle.member),
                )
            });
            return Ok(());
        };
        let start = Start {
            at,
            view,
            member,
            offset,
            id,
            key,
        };
        if slot.id() != Some(id) || slot.key() != key {
            let there = event_name(slot.id());
            let keys = [key, slot.key()].map(key_name);
            self.report(found, Class::InconsistentOffset, start, || {
                format!(
                    "handled with {}, and the log has {there} with {}",
                    keys[0], keys[1]
                )
            });
        }
        let term = self.assign(start, handle.attempt == 1, found);
        let lane = self.lane(start, term.begun, found);
        let log = self.world.log(self.views[view].place);
        if let Some(cell) = self.views[view].cell(log, offset) {
            cell.started = true;
        }
        self.views[view].high = self.views[view].high.max(offset);
        let place = self.views[view].place;
        let running = self.running.entry((member, place, offset)).or_default();
        running.push(Running { at, lane, term });
        Ok(())
    }

    /// Matches a start to its member's assignment, and returns its term.
    fn assign(&mut self, start: Start, first: bool, found: &mut Findings) -> Term {
        let Start {
            at,
            view,
            member,
            offset,
            key,
            ..
        } = start;
        let group = &self.world.groups[self.views[view].group as usize];
        let mut index = self.assignment(at, view, member);
        if first && self.comes_back(start, index) {
            self.close(at, view, |open| open.member == member);
            index = self.open(at, view, member, false);
        }
        let before = &self.views[view].assignments[index];
        let back = before.back(group.order, offset, key).filter(|_| first);
        if let Some(back) = back {
            let told = before.told;
            let explained = !told && group.rebalances.within(before.last, at);
            let high = before.high().unwrap_or_default();
            match back {
                _ if explained => {}
                Back::Again => self.report(found, Class::NonMonotonicPoll, start, || {
                    format!("started again, in an assignment that had come to offset {high}")
                }),
                Back::BehindPartition => self.report(found, Class::NonMonotonicPoll, start, || {
                    format!("started late, in an assignment that had come to offset {high}")
                }),
                Back::BehindKey(later) => self.report(found, Class::HandleOrder, start, || {
                    format!("started after offset {later} of its key, in one assignment")
                }),
                Back::BehindFirst => {}
            }
            // Keys run concurrently, so the first records of an assignment start in any order.
            if (explained && back != Back::BehindFirst) || back == Back::Again {
                self.close(at, view, |open| open.member == member);
                index = self.open(at, view, member, told);
            }
        }
        let before = self.views[view].assignments[index].start(group.order, offset, key);
        if first && let Some(before) = before {
            self.after(start, before, found);
        }
        let assignment = &mut self.views[view].assignments[index];
        assignment.last = at;
        assignment.term()
    }

    /// Whether a member that skips ahead has been out of its group: it left nothing unfinished, and others have
    /// handled what it skips. Records between that nobody handles, such as dead letters, prove nothing.
    fn comes_back(&self, start: Start, assignment: usize) -> bool {
        let view = &self.views[start.view];
        let before = &view.assignments[assignment];
        let Some(high) = before.high().filter(|_| !before.told) else {
            return false;
        };
        let log = self.world.log(view.place);
        let group = &self.world.groups[view.group as usize];
        let undone = |offset| view.is_undone(log, offset);
        high + 1 < start.offset
            && group.rebalances.within(before.last, start.at)
            && !before.latest().any(undone)
            && !(high + 1..start.offset).any(undone)
            && (high + 1..start.offset).any(|left_out| view.is_handled(log, left_out))
    }

    /// Checks that the preceding record in the order is done.
    fn after(&self, start: Start, before: i64, found: &mut Findings) {
        let view = &self.views[start.view];
        // A preceding record that is still running is reported as an overlap.
        let runs = self
            .running
            .contains_key(&(start.member, view.place, before));
        if !runs && view.is_undone(self.world.log(view.place), before) {
            self.report(found, Class::HandleOrder, start, || {
                format!("started although offset {before} before it was not done")
            });
        }
    }

    /// Puts a start into its lane, and checks that nothing else is running there.
    fn lane(&mut self, start: Start, begun: u64, found: &mut Findings) -> Option<u64> {
        let Start {
            at,
            view,
            member,
            offset,
            key,
            ..
        } = start;
        let group = self.views[view].group;
        let lane = match self.world.groups[group as usize].order {
            Order::Partition => 0,
            Order::Key => key?,
            Order::None => return None,
        };
        let others = self.lanes.entry((view, lane)).or_default();
        let losses = &self.world.losses;
        let overlapping = others.iter().find(|other| {
            // Within one assignment nothing excuses it.
            let same = other.member == member && other.begun == begun && other.offset < offset;
            same || !losses.within(other.at, at)
        });
        let overlapping = overlapping.copied();
        others.push(InLane {
            member,
            offset,
            at,
            begun,
        });
        if let Some(other) = overlapping {
            let name = self.world.member_names.name(other.member);
            self.report(found, Class::HandleOrder, start, || {
                format!(
                    "started while {name} still handled offset {} of the same order",
                    other.offset
                )
            });
        }
        Some(lane)
    }
}
