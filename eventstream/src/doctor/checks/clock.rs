//! 10: clocks.

use super::{over_topics, shown};
use crate::doctor::facts::{Facts, TopicRole};
use crate::doctor::report::Tally;

pub(super) fn check(facts: &Facts, out: &mut Vec<Tally>) {
    let roles = [TopicRole::Source, TopicRole::Canary];
    out.push(over_topics(facts, "clock.records", &roles, |_, topic, tally| {
        let name = &topic.name;
        let Ok(partitions) = &topic.partitions else {
            tally.not_run(format!("{name} is not visible"));
            return;
        };
        if partitions.iter().all(|p| p.ends.is_none()) {
            tally.not_run(format!("the offsets of {name} are unknown"));
            return;
        }
        match partitions.iter().filter_map(|p| p.ahead).max() {
            None => tally.ok(format!("no record of {name} is ahead of this host's clock")),
            Some(ahead) => tally.warn(
                format!("{name} has records more than {} ahead of this host's clock", shown(ahead)),
                "synchronise the clocks of this host, the publishers and the brokers with NTP: retention, starts by \
                 time and ages depend on them",
            ),
        }
    }));
}
