//! Verdicts on facts that no test broker can produce.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::*;
use crate::config::BrokerConfig;
use crate::doctor::facts::{Age, Configs, Described, Group, Partition, Rights, Setup};
use crate::doctor::report::CheckStatus;
use crate::error::{Error, ErrorKind};

fn facts(topics: Vec<Topic>) -> Facts {
    let config = BrokerConfig::new();
    let settings = config.settings(&["a:1".to_owned()]);
    Facts {
        setup: Setup {
            faults: Vec::new(),
            producer: settings.producer.into_iter().collect(),
            consumer: settings.consumer.into_iter().collect(),
            principal: config.principal(),
            config,
            handler_timeout: None,
            drain_timeout: Duration::from_secs(20),
            starts_at_tail: true,
        },
        listeners: Vec::new(),
        token: None,
        cluster: Some(Ok(Cluster {
            brokers: vec![(1, "a:1".to_owned()), (2, "b:1".to_owned())],
            broker_configs: Err("no right".to_owned()),
            topics,
            group: None,
            round_trip: None,
        })),
        now: Timestamp::UNIX_EPOCH,
    }
}

fn topic(partition: Partition, configs: &[(&str, &str)]) -> Topic {
    let configs = configs.iter();
    let configs: Configs = configs
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    Topic {
        name: "t".to_owned(),
        role: TopicRole::Source,
        partitions: Ok(vec![partition]),
        rights: Ok(Rights {
            read: true,
            write: true,
        }),
        configs: Ok(configs),
    }
}

fn replicated(replicas: usize, in_sync: usize, leader: Option<i32>) -> Partition {
    Partition {
        replicas,
        in_sync,
        leader,
        ..Partition::default()
    }
}

fn status(report: &Report, check: &str) -> CheckStatus {
    report.finding(check).expect("it is one of all").status
}

#[test]
fn partitions_and_replicas() {
    use CheckStatus::{Failure, Ok, Warning};
    for (partition, partitions, replicas) in [
        (replicated(2, 2, Some(1)), Ok, Ok),
        (replicated(2, 1, Some(1)), Ok, Warning),
        (replicated(1, 1, Some(1)), Ok, Warning),
        (replicated(2, 0, None), Failure, Warning),
    ] {
        let report = judge(&facts(vec![topic(partition, &[])]));
        assert_eq!(status(&report, "topic.partitions"), partitions);
        assert_eq!(status(&report, "topic.replicas"), replicas);
        // Unreported facts are not judged.
        assert_eq!(status(&report, "topic.min_in_sync"), CheckStatus::NotRun);
    }
}

#[test]
fn min_in_sync_beside_the_replicas() {
    use CheckStatus::{Ok, Warning};
    for (least, replicas, expected) in [
        ("2", 3, Ok),
        ("1", 3, Warning),
        ("3", 3, Warning),
        ("4", 3, Warning),
        ("1", 1, Ok),
    ] {
        let partition = replicated(replicas, replicas, Some(1));
        let report = judge(&facts(vec![topic(
            partition,
            &[("min.insync.replicas", least)],
        )]));
        assert_eq!(status(&report, "topic.min_in_sync"), expected, "{least}");
    }
}

#[test]
fn a_missing_topic_is_said_to_be_missing_by_every_check_of_it() {
    let missing = Topic {
        partitions: Err(Error::new(ErrorKind::UnknownTopic, "the broker's words")),
        ..topic(Partition::default(), &[])
    };
    let report = judge(&facts(vec![missing]));
    assert_eq!(status(&report, "topic.exists"), CheckStatus::Failure);
    for check in ["topic.partitions", "topic.replicas", "topic.min_in_sync"] {
        let finding = report.finding(check).expect("it is one of all");
        assert_eq!(finding.status, CheckStatus::NotRun, "{check}");
        assert_eq!(finding.found, "topic t does not exist", "{check}");
    }
}

#[test]
fn compaction_is_told() {
    let compacted = [("cleanup.policy", "compact"), ("retention.ms", "1000")];
    let report = judge(&facts(vec![topic(replicated(2, 2, Some(1)), &compacted)]));
    assert_eq!(status(&report, "topic.retention"), CheckStatus::Warning);
}

#[test]
fn a_record_waits_longer_than_an_age() {
    let partition = |committed, at: i64| Partition {
        ends: Some((0, 10)),
        committed,
        younger: BTreeMap::from([(Age::Minute, at)]),
        ..Partition::default()
    };
    // Offset 4 is the first that is not older than a minute; -1: all are older.
    assert!(partition(Some(3), 4).waits_longer_than(Age::Minute));
    assert!(!partition(Some(4), 4).waits_longer_than(Age::Minute));
    assert!(partition(Some(9), -1).waits_longer_than(Age::Minute));
    assert!(!partition(Some(10), -1).waits_longer_than(Age::Minute));
    assert!(!partition(None, -1).waits_longer_than(Age::Minute));
    assert!(!partition(Some(3), 4).waits_longer_than(Age::TenMinutes));
}

#[test]
fn what_is_refused_leaves_nothing_to_look_at() {
    let mut facts = facts(Vec::new());
    facts.cluster = None;
    let report = judge(&facts);
    assert!(
        report
            .findings
            .iter()
            .all(|f| f.status != CheckStatus::Failure)
    );
    assert_eq!(status(&report, "brokers.answer"), CheckStatus::NotRun);
}

#[test]
fn a_group_without_a_named_topic_is_judged_by_what_is_known_of_it() {
    use CheckStatus::{NotRun, Ok as Well, Warning};
    let judged = |topics| {
        let mut facts = facts(topics);
        let Some(Ok(cluster)) = &mut facts.cluster else {
            unreachable!("they are known");
        };
        cluster.group = Some(Group {
            name: ".g".to_owned(),
            described: Ok(Described {
                state: "Stable".to_owned(),
                members: 1,
                assigned: ["other".to_owned()].into(),
                ..Described::default()
            }),
            no_offsets: None,
        });
        judge(&facts)
    };
    let report = judged(Vec::new());
    assert_eq!(status(&report, "group.state"), Well);
    for check in ["topics", "offsets", "expiry", "lag", "stuck", "start"] {
        let check = format!("group.{check}");
        let finding = report.finding(&check).expect("it is one of all");
        assert_eq!(finding.status, NotRun, "{check}");
        assert_eq!(finding.found, "no topic was given", "{check}");
    }
    let report = judged(vec![topic(replicated(1, 1, Some(1)), &[])]);
    assert_eq!(status(&report, "group.topics"), Warning);
}
