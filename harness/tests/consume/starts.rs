//! Where a group starts, partitions that come later, and how subscriptions end.

use std::time::{Duration, SystemTime};

use eventstream::{BrokerConfig, StartOffset};
use eventstream_harness::{shared, unique_topic};
use tokio_util::sync::CancellationToken;

use crate::support::{
    END, Seen, client, committed, counting, create, publish, register, until, wire,
};

#[tokio::test(flavor = "multi_thread")]
async fn each_start_is_where_it_says() {
    let topic = unique_topic("starts");
    create(&topic, 1);
    let client = client(BrokerConfig::new());
    publish(&client, &topic, "e", 0..10).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let middle = SystemTime::now();
    tokio::time::sleep(Duration::from_millis(50)).await;
    publish(&client, &topic, "e", 10..20).await;
    let later = SystemTime::now() + Duration::from_secs(3600);
    let starts = [
        (StartOffset::Tail, 20),
        (StartOffset::Head, 0),
        (StartOffset::At(7), 7),
        (StartOffset::At(1000), 0),
        (StartOffset::Time(middle), 10),
        (StartOffset::Time(later), 20),
    ];
    let mut all = Vec::new();
    for (i, (start, first)) in starts.into_iter().enumerate() {
        let (seen, group) = (Seen::default(), format!("{topic}-{i}"));
        let subscribe = counting(&topic, &group, start.clone(), &seen, Duration::ZERO);
        let subscription = register(&client, subscribe).await;
        all.push((seen, group, start, first, subscription));
    }
    publish(&client, &topic, "e", 20..25).await;
    for (seen, group, start, first, subscription) in all {
        until(&format!("{start:?}"), END, || seen.distinct() == 25 - first).await;
        subscription.stop(END).await.expect("stopped");
        assert_eq!(seen.numbers(), (first..25).collect::<Vec<_>>(), "{start:?}");
        assert_eq!(committed(&group, &topic), 25);
    }
    // With an offset, each group resumes from there; a tail with no records has one as well.
    let idle = Seen::default();
    let group = format!("{topic}-idle");
    let tail = || counting(&topic, &group, StartOffset::Tail, &idle, Duration::ZERO);
    register(&client, tail())
        .await
        .stop(END)
        .await
        .expect("stopped");
    assert_eq!(committed(&group, &topic), 25);
    publish(&client, &topic, "e", 25..30).await;
    let again = register(&client, tail()).await;
    let seen = Seen::default();
    let second = format!("{topic}-1");
    let head = counting(&topic, &second, StartOffset::Head, &seen, Duration::ZERO);
    let other = register(&client, head).await;
    until("the rest", END, || {
        idle.distinct() == 5 && seen.distinct() == 5
    })
    .await;
    again.stop(END).await.expect("stopped");
    other.stop(END).await.expect("stopped");
    assert_eq!((idle.total(), seen.total()), (5, 5));
    client.shutdown(END).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_added_partition_is_read_from_its_head() {
    let topic = unique_topic("added");
    create(&topic, 1);
    let config = BrokerConfig::new().base_config("topic.metadata.refresh.interval.ms", 2000);
    let client = client(config);
    publish(&client, &topic, "e", 0..20).await;
    let seen = Seen::default();
    // The first member has everything; the second has nothing and may get what is added.
    let second = crate::support::client(
        BrokerConfig::new().base_config("topic.metadata.refresh.interval.ms", 2000),
    );
    let subscribe = || counting(&topic, &topic, StartOffset::Tail, &seen, Duration::ZERO);
    let _first = register(&client, subscribe()).await;
    let _second = second.register(subscribe()).await.expect("registered");
    tokio::time::sleep(Duration::from_secs(4)).await;
    shared()
        .admin()
        .add_partitions(&wire(&topic), 4)
        .expect("added");
    let publisher = crate::support::client(BrokerConfig::new());
    publish(&publisher, &topic, "e", 20..220).await;
    until("all of all partitions", Duration::from_secs(30), || {
        seen.distinct() == 200
    })
    .await;
    let ends = shared().admin().end_offsets(&wire(&topic)).expect("ends");
    assert!(ends[1..].iter().all(|(_, end)| *end > 0), "{ends:?}");
    client.shutdown(END).await;
    second.shutdown(END).await;
    publisher.shutdown(END).await;
    assert_eq!(seen.total(), 200);
    assert_eq!(seen.numbers(), (20..220).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_end_drains_commits_and_leaves_nothing_behind() {
    let topic = unique_topic("ends");
    create(&topic, 4);
    let publisher = client(BrokerConfig::new());
    publish(&publisher, &topic, "e", 0..2000).await;
    for end in ["stop", "drop", "cancel", "shutdown", "client"] {
        let group = format!("{topic}-{end}");
        let client = client(BrokerConfig::new());
        let (seen, token) = (Seen::default(), CancellationToken::new());
        let slow = Duration::from_millis(20);
        let subscribe = counting(&topic, &group, StartOffset::Head, &seen, slow);
        let subscription = register(&client, subscribe.cancel_on(token.clone())).await;
        until("some", END, || seen.distinct() > 20).await;
        let ended = subscription.ended();
        match end {
            "stop" => subscription.stop(END).await.expect("stopped"),
            "drop" => drop(subscription),
            "cancel" => token.cancel(),
            "shutdown" => assert!(client.shutdown(END).await.is_empty()),
            _ => {
                subscription.detach();
                drop(client.clone());
            }
        }
        let stats = client.clone();
        if end == "client" {
            drop(stats);
            drop(client);
        } else {
            client.shutdown(END).await;
        }
        tokio::time::timeout(END, ended).await.expect(end);
        until(&format!("left after {end}"), END, || {
            shared().admin().members(&wire(&group)).expect("members") == 0
        })
        .await;
        assert_eq!(
            committed(&group, &topic),
            i64::try_from(seen.total()).expect("few"),
            "{end}"
        );
        assert_eq!(seen.total(), seen.distinct(), "{end}");
    }
    publisher.shutdown(END).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_with_too_little_time_says_so_and_reads_again() {
    let topic = unique_topic("short");
    create(&topic, 1);
    let client = client(BrokerConfig::new());
    publish(&client, &topic, "e", 0..1).await;
    let seen = Seen::default();
    let long = Duration::from_secs(30);
    let subscription = register(
        &client,
        counting(&topic, &topic, StartOffset::Head, &seen, long),
    )
    .await;
    until("running", END, || seen.begun() == 1).await;
    let started = std::time::Instant::now();
    subscription
        .stop(Duration::from_secs(1))
        .await
        .expect_err("not stopped");
    assert!(
        started.elapsed() < Duration::from_secs(7),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(committed(&topic, &topic), 0);
    let again = register(
        &client,
        counting(&topic, &topic, StartOffset::Head, &seen, Duration::ZERO),
    )
    .await;
    until("again", END, || seen.total() == 1).await;
    again.stop(END).await.expect("stopped");
    client.shutdown(END).await;
}

/// One topic's last subscription stops while the group continues with another: its records are not
/// acknowledged, and the next subscription gets them.
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_without_a_handler_is_not_acknowledged() {
    let (one, two) = (unique_topic("one"), unique_topic("two"));
    create(&one, 2);
    create(&two, 2);
    let client = client(BrokerConfig::new());
    let seen = [Seen::default(), Seen::default()];
    let sub =
        |topic: &str, seen: &Seen| counting(topic, &one, StartOffset::Head, seen, Duration::ZERO);
    let first = client
        .register(sub(&one, &seen[0]))
        .await
        .expect("registered");
    let _second = register(&client, sub(&two, &seen[1])).await;
    publish(&client, &one, "e", 0..100).await;
    publish(&client, &two, "e", 0..100).await;
    until("both", END, || seen.iter().all(|s| s.distinct() == 100)).await;
    first.stop(END).await.expect("stopped");
    publish(&client, &one, "e", 100..200).await;
    publish(&client, &two, "e", 100..200).await;
    until("the other goes on", END, || seen[1].distinct() == 200).await;
    let _third = client
        .register(sub(&one, &seen[0]))
        .await
        .expect("registered");
    until("nothing was passed over", END, || seen[0].distinct() == 200).await;
    client.shutdown(END).await;
    assert_eq!(client.reader_stats().unmatched, 0);
    assert_eq!(seen.map(|s| s.total()), [200, 200]);
    assert_eq!(committed(&one, &one), 200);
}

/// A group of two subscriptions, one of which stops within its deadline.
#[tokio::test(flavor = "multi_thread")]
async fn stopping_one_of_several_waits_for_its_handlers_until_the_deadline() {
    let (one, two) = (unique_topic("one_stops"), unique_topic("one_stays"));
    create(&one, 1);
    create(&two, 1);
    let client = client(BrokerConfig::new());
    let seen = [Seen::default(), Seen::default()];
    let sub = |topic: &str, seen: &Seen, delay: u64| {
        let delay = Duration::from_millis(delay);
        counting(topic, &one, StartOffset::Head, seen, delay)
    };
    let stays = client.register(sub(&two, &seen[1], 0)).await;
    let _stays = stays.expect("registered");
    let stops = register(&client, sub(&one, &seen[0], 5000)).await;
    publish(&client, &one, "e", 0..1).await;
    until("running", END, || seen[0].begun() == 1).await;
    let started = std::time::Instant::now();
    stops
        .stop(Duration::from_millis(100))
        .await
        .expect_err("not stopped");
    assert!(
        started.elapsed() < Duration::from_millis(4800),
        "{:?}",
        started.elapsed()
    );
    until("goes on in the background", END, || seen[0].total() == 1).await;
    until("committed", END, || committed(&one, &one) == 1).await;

    let stops = client
        .register(sub(&one, &seen[0], 500))
        .await
        .expect("registered");
    publish(&client, &one, "e", 1..3).await;
    until("running", END, || seen[0].begun() > 1).await;
    stops.stop(END).await.expect("stopped");
    let handled = seen[0].total();
    publish(&client, &two, "e", 0..10).await;
    until("the other goes on", END, || seen[1].distinct() == 10).await;
    assert_eq!(seen[0].total(), handled, "handled after its stop");
    client.shutdown(END).await;
}
