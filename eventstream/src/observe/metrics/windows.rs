use std::collections::BTreeMap;

use parking_lot::Mutex;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{LabelPair, Metric, MetricFamily, MetricType, Quantile, Summary};

use super::statistics::Window;

/// A summary from windows: count and sum of all of them, quantiles of the last.
///
/// librdkafka forgets past windows, so count and sum are accumulated here and only increase.
pub(super) struct Windows {
    desc: Desc,
    series: Mutex<BTreeMap<Vec<String>, Series>>,
}

#[derive(Clone, Copy, Default)]
struct Series {
    count: u64,
    sum: f64,
    /// The values at [`QUANTILES`]; NaN if the last window was empty.
    quantiles: [f64; QUANTILES.len()],
}

const QUANTILES: [f64; 4] = [0.5, 0.75, 0.9, 0.99];

impl Windows {
    pub(super) fn new(desc: Desc) -> Self {
        Self {
            desc,
            series: Mutex::default(),
        }
    }

    /// Adds a window; `unit` scales its values.
    pub(super) fn add(&self, labels: &[&str], window: &Window, unit: f64) {
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        let mut all = self.series.lock();
        let series = all.entry(labels).or_default();
        let count = u64::try_from(window.cnt).unwrap_or(0);
        series.count += count;
        series.sum += window.sum.max(0) as f64 * unit;
        let values = [window.p50, window.p75, window.p90, window.p99];
        series.quantiles = values.map(|value| match count {
            0 => f64::NAN,
            _ => value as f64 * unit,
        });
    }

    fn metric(&self, labels: &[String], series: &Series) -> Metric {
        let pairs = self.desc.variable_labels.iter().zip(labels);
        let pairs = pairs.map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name(name.clone());
            pair.set_value(value.clone());
            pair
        });
        let quantiles = QUANTILES.iter().zip(series.quantiles);
        let quantiles = quantiles.map(|(at, value)| {
            let mut quantile = Quantile::default();
            quantile.set_quantile(*at);
            quantile.set_value(value);
            quantile
        });
        let mut summary = Summary::default();
        summary.set_sample_count(series.count);
        summary.set_sample_sum(series.sum);
        summary.set_quantile(quantiles.collect());
        let mut metric = Metric::from_label(pairs.collect());
        metric.set_summary(summary);
        metric
    }
}

impl Collector for Windows {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let series = self.series.lock();
        let metrics = series.iter().map(|(labels, s)| self.metric(labels, s));
        let mut family = MetricFamily::default();
        family.set_name(self.desc.fq_name.clone());
        family.set_help(self.desc.help.clone());
        family.set_field_type(MetricType::SUMMARY);
        family.set_metric(metrics.collect());
        vec![family]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn count_and_sum_add_up_and_quantiles_are_the_last_windows() {
        let desc = Desc::new("w".into(), "w".into(), vec!["b".into()], Default::default());
        let windows = Windows::new(desc.unwrap());
        let window = |cnt, p50| Window {
            cnt,
            sum: cnt * p50,
            p50,
            ..Window::default()
        };
        windows.add(&["x"], &window(3, 2000), 1e-6);
        windows.add(&["x"], &window(1, 4000), 1e-6);
        let family = windows.collect().remove(0);
        let summary = family.get_metric()[0].get_summary().clone();
        assert_eq!(summary.sample_count(), 4);
        assert!((summary.sample_sum() - 0.01).abs() < 1e-12);
        assert!((summary.get_quantile()[0].value() - 0.004).abs() < 1e-12);
        windows.add(&["x"], &window(0, 0), 1e-6);
        let family = windows.collect().remove(0);
        let summary = family.get_metric()[0].get_summary().clone();
        assert_eq!(
            summary.sample_count(),
            4,
            "an empty window takes nothing away"
        );
        assert!(summary.get_quantile()[0].value().is_nan());
    }
}
