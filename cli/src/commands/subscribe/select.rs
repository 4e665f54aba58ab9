//! Which records of which part of the topic are shown.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use eventstream::{
    Client, Context, ErrorKind, MetadataQuery, PartitionMetadata, RawRecord, StartOffset, Topic,
};

use super::bounds::{Bounds, watermarks};
use super::expression::Expression;
use super::last::{Last, Span};
use crate::commands::record::fields::{Fields, Path};
use crate::exit::Usage;
use crate::time::time_or_age;

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
    /// Whether a record is selected.
    pub(super) fn wants(&self, context: &Context, record: &RawRecord) -> bool {
        let late = |until| context.timestamp().is_some_and(|time| time > until);
        if self.until.is_some_and(late) {
            return false;
        }
        if !self.chooses(context.partition()) {
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

    /// Where to start, and where to end. If it is not said where to start, that is the tail, but the head if only
    /// records of the past are wanted.
    pub(super) async fn range(
        &self,
        client: &Client,
        topic: &Topic,
        from: Option<&StartOffset>,
        timeout: Duration,
    ) -> anyhow::Result<Range> {
        let is_past = self.until.is_some_and(|until| until <= SystemTime::now());
        let from = match (self.since, from) {
            (Some(since), _) => StartOffset::Time(since),
            (None, Some(from)) => from.clone(),
            (None, None) if is_past => StartOffset::Head,
            (None, None) => StartOffset::Tail,
        };
        if self.last.is_none() && self.until.is_none() && self.partitions.is_empty() {
            return Ok(Range::new(from, Bounds::default()));
        }
        let has_ends = self.last.is_some() || is_past;
        let mut query = MetadataQuery::new().topic(topic.as_str()).watermarks();
        if let StartOffset::Time(time) = from {
            query = query.at(time);
        }
        let found = client.query_metadata(query, timeout).await?;
        let mut starts = BTreeMap::new();
        let mut ends = BTreeMap::new();
        let mut spans = BTreeMap::new();
        for topic in found.topics {
            match topic.error {
                // It may be created before the time has come.
                Some(error)
                    if error.kind() == ErrorKind::UnknownTopic
                        && !has_ends
                        && self.partitions.is_empty() =>
                {
                    return Ok(Range::new(from, Bounds::until(self.until, starts)));
                }
                Some(error) => return Err(error.into()),
                None => self.check(&topic.partitions)?,
            }
            for partition in topic.partitions {
                let (low, end) = watermarks(&partition)?;
                let is_chosen = self.chooses(partition.id);
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
                    ends.insert(partition.id, end);
                }
                let low = if is_chosen { low } else { end };
                spans.insert(partition.id, Span::new(low, start, end));
            }
        }
        let bounds = match has_ends {
            true => Bounds::at(ends),
            false => Bounds::until(self.until, starts.clone()),
        };
        let last = self.last.map(|count| Last::new(count as usize, spans));
        let from = StartOffset::Each(starts);
        Ok(Range { from, bounds, last })
    }

    /// Whether records of this partition are wanted.
    pub(super) fn chooses(&self, partition: i32) -> bool {
        self.partitions.is_empty() || self.partitions.contains(&partition)
    }

    /// Fails if the topic lacks a wanted partition.
    fn check(&self, has: &[PartitionMetadata]) -> Result<(), Usage> {
        let missing = |wanted: &&i32| has.iter().all(|partition| partition.id != **wanted);
        match self.partitions.iter().find(missing) {
            Some(missing) => {
                let last = has.len().saturating_sub(1);
                let text = format!("--partition {missing}: must be from 0 to {last}");
                Err(Usage(text))
            }
            None => Ok(()),
        }
    }
}

/// Where to start and to end.
pub(super) struct Range {
    pub(super) from: StartOffset,
    pub(super) bounds: Bounds,
    pub(super) last: Option<Last>,
}

impl Range {
    fn new(from: StartOffset, bounds: Bounds) -> Self {
        let last = None;
        Self { from, bounds, last }
    }
}

fn contains(value: &[u8], text: &[u8]) -> bool {
    text.is_empty() || value.windows(text.len()).any(|part| part == text)
}

/// clap's parser for a start.
pub(crate) fn start(text: &str) -> Result<StartOffset, String> {
    match text {
        "tail" => return Ok(StartOffset::Tail),
        "head" => return Ok(StartOffset::Head),
        _ => {}
    }
    if let Ok(offset) = text.parse::<u64>() {
        return i64::try_from(offset)
            .map(StartOffset::At)
            .map_err(|_| "is too large for an offset".to_owned());
    }
    text.parse::<jiff::Timestamp>()
        .map(|time| StartOffset::Time(SystemTime::from(time)))
        .map_err(|_| {
            "must be tail, head, an offset from 0, or a time such as 2026-01-31T08:00:00Z"
                .to_owned()
        })
}
