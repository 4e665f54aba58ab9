//! The tables: both sides at each size, and a JSON line to keep.

use anyhow::Result;
use serde::Serialize;

use super::figures::Figures;
use super::{Measured, Size};
use crate::measure::median;

/// One figure at one size.
#[derive(Serialize)]
struct Row {
    size: Size,
    figure: &'static str,
    ours: f64,
    floor: f64,
    /// The median of each pair's ratio, ours to the floor's.
    ratio: f64,
}

type Reading = (&'static str, fn(&Figures, Size) -> f64);

const READINGS: &[Reading] = &[
    ("threads", |f, _| f.threads),
    ("  for each group", |f, size| f.threads / per(size.groups)),
    ("memory MiB", |f, _| f.memory),
    ("  KiB for each partition", |f, size| {
        (f.memory - f.empty) * 1024.0 / per(size.assigned())
    }),
    ("CPU idle ms/s", |f, _| f.idle),
    ("all starts fixed s", |f, _| f.assigned),
    ("an event of each read s", |f, _| f.read),
    ("  CPU s", |f, _| f.read_cpu),
    ("  us CPU for each partition", |f, size| {
        f.read_cpu * 1e6 / per(size.assigned())
    }),
    ("idle: one event each s", |f, _| f.arrived),
    ("stop s", |f, _| f.stopped),
];

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn per(count: usize) -> f64 {
    count as f64
}

impl Measured {
    fn rows(&self) -> impl Iterator<Item = Row> {
        let size = self.size;
        READINGS.iter().map(move |(figure, read)| {
            let of =
                |f: &dyn Fn(&(Figures, Figures)) -> f64| median(self.pairs.iter().map(f).collect());
            Row {
                size,
                figure,
                ours: of(&|(_, ours)| read(ours, size)),
                floor: of(&|(floor, _)| read(floor, size)),
                ratio: of(&|(floor, ours)| read(ours, size) / read(floor, size)),
            }
        })
    }
}

pub(super) fn print(measured: &[Measured]) -> Result<()> {
    let mut rows = Vec::new();
    for one in measured {
        let Size {
            topics,
            partitions,
            groups,
        } = one.size;
        println!(
            "\n{topics} topics of {partitions} partitions, {groups} groups: {} registrations, {} partitions assigned",
            one.size.registrations(),
            one.size.assigned()
        );
        println!(
            "{:<28} {:>10} {:>10} {:>6}",
            "figure", "ours", "floor", "ratio"
        );
        for row in one.rows() {
            println!(
                "{:<28} {:>10.2} {:>10.2} {:>6.2}",
                row.figure, row.ours, row.floor, row.ratio
            );
            rows.push(row);
        }
        let registered = one.pairs.iter().map(|(_, ours)| ours.registered);
        let in_turn = |read: fn(&Figures) -> f64| median(one.in_turn.iter().map(read).collect());
        println!(
            "ours, the calls of `register`: {:.3} s together; {:.3} s one after another, all assigned after {:.2} s",
            median(registered.collect()),
            in_turn(|f| f.registered),
            in_turn(|f| f.assigned)
        );
        if !one.settled.is_empty() {
            let assigned = one.settled.iter().map(|ours| ours.assigned);
            println!(
                "ours, topic by topic, each awaited: all assigned after {:.2} s",
                median(assigned.collect())
            );
        }
    }
    println!("{}", serde_json::to_string(&rows)?);
    Ok(())
}
