//! Times at which something happened that explains what would otherwise be an anomaly.

/// Closed intervals of time, sorted and merged.
#[derive(Debug, Default)]
pub(crate) struct Disturbances {
    intervals: Vec<(u64, u64)>,
}

impl Disturbances {
    pub(crate) fn new(mut all: Vec<(u64, u64)>) -> Self {
        all.sort_unstable();
        let mut intervals: Vec<(u64, u64)> = Vec::with_capacity(all.len());
        for (begin, end) in all {
            match intervals.last_mut() {
                Some(last) if begin <= last.1 => last.1 = last.1.max(end),
                _ => intervals.push((begin, end)),
            }
        }
        Self { intervals }
    }

    /// Whether any of them overlaps `begin..=end`.
    pub(crate) fn within(&self, begin: u64, end: u64) -> bool {
        let first = self
            .intervals
            .partition_point(|interval| interval.1 < begin);
        self.intervals
            .get(first)
            .is_some_and(|interval| interval.0 <= end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_overlaps() {
        let disturbances = Disturbances::new(vec![(50, 60), (10, 20), (15, 30)]);
        assert_eq!(disturbances.intervals, [(10, 30), (50, 60)]);
        assert!(disturbances.within(30, 31));
        assert!(disturbances.within(0, 10));
        assert!(disturbances.within(40, 100));
        assert!(!disturbances.within(31, 49));
        assert!(!disturbances.within(61, 99));
    }
}
