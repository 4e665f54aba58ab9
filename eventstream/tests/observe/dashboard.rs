//! The dashboard, the alerts and the list of metrics beside what is really exported.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use eventstream::Metrics;
use prometheus::Registry;
use prometheus::core::Collector as _;
use prometheus::proto::{LabelPair, MetricFamily, MetricType};

use crate::metrics::busy;
use crate::scrape::PREFIX;

fn file(name: &str) -> String {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../observability");
    fs::read_to_string(folder.join(name)).unwrap()
}

/// Everything that a client can export, once it has done everything.
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

/// The metrics that a text names, as a scrape names its samples.
fn named(text: &str) -> BTreeSet<String> {
    let ends = |c: char| !(c.is_ascii_lowercase() || c == '_');
    let starts = text.match_indices(PREFIX);
    let names = starts.map(|(at, _)| text[at..].split(ends).next().unwrap_or_default());
    names.map(str::to_owned).collect()
}

/// What a query may name of a metric.
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
    serde_json::from_str::<serde_json::Value>(&dashboard).unwrap();
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
