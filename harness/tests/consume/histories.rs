//! Offsets that change: recreated topics, records deleted unread, partitions added later.

use std::io::Error as IoError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use eventstream::{
    Assignment, BrokerConfig, Client, CommitPolicy, Context, Error, ErrorKind, Event, StartOffset,
    Subscribe,
};
use eventstream_harness::{shared, unique_topic};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use crate::support::{
    END, PREFIX, Seen, client, committed, counting, create, publish, register, until, wire,
};

const LONG: Duration = Duration::from_secs(45);

/// The errors reported to a subscription.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<Error>>>);

impl Told {
    fn hears(&self, subscribe: Subscribe) -> Subscribe {
        let told = self.clone();
        subscribe.on_error(move |error| told.0.lock().expect("a lock").push(error.clone()))
    }

    fn of_offsets(&self) -> Vec<String> {
        let told = self.0.lock().expect("a lock");
        let told = told.iter().filter(|e| e.kind() == ErrorKind::OffsetReset);
        told.map(ToString::to_string).collect()
    }

    /// Errors that are neither about offsets nor about the topic being away.
    fn others(&self) -> Vec<String> {
        let known = [ErrorKind::OffsetReset, ErrorKind::UnknownTopic];
        let told = self.0.lock().expect("a lock");
        let told = told.iter().filter(|e| !known.contains(&e.kind()));
        told.map(|e| format!("{e:?}")).collect()
    }
}

/// A transactional producer of the first partition.
struct Transactions(BaseProducer, String);

impl Transactions {
    fn new(topic: &str) -> Self {
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", shared().bootstrap())
            .set("transactional.id", topic)
            .create()
            .expect("a producer");
        tokio::task::block_in_place(|| producer.init_transactions(END)).expect("initialised");
        Self(producer, wire(topic))
    }

    fn begin(&self, numbers: std::ops::Range<usize>) {
        self.0.begin_transaction().expect("begun");
        for n in numbers {
            let event = serde_json::json!({ "name": "e", "payload": { "n": n } }).to_string();
            let record = BaseRecord::to(&self.1)
                .payload(&event)
                .key("k")
                .partition(0);
            self.0
                .send(record)
                .map_err(|(error, _)| error)
                .expect("sent");
        }
        tokio::task::block_in_place(|| self.0.flush(END)).expect("flushed");
    }

    fn end(&self, commits: bool) {
        tokio::task::block_in_place(|| match commits {
            true => self.0.commit_transaction(END),
            false => self.0.abort_transaction(END),
        })
        .expect("ended");
    }
}

fn quick(assignment: Assignment) -> BrokerConfig {
    BrokerConfig::new()
        .assignment(assignment)
        .base_config("topic.metadata.refresh.interval.ms", 1000)
}

/// First fewer records than were read before, then more of them within a second: neither are mistaken for records
/// already seen.
async fn made_anew(assignment: Assignment, rounds: usize) {
    let topic = unique_topic("anew");
    create(&topic, 1);
    let client = client(quick(assignment));
    let (seen, told) = (Seen::default(), Told::default());
    let subscribe = counting(&topic, &topic, StartOffset::Tail, &seen, Duration::ZERO);
    let subscription = client.register(told.hears(subscribe)).await;
    let subscription = subscription.expect("registered");
    subscription.ready().await.expect("ready");
    let mut next = 0;
    for round in 0..=rounds {
        if round > 0 {
            let admin = shared().admin();
            admin.delete_topic(&wire(&topic)).expect("deleted");
            // Or somebody who asks for it does, as these brokers create topics at their first use.
            let _ = admin.create_topic(&wire(&topic), 1, 1, &[]);
        }
        let count = if round % 2 == 0 { 100 } else { 30 };
        let publisher = crate::support::client(BrokerConfig::new());
        publish(&publisher, &topic, "e", next..next + count).await;
        publisher.shutdown(END).await;
        next += count;
        until(&format!("all of round {round}"), LONG, || {
            seen.distinct() == next
        })
        .await;
    }
    subscription.stop(END).await.expect("stopped");
    client.shutdown(END).await;
    assert_eq!(seen.numbers(), (0..next).collect::<Vec<_>>());
    assert_eq!(told.others(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_anew_is_read_from_its_head_by_an_eager_member() {
    made_anew(Assignment::Eager, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_anew_is_read_from_its_head_by_a_cooperative_member() {
    made_anew(Assignment::CooperativeSticky, 4).await;
}

/// Retention has deleted what the group has not read: a gap, reported once, and the service stays healthy.
#[tokio::test(flavor = "multi_thread")]
async fn records_deleted_unread_are_told_and_counted() {
    let topic = unique_topic("deleted");
    create(&topic, 1);
    let client = client(BrokerConfig::new());
    publish(&client, &topic, "e", 0..50).await;
    let seen = Seen::default();
    let subscribe = || counting(&topic, &topic, StartOffset::Head, &seen, Duration::ZERO);
    let first = register(&client, subscribe()).await;
    until("the first", END, || seen.distinct() == 50).await;
    first.stop(END).await.expect("stopped");
    assert_eq!(committed(&topic, &topic), 50);
    publish(&client, &topic, "e", 50..150).await;
    let admin = shared().admin();
    admin
        .delete_records(&wire(&topic), 0, 120)
        .expect("deleted");
    let told = Told::default();
    let second = client.register(told.hears(subscribe())).await;
    let second = second.expect("registered");
    second.ready().await.expect("ready");
    // And more, with the rest already handled.
    assert!(committed(&topic, &topic) >= 120);
    until("the rest", END, || seen.distinct() == 80).await;
    let words = told.of_offsets();
    assert!(
        words.len() == 1 && words[0].contains("70 records"),
        "{words:?}"
    );
    assert!(
        words[0].contains(&format!("{}/0", wire(&topic))),
        "{words:?}"
    );
    let health = second.health();
    assert!(
        health.is_healthy() && health.notices.len() == 1,
        "{health:?}"
    );
    second.stop(END).await.expect("stopped");
    client.shutdown(END).await;
    assert_eq!(told.others(), Vec::<String>::new());
}

/// The same with a running member. It cannot have them yet: their transaction is open.
#[tokio::test(flavor = "multi_thread")]
async fn records_deleted_before_a_running_member_are_told() {
    let topic = unique_topic("overtaken");
    create(&topic, 1);
    let client = client(BrokerConfig::new());
    let (seen, told) = (Seen::default(), Told::default());
    let subscribe = counting(&topic, &topic, StartOffset::Head, &seen, Duration::ZERO);
    let subscription = client.register(told.hears(subscribe)).await;
    let subscription = subscription.expect("registered");
    publish(&client, &topic, "e", 0..10).await;
    until("the first", END, || seen.distinct() == 10).await;
    let producer = Transactions::new(&topic);
    producer.begin(10..20);
    let admin = shared().admin();
    admin.delete_records(&wire(&topic), 0, 15).expect("deleted");
    until("the gap", END, || !told.of_offsets().is_empty()).await;
    producer.end(true);
    until("the rest", END, || seen.distinct() == 15).await;
    until("the end", END, || committed(&topic, &topic) == 21).await;
    subscription.stop(END).await.expect("stopped");
    client.shutdown(END).await;
    let words = told.of_offsets();
    assert!(
        words.len() == 1 && words[0].contains("(5 records"),
        "{words:?}"
    );
    assert_eq!(told.others(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_added_while_the_group_is_away_are_read_from_their_head() {
    let topic = unique_topic("grown");
    create(&topic, 1);
    let client = client(BrokerConfig::new());
    let seen = Seen::default();
    let subscribe = || counting(&topic, &topic, StartOffset::Tail, &seen, Duration::ZERO);
    let first = client.register(subscribe()).await.expect("registered");
    first.ready().await.expect("ready");
    publish(&client, &topic, "e", 0..20).await;
    until("the first", END, || seen.distinct() == 20).await;
    first.stop(END).await.expect("stopped");
    shared()
        .admin()
        .add_partitions(&wire(&topic), 4)
        .expect("added");
    let publisher = crate::support::client(BrokerConfig::new());
    publish(&publisher, &topic, "e", 20..70).await;
    let second = client.register(subscribe()).await.expect("registered");
    second.ready().await.expect("ready");
    until("all", END, || seen.distinct() == 70).await;
    second.stop(END).await.expect("stopped");
    client.shutdown(END).await;
    publisher.shutdown(END).await;
    assert_eq!(seen.total(), 70);
}

/// A partition is added, its first record fails, and the member leaves: the next one reads all of
/// it.
#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_appears_is_committed_before_it_is_handled() {
    let topic = unique_topic("appears");
    let client = client(quick(Assignment::Eager));
    let failed = Arc::new(AtomicUsize::new(0));
    let fails = Arc::clone(&failed);
    let subscribe = Subscribe::new(&topic)
        .group_id(&topic)
        .offset(StartOffset::Tail)
        .on_any(move |_: Context, _: Event| {
            fails.fetch_add(1, Ordering::SeqCst);
            async { Err::<(), _>(IoError::other("not now")) }
        });
    let first = client.register(subscribe).await.expect("registered");
    first.ready().await.expect("ready");
    create(&topic, 3);
    let publisher = crate::support::client(BrokerConfig::new());
    publish(&publisher, &topic, "e", 0..60).await;
    until("a failure", LONG, || failed.load(Ordering::SeqCst) > 0).await;
    first.stop(END).await.expect("stopped");
    let seen = Seen::default();
    let second = counting(&topic, &topic, StartOffset::Tail, &seen, Duration::ZERO);
    let second = client.register(second).await.expect("registered");
    until("all", LONG, || seen.distinct() == 60).await;
    second.stop(END).await.expect("stopped");
    client.shutdown(END).await;
    publisher.shutdown(END).await;
}

/// After ready, a crash changes nothing: every start is on the broker, with each protocol and commit mode.
#[tokio::test(flavor = "multi_thread")]
async fn every_start_is_committed_when_the_subscription_is_ready() {
    for assignment in [
        Assignment::Eager,
        Assignment::CooperativeSticky,
        Assignment::Consumer,
    ] {
        let topic = unique_topic("committed");
        create(&topic, 3);
        let config = BrokerConfig::new()
            .assignment(assignment)
            .commit(CommitPolicy::Interval(Duration::from_secs(60)));
        let client = client(config);
        publish(&client, &topic, "e", 0..90).await;
        let subscribe = counting(
            &topic,
            &topic,
            StartOffset::Tail,
            &Seen::default(),
            Duration::ZERO,
        );
        let subscription = client.register(subscribe).await.expect("registered");
        subscription.ready().await.expect("ready");
        assert_eq!(committed(&topic, &topic), 90, "{assignment:?}");
        subscription.stop(END).await.expect("stopped");
        client.shutdown(END).await;
    }
}

/// Two members that start together agree on one start for all partitions, wherever these are
/// assigned.
#[tokio::test(flavor = "multi_thread")]
async fn members_that_start_together_agree_on_the_start() {
    let topic = unique_topic("together");
    create(&topic, 6);
    let publisher = client(BrokerConfig::new());
    publish(&publisher, &topic, "e", 0..120).await;
    let clients: Vec<_> = (0..3).map(|_| client(BrokerConfig::new())).collect();
    let seen = Seen::default();
    let mut all = Vec::new();
    for client in &clients {
        let subscribe = counting(&topic, &topic, StartOffset::Tail, &seen, Duration::ZERO);
        all.push(client.register(subscribe).await.expect("registered"));
    }
    for subscription in &all {
        subscription.ready().await.expect("ready");
    }
    until("two each", END, || {
        clients.iter().all(|c| c.reader_stats().partitions == 2)
    })
    .await;
    for subscription in &all {
        subscription.ready().await.expect("ready");
    }
    publish(&publisher, &topic, "e", 120..240).await;
    until("what came after", LONG, || seen.distinct() >= 120).await;
    for client in &clients {
        client.shutdown(END).await;
    }
    publisher.shutdown(END).await;
    assert_eq!(
        seen.numbers(),
        (120..240).collect::<Vec<_>>(),
        "the tail, and once"
    );
}

/// Control records are not delivered, but the group's commit passes them all the same.
#[tokio::test(flavor = "multi_thread")]
async fn the_commit_reaches_the_end_behind_transactions() {
    let topic = unique_topic("transactions");
    create(&topic, 1);
    let client = client(BrokerConfig::new());
    let (seen, told) = (Seen::default(), Told::default());
    let subscribe = counting(&topic, &topic, StartOffset::Head, &seen, Duration::ZERO);
    let subscription = client.register(told.hears(subscribe)).await;
    let subscription = subscription.expect("registered");
    publish(&client, &topic, "e", 0..5).await;
    let producer = Transactions::new(&topic);
    for (number, commits) in [(5, true), (6, false)] {
        producer.begin(number..number + 1);
        producer.end(commits);
    }
    // The broker writes the end markers after it has answered the producer.
    let end = 9;
    let marked = || shared().admin().end_offsets(&wire(&topic)).expect("ends")[0].1 == end;
    until("the marks", END, marked).await;
    until("the end", END, || committed(&topic, &topic) == end).await;
    subscription.stop(END).await.expect("stopped");
    client.shutdown(END).await;
}

/// Without a broker and with many topics: the stop takes as long as its deadline, not as the
/// requests'.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_broker_a_stop_takes_no_longer_than_it_says() {
    let client = Client::kafka(["127.0.0.1:9"]).prefix(PREFIX).build();
    let client = client.expect("a client");
    for n in 0..50 {
        let topic = format!("nobody{n}");
        let subscribe = counting(
            &topic,
            "g",
            StartOffset::Tail,
            &Seen::default(),
            Duration::ZERO,
        );
        client
            .register(subscribe)
            .await
            .expect("registered")
            .detach();
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let started = Instant::now();
    client.shutdown(Duration::from_secs(1)).await;
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "{:?}",
        started.elapsed()
    );
}
