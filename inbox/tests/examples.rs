//! The example runs, and ends well.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;

use eventstream_harness::shared_postgres;

#[test]
fn inbox() {
    let test = std::env::current_exe().unwrap();
    let built = test
        .parent()
        .unwrap()
        .with_file_name("examples")
        .join("inbox");
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
    assert!(printed.ends_with("\n10 coins\n"), "{printed}");
    assert_eq!(printed.matches("Some(Before)").count(), 2, "{printed}");
}
