//! How soon events flow again after a fault: the library's probe compared with that of bare
//! librdkafka.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use checker::history::{Event, FileReader, Phase};

use super::fault;
use crate::roles::lane::{Kind, PARTITIONS, arrivals_path};

const MILLI: u64 = 1_000_000;
/// Bytes of arrivals that cover a few seconds.
const LAST: u64 = 64 * 1024;
/// Later than this after a fault's end, nothing is attributed to it.
const HORIZON: u64 = 90_000 * MILLI;

/// When events of each partition arrived, in nanoseconds.
type Arrivals = BTreeMap<i32, Vec<u64>>;

/// Waits until both probes have events from every partition, at most as long as anything is attributed to a fault.
pub(super) fn wait_for_flow(history: &Path) -> Result<()> {
    let from = now();
    while now() < from + HORIZON {
        let mut flows = true;
        for probe in Kind::ALL {
            let arrivals = last_arrivals(&arrivals_path(history, probe))?;
            let fresh = arrivals.values().filter(|times| times.last() > Some(&from));
            flows &= i32::try_from(fresh.count())? == PARTITIONS;
        }
        if flows {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(500));
    }
    Ok(())
}

fn now() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

struct Span {
    kind: String,
    begin: u64,
    end: u64,
}

/// The times of one probe for one kind of fault, in milliseconds.
#[derive(Default)]
struct Times {
    after_end: Vec<u64>,
    silence: Vec<u64>,
}

/// A table: for each kind of fault and probe, the median and the worst time. Also written to `recovery.txt`.
pub(super) fn table(history: &Path) -> Result<String> {
    let faults = faults(&history.join("torture.ndjson"))?;
    let mut text = String::from(
        "milliseconds                from the end of the fault    longest silence of a partition\n\
         fault              probe        n   median    worst        median    worst\n",
    );
    let mut probes = Vec::new();
    for probe in Kind::ALL {
        probes.push((probe, arrivals(&arrivals_path(history, probe))?));
    }
    let kinds = fault::Kind::all().into_iter();
    for kind in kinds.filter(|kind| kind.reaches_probes()) {
        let kind = kind.word();
        let spans: Vec<_> = faults.iter().filter(|span| span.kind == kind).collect();
        if spans.is_empty() {
            continue;
        }
        for (probe, arrivals) in &probes {
            let mut times = Times::default();
            for span in &spans {
                times.add(span, arrivals);
            }
            let (after, silence) = (&mut times.after_end, &mut times.silence);
            writeln!(
                text,
                "{kind:<18} {:<9} {:>4} {:>8} {:>8}      {:>8} {:>8}",
                probe.word(),
                spans.len(),
                median(after),
                after.last().copied().unwrap_or_default(),
                median(silence),
                silence.last().copied().unwrap_or_default(),
            )?;
        }
    }
    fs::write(history.join("recovery.txt"), &text)?;
    Ok(text)
}

impl Times {
    fn add(&mut self, span: &Span, arrivals: &Arrivals) {
        let horizon = span.end + HORIZON;
        let (mut after_end, mut silence) = (0, 0);
        for times in arrivals.values() {
            let from = times.partition_point(|at| *at < span.begin);
            let first = times.partition_point(|at| *at < span.end);
            let next = times.get(first).copied().unwrap_or(horizon).min(horizon);
            after_end = after_end.max(next - span.end);
            // From the last arrival before the fault to the first after it; later gaps belong to another fault.
            let seen = &times[from.saturating_sub(1)..(first + 1).min(times.len())];
            let gaps = seen.windows(2).map(|pair| pair[1] - pair[0]);
            silence = silence.max(gaps.max().unwrap_or(horizon - span.begin));
        }
        self.after_end.push(after_end / MILLI);
        self.silence.push(silence / MILLI);
    }
}

fn median(times: &mut [u64]) -> u64 {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn faults(path: &Path) -> Result<Vec<Span>> {
    let mut reader = FileReader::open(path)?;
    let mut open: Vec<(String, String, u64)> = Vec::new();
    let mut spans = Vec::new();
    while reader.advance()? {
        let entry = reader.entry()?;
        let Event::Fault(fault) = entry.event else {
            continue;
        };
        if fault.phase == Phase::Begin {
            open.push((fault.kind.into(), fault.target.into(), entry.at));
        } else if let Some(at) = open
            .iter()
            .position(|(kind, target, _)| *kind == fault.kind && *target == fault.target)
        {
            let (kind, _, begin) = open.swap_remove(at);
            spans.push(Span {
                kind,
                begin,
                end: entry.at,
            });
        }
    }
    Ok(spans)
}

fn arrivals(path: &Path) -> Result<Arrivals> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    Ok(parse(&text))
}

/// The arrivals of the last seconds; a line that is cut does not count.
fn last_arrivals(path: &Path) -> Result<Arrivals> {
    let mut file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LAST)))?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    let whole = if length > LAST {
        text.split_once('\n')
    } else {
        None
    };
    Ok(parse(whole.map_or(&text, |(_, whole)| whole)))
}

fn parse(text: &str) -> Arrivals {
    let mut arrivals = Arrivals::new();
    for line in text.lines() {
        // The last line may be incomplete.
        if let Some((at, partition)) = line.split_once(' ')
            && let (Ok(at), Ok(partition)) = (at.parse(), partition.parse())
        {
            arrivals.entry(partition).or_default().push(at);
        }
    }
    arrivals
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_partition_counts() {
        let span = Span {
            kind: "broker-killed".to_owned(),
            begin: 1_000 * MILLI,
            end: 3_000 * MILLI,
        };
        let steady = (0..100).map(|n| n * 50 * MILLI).collect();
        let stalled = vec![980 * MILLI, 3_400 * MILLI, 3_450 * MILLI];
        let mut times = Times::default();
        times.add(&span, &BTreeMap::from([(0, steady), (1, stalled)]));
        assert_eq!((times.after_end, times.silence), (vec![400], vec![2_420]));
    }
}
