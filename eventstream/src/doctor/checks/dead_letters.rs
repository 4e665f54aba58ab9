//! 7: dead-letter topics.

use super::topic::{exists, with_configs};
use super::{bound, number, over_topics};
use crate::doctor::facts::{Cluster, Facts, Topic, TopicRole};
use crate::doctor::report::Tally;
use crate::error::ErrorKind;
use crate::kafka::{Operation, Resource, right_remedy};

const LETTERS: [TopicRole; 1] = [TopicRole::DeadLetters];
/// The maximum size of a dead letter's headers: a long error and the origin.
const HEADERS: i64 = 16 * 1024;

pub(super) fn check(facts: &Facts, out: &mut Vec<Tally>) {
    out.push(exists(facts, "dead_letters.exists", &LETTERS));
    out.push(writable(facts));
    out.push(over_topics(
        facts,
        "dead_letters.retention",
        &LETTERS,
        |cluster, topic, tally| {
            with_configs(topic, tally, |configs, tally| {
                let kept = number(configs, "retention.ms").unwrap_or(-1);
                match of_source(cluster, topic, "retention.ms") {
                    None => tally.not_run("the retention of the source topic is unknown"),
                    Some(source) if is_longer(source, kept) => tally.warn(
                        format!(
                            "{} keeps dead letters {}, its source topic keeps events {}",
                            topic.name,
                            bound(kept),
                            bound(source)
                        ),
                        "raise retention.ms of the dead-letter topic: dead letters must be kept until they are replayed or parked",
                    ),
                    Some(_) => tally.ok(format!("{} keeps dead letters {}", topic.name, bound(kept))),
                }
            });
        },
    ));
    out.push(over_topics(facts, "dead_letters.message_size", &LETTERS, |cluster, topic, tally| {
        with_configs(topic, tally, |configs, tally| {
            let most = number(configs, "max.message.bytes").unwrap_or(0);
            match of_source(cluster, topic, "max.message.bytes") {
                None => tally.not_run("the largest event of the source topic is unknown"),
                Some(source) => {
                    let own = facts.setup.config.effective_message_max_bytes();
                    let own = i64::try_from(own).unwrap_or(i64::MAX);
                    let needed = source.min(own).saturating_add(HEADERS);
                    if most < needed {
                        tally.warn(
                            format!(
                                "{} accepts {most} bytes, but the largest event with dead-letter headers has {needed}",
                                topic.name
                            ),
                            "raise max.message.bytes of the dead-letter topic: a dead letter that is too large blocks \
                             its partition",
                        );
                    } else {
                        tally.ok(format!("{} accepts {most} bytes", topic.name));
                    }
                }
            }
        });
    }));
}

fn writable(facts: &Facts) -> Tally {
    let who = &facts.setup.principal;
    over_topics(
        facts,
        "dead_letters.writable",
        &LETTERS,
        |_, topic, tally| {
            let name = &topic.name;
            let remedy = right_remedy(who, Operation::Write, Resource::Topic(name));
            let refused = topic.partitions.as_ref().err();
            match (refused.map(crate::error::Error::kind), &topic.rights) {
            (Some(ErrorKind::Unauthorized), _) => {
                tally.fail(format!("{who} has no right on {name}"), remedy);
            }
            (Some(_), _) => tally.not_run(format!("{name} is not visible")),
            (None, Ok(rights)) if rights.write => tally.ok(format!("{who} may Write on {name}")),
            (None, Ok(_)) => tally.fail(
                format!("{who} has no right to Write on {name}: a dead letter would block its partition"),
                remedy,
            ),
            (None, Err(why)) => tally.not_run(format!("{name}: {why}")),
        }
        },
    )
}

/// A numeric property of the source topic, which precedes its dead-letter topic.
fn of_source(cluster: &Cluster, letters: &Topic, property: &str) -> Option<i64> {
    let at = cluster
        .topics
        .iter()
        .position(|topic| std::ptr::eq(topic, letters))?;
    let source = cluster.topics.get(at.checked_sub(1)?)?;
    number(source.configs.as_ref().ok()?, property)
}

/// Whether one retention is longer than another; a negative one is unlimited.
fn is_longer(one: i64, other: i64) -> bool {
    other >= 0 && (one < 0 || one > other)
}
