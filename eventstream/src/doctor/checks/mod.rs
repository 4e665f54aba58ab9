//! The verdicts: one file for each group of checks, none of which does any IO.

mod clock;
mod configuration;
mod dead_letters;
mod group;
mod network;
mod protocol;
mod rights;
mod round_trip;
mod sasl;
mod tls;
mod topic;

#[cfg(test)]
mod tests;

use super::facts::{Cluster, Facts, Topic, TopicRole};
use super::report::{Finding, Report, Tally};

/// All ids, in the order of the findings.
pub(super) const IDS: &[&str] = &[
    "names.resolve",
    "listeners.connect",
    "listeners.advertised",
    "brokers.answer",
    "protocol.match",
    "protocol.version",
    "tls.files",
    "tls.chain",
    "tls.host_name",
    "tls.expiry",
    "tls.client_certificate",
    "sasl.mechanism",
    "sasl.token",
    "sasl.credentials",
    "rights.read",
    "rights.write",
    "rights.group",
    "topic.exists",
    "topic.partitions",
    "topic.replicas",
    "topic.min_in_sync",
    "topic.retention",
    "topic.message_size",
    "dead_letters.exists",
    "dead_letters.writable",
    "dead_letters.retention",
    "dead_letters.message_size",
    "group.state",
    "group.assignor",
    "group.topics",
    "group.offsets",
    "group.expiry",
    "group.lag",
    "group.stuck",
    "group.start",
    "config.valid",
    "config.poll_interval",
    "config.session_timeout",
    "config.publish_timeout",
    "config.promises",
    "clock.records",
    "round_trip.canary",
];

/// Runs all groups.
pub(super) fn judge(facts: &Facts) -> Report {
    let mut tallies = Vec::new();
    network::check(facts, &mut tallies);
    protocol::check(facts, &mut tallies);
    tls::check(facts, &mut tallies);
    sasl::check(facts, &mut tallies);
    rights::check(facts, &mut tallies);
    topic::check(facts, &mut tallies);
    dead_letters::check(facts, &mut tallies);
    group::check(facts, &mut tallies);
    configuration::check(facts, &mut tallies);
    clock::check(facts, &mut tallies);
    round_trip::check(facts, &mut tallies);
    let findings: Vec<Finding> = tallies.into_iter().map(Tally::finding).collect();
    debug_assert!(
        findings.iter().map(|f| f.check).eq(IDS.iter().copied()),
        "each check has one finding, in order"
    );
    Report { findings }
}

/// The cluster, or why it is unknown.
fn cluster(facts: &Facts) -> Result<&Cluster, String> {
    match &facts.cluster {
        Some(Ok(cluster)) => Ok(cluster),
        Some(Err(_)) => {
            Err("the brokers refuse this client or do not answer: see brokers.answer".to_owned())
        }
        None => Err("the configuration is invalid: see config.valid".to_owned()),
    }
}

/// Runs one check over the visible topics of a role.
fn over_topics(
    facts: &Facts,
    check: &'static str,
    roles: &[TopicRole],
    judge: impl Fn(&Cluster, &Topic, &mut Tally),
) -> Tally {
    let mut tally = Tally::new(check);
    match cluster(facts) {
        Err(why) => tally.not_run(why),
        Ok(cluster) => {
            let topics = cluster.topics.iter();
            let mut any = false;
            for topic in topics.filter(|topic| roles.contains(&topic.role)) {
                any = true;
                judge(cluster, topic, &mut tally);
            }
            if !any {
                let what = match roles {
                    [TopicRole::DeadLetters] => "no group was given with a topic",
                    _ => "no topic was given",
                };
                tally.not_run(what);
            }
        }
    }
    tally
}

/// A property that is a whole number.
fn number(configs: &super::facts::Configs, property: &str) -> Option<i64> {
    configs.get(property)?.trim().parse().ok()
}

/// The first few of many texts.
fn some_of(texts: &[String]) -> String {
    const SHOWN: usize = 5;
    let shown = texts.iter().take(SHOWN).cloned().collect::<Vec<_>>();
    match texts.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// A duration in its largest whole unit.
fn shown(time: std::time::Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 => format!("{} ms", time.as_millis()),
        s if s % 86_400 == 0 => format!("{} d", s / 86_400),
        s if s % 3600 == 0 => format!("{} h", s / 3600),
        s if s % 60 == 0 => format!("{} min", s / 60),
        s => format!("{s} s"),
    }
}

/// A retention in milliseconds; a negative one is unlimited.
fn bound(millis: i64) -> String {
    match u64::try_from(millis) {
        Ok(millis) => format!("for {}", shown(std::time::Duration::from_millis(millis))),
        Err(_) => "forever".to_owned(),
    }
}
