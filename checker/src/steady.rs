//! Whether a run without faults is steady: the resources of each process in the first and in the last window of the
//! load.
//!
//! The load lasts from the first `publish` to the last. A window is ten minutes of it, or a sixth if it is shorter
//! than an hour; the first one starts once the load has settled, which takes a minute, or a twelfth of it.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::history::Sample;
use crate::timeline::SECOND;
use crate::world::World;

const SETTLING: u64 = 60 * SECOND;
const WINDOW: u64 = 600 * SECOND;
const MIB: u64 = 1_048_576;
/// This much more memory does not count as growth, nor does a tenth more.
const MEMORY: u64 = 8 * MIB;

/// The columns of the table, each `median / worst` except the last.
pub(crate) const HEAD: [&str; 6] = [
    "memory, MiB",
    "threads",
    "files",
    "in flight",
    "lag",
    "events/s",
];

/// The resources of the processes that sampled throughout the load.
#[derive(Debug, Serialize)]
pub struct Steadiness {
    /// How long the load lasted, in seconds.
    pub load: f64,
    /// How much of its start is left out, in seconds.
    pub settling: f64,
    /// How long each window is, in seconds.
    pub window: f64,
    /// By name.
    pub processes: Vec<Steady>,
    /// What grew, or did not last to the end. Empty if the run was steady.
    pub growths: Vec<Growth>,
}

/// One process.
#[derive(Debug, Serialize)]
pub struct Steady {
    /// Its name.
    pub process: String,
    /// In the first window.
    pub first: Figures,
    /// In the last one.
    pub last: Figures,
}

/// The resources of a process in a window.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Figures {
    /// Resident memory in bytes.
    pub memory: Spread,
    /// Threads.
    pub threads: Spread,
    /// Open files.
    pub files: Spread,
    /// Events without an outcome, or records read but not done.
    pub in_flight: Spread,
    /// Records that it was behind; only of members.
    pub lag: Option<Spread>,
    /// Events handled, or else published, per second.
    pub rate: f64,
}

/// The samples of a window in short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Spread {
    /// The median.
    pub median: u64,
    /// The largest.
    pub max: u64,
}

/// A figure that grew from the first window to the last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Growth {
    /// Of which process.
    pub process: String,
    /// Which figure, and from what to what.
    pub what: String,
}

impl fmt::Display for Growth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.process, self.what)
    }
}

/// The samples of a run, in order of time.
#[derive(Debug)]
pub(crate) struct Samples {
    /// Not required with faults, which make a run unsteady on purpose.
    wanted: bool,
    load: Option<(u64, u64)>,
    by_process: BTreeMap<u32, Vec<(u64, Sample)>>,
}

impl Samples {
    pub(crate) fn new(world: &World) -> Self {
        Self {
            wanted: world.faults.is_empty(),
            load: None,
            by_process: BTreeMap::new(),
        }
    }

    pub(crate) fn published(&mut self, at: u64) {
        self.load.get_or_insert((at, at)).1 = at;
    }

    pub(crate) fn sample(&mut self, at: u64, process: u32, sample: Sample) {
        if self.wanted {
            let samples = self.by_process.entry(process).or_default();
            samples.push((at, sample));
        }
    }

    pub(crate) fn finish(&self, world: &World) -> Option<Steadiness> {
        let (begin, end) = self.load?;
        let load = end - begin;
        let (settling, window) = (SETTLING.min(load / 12), WINDOW.min(load / 6));
        let settled = begin + settling;
        // A process need not sample at the exact start and end.
        let missed = window / 10;
        let mut processes = Vec::new();
        let mut growths = Vec::new();
        for (number, samples) in &self.by_process {
            let process = world.processes[*number as usize].name.clone();
            let first = between(samples, settled, settled + window);
            let last = between(samples, end - window, end);
            let is_member = world.members.iter().any(|it| it.process == *number);
            if let (Some((from, _)), Some((to, _))) = (first.first(), last.last())
                && *from <= settled + missed
                && *to + missed >= end
                && let Some(first) = figures(first, is_member)
                && let Some(last) = figures(last, is_member)
            {
                processes.push(Steady {
                    process,
                    first,
                    last,
                });
            } else {
                let what = "no samples from the begin of the load to its end".to_owned();
                growths.push(Growth { process, what });
            }
        }
        if processes.is_empty() {
            return None;
        }
        growths.extend(processes.iter().flat_map(Steady::growths));
        processes.sort_by(|one, other| one.process.cmp(&other.process));
        let seconds = |nanos: u64| nanos as f64 / 1e9;
        Some(Steadiness {
            load: seconds(load),
            settling: seconds(settling),
            window: seconds(window),
            growths,
            processes,
        })
    }
}

fn between(samples: &[(u64, Sample)], from: u64, to: u64) -> &[(u64, Sample)] {
    let first = samples.partition_point(|(at, _)| *at < from);
    let after = samples.partition_point(|(at, _)| *at <= to);
    &samples[first..after]
}

/// The figures of a window; `None` for a single sample, which has no rate.
fn figures(samples: &[(u64, Sample)], is_member: bool) -> Option<Figures> {
    let [(from, first), .., (to, last)] = samples else {
        return None;
    };
    let spread = |of: fn(&Sample) -> u64| {
        let mut values: Vec<_> = samples.iter().map(|(_, sample)| of(sample)).collect();
        values.sort_unstable();
        Spread {
            median: values[values.len() / 2],
            max: values[values.len() - 1],
        }
    };
    let count = |sample: &Sample| match last.handled {
        0 => sample.published,
        _ => sample.handled,
    };
    let seconds = (to - from).max(1) as f64 / 1e9;
    Some(Figures {
        memory: spread(|sample| sample.rss),
        threads: spread(|sample| sample.threads),
        files: spread(|sample| sample.fds),
        in_flight: spread(|sample| sample.in_flight),
        lag: is_member.then(|| spread(|sample| sample.lag)),
        rate: count(last).saturating_sub(count(first)) as f64 / seconds,
    })
}

impl Steady {
    /// Memory must grow in the median, by a tenth and by [`MEMORY`]. Threads and files that come and go are not
    /// growth, so their last median is compared with the maximum of the first window. A member may be as far behind
    /// as it handles in a second, and no process may become half as fast.
    fn growths(&self) -> Vec<Growth> {
        let (first, last) = (&self.first, &self.last);
        let mut growths = Vec::new();
        let mut grew = |what: String| {
            let process = self.process.clone();
            growths.push(Growth { process, what });
        };
        let (before, now) = (first.memory.median, last.memory.median);
        if now > before + MEMORY && now > before + before / 10 {
            grew(format!(
                "memory from {} to {} MiB in the median",
                mib(before),
                mib(now)
            ));
        }
        for (name, before, now) in [
            ("threads", first.threads, last.threads),
            ("open files", first.files, last.files),
        ] {
            if now.median > before.max {
                let (before, now) = (before.max, now.median);
                grew(format!(
                    "{name} from at most {before} to {now} in the median"
                ));
            }
        }
        if last.rate < first.rate / 2.0 {
            grew(format!(
                "{:.1} events a second became {:.1}",
                first.rate, last.rate
            ));
        }
        if let Some(lag) = last.lag
            && lag.median as f64 > last.rate
        {
            grew(format!(
                "lag of {} records in the median, at {:.1} handled a second",
                lag.median, last.rate
            ));
        }
        growths
    }
}

impl Figures {
    pub(crate) fn cells(&self) -> [String; 6] {
        let plain = |spread: Spread| format!("{} / {}", spread.median, spread.max);
        [
            format!("{} / {}", mib(self.memory.median), mib(self.memory.max)),
            plain(self.threads),
            plain(self.files),
            plain(self.in_flight),
            self.lag.map_or_else(|| "-".to_owned(), plain),
            format!("{:.1}", self.rate),
        ]
    }
}

fn mib(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / MIB as f64)
}

impl Steadiness {
    /// What the windows are.
    pub(crate) fn windows(&self) -> String {
        format!(
            "the first and the last {:.0} s of {:.0} s of load, without the {:.0} s in which it settles",
            self.window, self.load, self.settling
        )
    }
}

impl fmt::Display for Steadiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f)?;
        let mut row = |name: &str, cells: [&str; 6]| {
            write!(f, "{name:<20}")?;
            for (cell, width) in cells.into_iter().zip([16, 12, 12, 14, 14, 10]) {
                write!(f, " {cell:>width$}")?;
            }
            writeln!(f)
        };
        row("steadiness", HEAD)?;
        for steady in &self.processes {
            let (first, last) = (steady.first.cells(), steady.last.cells());
            row(&steady.process, first.each_ref().map(String::as_str))?;
            row("", last.each_ref().map(String::as_str))?;
        }
        writeln!(f, "median / worst in {}", self.windows())?;
        if self.growths.is_empty() {
            return writeln!(f, "flat");
        }
        for growth in &self.growths {
            writeln!(f, "not flat: {growth}")?;
        }
        Ok(())
    }
}
