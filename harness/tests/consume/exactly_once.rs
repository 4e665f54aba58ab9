//! Exactly once, on real Kafka: transactions that are aborted, and many handlers in one of them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use eventstream::{
    Assignment, BrokerConfig, CommitPolicy, Concurrency, Context, ErrorKind, Event, Publish,
    StartOffset, Subscribe,
};
use eventstream_harness::{shared, unique_topic};

use crate::support::{
    END, Seen, client, committed, create, number, publish, register, until, wire,
};

const MINUTE: Duration = Duration::from_secs(60);

fn often() -> BrokerConfig {
    let often = CommitPolicy::Interval(Duration::from_millis(200));
    BrokerConfig::new().commit(often)
}

fn copy_of(event: &Event, to: &str) -> Publish {
    let n = number(event);
    let copy = Publish::new(to, "copied").key(format!("k{}", n % 50));
    copy.payload(serde_json::json!({ "n": n }))
}

/// The numbers of the copies in each partition, as a reader of committed transactions sees them.
fn copies(topic: &str) -> BTreeMap<i32, Vec<u64>> {
    let mut copies: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for record in shared().admin().read_all(&wire(topic)).expect("records") {
        let value = record.value.expect("a value");
        let event: serde_json::Value = serde_json::from_slice(&value).expect("an event");
        let of_partition = copies.entry(record.partition).or_default();
        of_partition.push(event["payload"]["n"].as_u64().expect("a number"));
    }
    copies
}

/// The topic of the copies is missing: every transaction is aborted, until it is there.
async fn reads_again(assignment: Assignment) {
    let topic = unique_topic("aborted");
    let target = format!("{topic}-copies");
    create(&topic, 3);
    let publisher = client(BrokerConfig::new());
    publish(&publisher, &topic, "e", 0..300).await;
    let config = often().assignment(assignment);
    let reader = client(config.allow_auto_create_topics(false));
    let (seen, told) = (Seen::default(), Arc::new(Mutex::new(Vec::new())));
    let (noted, errors, to) = (seen.clone(), Arc::clone(&told), target.clone());
    let subscribe = Subscribe::new(&topic)
        .group_id(&topic)
        .offset(StartOffset::Head)
        .exactly_once()
        .on_error(move |error| errors.lock().expect("a lock").push(error.kind()))
        .on_any(move |cx: Context, event: Event| {
            let (noted, copy) = (noted.clone(), copy_of(&event, &to));
            async move {
                let receipt = cx.publish(copy).await?.await?;
                assert_eq!((receipt.partition(), receipt.offset()), (-1, -1));
                noted.add(number(&event));
                Ok::<_, eventstream::Error>(())
            }
        });
    let subscription = register(&reader, subscribe).await;
    until("all handled twice", MINUTE, || seen.total() >= 600).await;
    let is_told = || (told.lock().expect("a lock")).contains(&ErrorKind::UnknownTopic);
    until("an error to be told", MINUTE, is_told).await;
    assert!(!subscription.health().is_ready(), "shown by health");
    create(&target, 3);
    until("all committed", MINUTE, || committed(&topic, &topic) == 300).await;
    // What comes from now on as well.
    publish(&publisher, &topic, "e", 300..400).await;
    until("the rest committed", MINUTE, || {
        committed(&topic, &topic) == 400
    })
    .await;
    until("health to be well", MINUTE, || {
        subscription.health().is_ready()
    })
    .await;
    subscription.stop(END).await.expect("stopped");
    reader.shutdown(END).await;
    publisher.shutdown(END).await;

    let copies = copies(&target);
    let mut all: Vec<_> = copies.values().flatten().copied().collect();
    all.sort_unstable();
    assert!(all.into_iter().eq(0..400), "{copies:?}");
    for numbers in copies.values() {
        for key in 0..50 {
            let of_key = numbers.iter().filter(|n| *n % 50 == key);
            assert!(of_key.is_sorted(), "key {key}: {numbers:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_aborted_is_read_again() {
    reads_again(Assignment::Eager).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_aborted_is_read_again_by_a_cooperative_member() {
    reads_again(Assignment::CooperativeSticky).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_aborted_is_read_again_in_the_new_protocol() {
    reads_again(Assignment::Consumer).await;
}

/// Handlers of 5 ms for 64 keys of one partition. How long it took, and how many ran at once.
async fn side_by_side(topic: &str, to: &str, exactly_once: bool) -> (Duration, usize) {
    const EVENTS: usize = 6_400;
    let group = if exactly_once { topic } else { to };
    let publisher = client(BrokerConfig::new());
    if exactly_once {
        for n in 0..EVENTS {
            let event = Publish::new(topic, "e").key(format!("k{}", n % 64));
            let event = event.payload(serde_json::json!({ "n": n }));
            drop(publisher.publish(event).await.expect("accepted"));
        }
        publisher.flush(END).await.expect("stored");
    }
    let reader = client(often());
    let (seen, running, most) = (
        Seen::default(),
        Arc::<AtomicUsize>::default(),
        Arc::<AtomicUsize>::default(),
    );
    let started = Arc::new(Mutex::new(None));
    let subscribe = Subscribe::new(topic)
        .group_id(group)
        .offset(StartOffset::Head)
        .concurrency(Concurrency::PerKey(64));
    let subscribe = match exactly_once {
        true => subscribe.exactly_once(),
        false => subscribe,
    };
    let (noted, at_work, at_most) = (seen.clone(), Arc::clone(&running), Arc::clone(&most));
    let (to, begin) = (to.to_owned(), Arc::clone(&started));
    let subscribe = subscribe.on_any(move |cx: Context, event: Event| {
        begin
            .lock()
            .expect("a lock")
            .get_or_insert_with(Instant::now);
        let (noted, at_work, at_most) = (noted.clone(), Arc::clone(&at_work), Arc::clone(&at_most));
        let copy = copy_of(&event, &to);
        async move {
            let now = at_work.fetch_add(1, Ordering::SeqCst) + 1;
            at_most.fetch_max(now, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(5)).await;
            drop(cx.publish(copy).await?);
            at_work.fetch_sub(1, Ordering::SeqCst);
            noted.add(number(&event));
            Ok::<_, eventstream::Error>(())
        }
    });
    let subscription = register(&reader, subscribe).await;
    until("all handled", MINUTE, || seen.distinct() == EVENTS).await;
    let took = (started.lock().expect("a lock")).expect("begun").elapsed();
    // A stop commits what is released.
    subscription.stop(END).await.expect("stopped");
    assert_eq!(committed(group, topic), EVENTS as i64);
    reader.shutdown(END).await;
    publisher.shutdown(END).await;
    (took, most.load(Ordering::SeqCst))
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_handlers_run_as_without_transactions() {
    let topic = unique_topic("side-by-side");
    let target = format!("{topic}-copies");
    create(&topic, 1);
    create(&target, 3);
    let (took, most) = side_by_side(&topic, &target, true).await;
    let copied: usize = copies(&target).values().map(Vec::len).sum();
    assert_eq!(copied, 6_400);
    let (plain, _) = side_by_side(&topic, &target, false).await;
    println!("{most} at once; {took:?} in transactions, {plain:?} without");
    assert_eq!(most, 64);
}

/// What handlers publish after they have ended would be part of no transaction.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_after_the_handler_is_refused() {
    let topic = unique_topic("late");
    create(&topic, 1);
    let publisher = client(BrokerConfig::new());
    publish(&publisher, &topic, "e", 0..1).await;
    let (refused, mut refusals) = tokio::sync::mpsc::unbounded_channel();
    let to = format!("{topic}-copies");
    create(&to, 1);
    let subscribe = Subscribe::new(&topic)
        .group_id(&topic)
        .offset(StartOffset::Head)
        .exactly_once()
        .on_any(move |cx: Context, event: Event| {
            let (copy, refused) = (copy_of(&event, &to), refused.clone());
            async move {
                let left = cx.clone();
                tokio::spawn(async move {
                    // It is published once the attempt is over, or staged just before.
                    let error = loop {
                        match left.publish(copy.clone()).await {
                            Ok(_) => tokio::task::yield_now().await,
                            Err(error) => break error,
                        }
                    };
                    let _ = refused.send(error);
                });
                tokio::task::yield_now().await;
                Ok::<_, eventstream::Error>(())
            }
        });
    let subscription = register(&publisher, subscribe).await;
    let error = tokio::time::timeout(MINUTE, refusals.recv()).await;
    let error = error.expect("in time").expect("an error");
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    subscription.stop(END).await.expect("stopped");
    publisher.shutdown(END).await;
}
