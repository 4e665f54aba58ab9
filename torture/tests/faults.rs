//! Two minutes of drawn faults, in which the checker finds nothing.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;

#[test]
fn two_minutes_of_faults_lose_nothing() {
    let run = Command::new(env!("CARGO_BIN_EXE_eventstream-torture"))
        .args(["run", "--minutes", "2", "--seed", "1"])
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&run.stdout);
    let errors = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{printed}{errors}");
    println!("{printed}");
}
