//! 10: clocks.

use super::{over_topics, shown};
use crate::doctor::facts::{Facts, TopicRole};
use crate::doctor::report::Tally;

pub(super) fn check(facts: &Facts, out: &mut Vec<Tally>) {
    let roles = [TopicRole::Source, TopicRole::Canary];
    out.push(over_topics(facts, "clock.records", &roles, |_, topic, tally| {
        let name = &topic.name;
        let Ok(partitions) = &topic.partitions else {
            tally.not_run(format!("{name} cannot be seen"));
            return;
        };
        if partitions.iter().all(|p| p.ends.is_none()) {
            tally.not_run(format!("the offsets of {name} are not known"));
            return;
        }
        match partitions.iter().filter_map(|p| p.ahead).max() {
            None => tally.ok(format!("no record of {name} is ahead of this host's clock")),
            Some(ahead) => tally.warn(
                format!("{name} has records more than {} ahead of this host's clock", shown(ahead)),
                "set the clocks of this host, of the publishers and of the brokers by NTP: retention, starts by \
                 time and ages go by them",
            ),
        }
    }));
}
