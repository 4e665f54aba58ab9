use std::time::Duration;

use crate::config::{BrokerConfig, CommitPolicy};

const FIVE: CommitPolicy = CommitPolicy::Interval(Duration::from_secs(5));

fn toml(text: &str) -> BrokerConfig {
    BrokerConfig::from_toml(text).unwrap()
}

fn vars(of: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    of.iter().map(owned).collect()
}

#[test]
fn words_and_intervals_choose_a_policy() {
    for (value, policy) in [
        ("interval", CommitPolicy::Interval(Duration::from_secs(1))),
        ("5s", FIVE),
        ("Each-Event", CommitPolicy::EachEvent),
        ("each_event_async", CommitPolicy::EachEventAsync),
        ("before-processing", CommitPolicy::BeforeProcessing),
    ] {
        assert_eq!(toml(&format!("commit = {value:?}")).commit, policy);
        let shown = format!("commit = \"{policy}\"");
        assert_eq!(toml(&shown).commit, policy, "{shown}");
    }
    assert_eq!(toml("commit = 5").commit, FIVE);
}

#[test]
fn the_keys_of_the_go_sdk_choose_a_policy() {
    for (keys, policy) in [
        (&["auto_commit_interval = '5s'"][..], FIVE),
        (&["disable_auto_commit = true"], CommitPolicy::EachEvent),
        (
            &["commit_before_processing = true"],
            CommitPolicy::BeforeProcessing,
        ),
        (
            &[
                "disable_auto_commit = true",
                "commit_before_processing = true",
            ],
            CommitPolicy::BeforeProcessing,
        ),
        (
            &["disable_auto_commit = false", "auto_commit_interval = 5"],
            FIVE,
        ),
        (&["disable_auto_commit = false"], CommitPolicy::default()),
    ] {
        assert_eq!(toml(&keys.join("\n")).commit, policy, "{keys:?}");
        let of = keys.iter().map(|key| {
            let (name, value) = key.split_once(" = ").unwrap();
            let name = format!("EVENTSTREAM_{}", name.to_uppercase());
            (name, value.trim_matches('\'').to_owned())
        });
        let of = BrokerConfig::from_vars(of).unwrap();
        assert_eq!(of.commit, policy, "{keys:?}");
    }
}

#[test]
fn keys_that_contradict_each_other_are_refused_by_name() {
    for (text, expected) in [
        (
            "auto_commit_interval = 5\ncommit_before_processing = true",
            "auto_commit_interval \"5s\": not together with commit_before_processing = true, which commits each event",
        ),
        (
            "auto_commit_interval = 5\ndisable_auto_commit = true",
            "auto_commit_interval \"5s\": not together with disable_auto_commit = true, which commits each event",
        ),
        (
            "commit = 'each-event'\ndisable_auto_commit = true",
            "disable_auto_commit \"true\": not together with commit, which covers it",
        ),
    ] {
        let error = BrokerConfig::from_toml(text).unwrap_err();
        let faults: Vec<_> = error.faults().iter().map(ToString::to_string).collect();
        assert_eq!(faults, [expected]);
    }
    let both = vars(&[
        ("EVENTSTREAM_AUTO_COMMIT_INTERVAL", "5"),
        ("EVENTSTREAM_DISABLE_AUTO_COMMIT", "true"),
    ]);
    let error = BrokerConfig::from_vars(both).unwrap_err();
    assert_eq!(error.faults()[0].field, "EVENTSTREAM_AUTO_COMMIT_INTERVAL");
    let wrong =
        "disable_auto_commit = 0\nauto_commit_interval = 'x'\ncommit_before_processing = 'no'";
    let error = BrokerConfig::from_toml(wrong).unwrap_err();
    assert_eq!(error.faults().len(), 3, "{error}");
}

#[test]
fn a_later_source_replaces_what_an_earlier_one_chose() {
    let file = || toml("auto_commit_interval = 5");
    for (name, value, policy) in [
        (
            "COMMIT_BEFORE_PROCESSING",
            "true",
            CommitPolicy::BeforeProcessing,
        ),
        ("COMMIT", "each-event", CommitPolicy::EachEvent),
        ("DISABLE_AUTO_COMMIT", "false", FIVE),
        ("DIAL_TIMEOUT", "5s", FIVE),
    ] {
        let name = format!("EVENTSTREAM_{name}");
        let both = file().apply_vars(vars(&[(&name, value)])).unwrap();
        assert_eq!(both.commit, policy, "{name}={value}");
    }
    let each = toml("disable_auto_commit = true");
    let denied = each.apply_vars(vars(&[("EVENTSTREAM_DISABLE_AUTO_COMMIT", "false")]));
    assert_eq!(denied.unwrap().commit, CommitPolicy::default());
}
