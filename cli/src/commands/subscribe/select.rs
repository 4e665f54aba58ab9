//! Which records of which part of the topic are shown.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use eventstream::{
    Client, Context, MetadataQuery, PartitionMetadata, RawRecord, StartOffset, Topic,
};

use super::expression::Expression;
use crate::commands::record::fields::{Fields, Path};
use crate::time::time_or_age;

/// A partition's end may have no record: it was compacted away, or is a transaction marker. After this
/// long without a record, the end counts as reached.
pub(crate) const QUIET: Duration = Duration::from_secs(10);
/// How long after `--until` to wait for earlier records.
const LATE: Duration = Duration::from_secs(1);

#[derive(clap::Args, Clone)]
#[command(next_help_heading = "Selection")]
pub(super) struct Select {
    /// Start at this time or age; reads without a group
    #[arg(long, value_name = "TIME|AGE", value_parser = time_or_age, conflicts_with_all = ["from", "group", "exact_group"])]
    since: Option<SystemTime>,
    /// Show only records before this time or age, then exit; reads without a group
    #[arg(long, value_name = "TIME|AGE", value_parser = time_or_age, conflicts_with_all = ["group", "exact_group"])]
    until: Option<SystemTime>,
    /// Show the last N records of the topic, by timestamp, then exit; reads without a group
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), conflicts_with_all = ["from", "since", "until", "group", "exact_group"])]
    last: Option<u32>,
    /// Only this partition, repeatable; reads without a group
    #[arg(long = "partition", value_name = "P", value_parser = clap::value_parser!(i32).range(0..), conflicts_with_all = ["group", "exact_group"])]
    partitions: Vec<i32>,
    /// Only records with this key
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Only records whose value contains this text
    #[arg(long, value_name = "TEXT")]
    grep: Option<String>,
    /// Only records that match this, such as 'user_id=7f3a && payload.level>3'
    #[arg(long = "where", value_name = "EXPRESSION", value_parser = Expression::parse)]
    condition: Option<Expression>,
    /// Only these fields, such as timestamp,userId,payload.level; json or table
    #[arg(long, value_name = "FIELD,...", value_delimiter = ',', value_parser = path)]
    pub(super) fields: Vec<Path>,
}

fn path(text: &str) -> Result<Path, String> {
    Path::parse(text).ok_or_else(|| "must be a field name such as payload.level".to_owned())
}

impl Select {
    pub(super) fn last(&self) -> Option<usize> {
        self.last.map(|last| last as usize)
    }

    /// Whether a record is selected.
    pub(super) fn wants(&self, context: &Context, record: &RawRecord) -> bool {
        let late = |until| context.timestamp().is_some_and(|time| time > until);
        if self.until.is_some_and(late) {
            return false;
        }
        if !self.partitions.is_empty() && !self.partitions.contains(&context.partition()) {
            return false;
        }
        if let Some(key) = &self.key
            && record.key() != Some(key.as_bytes())
        {
            return false;
        }
        if let Some(text) = &self.grep
            && !contains(record.value().unwrap_or_default(), text.as_bytes())
        {
            return false;
        }
        self.condition.as_ref().is_none_or(|condition| {
            let event = record.decode().ok();
            let event = event.as_ref();
            condition.holds(&Fields { context, event })
        })
    }

    /// Where to start, and where to end.
    pub(super) async fn range(
        &self,
        client: &Client,
        topic: &Topic,
        from: &StartOffset,
        timeout: Duration,
    ) -> anyhow::Result<(StartOffset, Bounds)> {
        let from = self.since.map_or_else(|| from.clone(), StartOffset::Time);
        let is_over = self.until.is_some_and(|until| until <= SystemTime::now());
        let mut bounds = Bounds {
            until: self.until,
            ..Bounds::default()
        };
        if self.last.is_none() && !is_over && self.partitions.is_empty() {
            return Ok((from, bounds));
        }
        let mut query = MetadataQuery::new().topic(topic.as_str()).watermarks();
        if let StartOffset::Time(time) = from {
            query = query.at(time);
        }
        let found = client.query_metadata(query, timeout).await?;
        let mut starts = BTreeMap::new();
        let mut open = BTreeMap::new();
        for topic in found.topics {
            if let Some(error) = topic.error {
                return Err(error.into());
            }
            for partition in topic.partitions {
                let (low, end) = watermarks(&partition)?;
                let is_chosen =
                    self.partitions.is_empty() || self.partitions.contains(&partition.id);
                let start = match (&from, self.last) {
                    _ if !is_chosen => end,
                    (_, Some(last)) => low.max(end.saturating_sub(last.into())),
                    (StartOffset::Head, _) => low,
                    (StartOffset::At(offset), _) => *offset,
                    (StartOffset::Time(_), _) => partition.at_time.unwrap_or(end),
                    _ => end,
                };
                starts.insert(partition.id, start);
                if is_chosen && start < end {
                    open.insert(partition.id, end);
                }
            }
        }
        if self.last.is_some() || is_over {
            bounds.open = Mutex::new(Some(open));
        }
        Ok((StartOffset::Each(starts), bounds))
    }
}

/// The partitions whose ends are not reached yet.
#[derive(Default)]
pub(crate) struct Bounds {
    until: Option<SystemTime>,
    open: Mutex<Option<BTreeMap<i32, i64>>>,
}

impl Bounds {
    /// These ends, each the offset after the last record.
    pub(crate) fn at(ends: BTreeMap<i32, i64>) -> Self {
        Self {
            until: None,
            open: Mutex::new(Some(ends)),
        }
    }

    /// Notes a record's position, whether it is shown or not.
    pub(crate) fn seen(&self, context: &Context) {
        let mut open = self.open();
        let Some(open) = open.as_mut() else {
            return;
        };
        let partition = context.partition();
        if open
            .get(&partition)
            .is_some_and(|end| context.offset() + 1 >= *end)
        {
            open.remove(&partition);
        }
    }

    /// Whether everything was read.
    pub(crate) fn is_over(&self) -> bool {
        match &*self.open() {
            Some(open) => open.is_empty(),
            None => self
                .until
                .is_some_and(|until| SystemTime::now() > until + LATE),
        }
    }

    /// The partitions whose ends are not reached yet; `None` if there are no ends.
    pub(crate) fn left(&self) -> Option<Vec<i32>> {
        let open = self.open();
        open.as_ref().map(|open| open.keys().copied().collect())
    }

    fn open(&self) -> MutexGuard<'_, Option<BTreeMap<i32, i64>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn contains(value: &[u8], text: &[u8]) -> bool {
    text.is_empty() || value.windows(text.len()).any(|part| part == text)
}

/// A record's time, partition and offset: the order in which `--last` shows records.
type Place = (Option<SystemTime>, i32, i64);

/// The last records of a topic, kept until everything is read.
pub(super) struct Last {
    count: usize,
    kept: Mutex<BTreeMap<Place, Vec<u8>>>,
}

impl Last {
    pub(super) fn new(count: usize) -> Self {
        Self {
            count,
            kept: Mutex::default(),
        }
    }

    /// Keeps a line if it is among the last so far. A record that is not shown counts as an empty line.
    pub(super) fn keep(&self, context: &Context, text: Vec<u8>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let place = (context.timestamp(), context.partition(), context.offset());
        kept.insert(place, text);
        if kept.len() > self.count {
            kept.pop_first();
        }
    }

    /// The lines, in order.
    pub(super) fn take(&self) -> Vec<Vec<u8>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = std::mem::take(&mut *kept).into_values();
        lines.filter(|line| !line.is_empty()).collect()
    }
}

/// Where a partition begins and ends.
pub(crate) fn watermarks(partition: &PartitionMetadata) -> anyhow::Result<(i64, i64)> {
    match (partition.low, partition.high, &partition.error) {
        (Some(low), Some(high), _) => Ok((low, high)),
        (_, _, Some(error)) => Err(error.clone().into()),
        _ => anyhow::bail!("the watermarks of partition {} are unknown", partition.id),
    }
}
