//! Pulled events on real Kafka: members that are killed, join and leave under load.

use std::time::Duration;

use crate::members::storm::Storm;

const BY_PARTITION: Storm = Storm {
    way: "pull",
    ordering: "partition",
    assignment: "eager",
    events: 200_000,
    rate: 4_000,
    kills: 3,
    every: Duration::from_secs(5),
    retry_each: 100,
    reject_each: 1_000,
    copies: false,
};

#[test]
fn nothing_that_is_pulled_is_lost_in_a_storm() {
    BY_PARTITION.rage();
}

#[test]
fn a_key_keeps_its_order_in_a_storm() {
    let storm = Storm {
        ordering: "key",
        events: 60_000,
        kills: 1,
        ..BY_PARTITION
    };
    storm.rage();
}
