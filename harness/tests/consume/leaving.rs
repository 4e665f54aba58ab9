//! Leaving a group at any moment: the others get its partitions at once, not after its session
//! timeout.

use std::io::Error as IoError;
use std::time::{Duration, Instant};

use eventstream::{
    Assignment, BrokerConfig, Client, Concurrency, Context, Event, StartOffset, Subscribe,
};
use eventstream_harness::unique_topic;

use crate::support::{END, Seen, client, create, number, publish, until};

const CYCLES: u32 = 8;
/// Far longer than a leave may take.
const SESSION: Duration = Duration::from_secs(40);
/// The maximum duration of a leave: a heartbeat of the remaining member, and its joining.
const SOON: Duration = Duration::from_secs(9);

fn config(assignment: Assignment) -> BrokerConfig {
    let config = BrokerConfig::new()
        .assignment(assignment)
        .registration_settle(Duration::from_millis(10));
    match assignment {
        Assignment::Consumer => config,
        _ => config.session_timeout(SESSION),
    }
}

async fn member(config: BrokerConfig, topic: &str, seen: &Seen) -> Client {
    let (client, seen) = (client(config), seen.clone());
    let subscribe = Subscribe::new(topic)
        .group_id(topic)
        .offset(StartOffset::Head)
        .concurrency(Concurrency::PerKey(8))
        .on_any(move |_: Context, event: Event| {
            seen.add(number(&event));
            async { Ok::<_, IoError>(()) }
        });
    client
        .register(subscribe)
        .await
        .expect("registered")
        .detach();
    client
}

async fn join_and_leave_quickly(assignment: Assignment) {
    let topic = unique_topic(&format!("leaving_{assignment}"));
    create(&topic, 4);
    let seen = Seen::default();
    let stays = member(config(assignment), &topic, &seen).await;
    until("assigned", END, || stays.reader_stats().partitions == 4).await;
    let (mut ends, mut returns) = (Vec::new(), Vec::new());
    for cycle in 0..CYCLES {
        let passes = member(config(assignment), &topic, &seen).await;
        let second = (cycle % 2 == 1).then_some(());
        let second = match second {
            Some(()) => {
                tokio::time::sleep(Duration::from_millis(u64::from(cycle * 61 % 300))).await;
                Some(member(config(assignment), &topic, &seen).await)
            }
            None => None,
        };
        // Each cycle ends in another phase of joining.
        tokio::time::sleep(Duration::from_millis(u64::from(cycle * 137 % 1100))).await;
        let started = Instant::now();
        passes.shutdown(END).await;
        ends.push(started.elapsed());
        if let Some(second) = second {
            tokio::time::sleep(Duration::from_millis(u64::from(cycle * 37 % 200))).await;
            let started = Instant::now();
            second.shutdown(END).await;
            ends.push(started.elapsed());
        }
        let started = Instant::now();
        let numbers = cycle as usize * 40..(cycle as usize + 1) * 40;
        publish(&stays, &topic, "e", numbers.clone()).await;
        until("handled after a leave", SOON, || {
            seen.distinct() == numbers.end
        })
        .await;
        until("alone again", SOON, || stays.reader_stats().partitions == 4).await;
        returns.push(started.elapsed());
    }
    stays.shutdown(END).await;
    println!(
        "{assignment}: a leave takes {:?} at most, all is back after {:?} at most",
        ends.iter().max(),
        returns.iter().max()
    );
    assert_eq!(seen.total(), CYCLES as usize * 40);
    assert!(ends.iter().all(|end| *end < SOON), "{ends:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn quick_leaves_of_eager_members_stall_nobody() {
    join_and_leave_quickly(Assignment::Eager).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn quick_leaves_of_cooperative_members_stall_nobody() {
    join_and_leave_quickly(Assignment::CooperativeSticky).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn quick_leaves_in_the_new_protocol_stall_nobody() {
    join_and_leave_quickly(Assignment::Consumer).await;
}
