//! 8: the group.

use super::{cluster, some_of};
use crate::config::Assignment;
use crate::doctor::facts::{Age, Cluster, Described, Facts, Group, Partition, Topic, TopicRole};
use crate::doctor::report::Tally;

const IDS: [&str; 8] = [
    "group.state",
    "group.assignor",
    "group.topics",
    "group.offsets",
    "group.expiry",
    "group.lag",
    "group.stuck",
    "group.start",
];

pub(super) fn check(facts: &Facts, out: &mut Vec<Tally>) {
    let mut checks = IDS.map(Tally::new);
    let found = cluster(facts).and_then(|cluster| {
        let group = cluster.group.as_ref().ok_or("no group was given")?;
        Ok((cluster, group))
    });
    match found {
        Err(why) => checks.iter_mut().for_each(|check| check.not_run(&*why)),
        Ok((cluster, group)) => {
            let [state, assignor, topics, offsets, expiry, lag, stuck, start] = &mut checks;
            match &group.described {
                Ok(described) => {
                    judge_state(group, described, state);
                    judge_assignor(facts.setup.config.assignment, described, assignor);
                }
                Err(why) => {
                    for check in [state, assignor] {
                        check.not_run(why.clone());
                    }
                }
            }
            let of_topics = [topics, offsets, expiry, lag, stuck, start];
            judge_of_topics(facts, cluster, group, of_topics);
        }
    }
    out.extend(checks);
}

/// The checks of the group in the named topics.
fn judge_of_topics(facts: &Facts, cluster: &Cluster, group: &Group, checks: [&mut Tally; 6]) {
    if sources(cluster).next().is_none() {
        for check in checks {
            check.not_run("no topic was given");
        }
        return;
    }
    let [topics, offsets, expiry, lag, stuck, start] = checks;
    match &group.described {
        Ok(described) => judge_topics(cluster, described, topics),
        Err(why) => topics.not_run(why.clone()),
    }
    if let Some(why) = &group.no_offsets {
        for check in [offsets, expiry, lag, stuck, start] {
            check.not_run(why.clone());
        }
    } else {
        judge_offsets(cluster, offsets);
        judge_expiry(cluster, group, expiry);
        judge_lag(cluster, lag);
        judge_stuck(cluster, stuck);
        judge_start(facts, cluster, start);
    }
}

/// The topics that the group reads.
fn sources(cluster: &Cluster) -> impl Iterator<Item = &Topic> {
    let topics = cluster.topics.iter();
    topics.filter(|topic| topic.role == TopicRole::Source)
}

/// Their partitions.
fn partitions(cluster: &Cluster) -> impl Iterator<Item = (&Topic, &Partition)> {
    sources(cluster).flat_map(|topic| topic.partitions.iter().flatten().map(move |p| (topic, p)))
}

/// The matching partitions, as text.
fn those(cluster: &Cluster, is_so: impl Fn(&Partition) -> bool) -> Vec<String> {
    let found = partitions(cluster).filter(|(_, partition)| is_so(partition));
    found
        .map(|(topic, p)| format!("{} partition {}", topic.name, p.id))
        .collect()
}

fn judge_state(group: &Group, described: &Described, tally: &mut Tally) {
    let (name, members) = (&group.name, described.members);
    match &*described.state {
        "Stable" => tally.ok(format!("{name} is stable with {members} members")),
        "Empty" => tally.ok(format!("{name} has no members")),
        "Dead" => tally.ok(format!("{name} is new: the brokers do not know it yet")),
        state => tally.warn(
            format!("{name} is rebalancing ({state}, {members} members)"),
            "check again; if it stays so, members keep joining and leaving, or one does not give up its partitions",
        ),
    }
}

fn judge_assignor(own: Assignment, described: &Described, tally: &mut Tally) {
    if described.members == 0 {
        tally.ok("it has no members");
        return;
    }
    let by_broker = own == Assignment::Consumer;
    if described.broker_assigns.is_some_and(|it| it != by_broker) {
        let (theirs, word) = match by_broker {
            true => ("the classic group protocol", "eager or cooperative-sticky"),
            false => ("the group protocol of KIP-848", "consumer"),
        };
        tally.fail(
            format!("its members use {theirs}, so this client would not be admitted"),
            format!("set `assignment` to {word}, or use another group"),
        );
        return;
    }
    let fits = match own {
        Assignment::Consumer => true,
        Assignment::CooperativeSticky => described.assignor == "cooperative-sticky",
        _ => ["range", "roundrobin"].contains(&&*described.assignor),
    };
    let theirs = &described.assignor;
    if fits || theirs.is_empty() {
        tally.ok(format!("its members use {theirs}"));
    } else {
        tally.fail(
            format!("its members use the assignor {theirs}, so this client would not be admitted"),
            match &**theirs {
                "cooperative-sticky" => {
                    "set `assignment` to cooperative-sticky, or use another group"
                }
                "range" | "roundrobin" => "set `assignment` to eager, or use another group",
                _ => "use another group: no `assignment` uses this assignor",
            },
        );
    }
}

fn judge_topics(cluster: &Cluster, described: &Described, tally: &mut Tally) {
    let named = |name: &str| sources(cluster).any(|topic| topic.name == name);
    let others: Vec<_> = described
        .assigned
        .iter()
        .filter(|name| !named(name))
        .cloned()
        .collect();
    let missing = sources(cluster).filter(|topic| !described.assigned.contains(&topic.name));
    let missing: Vec<_> = missing.map(|topic| topic.name.clone()).collect();
    if described.assigned.is_empty() {
        tally.ok("no member has partitions");
        return;
    }
    if !missing.is_empty() {
        tally.warn(
            format!(
                "no member reads {}; its members read {}",
                some_of(&missing),
                some_of(&described.assigned.iter().cloned().collect::<Vec<_>>())
            ),
            "give each service its own group: all members of a group must read the same topics",
        );
    } else if !others.is_empty() {
        tally.warn(
            format!("its members also read {}", some_of(&others)),
            "name those topics too, or give each service its own group",
        );
    }
    tally.ok("its members read the named topics");
}

fn judge_offsets(cluster: &Cluster, tally: &mut Tally) {
    let below = those(cluster, |p| {
        p.ends
            .zip(p.committed)
            .is_some_and(|((low, _), at)| at < low)
    });
    let beyond = those(cluster, |p| {
        p.ends
            .zip(p.committed)
            .is_some_and(|((_, high), at)| at > high)
    });
    if !below.is_empty() {
        tally.fail(
            format!("records it has not read were deleted: {}", some_of(&below)),
            "raise retention.ms; the group resumes at the first remaining offset",
        );
    }
    if !beyond.is_empty() {
        tally.fail(
            format!("its committed offsets are beyond the end: {}", some_of(&beyond)),
            "the topic was recreated or truncated: the group resumes at its head and reads events again",
        );
    }
    tally.ok("its committed offsets are within the topics");
}

fn judge_expiry(cluster: &Cluster, group: &Group, tally: &mut Tally) {
    if group
        .described
        .as_ref()
        .is_ok_and(|described| described.members > 0)
    {
        tally.ok("it has members, so its offsets do not expire");
        return;
    }
    if let Err(why) = &cluster.broker_configs {
        tally.not_run(why.clone());
        return;
    }
    let late = those(cluster, |p| p.waits_longer_than(Age::NearExpiry));
    if late.is_empty() {
        tally.ok("no offset is known to expire soon");
    } else {
        tally.warn(
            format!(
                "it has no members, and its committed offsets are about to expire: {}",
                some_of(&late)
            ),
            "start a member, or raise the brokers' offsets.retention.minutes",
        );
    }
}

fn judge_lag(cluster: &Cluster, tally: &mut Tally) {
    let lag: i64 = partitions(cluster)
        .filter(|(_, p)| p.committed.is_some())
        .filter_map(|(_, p)| p.lag())
        .sum();
    let late = those(cluster, |p| p.waits_longer_than(Age::TenMinutes));
    if late.is_empty() {
        tally.ok(format!(
            "{lag} records are waiting, none for more than 10 min"
        ));
    } else {
        tally.warn(
            format!(
                "{lag} records are waiting, some for more than 10 min: {}",
                some_of(&late)
            ),
            "add members, up to one for each partition, or make the handlers faster",
        );
    }
}

fn judge_stuck(cluster: &Cluster, tally: &mut Tally) {
    let stuck = those(cluster, |p| {
        p.committed_later.is_some()
            && p.committed_later == p.committed
            && p.waits_longer_than(Age::Minute)
    });
    if stuck.is_empty() {
        tally.ok("no partition is stuck");
    } else {
        tally.warn(
            format!("records have waited for more than 1 min, and nothing is committed: {}", some_of(&stuck)),
            "check the log and the health of the member that has the partition: a handler keeps failing or hangs",
        );
    }
}

fn judge_start(facts: &Facts, cluster: &Cluster, tally: &mut Tally) {
    for topic in sources(cluster) {
        let all = || topic.partitions.iter().flatten();
        let records: i64 = all()
            .filter_map(|p| p.ends)
            .map(|(low, high)| high - low)
            .sum();
        let name = &topic.name;
        if all().any(|p| p.ends.is_none()) {
            tally.not_run(format!(
                "it is not known where the partitions of {name} end"
            ));
        } else if all().any(|p| p.committed.is_some()) {
            tally.ok(format!("it resumes in {name} at its committed offsets"));
        } else if records > 0 && facts.setup.starts_at_tail {
            tally.warn(
                format!(
                    "it is new to {name}, and would start after the {records} existing records"
                ),
                "subscribe with `StartOffset::Head` to read them",
            );
        } else {
            tally.ok(format!("it is new to {name}, and misses nothing"));
        }
    }
}
