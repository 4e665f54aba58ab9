//! Sets of offsets, stored as runs, since most offsets come in runs.

use std::collections::BTreeMap;

/// A set of offsets in one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Offsets {
    /// First offset to the one after the last; no two runs touch.
    runs: BTreeMap<i64, i64>,
}

impl Offsets {
    pub(super) fn insert(&mut self, offset: i64) {
        self.insert_run(offset, offset.saturating_add(1));
    }

    /// Adds the offsets from `start` up to but excluding `end`.
    pub(super) fn insert_run(&mut self, mut start: i64, mut end: i64) {
        if start >= end {
            return;
        }
        // Absorbs every run that it touches, beginning with the last one that starts at or before its end.
        while let Some((&from, &to)) = self.runs.range(..=end).next_back()
            && to >= start
        {
            self.runs.remove(&from);
            start = start.min(from);
            end = end.max(to);
        }
        self.runs.insert(start, end);
    }

    pub(super) fn contains(&self, offset: i64) -> bool {
        let before = self.runs.range(..=offset).next_back();
        before.is_some_and(|(_, end)| offset < *end)
    }

    pub(super) fn runs(&self) -> impl Iterator<Item = (i64, i64)> {
        self.runs.iter().map(|(start, end)| (*start, *end))
    }

    pub(super) fn len(&self) -> u64 {
        self.runs().map(|(start, end)| start.abs_diff(end)).sum()
    }

    /// How many offsets are below the given one.
    pub(super) fn below(&self, offset: i64) -> u64 {
        let runs = self.runs().filter(|(start, _)| *start < offset);
        runs.map(|(start, end)| start.abs_diff(end.min(offset)))
            .sum()
    }

    /// The first offset and the one after the last.
    pub(super) fn hull(&self) -> Option<(i64, i64)> {
        let (start, _) = self.runs.first_key_value()?;
        let (_, end) = self.runs.last_key_value()?;
        Some((*start, *end))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn is_the_set_that_was_put_in(runs in prop::collection::vec((0i64..200, 0i64..12), 0..60)) {
            let (mut offsets, mut model) = (Offsets::default(), BTreeSet::new());
            for (start, length) in runs {
                offsets.insert_run(start, start + length);
                model.extend(start..start + length);
            }
            prop_assert_eq!(offsets.len(), model.len() as u64);
            let all: Vec<i64> = offsets.runs().flat_map(|(start, end)| start..end).collect();
            prop_assert_eq!(all, model.iter().copied().collect::<Vec<_>>());
            for offset in -1..220 {
                prop_assert_eq!(offsets.contains(offset), model.contains(&offset));
                prop_assert_eq!(offsets.below(offset), model.range(..offset).count() as u64);
            }
            let mut before = None;
            for (start, end) in offsets.runs() {
                prop_assert!(before.is_none_or(|before| before < start), "runs that touch are one");
                before = Some(end);
            }
        }
    }
}
