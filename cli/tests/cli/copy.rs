//! `copy --until-end`: done when everything is copied, and not before.

use std::process::Child;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::{Broker, SOON, end, end_within, numbered, signal};

const COPY: [&str; 6] = ["copy", "--topic", "t", "--to", "u", "--until-end"];

fn count(broker: &Broker, topic: &str) -> u64 {
    let args = ["metadata", "--topic", topic, "--json"];
    let found = broker.run(&args, "").expect(0).lines().remove(0);
    let partitions = found["topics"][0]["partitions"].as_array().unwrap();
    partitions.iter().map(|p| p["high"].as_u64().unwrap()).sum()
}

#[track_caller]
fn until_copied(broker: &Broker, some: u64) {
    let deadline = Instant::now() + SOON;
    while count(broker, "u") < some {
        assert!(Instant::now() < deadline, "nothing was copied");
    }
}

#[test]
fn an_outage_is_not_the_end_of_a_copy() {
    let broker = Broker::start(&["t:1", "u:1"]);
    broker.publish("t", &numbered(3000));
    let copy = broker.spawn(&[&COPY[..], &["--rate", "1000"]].concat());
    // More than a batch.
    until_copied(&broker, 1001);
    broker.signal(Signal::SIGSTOP);
    // Longer than any silence that could be taken for the end.
    std::thread::sleep(Duration::from_secs(13));
    broker.signal(Signal::SIGCONT);
    // A commit that was sent into the outage may be waited for.
    let ended = end_within(copy, 2 * SOON).expect(0);
    assert!(count(&broker, "u") >= 3000, "{}", ended.err);
}

#[test]
fn a_process_without_partitions_ends_with_the_one_that_has_them() {
    let broker = Broker::start(&["t:1", "u:1"]);
    broker.publish("t", &numbered(1500));
    let copies: Vec<Child> = (0..2)
        .map(|_| broker.spawn(&[&COPY[..], &["--rate", "300"]].concat()))
        .collect();
    for copy in copies {
        end(copy).expect(0);
    }
    assert!(count(&broker, "u") >= 1500);
    // There is nothing left to copy.
    let before = count(&broker, "u");
    broker.run(&COPY, "").expect(0);
    assert_eq!(count(&broker, "u"), before);
}

#[test]
fn an_interrupt_ends_a_copy_that_is_not_done() {
    let broker = Broker::start(&["t:1", "u:1"]);
    broker.publish("t", &numbered(1500));
    let copy = broker.spawn(&[&COPY[..], &["--rate", "300"]].concat());
    until_copied(&broker, 1);
    signal(&copy, Signal::SIGTERM);
    let told = end(copy).expect(130).err;
    let copied = count(&broker, "u");
    assert!(told.contains(&format!("copied {copied} records")), "{told}");
}
