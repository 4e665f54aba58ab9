//! A group's committed offset was read.

use super::consuming::Consuming;
use super::located;
use crate::anomaly::{Anomaly, Class, Findings};
use crate::history::Committed;
use crate::log::Slot;

impl Consuming<'_> {
    pub(super) fn committed(&mut self, at: u64, committed: &Committed<'_>, found: &mut Findings) {
        let world = self.world;
        let group = world.group_names.find(committed.group);
        let place = world.find_place(committed.topic, committed.partition);
        let (Some(group), Some(place)) = (group, place) else {
            return;
        };
        let view = self.view(group, place);
        let log = world.log(place);
        let before = self.views[view].committed.unwrap_or(log.base());
        self.counts.commits_went_back += u64::from(committed.offset < before);
        // What was below an earlier commit was judged with that one.
        for offset in before.max(log.base())..committed.offset.min(log.end()) {
            if self.views[view].is_undone(log, offset) {
                let id = log.get(offset).and_then(Slot::id);
                found.add(Class::CommittedUnhandled, Some(at), || Anomaly {
                    id,
                    group: Some(committed.group.to_owned()),
                    ..located(
                        world,
                        Class::CommittedUnhandled,
                        format!("not done, and the committed offset is {}", committed.offset),
                        place,
                        offset,
                    )
                });
            }
        }
        self.views[view].committed = Some(before.max(committed.offset));
    }
}
