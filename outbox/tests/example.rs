//! The example runs and succeeds.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use eventstream_harness::{run_example, shared_postgres};

#[test]
fn outbox() {
    let url = shared_postgres().create_database("example").unwrap();
    let printed = run_example("outbox", &[("DATABASE_URL", &url)]).unwrap();
    let expected = "\
the moon is not for sale
published at offset 0: {\"player\":\"player-7\",\"item\":\"sword\"}
published at offset 1: {\"player\":\"player-7\",\"item\":\"shield\"}
0 events wait
";
    assert_eq!(printed, expected);
}
