//! The tables of the page.

use std::fmt::Write as _;

use super::escape;
use crate::report::{Report, flows, thousands};
use crate::steady::HEAD;

/// The verdict and what was run.
pub(super) fn head(page: &mut String, report: &Report) {
    let total = report.anomalies.total();
    let _ = if total == 0 {
        writeln!(page, "<p class=\"verdict good\">No anomaly</p>")
    } else {
        writeln!(
            page,
            "<p class=\"verdict bad\">{} anomalies</p>",
            thousands(total)
        )
    };
    if !report.config.is_empty() {
        let _ = writeln!(page, "<p>{}</p>", escape(&report.config));
    }
    if !report.protections_off.is_empty() {
        let off = escape(&report.protections_off.join(", "));
        let _ = writeln!(page, "<p>Switched off on purpose: {off}</p>");
    }
    let _ = writeln!(
        page,
        "<p class=\"soft\">{:.1} s, {} processes, {} of them killed; {} lines of history, {} cut short</p>",
        report.seconds,
        report.processes,
        report.killed,
        thousands(report.lines),
        report.truncated,
    );
}

/// The faults and their effects.
pub(super) fn faults(page: &mut String, report: &Report) {
    if report.faults.is_empty() {
        return;
    }
    page.push_str(
        "<h2>Faults</h2>\n<p class=\"soft\">Seconds, median / worst: the longest gap in the stream of \
         events while the fault lasted, and from its end to the first event that began after it.</p>\n\
         <div class=\"wide\"><table>\n<tr><th>fault</th><th class=\"n\">count</th>\
         <th class=\"n\">none stored</th><th class=\"n\">stored again</th>\
         <th class=\"n\">none handled</th><th class=\"n\">handled again</th></tr>\n",
    );
    for fault in &report.faults {
        let _ = write!(
            page,
            "<tr><td>{}</td><td class=\"n\">{}</td>",
            escape(&fault.kind),
            fault.count
        );
        for cell in flows(&fault.stored, &fault.handled) {
            let _ = write!(page, "<td class=\"n\">{cell}</td>");
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</table></div>\n");
}

/// The resources of the processes at the start of the load and at its end.
pub(super) fn steadiness(page: &mut String, report: &Report) {
    let Some(steadiness) = &report.steadiness else {
        return;
    };
    let _ = write!(
        page,
        "<h2>Steadiness</h2>\n<p class=\"soft\">Median / worst in {}.</p>\n",
        steadiness.windows()
    );
    if steadiness.growths.is_empty() {
        page.push_str("<p class=\"good\">Flat</p>\n");
    }
    for growth in &steadiness.growths {
        let growth = escape(&growth.to_string());
        let _ = writeln!(page, "<p class=\"bad\">{growth}</p>");
    }
    page.push_str("<div class=\"wide\"><table>\n<tr><th>process</th><th>window</th>");
    for name in HEAD {
        let _ = write!(page, "<th class=\"n\">{name}</th>");
    }
    page.push_str("</tr>\n");
    for steady in &steadiness.processes {
        let name = format!("<td rowspan=\"2\">{}</td>", escape(&steady.process));
        for (name, window, figures) in
            [(&*name, "first", &steady.first), ("", "last", &steady.last)]
        {
            let _ = write!(page, "<tr>{name}<td>{window}</td>");
            for cell in figures.cells() {
                let _ = write!(page, "<td class=\"n\">{cell}</td>");
            }
            page.push_str("</tr>\n");
        }
    }
    page.push_str("</table></div>\n");
}

/// The figures of the report.
pub(super) fn figures(page: &mut String, report: &Report) {
    page.push_str("<div class=\"columns\">\n");
    for (title, rows) in report.figures() {
        let _ = writeln!(page, "<div><h2>{title}</h2>\n<table>");
        for (name, value) in rows {
            let name = escape(&name);
            let _ = writeln!(page, "<tr><td>{name}</td><td class=\"n\">{value}</td></tr>");
        }
        page.push_str("</table></div>\n");
    }
    page.push_str("</div>\n");
}

/// The anomalies, with examples.
pub(super) fn anomalies(page: &mut String, report: &Report) {
    if report.anomalies.total() == 0 {
        return;
    }
    page.push_str(
        "<h2>Anomalies</h2>\n<div class=\"wide\"><table>\n\
         <tr><th>class</th><th class=\"n\">count</th><th>the first of them</th></tr>\n",
    );
    for (class, count) in &report.anomalies.counts {
        let _ = write!(
            page,
            "<tr><td class=\"bad\">{class}</td><td class=\"n\">{}</td><td>",
            thousands(*count)
        );
        let examples = report.anomalies.examples.iter();
        for anomaly in examples.filter(|anomaly| anomaly.class == *class) {
            let _ = write!(page, "{}<br>", escape(&report.line(anomaly)));
        }
        page.push_str("</td></tr>\n");
    }
    page.push_str("</table></div>\n");
}
