//! A set of offsets, which mostly come in runs.

use std::collections::BTreeMap;

/// Disjoint half-open ranges.
#[derive(Debug, Default)]
pub(crate) struct Ranges {
    /// Start to end.
    ranges: BTreeMap<i64, i64>,
}

impl Ranges {
    /// Adds `start..end`, none of which is in the set yet.
    pub(crate) fn add(&mut self, start: i64, end: i64) {
        if start < end {
            self.ranges.insert(start, end);
        }
    }

    /// Whether the set contains an offset.
    pub(crate) fn contains(&self, offset: i64) -> bool {
        self.around(offset).is_some()
    }

    fn around(&self, offset: i64) -> Option<(i64, i64)> {
        let (start, end) = self.ranges.range(..=offset).next_back()?;
        (*end > offset).then_some((*start, *end))
    }

    /// Removes one offset; returns whether it was in the set.
    pub(crate) fn remove(&mut self, offset: i64) -> bool {
        let Some((start, end)) = self.around(offset) else {
            return false;
        };
        self.ranges.remove(&start);
        self.add(start, offset);
        self.add(offset + 1, end);
        true
    }

    /// Every offset from `from` on, in order.
    pub(crate) fn from(&self, from: i64) -> impl Iterator<Item = i64> + '_ {
        let ranges = self.ranges.iter();
        ranges.flat_map(move |(&start, &end)| start.max(from)..end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_a_range_where_an_offset_leaves() {
        let mut ranges = Ranges::default();
        ranges.add(3, 8);
        assert!(ranges.remove(5));
        assert!(!ranges.remove(5));
        assert!(!ranges.remove(8));
        assert!(ranges.remove(3));
        assert_eq!(ranges.from(0).collect::<Vec<_>>(), [4, 6, 7]);
        assert_eq!(ranges.from(6).collect::<Vec<_>>(), [6, 7]);
    }
}
