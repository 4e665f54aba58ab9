//! The examples run and succeed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use eventstream_harness::run_example;

fn run(name: &str) -> String {
    run_example(name, &[]).unwrap()
}

#[test]
fn typed() {
    assert!(run("typed").ends_with("player-7 logged in with steam\n"));
}

#[test]
fn worker() {
    let printed = run("worker");
    for line in [
        "attempt 3: not enough coins",
        "exhausted: the purse holds only 70",
        "rejected: no such player",
        "coinsEarned at attempt 2",
        r#"{"player-7": 70}"#,
    ] {
        assert!(printed.lines().any(|l| l == line), "{line}:\n{printed}");
    }
}

#[test]
fn batch() {
    let printed = run("batch");
    for keys in ["1 keys: 5000 rows in ", "5000 keys: 5000 rows in "] {
        let inserts = printed.lines().find_map(|line| line.strip_prefix(keys));
        let inserts: usize = inserts
            .unwrap()
            .trim_end_matches(" inserts")
            .parse()
            .unwrap();
        assert!(inserts <= 100, "{printed}");
    }
}

#[test]
fn pull() {
    let printed = run("pull");
    let expected = "\
level 7 at attempt 1
level 8: later
level 8 at attempt 2
dead letter: no such level
dead letter: cannot decode the payload: invalid type: string \"nine\", expected u32 at line 1 column 15
";
    assert_eq!(printed, expected);
}

#[test]
fn blocking() {
    assert!(run("blocking").ends_with("player-7 has a new level\n"));
}

#[test]
fn testing_handler() {
    assert!(run("testing_handler").ends_with("\n4 tests passed\n"));
}

#[test]
fn testing_service() {
    assert_eq!(
        run("testing_service"),
        "rejected: nothing was bought\n4 tests passed\n"
    );
}
