use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::DeadLetters;
use super::causes::{By, Causes};
use super::done::Done;
use super::letter::Letter;
use crate::error::Result;
use crate::kafka::{Bounds, Span};
use crate::metadata::MetadataQuery;
use crate::name::Topic;

/// What became of replayed records: which were dead-lettered again, and how far their groups have got. Created by
/// [`Report::follow`](super::Report::follow).
pub struct Follow {
    letters: DeadLetters,
    target: Topic,
    sent: Done,
    /// How far each partition of the dead-letter topic has been read.
    read: BTreeMap<i32, i64>,
    again: Causes,
    groups: Vec<GroupProgress>,
}

/// A group's progress through the replayed records.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupProgress {
    /// The group, as on the broker.
    pub group: String,
    /// How many are below its committed offsets: handled, skipped, or dead-lettered again. `None` if the brokers
    /// did not say.
    pub passed: Option<u64>,
    /// How many there are in total.
    pub of: u64,
}

impl Follow {
    pub(super) fn new(
        letters: &DeadLetters,
        target: &Topic,
        sent: Done,
        groups: &BTreeSet<String>,
        watched: Option<&Bounds>,
    ) -> Self {
        let spans = watched.map(|bounds| bounds.spans.as_slice());
        let of = sent.len();
        let groups = groups.iter().map(|group| GroupProgress {
            group: group.clone(),
            passed: None,
            of,
        });
        Self {
            letters: letters.clone(),
            target: target.clone(),
            groups: groups.collect(),
            sent,
            read: spans
                .unwrap_or_default()
                .iter()
                .map(|span| (span.partition, span.to))
                .collect(),
            again: Causes::by(By::Cause),
        }
    }

    /// Checks once, groups first: a record is dead-lettered before its group passes it.
    ///
    /// # Errors
    ///
    /// As [`DeadLetters::causes`] if the dead letters cannot be read. A group that cannot be queried is not an
    /// error.
    pub async fn look(&mut self) -> Result<()> {
        for progress in &mut self.groups {
            progress.passed =
                passed(&self.letters, &self.target, &progress.group, &self.sent).await;
        }
        let kafka = self.letters.kafka()?;
        let topic = Topic::new(format!("{}{}", self.target, kafka.dead_letter_suffix()))?;
        let bounds = kafka.bounds(topic.as_str(), None, self.letters.timeout);
        let Some(bounds) = bounds.await? else {
            return Ok(());
        };
        let new = bounds.spans.iter().map(|span| Span {
            from: self
                .read
                .get(&span.partition)
                .map_or(span.from, |read| span.from.max(*read)),
            ..*span
        });
        let new: Vec<_> = new.collect();
        let mut scan = kafka.scan(&topic, &new)?;
        while let Some(records) = scan.next().await {
            for record in records? {
                let (partition, next) = (record.source.partition, record.offset + 1);
                let letter = Letter::new(&record);
                if self.is_ours(&letter) {
                    self.again.add(&letter);
                }
                self.read.insert(partition, next);
            }
        }
        Ok(())
    }

    fn is_ours(&self, letter: &Letter) -> bool {
        letter.origin().is_some_and(|origin| {
            origin.topic() == self.target.as_str()
                && self.sent.contains(origin.partition(), origin.offset())
        })
    }

    /// What was dead-lettered again.
    pub fn dead_lettered_again(&self) -> &Causes {
        &self.again
    }

    /// Every group that had given up on one of the records.
    pub fn groups(&self) -> &[GroupProgress] {
        &self.groups
    }

    /// Whether all groups have passed all records, so that nothing more can come back. Never true if no record says
    /// which group gave up on it.
    pub fn is_over(&self) -> bool {
        let mut groups = self.groups.iter();
        !self.groups.is_empty() && groups.all(|progress| progress.passed == Some(progress.of))
    }
}

async fn passed(letters: &DeadLetters, target: &Topic, group: &str, sent: &Done) -> Option<u64> {
    let query = MetadataQuery::new()
        .topic(target.as_str())
        .exact_group(group);
    let asked = letters.client.query_metadata(query, letters.timeout);
    let found = asked.await.ok()?;
    let partitions = found.topics.iter().flat_map(|topic| &topic.partitions);
    let passed = partitions.filter_map(|partition| {
        let sent = sent.get(partition.id)?;
        Some(sent.below(partition.committed?))
    });
    Some(passed.sum())
}

impl fmt::Debug for Follow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follow")
            .field("dead_lettered_again", &self.again.count())
            .field("groups", &self.groups)
            .finish_non_exhaustive()
    }
}
