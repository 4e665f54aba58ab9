//! The example runs and succeeds.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use eventstream_harness::{run_example, shared_postgres};

#[test]
fn inbox() {
    let url = shared_postgres().create_database("example").unwrap();
    let printed = run_example("inbox", &[("DATABASE_URL", &url)]).unwrap();
    assert!(printed.ends_with("\n10 coins\n"), "{printed}");
    assert_eq!(printed.matches("Some(Before)").count(), 2, "{printed}");
}
