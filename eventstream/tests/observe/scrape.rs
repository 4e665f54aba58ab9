//! A registry's output, as numbers by series.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::collections::BTreeMap;

use prometheus::proto::{Metric, MetricFamily, MetricType};
use prometheus::{Registry, TextEncoder};

pub(crate) const PREFIX: &str = "ab_eventstream_kafka_";

type Labels = BTreeMap<String, String>;

/// One scrape.
#[derive(Debug)]
pub(crate) struct Scrape {
    /// By name, without the common prefix, and labels.
    all: BTreeMap<(String, Labels), f64>,
    /// Series that must never decrease or vanish: counters, and counts and sums.
    rising: Vec<(String, Labels)>,
    kinds: BTreeMap<String, MetricType>,
}

impl Scrape {
    pub(crate) fn of(registry: &Registry) -> Self {
        let mut scrape = Self {
            all: BTreeMap::new(),
            rising: Vec::new(),
            kinds: BTreeMap::new(),
        };
        let families = registry.gather();
        TextEncoder::new()
            .encode_to_string(&families)
            .expect("text");
        for family in &families {
            scrape.family(family);
        }
        scrape
    }

    fn family(&mut self, family: &MetricFamily) {
        let name = family.name().strip_prefix(PREFIX).expect("the prefix");
        let kind = family.get_field_type();
        self.kinds.insert(name.to_owned(), kind);
        for metric in family.get_metric() {
            let labels = metric.get_label().iter();
            let labels = labels.map(|l| (l.name().to_owned(), l.value().to_owned()));
            self.metric(name, kind, labels.collect(), metric);
        }
    }

    fn metric(&mut self, name: &str, kind: MetricType, labels: Labels, metric: &Metric) {
        let mut rising = |part: &str, labels: &Labels, value: f64| {
            let series = (format!("{name}{part}"), labels.clone());
            self.rising.push(series.clone());
            let before = self.all.insert(series, value);
            assert!(before.is_none(), "twice in one scrape: {name} {labels:?}");
        };
        match kind {
            MetricType::COUNTER => rising("", &labels, metric.get_counter().get_value()),
            MetricType::HISTOGRAM => {
                let histogram = metric.get_histogram();
                rising("_count", &labels, histogram.get_sample_count() as f64);
                rising("_sum", &labels, histogram.get_sample_sum());
                for bucket in histogram.get_bucket() {
                    let mut labels = labels.clone();
                    labels.insert("le".to_owned(), bucket.upper_bound().to_string());
                    rising("_bucket", &labels, bucket.cumulative_count() as f64);
                }
            }
            MetricType::SUMMARY => {
                let summary = metric.get_summary();
                rising("_count", &labels, summary.sample_count() as f64);
                rising("_sum", &labels, summary.sample_sum());
            }
            _ => {
                let value = metric.get_gauge().get_value();
                assert!(value >= 0.0, "{name} {labels:?} {value}");
                let before = self.all.insert((name.to_owned(), labels), value);
                assert!(before.is_none(), "twice in one scrape: {name}");
            }
        }
    }

    /// The sum of the series of this name with these labels; `None` if there are none.
    pub(crate) fn get(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let values: Vec<f64> = self
            .all
            .iter()
            .filter(|((n, l), _)| {
                n == name
                    && labels
                        .iter()
                        .all(|(k, v)| l.get(*k).is_some_and(|x| x == v))
            })
            .map(|(_, value)| *value)
            .collect();
        (!values.is_empty()).then(|| values.iter().sum())
    }

    /// Like [`get`](Self::get), for a series that must exist.
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.get(name, labels)
            .unwrap_or_else(|| panic!("no series {name} {labels:?} among {:?}", self.names()))
    }

    pub(crate) fn names(&self) -> Vec<&str> {
        self.kinds.keys().map(String::as_str).collect()
    }

    /// The number of series that must not decrease.
    pub(crate) fn rising(&self) -> usize {
        self.rising.len()
    }

    /// Checks that no counter has vanished or decreased since an earlier scrape.
    pub(crate) fn assert_follows(&self, before: &Self) {
        for series in &before.rising {
            let (was, is) = (before.all[series], self.all.get(series));
            let Some(is) = is else {
                panic!("vanished: {series:?}")
            };
            assert!(*is >= was, "went down: {series:?} from {was} to {is}");
        }
    }
}
