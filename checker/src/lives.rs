//! The lives of topics: what must be handled of deleted records and recreated topics, and by groups that start at the
//! tail. These flows are small and have their own histories, in the folder [`LIVES`] of the run, so that the other
//! flows are judged as strictly as without them. Events are identified by id only, since offsets repeat in a
//! recreated topic.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::anomaly::{Anomaly, Class, Findings};
use crate::history::{Event, FileReader, Outcome, files};

/// The folder of these histories within that of the run.
pub const LIVES: &str = "lives";
/// The maximum delay between storing a record and writing its receipt to the history.
const LATE: u64 = 2_000_000_000;

/// What happened to the events on topics that are deleted, trimmed or recreated.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Lives {
    /// Published, and acknowledged.
    pub stored: u64,
    /// Of these, those that were deleted later.
    pub deleted: u64,
    /// Deleted and not handled, with the groups notified.
    pub told: u64,
    /// Handled, by one group or another.
    pub handled: u64,
    /// Partitions of which the records were deleted, each time.
    pub deletions: u64,
    /// Groups that read them.
    pub groups: u64,
}

impl fmt::Display for Lives {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\nlives of topics: {} events stored, {} of them deleted in {} deletions of a partition; {} groups handled {}, \
             and were told of {}",
            self.stored, self.deleted, self.deletions, self.groups, self.handled, self.told
        )
    }
}

/// Where a record was stored.
#[derive(Clone, Copy)]
struct Place {
    at: u64,
    partition: i32,
    offset: i64,
}

struct Published {
    at: u64,
    topic: String,
    stored: Option<Place>,
}

struct Deletion {
    at: u64,
    below: Option<i64>,
}

struct Word {
    at: u64,
    range: Option<(i64, i64)>,
}

#[derive(Default)]
struct Group {
    topics: BTreeSet<String>,
    /// When its first member was ready, if it started at the tail.
    tail_from: Option<u64>,
    started: HashSet<u64>,
    /// When the first handler of each event was done.
    done: HashMap<u64, u64>,
    told: HashMap<(String, i32), Vec<Word>>,
}

/// A topic and a partition of it.
type Partition = (String, i32);

#[derive(Default)]
struct Seen {
    published: BTreeMap<u64, Published>,
    log: HashMap<u64, (Partition, i64)>,
    deletions: HashMap<Partition, Vec<Deletion>>,
    groups: BTreeMap<String, Group>,
    members: HashMap<String, String>,
    /// By member, partition and offset.
    running: HashMap<(String, i32, i64), u64>,
}

/// Judges the histories in a directory.
pub(crate) fn judge(directory: &Path, findings: &mut Findings) -> Result<Lives> {
    let mut seen = Seen::default();
    let paths = files(directory).with_context(|| format!("reading {}", directory.display()))?;
    // The groups of members must be known before what they did.
    for first in [true, false] {
        for path in &paths {
            let mut reader = FileReader::open(path)?;
            while reader.advance()? {
                let entry = reader.entry()?;
                seen.entry(entry.at, &entry.event, first)
                    .with_context(|| path.display().to_string())?;
            }
        }
    }
    Ok(seen.verdict(findings))
}

/// A topic without the number of its incarnation.
fn base(topic: &str) -> &str {
    topic.split('#').next().unwrap_or(topic)
}

impl Seen {
    fn entry(&mut self, at: u64, event: &Event<'_>, first: bool) -> Result<()> {
        match event {
            Event::Joined(joined) if first => {
                let group = self.groups.entry(joined.group.to_owned()).or_default();
                group
                    .topics
                    .extend(joined.topics.iter().map(|topic| (*topic).to_owned()));
                self.members
                    .insert(joined.member.to_owned(), joined.group.to_owned());
            }
            Event::Publish(publish) if first => {
                let published = Published {
                    at,
                    topic: base(publish.topic).to_owned(),
                    stored: None,
                };
                self.published.insert(publish.id, published);
            }
            _ if first => {}
            Event::Stored(stored) => {
                let published = self.published.get_mut(&stored.id);
                published.context("stored and not published")?.stored = Some(Place {
                    at,
                    partition: stored.partition,
                    offset: stored.offset,
                });
            }
            Event::Record(record) => {
                let partition = (base(record.topic).to_owned(), record.partition);
                if let Some(id) = record.id {
                    self.log.insert(id, (partition, record.offset));
                }
            }
            Event::Deleted(deleted) => {
                let partition = (base(deleted.topic).to_owned(), deleted.partition);
                let below = deleted.below;
                self.deletions
                    .entry(partition)
                    .or_default()
                    .push(Deletion { at, below });
            }
            Event::Ready(ready) if ready.tail => {
                let from = &mut self.group(ready.member)?.tail_from;
                *from = Some(from.map_or(at, |earlier| earlier.min(at)));
            }
            Event::Told(told) => {
                let word = Word {
                    at,
                    range: told.from.zip(told.to),
                };
                let partition = (base(told.topic).to_owned(), told.partition);
                let words = &mut self.group(told.member)?.told;
                words.entry(partition).or_default().push(word);
            }
            Event::Handle(handle) => {
                let place = (handle.member.to_owned(), handle.partition, handle.offset);
                self.running.insert(place, handle.id);
                self.group(handle.member)?.started.insert(handle.id);
            }
            Event::Handled(handled) => {
                let place = (handled.member.to_owned(), handled.partition, handled.offset);
                let id = self.running.remove(&place);
                let id = id.context("handled and not begun")?;
                if handled.outcome == Outcome::Ok {
                    self.group(handled.member)?.done.entry(id).or_insert(at);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn group(&mut self, member: &str) -> Result<&mut Group> {
        let group = self.members.get(member);
        let group = group.and_then(|group| self.groups.get_mut(group));
        group.with_context(|| format!("member {member} did not join"))
    }

    fn verdict(&self, findings: &mut Findings) -> Lives {
        let mut lives = Lives {
            deletions: self.deletions.values().map(|all| all.len() as u64).sum(),
            groups: self.groups.len() as u64,
            ..Lives::default()
        };
        let handled = self.groups.values().map(|group| group.done.len() as u64);
        lives.handled = handled.sum();
        for (id, published) in &self.published {
            // What is in the log must be handled, whatever its publisher was told.
            let Some(stored) = published.stored.or_else(|| self.in_log(*id, published)) else {
                continue;
            };
            lives.stored += u64::from(published.stored.is_some());
            let topic = published.topic.as_str();
            let anomaly = |group: Option<&str>, detail: &str| Anomaly {
                id: Some(*id),
                group: group.map(str::to_owned),
                topic: Some(topic.to_owned()),
                partition: Some(stored.partition),
                offset: Some(stored.offset),
                ..Anomaly::new(Class::LostWrite, detail)
            };
            if self.log.contains_key(id) {
                for (name, group) in self.owed(topic) {
                    if !group.done.contains_key(id) && self.is_for(group, *id, published) {
                        let (class, text) = match self.is_passed(group, *id) {
                            true => (Class::LostWrite, "in the log, and passed over"),
                            false => (Class::Unseen, "in the log, and never handled"),
                        };
                        findings.add(class, None, || anomaly(Some(name), text));
                    }
                }
            } else if self.is_deleted(topic, stored) {
                lives.deleted += 1;
                for (name, group) in self.owed(topic) {
                    if group.done.contains_key(id) || group.tail_from.is_some() {
                        continue;
                    }
                    if self.is_told(group, topic, stored) {
                        lives.told += 1;
                    } else {
                        let text = "deleted before it was handled, and nobody was told";
                        findings.add(Class::SilentGap, None, || anomaly(Some(name), text));
                    }
                }
            } else {
                let text = "acknowledged and not in the log, from which nobody deleted it";
                findings.add(Class::LostWrite, None, || anomaly(None, text));
            }
        }
        lives
    }

    /// The groups of a topic.
    fn owed(&self, topic: &str) -> impl Iterator<Item = (&str, &Group)> {
        let groups = self.groups.iter();
        groups
            .filter(move |(_, group)| group.topics.contains(topic))
            .map(|(name, group)| (name.as_str(), group))
    }

    /// Whether a group has to handle what is in the log at the end. A group that started at the tail must handle what
    /// follows the first record of a partition that it started to handle, as it commits its start before that; and
    /// what was published once it was ready, in a topic that was not recreated since.
    fn is_for(&self, group: &Group, id: u64, published: &Published) -> bool {
        let Some(from) = group.tail_from else {
            return true;
        };
        let Some((partition, offset)) = self.log.get(&id) else {
            return false;
        };
        let began = group.places(self, partition).min();
        began.is_some_and(|began| *offset >= began)
            || published.at >= from && !self.deletions.contains_key(partition)
    }

    /// Whether the group has handled a later record.
    fn is_passed(&self, group: &Group, id: u64) -> bool {
        let Some((partition, offset)) = self.log.get(&id) else {
            return false;
        };
        let last = group.places(self, partition).max();
        last.is_some_and(|last| last > *offset)
    }

    /// The position of a record without a receipt.
    fn in_log(&self, id: u64, published: &Published) -> Option<Place> {
        let ((_, partition), offset) = self.log.get(&id)?;
        Some(Place {
            at: published.at,
            partition: *partition,
            offset: *offset,
        })
    }

    /// Whether the group was notified of what it did not handle. A recreation is reported before the group has been
    /// reading the new topic for long; a later report is about the deletion of that topic.
    fn is_told(&self, group: &Group, topic: &str, stored: Place) -> bool {
        let partition = (topic.to_owned(), stored.partition);
        let mut words = group.told.get(&partition).into_iter().flatten();
        words.any(|word| match word.range {
            Some((from, to)) => (from..to).contains(&stored.offset),
            None => {
                stored.at <= word.at.saturating_add(LATE)
                    && self
                        .went_on(group, &partition, stored)
                        .is_none_or(|from| word.at <= from.saturating_add(LATE))
            }
        })
    }

    /// When the group first handled a record of the next incarnation, for a record that was deleted with its topic.
    fn went_on(&self, group: &Group, partition: &Partition, stored: Place) -> Option<u64> {
        let deletions = self.deletions.get(partition)?.iter();
        let mut deletions = deletions.filter(|deletion| deletion.below.is_none());
        let end = deletions.find(|deletion| stored.at <= deletion.at.saturating_add(LATE))?;
        let of_the_next = group.done.iter().filter(|(id, _)| {
            let published = self.published.get(id);
            published.is_some_and(|published| {
                published.topic == partition.0
                    && published.stored.is_some_and(|other| {
                        other.partition == partition.1 && published.at > end.at.saturating_add(LATE)
                    })
            })
        });
        of_the_next.map(|(_, at)| *at).min()
    }

    fn is_deleted(&self, topic: &str, stored: Place) -> bool {
        let deletions = self.deletions.get(&(topic.to_owned(), stored.partition));
        let mut deletions = deletions.into_iter().flatten();
        deletions.any(|deletion| match deletion.below {
            Some(below) => stored.offset < below,
            None => stored.at <= deletion.at.saturating_add(LATE),
        })
    }
}

impl Group {
    /// The offsets in the log of records that it started to handle.
    fn places<'a>(
        &'a self,
        seen: &'a Seen,
        partition: &'a Partition,
    ) -> impl Iterator<Item = i64> + 'a {
        let places = self.started.iter().filter_map(|id| seen.log.get(id));
        places
            .filter(move |(other, _)| other == partition)
            .map(|(_, offset)| *offset)
    }
}
