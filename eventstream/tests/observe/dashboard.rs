//! The dashboard, the metrics in the alerts and the list of metrics, compared with what is actually
//! exported.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use eventstream::Metrics;
use prometheus::Registry;
use prometheus::core::Collector as _;
use prometheus::proto::{LabelPair, MetricFamily, MetricType};
use serde_json::Value;

use crate::metrics::busy;
use crate::scrape::PREFIX;

pub(crate) fn file(name: &str) -> String {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../observability");
    fs::read_to_string(folder.join(name)).unwrap()
}

/// Everything that a client exports, once it has done everything.
async fn families() -> Vec<MetricFamily> {
    let (registry, client) = busy().await;
    let all = Metrics::new().desc().len();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    let families = loop {
        let families = Registry::gather(&registry);
        if families.len() == all {
            break families;
        }
        assert!(
            std::time::Instant::now() < deadline,
            "{} of {all}",
            families.len()
        );
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    client.shutdown(std::time::Duration::from_secs(20)).await;
    families
}

/// The metrics that a text names, by the names of their samples.
pub(crate) fn named(text: &str) -> BTreeSet<String> {
    let ends = |c: char| !(c.is_ascii_lowercase() || c == '_');
    let starts = text.match_indices(PREFIX);
    let names = starts.map(|(at, _)| text[at..].split(ends).next().unwrap_or_default());
    names.map(str::to_owned).collect()
}

/// The names by which a query may refer to a metric.
fn samples(family: &MetricFamily) -> Vec<String> {
    let with = |parts: &[&str]| {
        let name = family.name();
        parts.iter().map(|part| format!("{name}{part}")).collect()
    };
    match family.get_field_type() {
        MetricType::HISTOGRAM => with(&["_bucket", "_count", "_sum"]),
        MetricType::SUMMARY => with(&["", "_count", "_sum"]),
        _ => with(&[""]),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dashboard_and_alerts_name_only_metrics_that_exist() {
    let families = families().await;
    let exported: BTreeSet<String> = families.iter().flat_map(samples).collect();
    let dashboard = file("grafana-dashboard.json");
    serde_json::from_str::<Value>(&dashboard).unwrap();
    for (name, text) in [
        ("dashboard", dashboard),
        ("alerts", file("prometheus-alerts.yaml")),
    ] {
        let named = named(&text);
        assert!(named.len() > 5, "{name}: {named:?}");
        let unknown: Vec<_> = named.difference(&exported).collect();
        assert!(unknown.is_empty(), "{name}: {unknown:?}");
    }
}

/// The queries of all panels, with the titles.
fn queries(dashboard: &Value) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let (query, legend) = (&target["expr"], &target["legendFormat"]);
            queries.push((text(&panel["title"]), text(query), text(legend)));
        }
    }
    assert!(queries.len() > 20, "{queries:?}");
    queries
}

#[test]
fn every_query_is_filtered_by_all_variables_that_apply() {
    let dashboard: Value = serde_json::from_str(&file("grafana-dashboard.json")).unwrap();
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let variables: Vec<_> = variables
        .iter()
        .map(|v| v["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        variables,
        ["datasource", "job", "instance", "client", "group"]
    );
    for (title, query, _) in queries(&dashboard) {
        for selector in query.split(PREFIX).skip(1) {
            let (name, rest) = selector.split_once('{').expect(&title);
            let (labels, _) = rest.split_once('}').expect(&title);
            let of_groups = name.starts_with("reader_");
            for variable in &variables[1..] {
                let filter = format!("{variable}=~\"${variable}\"");
                let applies = *variable != "group" || of_groups;
                assert_eq!(
                    labels.contains(&filter),
                    applies,
                    "{title}: {variable}: {query}"
                );
            }
        }
    }
}

#[test]
fn no_query_mixes_jobs_clients_or_groups_and_each_legend_tells_them_apart() {
    let dashboard: Value = serde_json::from_str(&file("grafana-dashboard.json")).unwrap();
    for (title, query, legend) in queries(&dashboard) {
        let of = if query.contains("_reader_") {
            "group"
        } else {
            "client"
        };
        for by in query.split("by (").skip(1) {
            let (labels, _) = by.split_once(')').unwrap();
            let labels: Vec<_> = labels.split(", ").collect();
            for label in ["job", of] {
                assert!(labels.contains(&label), "{title}: {label}: {query}");
            }
            for label in labels.iter().filter(|label| **label != "le") {
                let shown = format!("{{{{{label}}}}}");
                assert!(legend.contains(&shown), "{title}: {label}: {legend}");
            }
        }
        let aggregates = ["sum", "max", "min", "avg", "count"];
        let bare = aggregates
            .iter()
            .any(|a| query.contains(&format!("{a}(")) || query.contains(&format!("{a} (")));
        assert!(!bare, "{title}: aggregates over everything: {query}");
        if !query.contains("by (") {
            for label in ["{{job}}", "{{instance}}", "{{client}}"] {
                assert!(legend.contains(label), "{title}: {label}: {legend}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_is_described() {
    let families = families().await;
    let readme = file("README.md");
    let described = readme
        .lines()
        .filter(|line| line.starts_with("| `writer_") || line.starts_with("| `reader_"));
    let described: BTreeSet<String> = described.map(str::to_owned).collect();
    let rows = families.iter().map(|family| {
        let kind = match family.get_field_type() {
            MetricType::COUNTER => "counter",
            MetricType::GAUGE => "gauge",
            MetricType::HISTOGRAM => "histogram",
            MetricType::SUMMARY => "summary",
            MetricType::UNTYPED => "untyped",
        };
        let labels = family.get_metric()[0].get_label().iter();
        let labels: Vec<_> = labels
            .map(LabelPair::name)
            .filter(|name| *name != "client")
            .collect();
        let name = family.name().strip_prefix(PREFIX).unwrap();
        format!(
            "| `{name}` | {kind} | {} | {} |",
            labels.join(", "),
            family.help()
        )
    });
    let rows: BTreeSet<String> = rows.collect();
    let missing: Vec<_> = rows.difference(&described).collect();
    assert!(missing.is_empty(), "add:\n{missing:#?}");
    let stale: Vec<_> = described.difference(&rows).collect();
    assert!(stale.is_empty(), "remove:\n{stale:#?}");
}
