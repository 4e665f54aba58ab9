use std::time::{Duration, Instant};

use crate::support::run;

#[test]
fn tells_the_whole_round_and_accounts_for_every_event() {
    let started = Instant::now();
    let ended = run(&["demo"], "").expect(0);
    assert!(started.elapsed() < Duration::from_secs(10));
    for told in [
        "stored at player/",
        "attempt 1 failed",
        "attempt 2 failed",
        "handled at attempt 3",
        "dead letter stored at player-dlq/0@0",
        "read from the dead letters, rejected",
        "audit log: \"grantGold\"",
        "Every event is accounted for.",
    ] {
        assert!(ended.out.contains(told), "{told} is not in\n{}", ended.out);
    }
    assert_eq!(ended.err, "");
}
