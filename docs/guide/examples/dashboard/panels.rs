//! The dashboard's panels, and what Prometheus says about them.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::prometheus_server::Prometheus;

/// Between two points, in seconds.
const STEP: u32 = 1;
/// Four scrapes, as Grafana has it.
const RATE_INTERVAL: &str = "4s";

pub(super) struct Board {
    panels: Vec<Panel>,
}

struct Panel {
    title: String,
    unit: String,
    /// Each with the format of its legend.
    targets: Vec<(String, String)>,
}

/// A panel with its series, each a name and points of time and value.
pub(super) struct Chart {
    pub(super) title: String,
    pub(super) unit: String,
    pub(super) series: Vec<(String, Vec<(f64, f64)>)>,
}

/// Seconds since 1970, as Prometheus counts.
pub(super) fn now() -> Result<f64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64())
}

impl Board {
    pub(super) fn read(dashboard: &str) -> Result<Self> {
        let dashboard: Value = serde_json::from_str(dashboard)?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let panels = dashboard["panels"].as_array().context("no panels")?;
        let panels = panels.iter().filter(|panel| panel["type"] == "timeseries");
        let panels = panels.map(|panel| {
            let targets = panel["targets"].as_array().context("no targets")?;
            let targets = targets
                .iter()
                .map(|target| (text(&target["expr"]), text(&target["legendFormat"])));
            Ok(Panel {
                title: text(&panel["title"]),
                unit: text(&panel["fieldConfig"]["defaults"]["unit"]),
                targets: targets.collect(),
            })
        });
        let panels = panels.collect::<Result<Vec<_>>>()?;
        ensure!(!panels.is_empty(), "no panels");
        Ok(Self { panels })
    }

    /// The charts from `start` to `end`. `brokers` are the addresses, by which the metrics name brokers, in order.
    pub(super) fn evaluate(
        &self,
        prometheus: &Prometheus,
        (start, end): (f64, f64),
        brokers: &[&str],
    ) -> Result<Vec<Chart>> {
        let charts = self.panels.iter().map(|panel| {
            let mut series = Vec::new();
            for (expression, legend) in &panel.targets {
                let expression = with_variables(expression);
                for one in prometheus.series(&expression, start, end, STEP)? {
                    let name = named(legend, &one["metric"], brokers);
                    series.push((name, points(&one["values"], start)?));
                }
            }
            // The legend has room for the first few.
            series.sort_by(|(_, a), (_, b)| most(b).total_cmp(&most(a)));
            Ok(Chart {
                title: panel.title.clone(),
                unit: panel.unit.clone(),
                series,
            })
        });
        charts.collect()
    }
}

fn most(points: &[(f64, f64)]) -> f64 {
    points.iter().map(|(_, value)| *value).fold(0.0, f64::max)
}

/// The variables as Grafana has them when everything is selected.
fn with_variables(expression: &str) -> String {
    let mut expression = expression.replace("$__rate_interval", RATE_INTERVAL);
    for variable in ["job", "instance", "client", "group"] {
        expression = expression.replace(&format!("\"${variable}\""), "\".*\"");
    }
    expression
}

/// The legend of a series. There is one job, client and group here, so they are left out, and a broker's number is shorter
/// than its address.
fn named(legend: &str, labels: &Value, brokers: &[&str]) -> String {
    let mut name = legend.to_owned();
    for (label, value) in labels.as_object().into_iter().flatten() {
        let is_same_everywhere = ["job", "client", "group", "instance"].contains(&label.as_str());
        let value = value.as_str().unwrap_or_default();
        let broker = brokers.iter().position(|address| *address == value);
        let value = match broker {
            _ if is_same_everywhere => String::new(),
            Some(at) => format!("broker {}", at + 1),
            None => value.to_owned(),
        };
        name = name.replace(&format!("{{{{{label}}}}}"), &value);
    }
    let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
    let name = name.replace("broker broker", "broker");
    if name.is_empty() {
        let group = labels["group"].as_str().or(labels["client"].as_str());
        return group.unwrap_or_default().to_owned();
    }
    name
}

/// Time since the start, and value. What is not a number has no point.
fn points(values: &Value, start: f64) -> Result<Vec<(f64, f64)>> {
    let mut points = Vec::new();
    for pair in values.as_array().context("no values")? {
        let time = pair[0].as_f64().context("no time")?;
        let value: f64 = pair[1].as_str().context("no value")?.parse()?;
        if value.is_finite() {
            points.push((time - start, value));
        }
    }
    Ok(points)
}
