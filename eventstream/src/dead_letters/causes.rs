use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, SystemTime};

use super::fold::fold;
use super::letter::Letter;
use crate::subscribe::{DeadLetterOrigin, DeadLetterReason};

/// What dead letters are grouped by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum By {
    /// Reason, event name, folded error and group.
    #[default]
    Cause,
    /// Reason.
    Reason,
    /// Event name.
    Name,
    /// Error with its variable parts folded.
    Error,
    /// Group.
    Group,
    /// Record key.
    Key,
    /// Hour of the record's timestamp.
    Hour,
}

/// What some dead letters have in common, and how many there are. Properties they are not grouped by are absent.
#[derive(Clone, Debug)]
pub struct Cause {
    common: Common,
    count: u64,
    oldest: Option<i64>,
    newest: Option<i64>,
    /// Counts by time in ms, shifted right by the list's `coarse`.
    times: BTreeMap<i64, u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Common {
    reason: Option<DeadLetterReason>,
    name: Option<String>,
    error: Option<String>,
    group: Option<String>,
    key: Option<Vec<u8>>,
    hour: Option<i64>,
}

/// Causes, most frequent first.
#[derive(Clone, Debug, Default)]
pub struct Causes {
    by: By,
    list: Vec<Cause>,
    places: HashMap<Common, usize>,
    others: u64,
    coarse: u32,
}

/// The maximum number of causes kept apart; there may be as many keys as records.
const MOST: usize = 10_000;
/// The maximum number of points in time kept for a cause.
const POINTS: usize = 512;
const HOUR: i64 = 3_600_000;

impl Causes {
    pub(super) fn by(by: By) -> Self {
        Self {
            by,
            ..Self::default()
        }
    }

    /// The causes: at most 10,000, see [`others`](Self::others).
    pub fn list(&self) -> &[Cause] {
        &self.list
    }

    /// How many dead letters there are in total.
    pub fn count(&self) -> u64 {
        self.list.iter().map(Cause::count).sum::<u64>() + self.others
    }

    /// How many dead letters belong to causes beyond the first 10,000 found.
    pub fn others(&self) -> u64 {
        self.others
    }

    /// Splits the time from the oldest of all dead letters here to the newest into this many equal parts, and counts
    /// those of the cause in each.
    pub fn over_time(&self, cause: &Cause, parts: usize) -> Vec<u64> {
        let mut counts = vec![0; parts];
        let ends = self
            .list
            .iter()
            .filter_map(|c| Some((c.oldest?, c.newest?)));
        let ends = ends.reduce(|(a, b), (c, d)| (a.min(c), b.max(d)));
        let Some((oldest, newest)) = ends.filter(|_| parts > 0) else {
            return counts;
        };
        let whole = i128::from(newest) - i128::from(oldest) + 1;
        for (point, count) in &cause.times {
            // The middle of the times that were merged.
            let width = 1_i128 << self.coarse;
            let time = (i128::from(*point) * width + width / 2)
                .clamp(i128::from(oldest), i128::from(newest));
            let part = (time - i128::from(oldest)) * parts as i128 / whole;
            counts[usize::try_from(part).unwrap_or(0).min(parts - 1)] += count;
        }
        counts
    }

    pub(super) fn add(&mut self, letter: &Letter) {
        let common = self.common(letter);
        let at = match self.places.get(&common) {
            Some(at) => *at,
            None if self.list.len() >= MOST => {
                self.others += 1;
                return;
            }
            None => {
                self.places.insert(common.clone(), self.list.len());
                self.list.push(Cause {
                    common,
                    count: 0,
                    oldest: None,
                    newest: None,
                    times: BTreeMap::new(),
                });
                self.list.len() - 1
            }
        };
        let cause = &mut self.list[at];
        cause.count += 1;
        let Some(time) = letter.raw().timestamp_ms else {
            return;
        };
        cause.oldest = Some(cause.oldest.map_or(time, |oldest| oldest.min(time)));
        cause.newest = Some(cause.newest.map_or(time, |newest| newest.max(time)));
        *cause.times.entry(time >> self.coarse).or_default() += 1;
        if cause.times.len() > POINTS {
            self.coarsen();
        }
    }

    /// Halves the number of points in time.
    fn coarsen(&mut self) {
        self.coarse += 1;
        for cause in &mut self.list {
            let mut times = BTreeMap::new();
            for (point, count) in &cause.times {
                *times.entry(point >> 1).or_default() += count;
            }
            cause.times = times;
        }
    }

    fn common(&self, letter: &Letter) -> Common {
        let origin = letter.origin();
        let all = self.by == By::Cause;
        let wants = |by| all || self.by == by;
        let time = letter.raw().timestamp_ms;
        Common {
            reason: origin
                .filter(|_| wants(By::Reason))
                .map(DeadLetterOrigin::reason),
            name: origin
                .filter(|_| wants(By::Name))
                .and_then(|origin| Some(origin.event_name()?.to_owned())),
            error: origin
                .filter(|_| wants(By::Error))
                .map(|origin| fold(origin.error())),
            group: origin
                .filter(|_| wants(By::Group))
                .map(|origin| origin.group().to_owned()),
            key: letter
                .context()
                .key()
                .filter(|_| self.by == By::Key)
                .map(<[u8]>::to_vec),
            hour: time
                .filter(|_| self.by == By::Hour)
                .map(|time| time.div_euclid(HOUR) * HOUR),
        }
    }

    /// Most frequent first; hours in chronological order.
    pub(super) fn sorted(mut self) -> Self {
        let by_hour = self.by == By::Hour;
        self.list.sort_by(|a, b| {
            let by_count = b.count.cmp(&a.count);
            let order = if by_hour {
                std::cmp::Ordering::Equal
            } else {
                by_count
            };
            order.then_with(|| a.common.cmp(&b.common))
        });
        self.places = self
            .list
            .iter()
            .enumerate()
            .map(|(at, cause)| (cause.common.clone(), at))
            .collect();
        self
    }
}

impl Cause {
    /// Why they were dead-lettered; `None` also if their headers do not say so.
    pub fn reason(&self) -> Option<DeadLetterReason> {
        self.common.reason
    }

    /// The name of their events; `None` also if they are not events.
    pub fn name(&self) -> Option<&str> {
        self.common.name.as_deref()
    }

    /// Their error with `<id>`, `<n>`, `<addr>`, `<time>` and `…` in place of the variable parts; empty if there is
    /// none.
    pub fn error(&self) -> &str {
        self.common.error.as_deref().unwrap_or_default()
    }

    /// The group that gave up on them, by its name on the broker.
    pub fn group(&self) -> Option<&str> {
        self.common.group.as_deref()
    }

    /// Their key.
    pub fn key(&self) -> Option<&[u8]> {
        self.common.key.as_deref()
    }

    /// The start of their hour.
    pub fn hour(&self) -> Option<SystemTime> {
        self.common.hour.and_then(time)
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The time of the oldest.
    pub fn oldest(&self) -> Option<SystemTime> {
        self.oldest.and_then(time)
    }

    /// The time of the newest.
    pub fn newest(&self) -> Option<SystemTime> {
        self.newest.and_then(time)
    }
}

fn time(millis: i64) -> Option<SystemTime> {
    let after = Duration::from_millis(u64::try_from(millis).unwrap_or(0));
    SystemTime::UNIX_EPOCH.checked_add(after)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::name::Topic;
    use crate::publish::NoPublisher;
    use crate::record::{Record, Source};

    fn letter(name: &str, error: &str, time: i64) -> Letter {
        let origin = DeadLetterOrigin {
            reason: DeadLetterReason::Exhausted,
            error: error.to_owned(),
            attempts: 1,
            topic: "t".to_owned(),
            partition: 0,
            offset: 0,
            timestamp_ms: Some(time),
            group: ".g".to_owned(),
            event_name: Some(name.to_owned()),
            replays: 0,
        };
        Letter::new(&Arc::new(Record {
            source: Arc::new(Source {
                topic: Topic::new("t-dlq").expect("valid"),
                partition: 0,
                lost: CancellationToken::new(),
                publisher: Arc::new(NoPublisher),
            }),
            offset: 0,
            timestamp_ms: Some(time),
            body: Arc::from(name.as_bytes()),
            key: Some(0..name.len()),
            value: None,
            headers: Some(origin.headers().collect()),
            event: None,
        }))
    }

    #[test]
    fn records_of_one_cause_are_counted_together_the_most_frequent_first() {
        let mut causes = Causes::by(By::Cause);
        for n in 0..10 {
            causes.add(&letter("a", &format!("no player {n}"), 1000 + n));
        }
        causes.add(&letter("b", "no player 3", 50));
        let causes = causes.sorted();
        let [a, b] = causes.list() else {
            panic!("{causes:?}");
        };
        assert_eq!(
            (a.name(), a.error(), a.count()),
            (Some("a"), "no player <n>", 10)
        );
        assert_eq!((a.oldest(), a.newest()), (time(1000), time(1009)));
        assert_eq!((b.name(), b.group(), b.count()), (Some("b"), Some(".g"), 1));
        assert_eq!(causes.count(), 11);
    }

    #[test]
    fn what_they_are_not_put_together_by_is_absent() {
        for by in [
            By::Reason,
            By::Name,
            By::Error,
            By::Group,
            By::Key,
            By::Hour,
        ] {
            let mut causes = Causes::by(by);
            causes.add(&letter("a", "e", HOUR + 7));
            let cause = &causes.list()[0];
            assert_eq!(cause.reason().is_some(), by == By::Reason);
            assert_eq!(cause.name().is_some(), by == By::Name);
            assert_eq!(cause.error() == "e", by == By::Error);
            assert_eq!(cause.group().is_some(), by == By::Group);
            assert_eq!(cause.key().is_some(), by == By::Key);
            assert_eq!(cause.hour() == time(HOUR), by == By::Hour);
        }
    }

    #[test]
    fn counts_over_time_stay_right_when_they_are_kept_more_coarsely() {
        const COUNT: i64 = 4096;
        let mut causes = Causes::by(By::Cause);
        for n in 0..COUNT {
            causes.add(&letter("a", "e", n * 1_000));
        }
        let cause = &causes.list()[0];
        assert!(cause.times.len() <= POINTS);
        let parts = causes.over_time(cause, 4);
        assert_eq!(parts.iter().sum::<u64>(), COUNT as u64);
        for part in parts {
            assert!(part.abs_diff(COUNT as u64 / 4) <= 16, "{part}");
        }
    }

    #[test]
    fn more_causes_than_are_told_apart_are_counted() {
        let mut causes = Causes::by(By::Key);
        for n in 0..MOST + 5 {
            causes.add(&letter(&n.to_string(), "e", 0));
        }
        assert_eq!((causes.list().len(), causes.others()), (MOST, 5));
        assert_eq!(causes.count(), MOST as u64 + 5);
    }
}
