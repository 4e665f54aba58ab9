//! The doctor without Kafka: its documentation, and the embedded broker.

use std::collections::BTreeSet;

use eventstream::Doctor;
use harness::workspace;

use crate::support::{Broker, tool};

#[test]
fn the_document_has_each_check_once_and_no_other() {
    let document =
        std::fs::read_to_string(workspace().join("docs/guide/src/doctor.md")).expect("a document");
    let rows = document.lines().filter_map(|line| line.strip_prefix("| `"));
    let ids: Vec<_> = rows.filter_map(|row| row.split('`').next()).collect();
    assert_eq!(ids, Doctor::CHECKS);
    let unique: BTreeSet<_> = ids.iter().collect();
    assert_eq!(unique.len(), ids.len());
}

#[test]
fn the_embedded_broker_is_well() {
    let output = tool(&["doctor", "--stream", "embedded"])
        .output()
        .expect("it runs");
    let out = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{out}");
    assert_eq!(out.lines().count(), Doctor::CHECKS.len(), "{out}");
    assert!(
        out.contains("brokers.answer             the cluster has 1 brokers"),
        "{out}"
    );
}

#[test]
fn streams_without_brokers_have_no_doctor() {
    let output = tool(&["doctor", "--stream", "none"])
        .output()
        .expect("it runs");
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{err}");
    assert!(
        err.contains("--stream none: must be kafka or embedded"),
        "{err}"
    );
}

#[test]
fn a_broker_that_reports_no_rights_is_not_said_to_refuse_any() {
    let broker = Broker::start(&["t:1"]);
    let ended = broker.run(&["doctor", "--topic", "t"], "").expect(0);
    let rights = "not_run  rights.write               t: the broker does not report rights";
    assert!(ended.out.contains(rights), "{}", ended.out);
}
