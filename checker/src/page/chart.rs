//! The timeline: charts stacked over a common time axis.

use std::collections::BTreeMap;

use super::Shown;
use super::scale::{short, step, time, time_step};
use super::svg::Svg;
use crate::anomaly::Class;
use crate::report::Report;
use crate::timeline::Second;
use crate::world::Window;

const WIDTH: f64 = 1_100.0;
const LEFT: f64 = 150.0;
const RIGHT: f64 = 15.0;
const PLOT: f64 = WIDTH - LEFT - RIGHT;
const ROW: f64 = 17.0;
const TITLE: f64 = 24.0;
const GAP: f64 = 12.0;
/// The maximum number of points in a line: more cannot be seen.
const POINTS: usize = 900;

/// One line of a chart.
struct Line {
    class: &'static str,
    name: &'static str,
    value: fn(&Second) -> f64,
}

/// One chart.
struct Chart {
    title: &'static str,
    height: f64,
    /// Whether a point is the mean of its seconds, or the maximum.
    mean: bool,
    lines: &'static [Line],
}

const MEMBERS: &str = "Members in their groups";

const CHARTS: [Chart; 5] = [
    Chart {
        title: "Throughput, events/s",
        height: 150.0,
        mean: true,
        lines: &[
            Line {
                class: "a",
                name: "stored",
                value: |second| f64::from(second.stored),
            },
            Line {
                class: "b",
                name: "handled, all groups",
                value: |second| f64::from(second.handled),
            },
        ],
    },
    Chart {
        title: "In flight, events and records",
        height: 80.0,
        mean: false,
        lines: &[Line {
            class: "a",
            name: "",
            value: |second| second.in_flight as f64,
        }],
    },
    Chart {
        title: "Lag, records",
        height: 80.0,
        mean: false,
        lines: &[Line {
            class: "b",
            name: "",
            value: |second| second.lag as f64,
        }],
    },
    Chart {
        title: "Memory of the largest process, MiB",
        height: 60.0,
        mean: false,
        lines: &[Line {
            class: "c",
            name: "",
            value: |second| second.rss as f64 / 1_048_576.0,
        }],
    },
    Chart {
        title: MEMBERS,
        height: 60.0,
        mean: false,
        lines: &[Line {
            class: "c",
            name: "",
            value: |second| f64::from(second.members),
        }],
    },
];

/// Appends the timeline.
pub(super) fn draw(page: &mut String, report: &Report, shown: &Shown) {
    let mut drawing = Drawing {
        svg: Svg::default(),
        shown,
        seconds: report.seconds.max(1.0),
        y: 4.0,
    };
    drawing.faults();
    drawing.anomalies(&report.anomalies.marks);
    let top = drawing.y;
    let charts = CHARTS.iter().filter(|chart| {
        // A run without samples has no such charts.
        let seconds = &shown.timeline.seconds;
        seconds
            .iter()
            .any(|second| chart.lines.iter().any(|line| (line.value)(second) > 0.0))
    });
    for chart in charts {
        drawing.chart(chart);
    }
    drawing.across(top, &report.anomalies.marks);
    drawing.axis();
    page.push_str("<h2>Timeline</h2>\n<div class=\"wide\">\n");
    page.push_str(&drawing.svg.finish(WIDTH, drawing.y, "timeline of the run"));
    page.push_str("</div>\n");
}

struct Drawing<'a> {
    svg: Svg,
    shown: &'a Shown,
    seconds: f64,
    y: f64,
}

impl Drawing<'_> {
    fn x(&self, at: u64) -> f64 {
        let seconds = at.saturating_sub(self.shown.timeline.begin) as f64 / 1e9;
        LEFT + PLOT * (seconds / self.seconds).clamp(0.0, 1.0)
    }

    fn since(&self, at: u64) -> f64 {
        at.saturating_sub(self.shown.timeline.begin) as f64 / 1e9
    }

    /// Left edge and width of a fault, at least wide enough to be visible.
    fn span(&self, fault: &Window) -> (f64, f64) {
        let begin = self.x(fault.begin);
        let end = self.x(fault.end.unwrap_or(self.shown.timeline.end));
        (begin, (end - begin).max(2.0))
    }

    /// A row of boxes for each kind of fault.
    fn faults(&mut self) {
        let mut kinds: BTreeMap<(bool, &str), Vec<&Window>> = BTreeMap::new();
        for fault in &self.shown.faults {
            kinds
                .entry((fault.clean, &fault.kind))
                .or_default()
                .push(fault);
        }
        for ((clean, kind), faults) in kinds {
            self.row(kind);
            let class = if clean { "clean" } else { "fault" };
            for fault in faults {
                let (x, width) = self.span(fault);
                let (begin, target) = (self.since(fault.begin), &fault.target);
                let tip = match fault.end {
                    Some(end) => format!("{kind} {target}, {begin:.1} to {:.1} s", self.since(end)),
                    None => format!("{kind} {target}, from {begin:.1} s to the end"),
                };
                self.svg
                    .rect(class, (x, self.y + 3.0), (width, ROW - 6.0), &tip);
            }
            self.y += ROW;
        }
    }

    /// A row of marks for each class of anomaly.
    fn anomalies(&mut self, marks: &[(u64, Class)]) {
        let mut classes: BTreeMap<Class, Vec<u64>> = BTreeMap::new();
        for (at, class) in marks {
            classes.entry(*class).or_default().push(*at);
        }
        for (class, times) in classes {
            self.row(class.as_str());
            for at in times {
                let tip = format!("{class} at {:.3} s", self.since(at));
                let place = (self.x(at), self.y + 5.0);
                self.svg.triangle("mark", place, true, &tip);
            }
            self.y += ROW;
        }
    }

    fn row(&mut self, name: &str) {
        self.svg.text("end", LEFT - 8.0, self.y + ROW - 5.0, name);
        self.svg
            .rect("frame", (LEFT, self.y + 1.0), (PLOT, ROW - 2.0), "");
    }

    fn chart(&mut self, chart: &Chart) {
        self.y += GAP;
        self.svg
            .text("title", LEFT, self.y + TITLE - 9.0, chart.title);
        self.legend(chart);
        self.y += TITLE;
        let seconds = &self.shown.timeline.seconds;
        let each = seconds.len().div_ceil(POINTS).max(1);
        let series: Vec<Vec<f64>> = chart
            .lines
            .iter()
            .map(|line| {
                seconds
                    .chunks(each)
                    .map(|seconds| point(chart, line, seconds))
                    .collect()
            })
            .collect();
        let top = series.iter().flatten().copied().fold(1.0, f64::max);
        let step = step(top);
        let top = (top / step).ceil() * step;
        let (bottom, height) = (self.y + chart.height, chart.height);
        self.svg.rect("frame", (LEFT, self.y), (PLOT, height), "");
        let mut tick = 0.0;
        while tick <= top * 1.001 {
            let y = bottom - height * tick / top;
            self.svg.line("grid", (LEFT, y), (LEFT + PLOT, y));
            self.svg.text("end", LEFT - 8.0, y + 4.0, &short(tick));
            tick += step;
        }
        for (line, values) in chart.lines.iter().zip(&series) {
            let total = self.seconds;
            let points = values.iter().enumerate().map(|(index, value)| {
                let seconds = ((index as f64 + 0.5) * each as f64).min(total);
                (LEFT + PLOT * seconds / total, bottom - height * value / top)
            });
            self.svg.polyline(line.class, points);
        }
        self.y = bottom;
        if chart.title == MEMBERS {
            self.changes();
        }
    }

    fn legend(&mut self, chart: &Chart) {
        let mut x = LEFT + 170.0;
        for line in chart.lines.iter().filter(|line| !line.name.is_empty()) {
            let y = self.y + TITLE - 15.0;
            self.svg
                .rect(&format!("fill-{}", line.class), (x, y), (14.0, 4.0), "");
            self.svg.text("", x + 19.0, self.y + TITLE - 9.0, line.name);
            x += 40.0 + 7.0 * line.name.len() as f64;
        }
    }

    /// Members that came and went.
    fn changes(&mut self) {
        self.y += 9.0;
        for joined in [true, false] {
            self.row(if joined { "joined" } else { "left or killed" });
            for change in self
                .shown
                .timeline
                .changes
                .iter()
                .filter(|change| change.joined == joined)
            {
                let tip = format!("{} at {:.1} s", change.member, self.since(change.at));
                let (class, y) = if joined {
                    ("join", 5.0)
                } else {
                    ("leave", 12.0)
                };
                self.svg
                    .triangle(class, (self.x(change.at), self.y + y), joined, &tip);
            }
            self.y += ROW;
        }
    }

    /// Faults and anomalies, drawn through all charts.
    fn across(&mut self, top: f64, marks: &[(u64, Class)]) {
        let height = self.y - top;
        for fault in self.shown.faults.iter().filter(|fault| !fault.clean) {
            let (x, width) = self.span(fault);
            self.svg.rect("band", (x, top), (width, height), "");
        }
        let mut last = f64::NEG_INFINITY;
        for (at, _) in marks {
            let x = self.x(*at);
            if (x - last).abs() >= 1.0 {
                self.svg.line("markline", (x, top), (x, top + height));
                last = x;
            }
        }
    }

    fn axis(&mut self) {
        let step = time_step(self.seconds);
        let mut tick = 0.0;
        while tick <= self.seconds {
            let x = LEFT + PLOT * tick / self.seconds;
            self.svg.line("grid", (x, self.y), (x, self.y + 5.0));
            self.svg.text("middle", x, self.y + 18.0, &time(tick, step));
            tick += step;
        }
        self.y += 24.0;
        self.svg.text(
            "middle",
            LEFT + PLOT / 2.0,
            self.y + 10.0,
            "time since the begin of the run",
        );
        self.y += 16.0;
    }
}

fn point(chart: &Chart, line: &Line, seconds: &[Second]) -> f64 {
    let values = seconds.iter().map(line.value);
    if chart.mean {
        values.sum::<f64>() / seconds.len() as f64
    } else {
        values.fold(0.0, f64::max)
    }
}
