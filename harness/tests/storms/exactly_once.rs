//! Exactly once, on real Kafka: each event is copied once, as a reader of committed transactions sees it.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use eventstream::{BrokerConfig, Publish};
use eventstream_harness::{eventually, shared, unique_topic};
use rustix::process::Signal;

use crate::members::Member;
use crate::members::storm::{Storm, differences, numbers_once_there};
use crate::support::{END, PREFIX, client, create, wire};

const STORM: Storm = Storm {
    way: "handler",
    ordering: "key",
    assignment: "eager",
    events: 40_000,
    rate: 4_000,
    kills: 2,
    every: Duration::from_secs(3),
    retry_each: 50,
    reject_each: 500,
    copies: true,
};
const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn every_event_has_one_copy_in_a_storm() {
    STORM.rage();
}

#[test]
fn every_event_has_one_copy_in_a_storm_over_a_cooperative_group() {
    let storm = Storm {
        ordering: "partition",
        assignment: "cooperative-sticky",
        events: 20_000,
        kills: 1,
        ..STORM
    };
    storm.rage();
}

/// A member that is stopped for longer than its session has copied what another copies meanwhile.
#[test]
fn what_a_member_has_open_that_was_paused_counts_for_nothing() {
    const EVENTS: usize = 8_000;
    let topic = unique_topic("paused");
    let copies = format!("{topic}-copies");
    create(&topic, 2);
    create(&copies, 2);
    let folder = tempfile::tempdir().expect("a folder");
    let arguments = [
        ("brokers", shared().bootstrap()),
        ("prefix", PREFIX),
        ("topic", &topic),
        ("group", &topic),
        ("session_ms", "2000"),
        ("handler_ms", "0"),
        ("copy_to", &copies),
    ];
    let mut paused = Member::start(folder.path(), "paused", &arguments);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let inside = runtime.enter();
    let publisher = client(BrokerConfig::new());
    drop(inside);
    let to = topic.clone();
    let loading = runtime.spawn(async move {
        for n in 0..EVENTS {
            let event = Publish::new(&to, "e").key(format!("k{}", n % 20));
            let event = event.payload(serde_json::json!({ "n": n }));
            drop(publisher.publish(event).await.expect("accepted"));
            // A thousand a second.
            if n % 20 == 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        publisher.flush(END).await.expect("stored");
        publisher.shutdown(END).await;
    });
    // The group's coordinator may just be made.
    let committed = || {
        let committed = shared().admin().committed(&wire(&topic), &wire(&topic));
        committed.map_or(0, |offsets| offsets.into_iter().flatten().sum::<i64>())
    };
    eventually("a commit", MINUTE, || Ok((committed() > 500).then_some(()))).expect("a commit");
    // Some more, which is not committed.
    let done = |member: &Member| {
        let handled = member.handled().into_iter().filter(|h| h.end.is_some());
        handled.map(|h| h.number).collect::<BTreeSet<_>>()
    };
    let before = committed();
    eventually("events that are not committed", MINUTE, || {
        let is_ahead = done(&paused).len() as i64 > before.max(committed()) + 100;
        Ok(is_ahead.then_some(()))
    })
    .expect("events that are not committed");
    paused.signal(Signal::STOP);
    let other = Member::start(folder.path(), "other", &arguments);
    eventually("another to take over", MINUTE, || {
        Ok((done(&other).len() > 500).then_some(()))
    })
    .expect("another takes over");
    paused.signal(Signal::CONT);
    runtime.block_on(loading).expect("published");
    eventually("all committed", MINUTE, || {
        Ok((committed() == EVENTS as i64).then_some(()))
    })
    .expect("all committed");
    let again = done(&paused).intersection(&done(&other)).count();
    paused.leave();
    other.leave();

    let numbers = numbers_once_there(&wire(&copies), EVENTS);
    let (_, end): (Vec<_>, Vec<_>) = (shared().admin().end_offsets(&wire(&copies)))
        .expect("the ends")
        .into_iter()
        .unzip();
    println!(
        "{again} handled twice, {} copies, ends {end:?}",
        numbers.len()
    );
    assert!(again > 0, "nothing was open");
    let mut last = HashMap::new();
    for n in &numbers {
        if let Some(before) = last.insert(n % 20, *n) {
            assert!(before < *n, "{n} was published after {before} of its key");
        }
    }
    let mut numbers = numbers;
    numbers.sort_unstable();
    let all: Vec<_> = (0..EVENTS).collect();
    assert_eq!(differences(&numbers, &all), [""; 0]);
}
