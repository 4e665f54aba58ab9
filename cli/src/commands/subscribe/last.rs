//! The last records of a topic.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use eventstream::{Context, StartOffset};

use super::bounds::Bounds;

/// A record's time, partition and offset: the order in which `--last` shows records.
type Place = (Option<SystemTime>, i32, i64);

/// The last records of a topic, kept until everything is read.
pub(super) struct Last {
    count: usize,
    kept: Mutex<BTreeMap<Place, Vec<u8>>>,
    spans: Mutex<BTreeMap<i32, Span>>,
}

/// What is read of a partition.
pub(super) struct Span {
    low: i64,
    /// From here on everything is read.
    start: i64,
    /// From here on everything was read before.
    until: i64,
    end: i64,
    /// How many records there were.
    records: usize,
}

impl Span {
    pub(super) fn new(low: i64, start: i64, end: i64) -> Self {
        Self {
            low,
            start,
            until: end,
            end,
            records: 0,
        }
    }

    fn lacks_some(&self, count: usize) -> bool {
        self.records < count && self.start > self.low
    }
}

impl Last {
    pub(super) fn new(count: usize, spans: BTreeMap<i32, Span>) -> Self {
        Self {
            count,
            kept: Mutex::default(),
            spans: Mutex::new(spans),
        }
    }

    /// Keeps a line if it is among the last so far. A record that is not shown counts as an empty line.
    pub(super) fn keep(&self, context: &Context, text: Vec<u8>) {
        self.count(context.partition(), context.offset());
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let place = (context.timestamp(), context.partition(), context.offset());
        kept.insert(place, text);
        if kept.len() > self.count {
            kept.pop_first();
        }
    }

    fn count(&self, partition: i32, offset: i64) {
        let mut spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(span) = spans.get_mut(&partition)
            && (span.start..span.until).contains(&offset)
        {
            span.records += 1;
        }
    }

    /// Whether a partition had too few records among its offsets, as some are compacted away or transaction markers,
    /// and has earlier ones.
    pub(super) fn lacks_some(&self) -> bool {
        let spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        spans.values().any(|span| span.lacks_some(self.count))
    }

    /// Where to start again in these partitions: twice as far back.
    pub(super) fn further_back(&self, bounds: &Bounds) -> StartOffset {
        let mut spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        let mut starts = BTreeMap::new();
        let mut ends = BTreeMap::new();
        for (partition, span) in &mut *spans {
            let mut start = span.end;
            if span.lacks_some(self.count) {
                start = span.low.max(2 * span.start - span.end);
                (span.start, span.until) = (start, span.start);
                ends.insert(*partition, span.until);
            }
            starts.insert(*partition, start);
        }
        bounds.restart(ends);
        StartOffset::Each(starts)
    }

    /// The lines, in order.
    pub(super) fn take(&self) -> Vec<Vec<u8>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = std::mem::take(&mut *kept).into_values();
        lines.filter(|line| !line.is_empty()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_records_may_be_further_back_than_as_many_offsets() {
        let spans = [
            (0, Span::new(0, 90, 100)),
            (1, Span::new(5, 10, 20)),
            (2, Span::new(40, 40, 41)),
        ];
        let last = Last::new(10, BTreeMap::from(spans));
        let bounds = Bounds::default();
        // Of the first one every second offset is a marker, of the second none.
        (90..100)
            .step_by(2)
            .for_each(|offset| last.count(0, offset));
        (10..20).for_each(|offset| last.count(1, offset));
        last.count(2, 40);
        let starts = |starts: [i64; 3]| StartOffset::Each((0..).zip(starts).collect());
        assert!(last.lacks_some());
        assert_eq!(last.further_back(&bounds), starts([80, 20, 41]));
        assert_eq!(bounds.left(), Some(vec![0]));
        // Those that were read before do not count again.
        (80..100)
            .step_by(2)
            .for_each(|offset| last.count(0, offset));
        bounds.come(0, 90);
        assert!(bounds.is_over() && !last.lacks_some());
        // To the head and no further.
        let last = Last::new(9, BTreeMap::from([(0, Span::new(4, 6, 15))]));
        let head = StartOffset::Each(BTreeMap::from([(0, 4)]));
        assert_eq!(last.further_back(&bounds), head);
        assert!(!last.lacks_some());
    }
}
