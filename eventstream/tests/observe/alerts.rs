//! The alert rules compared with their cases, their runbook and the metrics.

use std::collections::BTreeSet;

use eventstream::{Context, EmbeddedBroker, Event, Subscribe};

use crate::dashboard::{file, named};
use crate::metrics::{client, registry, until};

const RULES: &str = "prometheus-alerts.yaml";
const CASES: [&str; 3] = [
    "tests/consuming.yaml",
    "tests/publishing.yaml",
    "tests/vanished.yaml",
];
/// The default labels of those groups' members.
const GENERATED: &str = r#"group!~".*[.][0-9a-f]{32}""#;

/// Each alert's name and the text of its rule.
fn alerts(rules: &str) -> Vec<(&str, &str)> {
    let alerts = rules.split("- alert: ").skip(1);
    let alerts: Vec<_> = alerts
        .map(|rule| rule.split_once('\n').expect("a rule after its name"))
        .collect();
    assert!(alerts.len() > 10, "{alerts:?}");
    alerts
}

/// The labels that the annotations of a rule show.
fn shown(rule: &str) -> BTreeSet<&str> {
    let ends = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    let labels = rule.split("$labels.").skip(1);
    labels
        .map(|rest| rest.split(ends).next().unwrap_or_default())
        .collect()
}

#[test]
fn every_alert_has_a_case_that_carries_the_labels_it_shows() {
    let cases: String = CASES.iter().map(|name| file(name)).collect();
    for (name, rule) in alerts(&file(RULES)) {
        let fires = format!("ALERTS{{alertname=\"{name}\"");
        let fires: Vec<_> = cases.lines().filter(|l| l.contains(&fires)).collect();
        assert!(!fires.is_empty(), "no case in which {name} fires");
        for (label, case) in shown(rule)
            .iter()
            .flat_map(|l| fires.iter().map(move |f| (l, f)))
        {
            assert!(
                case.contains(&format!(" {label}=\"")),
                "{name}: {label}: {case}"
            );
        }
    }
}

#[test]
fn every_alert_has_a_runbook_and_no_section_is_left_over() {
    let readme = file("README.md");
    let (_, runbook) = readme.split_once("\n## Runbook\n").unwrap();
    let (runbook, _) = runbook.split_once("\n## ").unwrap();
    let mut sections: BTreeSet<&str> = BTreeSet::new();
    for section in runbook.split("\n### ").skip(1) {
        let (name, text) = section.split_once('\n').unwrap();
        for part in ["**Symptom**", "**Cause**", "**Remedy**"] {
            assert!(text.contains(part), "{name}: {part}");
        }
        assert!(sections.insert(name), "twice: {name}");
    }
    let rules = file(RULES);
    for (name, rule) in alerts(&rules) {
        // How GitHub names a heading's anchor.
        let anchor = name.to_lowercase();
        let repository = env!("CARGO_PKG_REPOSITORY");
        let url = format!("{repository}/blob/main/observability/README.md#{anchor}\n");
        assert!(rule.contains(&format!("runbook_url: {url}")), "{name}");
        assert!(sections.remove(name), "no section: {name}");
    }
    assert!(sections.is_empty(), "{sections:?}");
}

/// The subject of an alert: metrics, or a recorded series, which a scrape has through its own rule.
#[test]
fn every_alert_asks_for_something() {
    let rules = file(RULES);
    let recorded: Vec<_> = rules
        .split("- record: ")
        .skip(1)
        .map(|rule| rule.lines().next().unwrap())
        .collect();
    for (name, rule) in alerts(&rules) {
        let asks = !named(rule).is_empty() || recorded.iter().any(|series| rule.contains(series));
        assert!(asks, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generated_group_is_one_that_the_alerts_take_for_generated() {
    assert!(file(RULES).contains(GENERATED), "the alerts know no such");
    let (registry, metrics) = registry();
    let broker = EmbeddedBroker::start().unwrap();
    broker.create_topic("p.t", 1).unwrap();
    let client = client(&broker, "one", &metrics);
    let all = Subscribe::new("t")
        .on_any(|_: Context, _: Event| async { Ok::<_, std::convert::Infallible>(()) });
    client.register(all).await.unwrap().detach();
    until(&registry, "the group is there", |scrape| {
        scrape.get("reader_assigned_partitions", &[]).is_some()
    })
    .await;
    let families = registry.gather();
    let family = families
        .iter()
        .find(|family| family.name().ends_with("reader_assigned_partitions"))
        .unwrap();
    let labels = family.get_metric()[0].get_label();
    let group = labels.iter().find(|l| l.name() == "group").unwrap().value();
    let (_, id) = group.rsplit_once('.').unwrap();
    let digits = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    assert!(id.len() == 32 && id.chars().all(digits), "{group}");
    client.shutdown(std::time::Duration::from_secs(20)).await;
}
