use std::collections::HashMap;

use serde::Deserialize;

use crate::guard::tracing;

/// The part of librdkafka's statistics that is used (its STATISTICS.md has the whole).
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Statistics {
    pub(super) brokers: HashMap<String, Broker>,
    pub(super) topics: HashMap<String, Topic>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Broker {
    /// `host:port`; several entries may have the same one.
    pub(super) nodename: String,
    /// `logical` for the group coordinator, which is also one of the others.
    pub(super) source: String,
    pub(super) tx: u64,
    pub(super) txerrs: u64,
    pub(super) txretries: u64,
    pub(super) rxerrs: u64,
    pub(super) req_timeouts: u64,
    pub(super) connects: u64,
    /// Microseconds, like the next two.
    pub(super) int_latency: Window,
    pub(super) outbuf_latency: Window,
    pub(super) rtt: Window,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Topic {
    /// Bytes of a batch.
    pub(super) batchsize: Window,
    /// Events in a batch.
    pub(super) batchcnt: Window,
    pub(super) partitions: HashMap<i32, Partition>,
}

/// What happened since librdkafka's previous report.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Window {
    pub(super) cnt: i64,
    pub(super) sum: i64,
    pub(super) p50: i64,
    pub(super) p75: i64,
    pub(super) p90: i64,
    pub(super) p99: i64,
}

/// Offsets are negative while unknown.
#[derive(Clone, Copy, Deserialize)]
#[serde(default)]
pub(super) struct Partition {
    pub(super) fetchq_cnt: i64,
    pub(super) fetchq_size: i64,
    pub(super) lo_offset: i64,
    pub(super) hi_offset: i64,
    pub(super) ls_offset: i64,
}

impl Default for Partition {
    fn default() -> Self {
        Self {
            fetchq_cnt: 0,
            fetchq_size: 0,
            lo_offset: -1,
            hi_offset: -1,
            ls_offset: -1,
        }
    }
}

impl Statistics {
    pub(super) fn read(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json)
            .inspect_err(|error| tracing::warn!(%error, "librdkafka's statistics"))
            .ok()
    }

    /// The actual brokers.
    pub(super) fn nodes(&self) -> impl Iterator<Item = &Broker> {
        let brokers = self.brokers.values();
        brokers.filter(|broker| broker.source != "logical" && !broker.nodename.is_empty())
    }
}

impl Partition {
    /// Records that are not done, if the end and the position are known.
    pub(super) fn lag(&self, position: Option<i64>) -> Option<i64> {
        let known = |offset: i64| (offset >= 0).then_some(offset);
        // The last offset visible to `read_committed`, if there are transactions.
        let end = known(self.ls_offset).or(known(self.hi_offset))?;
        let position = position.or(known(self.lo_offset))?;
        // The position is current, the end is from the last statistics.
        Some((end - position).max(0))
    }
}

/// The last values of counters, which start at 0 with each librdkafka client.
#[derive(Default)]
pub(super) struct Before(HashMap<(&'static str, String), u64>);

impl Before {
    /// How much a counter has increased.
    pub(super) fn rise(&mut self, what: &'static str, of: &str, now: u64) -> u64 {
        let before = self.0.entry((what, of.to_owned())).or_default();
        let rise = now.saturating_sub(*before);
        *before = now.max(*before);
        rise
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_is_absent_while_unknown_and_never_negative() {
        let unknown = Partition::default();
        assert_eq!(unknown.lag(Some(3)), None);
        let known = Partition {
            lo_offset: 2,
            hi_offset: 10,
            ..unknown
        };
        assert_eq!(known.lag(None), Some(8));
        assert_eq!(known.lag(Some(7)), Some(3));
        assert_eq!(known.lag(Some(11)), Some(0));
        let transactions = Partition {
            ls_offset: 9,
            ..known
        };
        assert_eq!(transactions.lag(Some(7)), Some(2));
    }

    #[test]
    fn a_counter_that_falls_back_adds_nothing() {
        let mut before = Before::default();
        assert_eq!(before.rise("tx", "b", 5), 5);
        assert_eq!(before.rise("tx", "b", 7), 2);
        assert_eq!(before.rise("tx", "b", 3), 0);
        assert_eq!(before.rise("tx", "b", 8), 1);
        assert_eq!(before.rise("tx", "c", 1), 1);
    }
}
