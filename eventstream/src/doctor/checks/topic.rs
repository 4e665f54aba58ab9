//! 6: topics.

use super::{bound, number, over_topics, some_of};
use crate::doctor::facts::{Age, Configs, Facts, Partition, Topic, TopicRole};
use crate::doctor::report::Tally;
use crate::error::{Error, ErrorKind};

const TOPICS: [TopicRole; 2] = [TopicRole::Source, TopicRole::Canary];
/// Kafka limits the size of a batch, which is larger than the event in it.
const BATCH_OVERHEAD: i64 = 100;

pub(super) fn check(facts: &Facts, out: &mut Vec<Tally>) {
    out.push(exists(facts, "topic.exists", &TOPICS));
    out.push(over_topics(
        facts,
        "topic.partitions",
        &TOPICS,
        |_, topic, tally| {
            with_partitions(topic, tally, |partitions, tally| {
                leaders(topic, partitions, tally);
            });
        },
    ));
    out.push(over_topics(
        facts,
        "topic.replicas",
        &TOPICS,
        |cluster, topic, tally| {
            with_partitions(topic, tally, |partitions, tally| {
                replicas(topic, partitions, cluster.brokers.len(), tally);
            });
        },
    ));
    out.push(over_topics(
        facts,
        "topic.min_in_sync",
        &TOPICS,
        |cluster, topic, tally| {
            with_configs(topic, tally, |configs, tally| {
                min_in_sync(topic, configs, cluster.brokers.len(), tally);
            });
        },
    ));
    out.push(over_topics(
        facts,
        "topic.retention",
        &[TopicRole::Source],
        |_, topic, tally| {
            with_configs(topic, tally, |configs, tally| {
                retention(topic, configs, tally);
            });
        },
    ));
    out.push(over_topics(
        facts,
        "topic.message_size",
        &TOPICS,
        |_, topic, tally| {
            with_configs(topic, tally, |configs, tally| {
                let own = facts.setup.config.effective_message_max_bytes();
                message_size(topic, configs, own, tally);
            });
        },
    ));
}

/// Whether topics of these roles exist. Only a source topic must.
pub(super) fn exists(facts: &Facts, check: &'static str, roles: &[TopicRole]) -> Tally {
    over_topics(facts, check, roles, |_, topic, tally| {
        let name = &topic.name;
        match &topic.partitions {
            Ok(partitions) => tally.ok(format!("{name} has {} partitions", partitions.len())),
            Err(error) if error.kind() != ErrorKind::UnknownTopic => tally.not_run(error.to_string()),
            Err(_) if topic.role == TopicRole::DeadLetters => tally.warn(
                format!("topic {name} does not exist"),
                "create it before an event is dead-lettered, or set `dead_letter_suffix` to the suffix in use",
            ),
            Err(_) => tally.fail(
                format!("topic {name} does not exist"),
                "create it, or correct its name or the prefix",
            ),
        }
    })
}

pub(super) fn with_partitions(
    topic: &Topic,
    tally: &mut Tally,
    judge: impl FnOnce(&[Partition], &mut Tally),
) {
    match &topic.partitions {
        Ok(partitions) => judge(partitions, tally),
        Err(error) => tally.not_run(unseen(topic, error)),
    }
}

/// Why there is nothing to check about a topic. Whether it exists is a check of its own.
fn unseen(topic: &Topic, error: &Error) -> String {
    match error.kind() {
        ErrorKind::UnknownTopic => format!("topic {} does not exist", topic.name),
        _ => error.to_string(),
    }
}

pub(super) fn with_configs(
    topic: &Topic,
    tally: &mut Tally,
    judge: impl FnOnce(&Configs, &mut Tally),
) {
    match (&topic.partitions, &topic.configs) {
        (Err(error), _) => tally.not_run(unseen(topic, error)),
        (_, Ok(configs)) => judge(configs, tally),
        (_, Err(why)) => tally.not_run(format!("{}: {why}", topic.name)),
    }
}

fn leaders(topic: &Topic, partitions: &[Partition], tally: &mut Tally) {
    let name = &topic.name;
    let offline = partitions.iter().filter(|p| p.leader.is_none());
    let offline: Vec<_> = offline.map(|p| p.id.to_string()).collect();
    if offline.is_empty() {
        tally.ok(format!("every partition of {name} has a leader"));
    } else {
        tally.fail(
            format!("partitions {} of {name} have no leader", some_of(&offline)),
            "start the brokers that hold their replicas",
        );
    }
}

fn replicas(topic: &Topic, partitions: &[Partition], brokers: usize, tally: &mut Tally) {
    let name = &topic.name;
    let behind = partitions.iter().filter(|p| p.in_sync < p.replicas);
    let behind: Vec<_> = behind.map(|p| p.id.to_string()).collect();
    let fewest = partitions.iter().map(|p| p.replicas).min().unwrap_or(0);
    if !behind.is_empty() {
        tally.warn(
            format!(
                "partitions {} of {name} have replicas that are not in sync",
                some_of(&behind)
            ),
            "start the brokers that are down, or find out why they fall behind",
        );
    } else if fewest < 2 && brokers > 1 {
        tally.warn(
            format!("{name} has partitions with a single replica: they are lost with its broker"),
            "raise the replication factor of the topic to 3",
        );
    } else {
        tally.ok(format!(
            "{name} has {fewest} replicas in a cluster of {brokers}"
        ));
    }
}

fn min_in_sync(topic: &Topic, configs: &Configs, brokers: usize, tally: &mut Tally) {
    let name = &topic.name;
    let (Ok(partitions), Some(least)) = (&topic.partitions, number(configs, "min.insync.replicas"))
    else {
        tally.not_run(format!("{name}: the broker does not report it"));
        return;
    };
    let replicas = partitions.iter().map(|p| p.replicas).min().unwrap_or(0);
    let replicas = i64::try_from(replicas).unwrap_or(i64::MAX);
    let found = format!("{name} has min.insync.replicas {least} and {replicas} replicas");
    if least > replicas {
        tally.warn(
            format!("{found}: brokers before Kafka 4.0 reject every event published with acks=all, later ones accept it"),
            "lower min.insync.replicas, or raise the replication factor",
        );
    } else if least == replicas && replicas > 1 {
        tally.warn(
            format!("{found}: publishing stops if one broker is down"),
            "set min.insync.replicas to one less than the number of replicas",
        );
    } else if least == 1 && replicas > 1 && brokers > 1 {
        tally.warn(
            format!("{found}: a stored event may be lost with one broker"),
            "set min.insync.replicas to 2",
        );
    } else {
        tally.ok(found);
    }
}

fn retention(topic: &Topic, configs: &Configs, tally: &mut Tally) {
    let name = &topic.name;
    let policy = configs
        .get("cleanup.policy")
        .map_or("delete", String::as_str);
    let kept = number(configs, "retention.ms").unwrap_or(-1);
    let late = topic.partitions.iter().flatten();
    let late = late.filter(|p| p.waits_longer_than(Age::NearRetention));
    let late: Vec<_> = late.map(|p| p.id.to_string()).collect();
    if policy.contains("compact") {
        tally.warn(
            format!("{name} has cleanup.policy {policy}: only the last event of each key is kept"),
            "set cleanup.policy to delete, unless consumers may miss events",
        );
    }
    if policy.contains("delete") && !late.is_empty() {
        tally.fail(
            format!(
                "in partitions {} of {name}, events that the group has not read are about to be deleted; they are kept {}",
                some_of(&late),
                bound(kept)
            ),
            "raise retention.ms, or speed the group up",
        );
    }
    tally.ok(format!("{name} keeps events {} ({policy})", bound(kept)));
}

/// Whether the topic accepts the largest event of this client.
pub(super) fn message_size(topic: &Topic, configs: &Configs, own: usize, tally: &mut Tally) {
    let name = &topic.name;
    let own = i64::try_from(own).unwrap_or(i64::MAX);
    match number(configs, "max.message.bytes") {
        None => tally.not_run(format!("{name}: the broker does not report it")),
        Some(most) if most < own.saturating_add(BATCH_OVERHEAD) => tally.warn(
            format!("{name} accepts {most} bytes, but this client publishes up to {own}"),
            "raise the topic's max.message.bytes, or lower `message_max_bytes`",
        ),
        Some(most) => tally.ok(format!("{name} accepts {most} bytes")),
    }
}
