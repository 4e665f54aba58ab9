//! Helpers shared by the consuming tests.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::collections::HashMap;
use std::io::Error as IoError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use eventstream::{
    BrokerConfig, Client, Context, Event, Publish, StartOffset, Subscribe, Subscription,
};
use eventstream_harness::shared;

pub(crate) const PREFIX: &str = "p";
pub(crate) const END: Duration = Duration::from_secs(20);

/// A client of the shared Kafka.
pub(crate) fn client(config: BrokerConfig) -> Client {
    client_of(shared().bootstrap(), config)
}

pub(crate) fn client_of(bootstrap: &str, config: BrokerConfig) -> Client {
    Client::kafka(bootstrap.split(','))
        .prefix(PREFIX)
        .config(config)
        .build()
        .expect("a client")
}

/// Creates the topic on the broker, with the client's prefix.
pub(crate) fn create(topic: &str, partitions: i32) {
    let admin = shared().admin();
    admin
        .create_topic(&wire(topic), partitions, 1, &[])
        .expect("a topic");
}

pub(crate) fn wire(name: &str) -> String {
    format!("{PREFIX}.{name}")
}

/// Publishes `from..to`, each with its number as `n` and one of 50 keys.
pub(crate) async fn publish(
    client: &Client,
    topic: &str,
    name: &str,
    numbers: std::ops::Range<usize>,
) {
    for n in numbers {
        let event = Publish::new(topic, name)
            .key(format!("k{}", n % 50))
            .payload(serde_json::json!({ "n": n }));
        drop(client.publish(event).await.expect("accepted"));
    }
    client
        .flush(Duration::from_secs(30))
        .await
        .expect("flushed");
}

pub(crate) fn number(event: &Event) -> usize {
    event
        .payload()
        .get("n")
        .expect("a payload with n")
        .decode()
        .expect("a number")
}

pub(crate) async fn until(what: &str, within: Duration, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + within;
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// How often each number was handled, and how many calls have started.
#[derive(Clone, Default)]
pub(crate) struct Seen {
    handled: Arc<Mutex<HashMap<usize, usize>>>,
    begun: Arc<AtomicUsize>,
}

impl Seen {
    fn begin(&self) {
        self.begun.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn begun(&self) -> usize {
        self.begun.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, n: usize) {
        let mut handled = self.handled.lock().expect("a lock");
        *handled.entry(n).or_default() += 1;
    }

    pub(crate) fn distinct(&self) -> usize {
        self.handled.lock().expect("a lock").len()
    }

    pub(crate) fn total(&self) -> usize {
        self.handled.lock().expect("a lock").values().sum()
    }

    pub(crate) fn numbers(&self) -> Vec<usize> {
        let handled = self.handled.lock().expect("a lock");
        let mut all: Vec<_> = handled.keys().copied().collect();
        all.sort_unstable();
        all
    }
}

/// The committed offsets of a group, summed over the topic's partitions.
pub(crate) fn committed(group: &str, topic: &str) -> i64 {
    let offsets = shared().admin().committed(&wire(group), &wire(topic));
    offsets.expect("offsets").into_iter().flatten().sum()
}

/// Threads of this process that the library started.
pub(crate) fn threads() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").expect("procfs");
    tasks
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok())
        .map(|name| name.trim().to_owned())
        .filter(|name| name.starts_with("eventstream") || name.starts_with("rdk:"))
        .collect()
}

/// A subscription that records what it sees, each event after a delay.
pub(crate) fn counting(
    topic: &str,
    group: &str,
    start: StartOffset,
    seen: &Seen,
    delay: Duration,
) -> Subscribe {
    let seen = seen.clone();
    Subscribe::new(topic)
        .group_id(group)
        .offset(start)
        .on_any(move |_: Context, event: Event| {
            let seen = seen.clone();
            async move {
                seen.begin();
                if !delay.is_zero() {
                    tokio::time::sleep(delay).await;
                }
                seen.add(number(&event));
                Ok::<_, IoError>(())
            }
        })
}

/// Registers and waits for the first assignment.
pub(crate) async fn register(client: &Client, subscribe: Subscribe) -> Subscription {
    let subscription = client.register(subscribe).await.expect("registered");
    until("assigned", END, || subscription.health().assigned).await;
    subscription
}
