//! What each commit mode promises when a member is killed, and policies that leave the group.

use std::io::Error as IoError;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering as Atomic};
use std::time::Duration;

use eventstream::{
    Backoff, BrokerConfig, Client, Concurrency, Context, Event, Exhausted, Retry, StartOffset,
    Subscribe,
};
use eventstream_harness::{eventually, shared, unique_topic};

use crate::members::Member;
use crate::members::history::{Verdict, judge};
use crate::support::{
    END, PREFIX, Seen, client, committed, create, number, publish, register, until, wire,
};

const EVENTS: usize = 6000;
const PARTITIONS: i32 = 2;

/// Handles the events of two partitions in order, is killed in the middle, and another continues.
fn killed_in_the_middle(commit: &str) -> Verdict {
    let topic = unique_topic(&format!("commit_{commit}"));
    create(&topic, PARTITIONS);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let client = client(BrokerConfig::new());
        publish(&client, &topic, "e", 0..EVENTS).await;
        client.shutdown(END).await;
    });
    let folder = tempfile::tempdir().expect("a folder");
    let start = |name: &str| {
        let arguments = [
            ("brokers", shared().bootstrap()),
            ("prefix", PREFIX),
            ("topic", &topic),
            ("group", &topic),
            ("commit", commit),
            ("ordering", "partition"),
            ("handler_ms", "1"),
        ];
        Member::start(folder.path(), name, &arguments)
    };
    let first = start("first");
    eventually("a third", Duration::from_secs(60), || {
        Ok((first.handled().len() > EVENTS / 3).then_some(()))
    })
    .expect("a third");
    let mut runs = vec![first.kill()];
    let second = start("second");
    eventually("the end", Duration::from_secs(60), || {
        let committed = committed(&topic, &topic);
        Ok((usize::try_from(committed)? == EVENTS).then_some(()))
    })
    .expect("the end");
    runs.push(second.leave());
    let verdict = judge(EVENTS, &runs);
    println!("commit {commit}: {verdict}");
    assert_eq!(verdict.again_without_reason, [""; 0]);
    assert_eq!(verdict.at_once, [""; 0]);
    assert_eq!(verdict.out_of_order, [""; 0]);
    verdict
}

#[test]
fn each_interval_misses_nothing_and_repeats_less_than_an_interval() {
    let verdict = killed_in_the_middle("interval");
    assert_eq!(verdict.missing, [0; 0]);
    // An interval of a second, plus the time of a commit on a busy machine.
    assert!(verdict.oldest_uncommitted < Duration::from_secs(2));
}

#[test]
fn after_each_misses_nothing_and_repeats_one_of_each_partition() {
    let verdict = killed_in_the_middle("each");
    assert_eq!(verdict.missing, [0; 0]);
    assert!(verdict.again_after_kill <= 2, "{verdict}");
}

#[test]
fn async_each_misses_nothing_and_repeats_what_was_on_its_way() {
    let verdict = killed_in_the_middle("async");
    assert_eq!(verdict.missing, [0; 0]);
    assert!(
        verdict.oldest_uncommitted < Duration::from_secs(1),
        "{verdict}"
    );
}

#[test]
fn before_processing_repeats_nothing_and_misses_one_of_each_partition() {
    let verdict = killed_in_the_middle("before");
    assert_eq!(verdict.again_after_kill, 0);
    assert!(verdict.missing.len() <= 2, "{verdict}");
}

fn head(topic: &str) -> Subscribe {
    Subscribe::new(topic)
        .group_id(topic)
        .offset(StartOffset::Head)
}

/// A member whose handler fails for event 7, unless it is `able`.
async fn member(topic: &str, able: bool, seen: &Seen, failed: &Arc<AtomicUsize>) -> Client {
    let client = client(BrokerConfig::new());
    let (handled, failed) = (seen.clone(), Arc::clone(failed));
    let subscribe = head(topic)
        .retry(Retry::Rejoin)
        .on_any(move |_: Context, event: Event| {
            let n = number(&event);
            let fails = n == 7 && !able;
            if fails {
                failed.fetch_add(1, Atomic::SeqCst);
            } else {
                handled.add(n);
            }
            async move {
                if fails {
                    Err(IoError::other("not on this member"))
                } else {
                    Ok(())
                }
            }
        });
    register(&client, subscribe).await.detach();
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn rejoin_gives_the_record_to_another_member() {
    let topic = unique_topic("rejoin");
    create(&topic, 1);
    let (seen, failed) = (Seen::default(), Arc::new(AtomicUsize::new(0)));
    let unable = member(&topic, false, &seen, &failed).await;
    // Waits for the partition that the first member has.
    let able = client(BrokerConfig::new());
    let handled = seen.clone();
    let subscribe = head(&topic).on_any(move |_: Context, event: Event| {
        handled.add(number(&event));
        async { Ok::<_, IoError>(()) }
    });
    let _waiting = able.register(subscribe).await.expect("registered");
    publish(&unable, &topic, "e", 0..20).await;
    until("all", Duration::from_secs(60), || seen.distinct() == 20).await;
    println!(
        "left and joined again {} times",
        failed.load(Atomic::SeqCst)
    );
    assert!(failed.load(Atomic::SeqCst) >= 1);
    unable.shutdown(END).await;
    able.shutdown(END).await;
    assert_eq!(seen.total(), 20, "handled twice");
    assert_eq!(committed(&topic, &topic), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_leaves_the_record_to_the_next_subscription() {
    let topic = unique_topic("exhausted_stop");
    create(&topic, 1);
    let client = client(BrokerConfig::new());
    publish(&client, &topic, "e", 0..20).await;
    let seen = Seen::default();
    let handled = seen.clone();
    let retry = Retry::attempts(2)
        .then(Exhausted::Stop)
        .backoff(Backoff::default().initial(Duration::from_millis(10)));
    let subscribe = head(&topic)
        .retry(retry)
        .on_any(move |_: Context, event: Event| {
            let n = number(&event);
            if n != 5 {
                handled.add(n);
            }
            async move {
                if n == 5 {
                    Err(IoError::other("no database"))
                } else {
                    Ok(())
                }
            }
        });
    let subscription = register(&client, subscribe).await;
    let ended = subscription.ended();
    tokio::time::timeout(END, ended).await.expect("it stops");
    let problems = subscription.health().problems;
    assert!(
        problems.iter().any(|p| p.to_string().contains("offset 5")),
        "{problems:?}"
    );
    until("left", END, || {
        shared().admin().members(&wire(&topic)).expect("members") == 0
    })
    .await;
    assert_eq!(committed(&topic, &topic), 5);
    assert_eq!(seen.numbers(), (0..5).collect::<Vec<_>>());
    let next = crate::support::counting(&topic, &topic, StartOffset::Head, &seen, Duration::ZERO);
    let next = register(&client, next).await;
    until("the rest", END, || seen.distinct() == 20).await;
    next.stop(END).await.expect("stopped");
    client.shutdown(END).await;
    assert_eq!(seen.total(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fenced_member_says_so_and_comes_back_with_a_new_consumer() {
    let topic = unique_topic("fenced");
    create(&topic, 2);
    let (seen, told) = (Seen::default(), Arc::new(AtomicUsize::new(0)));
    let telling = Arc::clone(&told);
    let publisher = client(BrokerConfig::new());
    let (first, second) = (client(BrokerConfig::new()), client(BrokerConfig::new()));
    let subscribe = |seen: &Seen| {
        crate::support::counting(&topic, &topic, StartOffset::Head, seen, Duration::ZERO)
            .group_instance_id("one")
            .concurrency(Concurrency::PerPartition)
    };
    let fenced = register(
        &first,
        subscribe(&seen).on_error(move |error| {
            if error.to_string().contains("fenced") || format!("{error:?}").contains("Fatal") {
                telling.fetch_add(1, Atomic::SeqCst);
            }
        }),
    )
    .await;
    publish(&publisher, &topic, "e", 0..100).await;
    until("the first", END, || seen.distinct() == 100).await;
    let same = register(&second, subscribe(&seen)).await;
    publish(&publisher, &topic, "e", 100..200).await;
    until("told", END, || told.load(Atomic::SeqCst) > 0).await;
    until("unhealthy", END, || {
        !fenced.health().is_healthy() || !same.health().is_healthy()
    })
    .await;
    until("the next", END, || seen.distinct() == 200).await;
    same.stop(END).await.expect("stopped");
    second.shutdown(END).await;
    publish(&publisher, &topic, "e", 200..300).await;
    until("back", Duration::from_secs(60), || seen.distinct() == 300).await;
    until("healthy", END, || fenced.health().is_healthy()).await;
    fenced.stop(END).await.expect("stopped");
    first.shutdown(END).await;
    publisher.shutdown(END).await;
    println!(
        "fenced {} times, {} handled",
        told.load(Atomic::SeqCst),
        seen.total()
    );
    assert_eq!(committed(&topic, &topic), 300);
}

/// A static member that is registered again while it stops: the new one waits for the old.
#[tokio::test(flavor = "multi_thread")]
async fn a_static_member_registered_again_while_it_stops_fences_nobody() {
    let topic = unique_topic("static_again");
    create(&topic, 1);
    let client = client(BrokerConfig::new());
    let (seen, told) = (Seen::default(), Arc::new(AtomicUsize::new(0)));
    let subscribe = || {
        let told = Arc::clone(&told);
        crate::support::counting(
            &topic,
            &topic,
            StartOffset::Head,
            &seen,
            Duration::from_millis(300),
        )
        .group_instance_id("one")
        .on_error(move |error| {
            println!("{error:?}");
            told.fetch_add(1, Atomic::SeqCst);
        })
    };
    publish(&client, &topic, "e", 0..10).await;
    let mut subscription = register(&client, subscribe()).await;
    for n in 1..4 {
        until("handling", END, || seen.distinct() >= n).await;
        let stopping = tokio::spawn(subscription.stop(END));
        tokio::task::yield_now().await;
        subscription = client.register(subscribe()).await.expect("registered");
        stopping.await.expect("joined").expect("stopped");
    }
    until("all", END, || seen.distinct() == 10).await;
    subscription.stop(END).await.expect("stopped");
    client.shutdown(END).await;
    assert_eq!(seen.total(), 10, "handled twice");
    assert_eq!(told.load(Atomic::SeqCst), 0);
    assert_eq!(committed(&topic, &topic), 10);
}
