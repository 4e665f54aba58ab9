//! The combined history of several members: nothing missing, nothing handled twice without a reason, no key in two
//! places at once.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::path::Path;
use std::time::Duration;

/// One call of a handler.
#[derive(Clone, Debug)]
pub(crate) struct Handled {
    pub(crate) start: u128,
    /// `None` if the member was killed before.
    pub(crate) end: Option<u128>,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) number: usize,
    pub(crate) key: String,
    pub(crate) outcome: Outcome,
}

/// How a call ended, if it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    /// It is to be retried.
    Failed,
    Rejected,
}

impl Handled {
    /// It does not have to be handled again.
    fn is_over(&self) -> bool {
        self.end.is_some() && self.outcome != Outcome::Failed
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Left,
    Killed(u128),
}

/// The life of one process.
pub(crate) struct Run {
    pub(crate) member: String,
    pub(crate) fate: Fate,
    pub(crate) handled: Vec<Handled>,
}

/// Reads a member's log.
pub(crate) fn read(log: &Path) -> Vec<Handled> {
    let text = std::fs::read_to_string(log).expect("a log");
    let mut handled: Vec<Handled> = Vec::new();
    let mut open: HashMap<(i32, i64), usize> = HashMap::new();
    for line in text.lines() {
        let words: Vec<_> = line.split(' ').collect();
        let &[what, at, partition, offset, number, key] = &words[..] else {
            continue;
        };
        let at: u128 = at.parse().expect("a time");
        let partition: i32 = partition.parse().expect("a partition");
        let offset: i64 = offset.parse().expect("an offset");
        if what == "start" {
            open.insert((partition, offset), handled.len());
            handled.push(Handled {
                start: at,
                end: None,
                partition,
                offset,
                number: number.parse().expect("a number"),
                key: key.to_owned(),
                outcome: Outcome::Done,
            });
        } else {
            let begun = open.remove(&(partition, offset)).expect("begun before");
            handled[begun].end = Some(at);
            handled[begun].outcome = match what {
                "fail" => Outcome::Failed,
                "reject" => Outcome::Rejected,
                _ => Outcome::Done,
            };
        }
    }
    handled
}

/// The verdict over all runs.
#[derive(Default)]
pub(crate) struct Verdict {
    pub(crate) published: usize,
    pub(crate) handled: usize,
    pub(crate) missing: Vec<usize>,
    /// Handled again after the member that had handled it was killed before it committed.
    pub(crate) again_after_kill: usize,
    /// How long before the kill the oldest of them was handled.
    pub(crate) oldest_uncommitted: Duration,
    /// Handled again although no member was killed.
    pub(crate) again_without_reason: Vec<String>,
    /// Handlers of one key that ran concurrently.
    pub(crate) at_once: Vec<String>,
    /// Within one run, a key whose offsets decreased.
    pub(crate) out_of_order: Vec<String>,
    /// Over all runs, an event that was first done after a later one of its key.
    pub(crate) overtaken: Vec<String>,
    pub(crate) runs: usize,
    pub(crate) killed: usize,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} published, {} handled, {} missing; {} runs, {} killed: {} again (the oldest {:?} before the kill); {} \
             again without a kill, {} at once, {} out of order, {} overtaken",
            self.published,
            self.handled,
            self.missing.len(),
            self.runs,
            self.killed,
            self.again_after_kill,
            self.oldest_uncommitted,
            self.again_without_reason.len(),
            self.at_once.len(),
            self.out_of_order.len(),
            self.overtaken.len()
        )
    }
}

/// Judges the runs of all members against the numbers `0..published`.
pub(crate) fn judge(published: usize, runs: &[Run]) -> Verdict {
    let mut verdict = Verdict {
        published,
        runs: runs.len(),
        handled: runs
            .iter()
            .flat_map(|run| &run.handled)
            .filter(|h| h.is_over())
            .count(),
        killed: runs.iter().filter(|run| run.fate != Fate::Left).count(),
        ..Verdict::default()
    };
    count(&mut verdict, runs);
    overlaps(&mut verdict, runs);
    order(&mut verdict, runs);
    overtaking(&mut verdict, runs);
    verdict
}

fn count(verdict: &mut Verdict, runs: &[Run]) {
    let mut calls: BTreeMap<usize, Vec<(&Run, &Handled)>> = BTreeMap::new();
    for run in runs {
        for handled in run.handled.iter().filter(|h| h.is_over()) {
            calls
                .entry(handled.number)
                .or_default()
                .push((run, handled));
        }
    }
    verdict.missing = (0..verdict.published)
        .filter(|number| !calls.contains_key(number))
        .collect();
    for (number, mut calls) in calls {
        calls.sort_by_key(|(_, handled)| handled.start);
        for pair in calls.windows(2) {
            let ((before, first), (after, second)) = (pair[0], pair[1]);
            match before.fate {
                Fate::Killed(at) if at < second.start => {
                    verdict.again_after_kill += 1;
                    let age = at.saturating_sub(first.end.unwrap_or(at));
                    let age = Duration::from_nanos(u64::try_from(age).unwrap_or(u64::MAX));
                    verdict.oldest_uncommitted = verdict.oldest_uncommitted.max(age);
                }
                _ => verdict.again_without_reason.push(format!(
                    "{number} (partition {} offset {}): {} at {}, {} at {}",
                    first.partition,
                    first.offset,
                    before.member,
                    first.start,
                    after.member,
                    second.start
                )),
            }
        }
    }
}

fn overlaps(verdict: &mut Verdict, runs: &[Run]) {
    let mut by_key: HashMap<&str, Vec<(u128, u128, &Run, &Handled)>> = HashMap::new();
    for run in runs {
        for handled in &run.handled {
            let last = match run.fate {
                Fate::Killed(at) => at,
                Fate::Left => u128::MAX,
            };
            let end = handled.end.unwrap_or(last);
            by_key
                .entry(&handled.key)
                .or_default()
                .push((handled.start, end, run, handled));
        }
    }
    for (key, mut calls) in by_key {
        calls.sort_by_key(|(start, ..)| *start);
        for pair in calls.windows(2) {
            if pair[0].1 > pair[1].0 {
                verdict.at_once.push(format!(
                    "{key}: {} number {} until {}, {} number {} from {}",
                    pair[0].2.member,
                    pair[0].3.number,
                    pair[0].1,
                    pair[1].2.member,
                    pair[1].3.number,
                    pair[1].0
                ));
            }
        }
    }
}

fn order(verdict: &mut Verdict, runs: &[Run]) {
    for run in runs {
        let mut last: HashMap<&str, &Handled> = HashMap::new();
        for handled in &run.handled {
            let Some(before) = last.insert(&handled.key, handled) else {
                continue;
            };
            let again = before.outcome == Outcome::Failed && before.offset == handled.offset;
            let before = before.offset;
            if before >= handled.offset && !again {
                verdict.out_of_order.push(format!(
                    "{} key {}: {before}, then {}",
                    run.member, handled.key, handled.offset
                ));
            }
        }
    }
}

fn overtaking(verdict: &mut Verdict, runs: &[Run]) {
    let mut calls: Vec<_> = runs.iter().flat_map(|run| &run.handled).collect();
    calls.retain(|handled| handled.is_over());
    calls.sort_by_key(|handled| handled.start);
    let mut furthest: HashMap<&str, i64> = HashMap::new();
    let mut done = HashSet::new();
    for handled in calls {
        if !done.insert(handled.number) {
            continue;
        }
        let furthest = furthest.entry(&handled.key).or_insert(-1);
        if *furthest > handled.offset {
            verdict.overtaken.push(format!(
                "key {}: {} after {furthest}",
                handled.key, handled.offset
            ));
        }
        *furthest = handled.offset.max(*furthest);
    }
}
