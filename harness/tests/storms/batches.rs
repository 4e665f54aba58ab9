//! Events handled in batches on real Kafka: members that are killed, join and leave under load.

use std::time::Duration;

use crate::members::storm::Storm;

#[test]
fn nothing_that_is_handled_by_the_batch_is_lost_in_a_storm() {
    let storm = Storm {
        way: "batch",
        ordering: "key",
        assignment: "eager",
        events: 200_000,
        rate: 4_000,
        kills: 3,
        every: Duration::from_secs(5),
        retry_each: 100,
        reject_each: 1_000,
        copies: false,
    };
    storm.rage();
}
