//! 5: this client's permissions.

use super::{cluster, over_topics};
use crate::doctor::facts::{Facts, Rights, TopicRole};
use crate::doctor::report::Tally;
use crate::error::ErrorKind;
use crate::kafka::{Operation, Resource, right_remedy};

const TOPICS: [TopicRole; 2] = [TopicRole::Source, TopicRole::Canary];

pub(super) fn check(facts: &Facts, out: &mut Vec<Tally>) {
    out.push(topics(facts, "rights.read", Operation::Read, |rights| {
        rights.read
    }));
    out.push(topics(facts, "rights.write", Operation::Write, |rights| {
        rights.write
    }));
    out.push(group(facts));
}

fn topics(
    facts: &Facts,
    check: &'static str,
    operation: Operation,
    has: impl Fn(Rights) -> bool,
) -> Tally {
    let who = &facts.setup.principal;
    over_topics(facts, check, &TOPICS, |cluster, topic, tally| {
        let name = &topic.name;
        // With a group, topics are read, otherwise published to; a canary needs both.
        let is_needed = topic.role == TopicRole::Canary
            || (operation == Operation::Read) == cluster.group.is_some();
        let remedy = right_remedy(who, operation, Resource::Topic(name));
        let refused = topic.partitions.as_ref().err();
        let refused = refused.filter(|error| error.kind() == ErrorKind::Unauthorized);
        match (refused, &topic.rights) {
            (Some(error), _) if is_needed => tally.fail(error.to_string(), remedy),
            (Some(error), _) => tally.not_run(error.to_string()),
            (None, Ok(rights)) if has(*rights) => {
                tally.ok(format!("{who} may {operation:?} on {name}"));
            }
            (None, Ok(_)) if is_needed => {
                let found = format!(
                    "{who} may describe topic {name}, but has no right to {operation:?} on it"
                );
                tally.fail(found, remedy);
            }
            (None, Ok(_)) => {
                let whose = match operation {
                    Operation::Read => "publisher",
                    _ => "consumer",
                };
                tally.ok(format!(
                    "{who} may not {operation:?} on {name}, which a {whose} does not need"
                ));
            }
            (None, Err(why)) => tally.not_run(format!("{name}: {why}")),
        }
    })
}

fn group(facts: &Facts) -> Tally {
    let mut tally = Tally::new("rights.group");
    let who = &facts.setup.principal;
    match cluster(facts).map(|cluster| &cluster.group) {
        Err(why) => tally.not_run(why),
        Ok(None) => tally.not_run("no group was given"),
        Ok(Some(group)) => {
            let name = &group.name;
            let remedy = right_remedy(who, Operation::Read, Resource::Group(name));
            match &group.described {
                Ok(described) => match described.may_read {
                    Some(true) => tally.ok(format!("{who} may Read on group {name}")),
                    Some(false) => tally.fail(
                        format!("{who} has no right to Read on group {name}"),
                        remedy,
                    ),
                    None => tally.not_run("the broker does not report it"),
                },
                Err(why) if why.to_lowercase().contains("authorization") => {
                    tally.fail(
                        format!("{who} has no right to Read on group {name}"),
                        remedy,
                    );
                }
                Err(why) => tally.not_run(why.clone()),
            }
        }
    }
    tally
}
