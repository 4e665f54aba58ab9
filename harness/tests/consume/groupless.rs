//! A subscription without a group: it reads everything and leaves nothing behind.

use std::io::Error as IoError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use eventstream::{BrokerConfig, Client, Context, ErrorKind, Event, Retry, StartOffset, Subscribe};
use eventstream_harness::{Kafka, shared, unique_topic};

use crate::support::{
    END, Seen, client, client_of, counting, create, number, publish, register, until, wire,
};

/// The groups with this prefix, whatever they are.
fn groups(prefix: &str) -> Vec<String> {
    let names = shared().admin().groups().expect("the groups").into_iter();
    names.filter(|name| name.starts_with(prefix)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn sees_all_and_leaves_no_group_behind() {
    // Its own, as other tests make groups meanwhile.
    let prefix = unique_topic("alone");
    let topic = "groupless";
    let created = (shared().admin()).create_topic(&format!("{prefix}.{topic}"), 4, 1, &[]);
    created.expect("a topic");
    let client = Client::kafka([shared().bootstrap()])
        .prefix(&prefix)
        .build();
    let client = client.expect("a client");
    publish(&client, topic, "e", 0..100).await;
    let mut all = Vec::new();
    for _ in 0..2 {
        let seen = Seen::default();
        let subscribe = counting(topic, "", StartOffset::Head, &seen, Duration::ZERO);
        all.push((register(&client, subscribe).await, seen));
    }
    for (subscription, seen) in &all {
        until("all events", END, || seen.distinct() == 100).await;
        assert!(subscription.health().is_healthy() && subscription.health().assigned);
    }
    let mut left = groups(&prefix);
    for (subscription, seen) in all {
        subscription.stop(END).await.expect("stopped");
        assert_eq!(seen.total(), 100);
    }
    left.extend(groups(&prefix));
    assert_eq!(left, [""; 0]);
    client.shutdown(END).await;
}

/// There is nobody to leave the record to, so it is read again.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_to_be_left_to_others_is_read_again() {
    let topic = unique_topic("groupless_rejoin");
    create(&topic, 2);
    let client = client(BrokerConfig::new());
    let (seen, failed) = (Seen::default(), Arc::new(AtomicUsize::new(0)));
    let (handled, fails) = (seen.clone(), Arc::clone(&failed));
    let subscribe = Subscribe::new(&topic)
        .offset(StartOffset::Head)
        .retry(Retry::Rejoin)
        .on_any(move |_: Context, event: Event| {
            let n = number(&event);
            let refused = n == 7 && fails.fetch_add(1, Ordering::SeqCst) < 2;
            if !refused {
                handled.add(n);
            }
            async move {
                match refused {
                    true => Err(IoError::other("not yet")),
                    false => Ok(()),
                }
            }
        });
    let subscription = register(&client, subscribe).await;
    publish(&client, &topic, "e", 0..20).await;
    until("all", END, || seen.distinct() == 20).await;
    subscription.stop(END).await.expect("stopped");
    client.shutdown(END).await;
    assert_eq!((seen.total(), failed.load(Ordering::SeqCst)), (20, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn takes_a_topic_that_comes_later_and_partitions_that_are_added() {
    let topic = unique_topic("groupless_grows");
    let client = client(BrokerConfig::new().allow_auto_create_topics(false));
    let seen = Seen::default();
    let (tell, told) = mpsc::channel();
    let subscribe = counting(&topic, "", StartOffset::Tail, &seen, Duration::ZERO)
        .on_error(move |error| drop(tell.send(error)));
    let subscription = client.register(subscribe).await.expect("registered");
    let told = tokio::task::spawn_blocking(move || told.recv_timeout(END));
    let error = told.await.expect("a thread").expect("it is told");
    assert_eq!(error.kind(), ErrorKind::UnknownTopic);
    create(&topic, 1);
    publish(&client, &topic, "e", 0..10).await;
    // It starts at the tail, but new records could not have been missed.
    until("the topic", END, || seen.distinct() == 10).await;
    shared()
        .admin()
        .add_partitions(&wire(&topic), 3)
        .expect("added");
    let publisher = crate::support::client(BrokerConfig::new());
    publish(&publisher, &topic, "e", 10..110).await;
    until("the partitions", END, || seen.distinct() == 110).await;
    let ends = shared().admin().end_offsets(&wire(&topic)).expect("ends");
    assert!(ends.iter().all(|(low, high)| high > low), "{ends:?}");
    assert!(
        subscription.health().is_healthy(),
        "{:?}",
        subscription.health()
    );
    subscription.stop(END).await.expect("stopped");
    publisher.shutdown(END).await;
    client.shutdown(END).await;
}

/// Nobody revokes what a reader without a group had.
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_anew_with_fewer_partitions_leaves_no_problem() {
    let topic = unique_topic("groupless_shrinks");
    let kafka = Kafka::builder().auto_create_topics(false).start();
    let kafka = kafka.expect("a Kafka");
    let admin = kafka.admin().expect("an admin");
    let create = |partitions| admin.create_topic(&wire(&topic), partitions, 1, &[]);
    create(4).expect("a topic");
    let client = client_of(&kafka.bootstrap(), BrokerConfig::new());
    let seen = Seen::default();
    let subscribe = counting(&topic, "", StartOffset::Head, &seen, Duration::ZERO);
    let subscription = register(&client, subscribe).await;
    publish(&client, &topic, "e", 0..50).await;
    until("the first topic", END, || seen.distinct() == 50).await;
    admin.delete_topic(&wire(&topic)).expect("deleted");
    create(2).expect("made anew");
    let publisher = client_of(&kafka.bootstrap(), BrokerConfig::new());
    publish(&publisher, &topic, "e", 50..100).await;
    assert_eq!(publisher.writer_stats().stored, 50);
    until("the second topic", END * 2, || seen.distinct() == 100).await;
    until("healthy", END, || subscription.health().is_healthy()).await;
    assert_eq!(client.reader_stats().partitions, 2);
    let ready = tokio::time::timeout(END, subscription.ready()).await;
    ready.expect("in time").expect("ready");
    subscription.stop(END).await.expect("stopped");
    publisher.shutdown(END).await;
    client.shutdown(END).await;
}
