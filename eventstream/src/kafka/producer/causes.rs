use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::error::Error;

/// Older messages say nothing about an event that fails now: librdkafka retries within a second, and its log is read
/// every 10 s.
const STALE: Duration = Duration::from_secs(15);

/// Why events are not stored, if librdkafka leaves that out of their reports: it retries temporary rejections, and in
/// the end only reports a timeout.
#[derive(Default)]
pub(super) struct Causes(Mutex<Heard>);

#[derive(Default)]
struct Heard {
    /// By topic and partition, named as on the broker.
    partitions: HashMap<(String, i32), Said>,
    quota: Option<(String, Duration, Instant)>,
}

struct Said {
    reason: String,
    first: Instant,
    last: Instant,
}

impl Causes {
    /// A line of librdkafka's log about messages: a broker's response for a partition.
    pub(super) fn line(&self, facility: &str, message: &str, now: Instant) {
        if facility != "MSGSET" {
            return;
        }
        let Some((topic, partition, reason)) = refused(message) else {
            return;
        };
        let mut heard = self.0.lock();
        heard.partitions.retain(|_, said| now < said.last + STALE);
        let said = heard
            .partitions
            .entry((topic.to_owned(), partition))
            .or_insert_with(|| Said {
                reason: String::new(),
                first: now,
                last: now,
            });
        said.last = now;
        if said.reason != reason {
            reason.clone_into(&mut said.reason);
            said.first = now;
        }
    }

    /// A quota holds this client back.
    pub(super) fn quota(&self, broker: &str, wait: Duration, now: Instant) {
        if !wait.is_zero() {
            self.0.lock().quota = Some((broker.to_owned(), wait, now));
        }
    }

    /// Why events of this topic (named as on the broker) are late; of this partition, if known.
    pub(super) fn of(
        &self,
        topic: &str,
        partition: Option<i32>,
        connection: Option<&Error>,
        now: Instant,
    ) -> Option<String> {
        let heard = self.0.lock();
        let fresh = |at: Instant| now < at + STALE;
        let mut said = heard.partitions.iter().filter(|((t, p), said)| {
            t == topic && partition.is_none_or(|partition| partition == *p) && fresh(said.last)
        });
        if let Some(((_, partition), said)) = said.next() {
            let for_long = now.saturating_duration_since(said.first).as_secs_f64();
            let reason = &said.reason;
            let remedy = remedy(reason);
            return Some(format!(
                "the broker refuses partition {partition}, for {for_long:.1} s so far: {reason}{remedy}"
            ));
        }
        if let Some(error) = connection {
            let text = error.to_string();
            let remedy = advertised(&text).unwrap_or_default();
            return Some(format!("last error of the connection: {text}{remedy}"));
        }
        let quota = heard.quota.as_ref().filter(|(_, _, at)| fresh(*at));
        quota.map(|(broker, wait, _)| {
            format!(
                "a quota holds this client back: broker {broker} delays its requests by {wait:?}; publish less, or \
                 have the quota of its user or `client_id` raised (producer_byte_rate, request_percentage)"
            )
        })
    }
}

/// From `[thrd:..]: host:1/1: topic [0]: MessageSet with 1 message(s) (MsgId 1, BaseSeq 0) encountered error: Broker: Not
/// enough in-sync replicas (actions Retry,MsgNotPersisted)`.
fn refused(message: &str) -> Option<(&str, i32, &str)> {
    let (place, rest) = message.split_once("]: MessageSet with ")?;
    let (_, place) = place.rsplit_once(": ")?;
    let (topic, partition) = place.split_once(" [")?;
    let (_, error) = rest.split_once("encountered error: ")?;
    let (reason, _) = error.rsplit_once(" (actions ")?;
    Some((topic, partition.parse().ok()?, reason))
}

fn remedy(reason: &str) -> &'static str {
    let has = |word: &str| reason.contains(word);
    if has("in-sync replicas") {
        "; fewer replicas are in sync than the topic's `min.insync.replicas` requires for `acks` all: bring the missing \
         brokers back, or lower it"
    } else if has("leader") {
        "; the partition has no leader at this broker for now"
    } else if has("Disk error") {
        "; the broker cannot write to its disk: see its log"
    } else {
        ""
    }
}

/// The remedy for a broker that is unreachable at its advertised address. In `kafka: host:9092/1: Failed to resolve
/// ..` the broker has a number; bootstrap brokers have none.
fn advertised(error: &str) -> Option<String> {
    let text = error.strip_prefix("kafka: ").unwrap_or(error);
    let (name, rest) = text.split_once(": ")?;
    let (address, node) = name.rsplit_once('/')?;
    let address = address.rsplit_once('/').map_or(address, |(_, a)| a);
    let number: i32 = node.parse().ok()?;
    let what = if rest.contains("Failed to resolve") {
        "whose name does not resolve here"
    } else if rest.contains("Connect to") || rest.contains("Connection setup timed out") {
        "which cannot be reached from here"
    } else {
        return None;
    };
    Some(format!(
        "; the cluster advertises broker {number} at {address}, {what}: correct \
         `advertised.listeners` of that broker, or the names or routes of this machine, where the broker is up"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    const LINE: &str = "[thrd:127.0.0.1:1/bootstrap]: 127.0.0.1:1/1: a.b [3]: MessageSet with 2 message(s) (MsgId 1, \
                        BaseSeq 0) encountered error: Broker: Not enough in-sync replicas (actions \
                        Retry,MsgNotPersisted)";

    #[test]
    fn what_a_broker_said_of_a_partition_is_the_cause() {
        let causes = Causes::default();
        let start = Instant::now();
        let later = start + Duration::from_secs(10);
        causes.line("MSGSET", LINE, start);
        causes.line("MSGSET", LINE, later);
        let said = causes.of("a.b", Some(3), None, later).expect("a cause");
        assert!(said.contains("partition 3, for 10.0 s"), "{said}");
        assert!(
            said.contains("Not enough in-sync replicas; fewer"),
            "{said}"
        );
        assert!(causes.of("a.b", None, None, later).is_some());
        assert!(causes.of("a.b", Some(4), None, later).is_none());
        assert!(causes.of("a", Some(3), None, later).is_none());
        assert!(causes.of("a.b", Some(3), None, later + STALE).is_none());
    }

    #[test]
    fn a_line_that_says_nothing_of_an_error_is_passed_over() {
        for line in [
            "",
            "[thrd:a]: a:1/1: t [0]: MessageSet with 1 message(s) (MsgId 1, BaseSeq 0) delivered",
            "[thrd:a]: a:1/1: t [0]: Produce MessageSet with 1 message(s) (10 bytes)",
        ] {
            assert_eq!(refused(line), None, "{line}");
        }
    }

    #[test]
    fn a_quota_is_named() {
        let causes = Causes::default();
        let now = Instant::now();
        causes.quota("h:1", Duration::from_millis(812), now);
        causes.quota("h:1", Duration::ZERO, now);
        let said = causes.of("t", None, None, now).expect("a cause");
        assert!(said.contains("quota") && said.contains("812ms"), "{said}");
        assert!(causes.of("t", None, None, now + STALE).is_none());
    }

    #[test]
    fn an_advertised_address_that_is_not_reached_is_called_that() {
        for (error, part) in [
            (
                "kafka: nowhere:9092/1: Failed to resolve 'nowhere:9092': Name or service not known",
                Some("does not resolve"),
            ),
            (
                "kafka: ssl://h:9092/12: Connect to ipv4#1.2.3.4:9092 failed: Connection refused",
                Some("the cluster advertises broker 12 at h:9092, which cannot be reached"),
            ),
            (
                "kafka: h:9092/bootstrap: Connect to ipv4#1.2.3.4:9092 failed: Connection refused",
                None,
            ),
            ("kafka: 1/1 brokers are down", None),
        ] {
            let said = advertised(error);
            assert_eq!(said.is_some(), part.is_some(), "{error}");
            assert!(
                said.unwrap_or_default().contains(part.unwrap_or_default()),
                "{error}"
            );
        }
        let error = Error::new(
            ErrorKind::Unreachable,
            "kafka: nowhere:1/1: Failed to resolve 'nowhere:1': x",
        );
        let said = Causes::default().of("t", None, Some(&error), Instant::now());
        assert!(said.expect("a cause").contains("advertised.listeners"));
    }
}
