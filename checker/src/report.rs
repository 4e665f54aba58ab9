//! The verdict for a reader, as text or JSON.

use std::fmt;

use serde::Serialize;

use crate::anomaly::{Anomaly, Findings};
use crate::judge::{GroupCounts, Handlers, Outcomes, Verdict};
use crate::lives::Lives;
use crate::page::{Shown, render};
use crate::recovery::{FaultSummary, FlowSummary, summarise};
use crate::steady::Steadiness;
use crate::world::World;

/// What the checker found in a history.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The seed of the run.
    pub seed: Option<u64>,
    /// How it was configured.
    pub config: String,
    /// Protections that were switched off on purpose.
    pub protections_off: Vec<String>,
    /// The first time of the history, nanoseconds since the Unix epoch.
    pub begin: u64,
    /// From the first to the last time, in seconds.
    pub seconds: f64,
    /// Lines read.
    pub lines: u64,
    /// Files that end in the middle of a line.
    pub truncated: u64,
    /// Incarnations of processes.
    pub processes: usize,
    /// Of these, those that were killed.
    pub killed: usize,
    /// What happened to the published events.
    pub outcomes: Outcomes,
    /// What handlers did.
    pub handlers: Handlers,
    /// What happened to the records, by group.
    pub groups: Vec<GroupCounts>,
    /// The faults by kind.
    pub faults: Vec<FaultSummary>,
    /// Whether memory, threads, files and lag were steady. Absent if there were faults.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steadiness: Option<Steadiness>,
    /// What happened to topics that were deleted, trimmed or recreated. Absent if there were none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lives: Option<Lives>,
    /// The anomalies.
    pub anomalies: Findings,
    #[serde(skip)]
    shown: Shown,
}

impl Report {
    pub(crate) fn new(world: &World, verdict: Verdict) -> Self {
        let run = world.run.as_ref();
        Self {
            seed: run.map(|run| run.seed),
            config: run.map(|run| run.config.clone()).unwrap_or_default(),
            protections_off: run.map(|run| run.off.clone()).unwrap_or_default(),
            begin: world.begin,
            seconds: (world.end - world.begin) as f64 / 1e9,
            lines: world.lines,
            truncated: world.truncated,
            processes: world.processes.len(),
            killed: world
                .processes
                .iter()
                .filter(|process| !process.ended)
                .count(),
            outcomes: verdict.outcomes,
            handlers: verdict.handlers,
            groups: verdict.groups,
            faults: summarise(&verdict.recovery.effects),
            steadiness: verdict.steadiness,
            lives: None,
            anomalies: verdict.findings,
            shown: Shown {
                timeline: verdict.timeline,
                faults: world.faults.clone(),
            },
        }
    }

    /// A page that shows the run: one self-contained HTML file.
    pub fn page(&self) -> String {
        render(self, &self.shown)
    }

    /// An anomaly in one line.
    pub(crate) fn line(&self, anomaly: &Anomaly) -> String {
        let mut line = String::new();
        if let Some(at) = anomaly.at {
            let seconds = at.saturating_sub(self.begin) as f64 / 1e9;
            line.push_str(&format!("at {seconds:.3} s "));
        }
        if let Some(id) = anomaly.id {
            line.push_str(&format!("event {id} "));
        }
        if let Some(topic) = &anomaly.topic {
            line.push_str(topic);
            line.push_str(
                &anomaly
                    .partition
                    .map(|it| format!("/{it}"))
                    .unwrap_or_default(),
            );
            line.push_str(
                &anomaly
                    .offset
                    .map(|it| format!("@{it}"))
                    .unwrap_or_default(),
            );
            line.push(' ');
        }
        if let Some(group) = &anomaly.group {
            line.push_str(&format!("group {group} "));
        }
        line.push_str("- ");
        line.push_str(&anomaly.detail);
        line
    }

    /// The figures, as names and values in sections.
    pub(crate) fn figures(&self) -> Vec<(&'static str, Vec<(String, String)>)> {
        let row = |name: &str, value: u64| (name.to_owned(), thousands(value));
        let outcomes = &self.outcomes;
        let mut published = vec![
            row("published", outcomes.published),
            row("refused", outcomes.refused),
            row("accepted", outcomes.accepted),
            row("stored", outcomes.stored),
            row("failed", outcomes.failed),
        ];
        for (kind, count) in &outcomes.failed_by_kind {
            published.push(row(&format!("failed: {kind}"), *count));
        }
        published.extend([
            row("no outcome, publisher killed", outcomes.unknown),
            row("records in the log", outcomes.in_log),
            row("failed, yet in the log", outcomes.aborted_reads),
            row(
                "failed, and out of order in the log",
                outcomes.failed_out_of_order,
            ),
        ]);
        let handlers = &self.handlers;
        let mut handled = vec![
            row("handlers started", handlers.started),
            row("retries", handlers.retries),
            row("ok", handlers.ok),
            row("errors", handlers.errors),
            row("panics", handlers.panics),
            row("killed", handlers.killed),
            row("duplicates", handlers.duplicates),
            row("duplicates after faults", handlers.duplicates_after_faults),
            row("duplicates held back", handlers.duplicates_held_back),
            row("commits that went back", handlers.commits_went_back),
        ];
        for group in &self.groups {
            let name = |what: &str| format!("{}: {what}", group.group);
            handled.push(row(&name("records"), group.records));
            handled.push(row(&name("handled"), group.handled));
            handled.push(row(&name("dead-lettered"), group.dead_lettered));
            for (reason, count) in &group.dead_letters {
                handled.push(row(&name(&format!("dead letters, {reason}")), *count));
            }
            if let Some(outputs) = group.outputs {
                handled.push(row(&name("committed outputs"), outputs));
            }
        }
        vec![("Publishing", published), ("Handling", handled)]
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(seed) = self.seed {
            writeln!(f, "run       seed {seed}, {}", self.config)?;
        }
        if !self.protections_off.is_empty() {
            writeln!(f, "switched off: {}", self.protections_off.join(", "))?;
        }
        writeln!(
            f,
            "history   {:.1} s, {} lines, {} processes, {} of them killed, {} lines cut short",
            self.seconds,
            thousands(self.lines),
            self.processes,
            self.killed,
            self.truncated,
        )?;
        for (title, rows) in self.figures() {
            writeln!(f, "\n{title}")?;
            for (name, value) in rows {
                writeln!(f, "  {name:<40} {value:>14}")?;
            }
        }
        self.write_faults(f)?;
        if let Some(steadiness) = &self.steadiness {
            write!(f, "{steadiness}")?;
        }
        if let Some(lives) = &self.lives {
            write!(f, "{lives}")?;
        }
        self.write_anomalies(f)
    }
}

impl Report {
    fn write_faults(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.faults.is_empty() {
            return Ok(());
        }
        let (name, count) = ("faults", "count");
        let head = [
            "no event stored",
            "stored again",
            "none handled",
            "handled again",
        ];
        writeln!(
            f,
            "\n{name:<28} {count:>5} {:>18} {:>18} {:>18} {:>18}",
            head[0], head[1], head[2], head[3]
        )?;
        for fault in &self.faults {
            let FaultSummary {
                kind,
                count,
                stored,
                handled,
                ..
            } = fault;
            let [a, b, c, d] = flows(stored, handled);
            writeln!(f, "{kind:<28} {count:>5} {a:>18} {b:>18} {c:>18} {d:>18}")?;
        }
        writeln!(
            f,
            "seconds, median and worst: the longest gap during the fault, the first event after it"
        )
    }

    fn write_anomalies(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.anomalies.total() == 0 {
            return writeln!(f, "\nno anomaly");
        }
        writeln!(f, "\n{} anomalies", thousands(self.anomalies.total()))?;
        for (class, count) in &self.anomalies.counts {
            writeln!(f, "  {class:<40} {:>14}", thousands(*count))?;
            for anomaly in &self.anomalies.examples {
                if anomaly.class == *class {
                    writeln!(f, "    {}", self.line(anomaly))?;
                }
            }
        }
        Ok(())
    }
}

/// Gap and recovery of both streams, median and worst.
pub(crate) fn flows(stored: &FlowSummary, handled: &FlowSummary) -> [String; 4] {
    let gap = |flow: &FlowSummary| pair(flow.gap_median, flow.gap_worst, 0);
    let again = |flow: &FlowSummary| pair(flow.again_median, flow.again_worst, flow.never);
    [gap(stored), again(stored), gap(handled), again(handled)]
}

fn pair(median: Option<f64>, worst: Option<f64>, never: usize) -> String {
    let mut text = match (median, worst) {
        (Some(median), Some(worst)) => format!("{median:.2} / {worst:.2}"),
        _ => "-".to_owned(),
    };
    if never > 0 {
        text.push_str(&format!(" ({never} never)"));
    }
    text
}

/// A number with thousands separators.
pub(crate) fn thousands(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
