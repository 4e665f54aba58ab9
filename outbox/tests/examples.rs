//! The example runs, and ends well.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;

use eventstream_harness::shared_postgres;

#[test]
fn outbox() {
    let test = std::env::current_exe().unwrap();
    let built = test
        .parent()
        .unwrap()
        .with_file_name("examples")
        .join("outbox");
    assert!(
        built.is_file(),
        "build it first: cargo build --workspace --examples"
    );
    let url = shared_postgres().create_database("example").unwrap();
    let output = Command::new(built)
        .env("DATABASE_URL", url)
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{printed}{errors}");
    let expected = "\
the moon is not for sale
published at offset 0: {\"player\":\"player-7\",\"item\":\"sword\"}
published at offset 1: {\"player\":\"player-7\",\"item\":\"shield\"}
0 events wait
";
    assert_eq!(printed, expected);
}
