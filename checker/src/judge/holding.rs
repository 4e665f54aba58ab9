//! Starts and ends of assignments.

use super::assignment::Assignment;
use super::consuming::{Consuming, Skipped, millis};
use super::view::View;
use crate::history::Order;

impl Consuming<'_> {
    /// The open assignment of a member; inferred assignments of others end with it.
    pub(super) fn assignment(&mut self, at: u64, view: usize, member: u32) -> usize {
        let find = |view: &View| {
            let mut open = view.assignments.iter();
            open.position(|open| open.member == member)
        };
        self.close(at, view, |open| open.member != member && !open.told);
        match find(&self.views[view]) {
            Some(index) => index,
            None => self.open(at, view, member, false),
        }
    }

    pub(super) fn open(&mut self, at: u64, view: usize, member: u32, told: bool) -> usize {
        let log = self.world.log(self.views[view].place);
        let view = &mut self.views[view];
        let base = view.base(log, None);
        if view.holds_back(log, base, view.high, u32::MAX) {
            view.held_back = view.high;
        }
        view.assignments
            .push(Assignment::new(member, told, at, base));
        view.assignments.len() - 1
    }

    /// Ends assignments, and notes the holes they leave.
    pub(super) fn close(&mut self, at: u64, view: usize, ends: impl Fn(&Assignment) -> bool) {
        let number = view;
        let view = &mut self.views[number];
        if !view.assignments.iter().any(&ends) {
            return;
        }
        let log = self.world.log(view.place);
        let group = &self.world.groups[view.group as usize];
        let order = group.order;
        let all = std::mem::take(&mut view.assignments);
        let (ended, open) = all.into_iter().partition::<Vec<_>, _>(|open| ends(open));
        view.assignments = open;
        for assignment in &ended {
            // The last commit of one that copies may have been aborted.
            let told = assignment.told && !group.copies;
            let in_order = told && !self.world.losses.within(assignment.begun, at);
            let since = in_order.then(|| millis(assignment.begun - self.world.begin));
            view.base(log, since);
            // It may have started before, and have started others.
            let begun = assignment.begun;
            let unsure = !assignment.told && group.rebalances.within(begun, begun);
            for hole in assignment.holes() {
                let Some(slot) = log.get(hole.offset) else {
                    continue;
                };
                if view.cell(log, hole.offset).is_some_and(|cell| cell.dead) {
                    continue;
                }
                let hole = match (order, slot.key()) {
                    (Order::Partition, _) => Some(hole),
                    (Order::Key, Some(key)) if !unsure => assignment.hole_of_key(hole.offset, key),
                    _ => None,
                };
                let member = assignment.member;
                let skipped = hole.map(|hole| Skipped {
                    view: number,
                    member,
                    at,
                    hole,
                });
                self.skipped.extend(skipped);
            }
        }
    }
}
