//! Medians and ratios: a table to read, and a JSON line to keep.

use anyhow::Result;
use serde::Serialize;

use crate::measure::{Figures, median, quartiles};
use crate::observed::Observing;
use crate::scenario::Scenario;

/// One figure of one scenario.
#[derive(Serialize)]
pub(crate) struct Row {
    scenario: String,
    figure: &'static str,
    floor: f64,
    ours: f64,
    /// The median of each pair's ratio, ours to the floor's.
    ratio: f64,
    /// Between these lies the middle half of the pairs' ratios: what one run is good for.
    middle_half: [f64; 2],
    budget: f64,
    kept: bool,
}

/// Whether a figure should be high or low.
#[derive(Clone, Copy)]
enum Budget {
    AtLeast(f64),
    AtMost(f64),
}

type Reading = (&'static str, fn(&Figures) -> f64, Budget);

const RATE: fn(&Figures) -> f64 = |f| f.rate;
const CPU: fn(&Figures) -> f64 = |f| f.cpu;
const P50: fn(&Figures) -> f64 = |f| f.p50;
const P99: fn(&Figures) -> f64 = |f| f.p99;

fn readings(scenario: Scenario, observing: Observing) -> Vec<Reading> {
    let of_cpu = |budget| vec![("CPU us/event", CPU, budget)];
    match observing {
        Observing::Nothing => beside_the_floor(scenario),
        Observing::Metrics => of_cpu(Budget::AtMost(1.1)),
        Observing::Tracer1 => of_cpu(Budget::AtMost(1.2)),
        Observing::Tracer100 => of_cpu(Budget::AtMost(2.5)),
        Observing::Bridge1 | Observing::Bridge100 => of_cpu(Budget::AtMost(f64::INFINITY)),
    }
}

fn beside_the_floor(scenario: Scenario) -> Vec<Reading> {
    match scenario {
        Scenario::All | Scenario::Payload => vec![
            ("events/s", RATE, Budget::AtLeast(0.9)),
            ("CPU us/event", CPU, Budget::AtMost(1.1)),
        ],
        Scenario::One => vec![
            ("p50 us", P50, Budget::AtMost(1.2)),
            ("p99 us", P99, Budget::AtMost(1.2)),
        ],
        Scenario::Hundred => vec![
            ("events/s", RATE, Budget::AtLeast(0.9)),
            ("CPU us/event", CPU, Budget::AtMost(f64::INFINITY)),
        ],
        Scenario::Fresh => vec![
            ("events/s", RATE, Budget::AtLeast(0.9)),
            ("CPU us/event", CPU, Budget::AtMost(1.2)),
        ],
        Scenario::Consume => vec![
            ("events/s", RATE, Budget::AtLeast(1.0)),
            ("CPU us/event", CPU, Budget::AtMost(1.1)),
        ],
        Scenario::Batches => vec![
            ("events/s", RATE, Budget::AtLeast(0.9)),
            ("CPU us/event", CPU, Budget::AtMost(1.0)),
        ],
        Scenario::Copy => vec![
            ("events/s", RATE, Budget::AtLeast(0.7)),
            ("CPU us/event", CPU, Budget::AtMost(f64::INFINITY)),
        ],
        Scenario::CopyKeys => vec![("events/s", RATE, Budget::AtLeast(0.8))],
        // Here the floor is the cost of the handlers alone.
        Scenario::Keys => vec![("events/s", RATE, Budget::AtLeast(0.9))],
    }
}

pub(crate) fn rows(
    scenario: Scenario,
    observing: Observing,
    pairs: &[(Figures, Figures)],
) -> Vec<Row> {
    let each = |f: &dyn Fn(&(Figures, Figures)) -> f64| pairs.iter().map(f).collect();
    readings(scenario, observing)
        .into_iter()
        .map(|(figure, read, budget)| {
            let [low, ratio, high] = quartiles(each(&|(floor, ours)| read(ours) / read(floor)));
            let (limit, kept) = match budget {
                Budget::AtLeast(limit) => (limit, ratio >= limit),
                Budget::AtMost(limit) => (limit, ratio <= limit),
            };
            Row {
                scenario: format!("{}{}", scenario.name(), observing.name()),
                figure,
                floor: median(each(&|(floor, _)| read(floor))),
                ours: median(each(&|(_, ours)| read(ours))),
                ratio,
                middle_half: [low, high],
                budget: limit,
                kept,
            }
        })
        .collect()
}

pub(crate) fn print(rows: &[Row]) -> Result<()> {
    println!(
        "{:<47} {:<13} {:>10} {:>10} {:>6}  {:<11}  budget",
        "scenario", "figure", "floor", "ours", "ratio", "half lie in"
    );
    for row in rows {
        let budget = match (row.budget.is_finite(), row.kept) {
            (false, _) => "none".to_owned(),
            (true, true) => format!("{} kept", row.budget),
            (true, false) => format!("{} MISSED", row.budget),
        };
        let digits = usize::from(row.floor < 1000.0) * 2;
        println!(
            "{:<47} {:<13} {:>10.digits$} {:>10.digits$} {:>6.2}  {:<11}  {budget}",
            row.scenario,
            row.figure,
            row.floor,
            row.ours,
            row.ratio,
            format!("{:.2}-{:.2}", row.middle_half[0], row.middle_half[1])
        );
    }
    println!("{}", serde_json::to_string(rows)?);
    Ok(())
}
