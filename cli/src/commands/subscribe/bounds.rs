//! Where partitions end, and how far they are read.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use eventstream::{Client, Context, ErrorKind, MetadataQuery, PartitionMetadata, Topic};

/// How long after `--until` to wait for earlier records.
const LATE: Duration = Duration::from_secs(1);

/// How far a read that ends by itself has come, and where it ends.
#[derive(Default)]
pub(crate) struct Bounds {
    /// The ends are those of this time.
    until: Option<SystemTime>,
    state: Mutex<Progress>,
}

#[derive(Default)]
struct Progress {
    /// The next offset of each partition, if known.
    next: BTreeMap<i32, i64>,
    /// The offset after the last record of each partition that is read.
    ends: Option<BTreeMap<i32, i64>>,
}

impl Bounds {
    /// These ends, each the offset after the last record.
    pub(crate) fn at(ends: BTreeMap<i32, i64>) -> Self {
        let bounds = Self::default();
        bounds.end_at(ends);
        bounds
    }

    /// The ends that there are at a time to come, read from these starts on.
    pub(super) fn until(until: Option<SystemTime>, starts: BTreeMap<i32, i64>) -> Self {
        let next = starts;
        Self {
            until,
            state: Mutex::new(Progress { next, ends: None }),
        }
    }

    pub(super) fn end_at(&self, ends: BTreeMap<i32, i64>) {
        self.state().ends = Some(ends);
    }

    /// Everything is to be read anew, up to these ends.
    pub(super) fn restart(&self, ends: BTreeMap<i32, i64>) {
        let (next, ends) = (BTreeMap::new(), Some(ends));
        *self.state() = Progress { next, ends };
    }

    /// Whether the read ends by itself, now or later.
    pub(super) fn has_end(&self) -> bool {
        self.until.is_some() || self.state().ends.is_some()
    }

    /// Whether it is time to find out the ends.
    pub(super) fn is_due(&self) -> bool {
        let has_come = |until| SystemTime::now() > until + LATE;
        self.until.is_some_and(has_come) && self.state().ends.is_none()
    }

    /// Notes a record's position, whether it is shown or not.
    pub(crate) fn seen(&self, context: &Context) {
        self.come(context.partition(), context.offset() + 1);
    }

    pub(super) fn come(&self, partition: i32, to: i64) {
        let mut state = self.state();
        if self.until.is_some() || state.ends.is_some() {
            let next = state.next.entry(partition).or_default();
            *next = to.max(*next);
        }
    }

    /// Whether everything was read.
    pub(crate) fn is_over(&self) -> bool {
        self.left().is_some_and(|left| left.is_empty())
    }

    /// The partitions whose ends are not reached yet; `None` while there are no ends.
    pub(crate) fn left(&self) -> Option<Vec<i32>> {
        let state = self.state();
        let next = |partition| state.next.get(partition).copied().unwrap_or(0);
        let ends = state.ends.as_ref()?.iter();
        let left = ends.filter(|(partition, end)| next(partition) < **end);
        Some(left.map(|(partition, _)| *partition).collect())
    }

    fn state(&self) -> MutexGuard<'_, Progress> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where partitions end now; nowhere if there is no such topic.
pub(super) async fn ends(
    client: &Client,
    topic: &Topic,
    timeout: Duration,
    wanted: impl Fn(i32) -> bool,
) -> anyhow::Result<BTreeMap<i32, i64>> {
    let query = MetadataQuery::new().topic(topic.as_str()).watermarks();
    let mut ends = BTreeMap::new();
    for topic in client.query_metadata(query, timeout).await?.topics {
        if let Some(error) = topic.error
            && error.kind() != ErrorKind::UnknownTopic
        {
            return Err(error.into());
        }
        for partition in topic.partitions.iter().filter(|p| wanted(p.id)) {
            ends.insert(partition.id, watermarks(partition)?.1);
        }
    }
    Ok(ends)
}

/// Where a partition begins and ends.
pub(crate) fn watermarks(partition: &PartitionMetadata) -> anyhow::Result<(i64, i64)> {
    match (partition.low, partition.high, &partition.error) {
        (Some(low), Some(high), _) => Ok((low, high)),
        (_, _, Some(error)) => Err(error.clone().into()),
        _ => anyhow::bail!("the watermarks of partition {} are unknown", partition.id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_is_over_at_its_ends() {
        let bounds = Bounds::at(BTreeMap::from([(0, 3), (2, 1)]));
        assert_eq!(bounds.left(), Some(vec![0, 2]));
        bounds.come(2, 1);
        bounds.come(0, 2);
        assert!(!bounds.is_over());
        bounds.come(0, 4);
        assert!(bounds.is_over());
        assert!(!Bounds::default().is_over());
    }

    #[test]
    fn an_end_to_come_is_where_the_partitions_end_then() {
        let starts = BTreeMap::from([(0, 5), (1, 7)]);
        let tomorrow = SystemTime::now() + Duration::from_secs(86_400);
        let bounds = Bounds::until(Some(tomorrow), starts.clone());
        assert!(bounds.has_end() && !bounds.is_due() && !bounds.is_over());

        let bounds = Bounds::until(Some(SystemTime::now() - 2 * LATE), starts);
        bounds.come(0, 6);
        assert!(bounds.is_due() && !bounds.is_over());
        bounds.end_at(BTreeMap::from([(0, 9), (1, 7), (2, 0)]));
        assert!(!bounds.is_due());
        assert_eq!(bounds.left(), Some(vec![0]));
        bounds.come(0, 9);
        assert!(bounds.is_over());
    }
}
