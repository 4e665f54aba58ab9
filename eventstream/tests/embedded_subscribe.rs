//! Subscribing on the embedded broker.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering as Atomic};
use std::time::Duration;

use eventstream::{
    Assignment, BrokerConfig, Client, CommitPolicy, Concurrency, Context, EmbeddedBroker, Event,
    MetadataQuery, Publish, RawRecord, Reject, Retry, StartOffset, Subscribe,
};

fn client() -> Client {
    Client::embedded().prefix("p").build().unwrap()
}

async fn publish(client: &Client, topic: &str, name: &str, count: usize) {
    for i in 0..count {
        let _receipt = client
            .publish(
                Publish::new(topic, name)
                    .key(format!("k{}", i % 7))
                    .payload(serde_json::json!({"n": i})),
            )
            .await
            .unwrap();
    }
    client.flush(Duration::from_secs(10)).await.unwrap();
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_names_of_one_group_get_all_their_events() {
    let client = client();
    publish(&client, "t", "a", 500).await;
    publish(&client, "t", "b", 500).await;
    let (a, b) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut subscriptions = Vec::new();
    for (name, count) in [("a", &a), ("b", &b)] {
        let count = Arc::clone(count);
        subscriptions.push(
            client
                .register(
                    Subscribe::new("t")
                        .group_id("g")
                        .offset(StartOffset::Head)
                        .on(name, move |_: Context, event: Event| {
                            assert_eq!(event.name(), name);
                            let count = Arc::clone(&count);
                            async move {
                                count.fetch_add(1, Atomic::SeqCst);
                                Ok::<_, std::io::Error>(())
                            }
                        }),
                )
                .await
                .unwrap(),
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    until("all handled", || {
        a.load(Atomic::SeqCst) + b.load(Atomic::SeqCst) >= 1000
    })
    .await;
    assert_eq!((a.load(Atomic::SeqCst), b.load(Atomic::SeqCst)), (500, 500));
    assert!(client.shutdown(Duration::from_secs(10)).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn order_within_a_key_holds_over_event_names_and_retries() {
    let client = client();
    for name in ["first", "second", "first", "second"] {
        publish(&client, "t", name, 1).await;
    }
    let (seen, mut handled) = tokio::sync::mpsc::unbounded_channel();
    let handler = move |name: &'static str| {
        let seen = seen.clone();
        move |ctx: Context, _: Event| {
            let seen = seen.clone();
            async move {
                if name == "first" && ctx.attempt() < 3 {
                    return Err(std::io::Error::other("not yet"));
                }
                seen.send(name).map_err(std::io::Error::other)
            }
        }
    };
    let retry = Retry::forever()
        .backoff(eventstream::Backoff::default().initial(Duration::from_millis(20)));
    let _subscription = client
        .register(
            Subscribe::new("t")
                .group_id("g")
                .offset(StartOffset::Head)
                .retry(retry)
                .on("first", handler("first"))
                .on("second", handler("second")),
        )
        .await
        .unwrap();
    for expected in ["first", "second", "first", "second"] {
        let next = tokio::time::timeout(Duration::from_secs(10), handled.recv()).await;
        assert_eq!(next.unwrap(), Some(expected));
    }
    client.shutdown(Duration::from_secs(10)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_handler_is_tried_again_then_dead_lettered() {
    let client = client();
    publish(&client, "t", "a", 20).await;
    let attempts = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&attempts);
    let letters = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&letters);
    let told = Arc::new(std::sync::Mutex::new(Vec::new()));
    let tell = Arc::clone(&told);
    let _first = client
        .register(
            Subscribe::new("t")
                .group_id("g")
                .offset(StartOffset::Head)
                .concurrency(Concurrency::PerKey(4))
                .retry(
                    Retry::attempts(3)
                        .backoff(eventstream::Backoff::default().initial(Duration::from_millis(5))),
                )
                .dead_letters(true)
                .on_dead_letter(move |letter| tell.lock().unwrap().push(letter))
                .on_any(move |event: Event| {
                    let counted = Arc::clone(&counted);
                    async move {
                        let n = event.payload().get("n").unwrap().decode::<u64>().unwrap();
                        match n {
                            3 => {
                                counted.fetch_add(1, Atomic::SeqCst);
                                Err(std::io::Error::other("never"))
                            }
                            5 => panic!("boom"),
                            7 => Err(std::io::Error::other(Reject::new("no such player"))),
                            _ => Ok(()),
                        }
                    }
                }),
        )
        .await
        .unwrap();
    until("dead letters", || client.reader_stats().dead_lettered == 3).await;
    assert_eq!(attempts.load(Atomic::SeqCst), 3);
    until("letters told", || told.lock().unwrap().len() == 3).await;
    let mut reasons: Vec<_> = told
        .lock()
        .unwrap()
        .iter()
        .map(|letter| {
            assert_eq!(letter.delivery().topic().as_str(), "t-dlq");
            assert!(letter.record().decode().is_ok());
            (letter.reason().as_str(), letter.context().attempt())
        })
        .collect();
    reasons.sort_unstable();
    assert_eq!(
        reasons,
        [("exhausted", 3), ("exhausted", 3), ("rejected", 1)]
    );
    let _second = client
        .register(
            Subscribe::new("t-dlq")
                .group_id("dlq")
                .offset(StartOffset::Head)
                .on_any(move |ctx: Context, record: RawRecord| {
                    let seen = Arc::clone(&seen);
                    async move {
                        let headers: Vec<_> = ctx
                            .headers()
                            .map(|(k, v)| {
                                (
                                    k.to_owned(),
                                    String::from_utf8_lossy(v.unwrap()).into_owned(),
                                )
                            })
                            .collect();
                        println!("{headers:?}");
                        assert!(record.decode().is_ok());
                        seen.fetch_add(1, Atomic::SeqCst);
                        Ok::<_, std::io::Error>(())
                    }
                }),
        )
        .await
        .unwrap();
    until("letters read", || letters.load(Atomic::SeqCst) == 3).await;
    client.shutdown(Duration::from_secs(10)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_in_the_background_is_confirmed_and_not_repeated() {
    let config = BrokerConfig::new().commit(CommitPolicy::Interval(Duration::from_millis(20)));
    let client = Client::embedded()
        .prefix("p")
        .config(config)
        .build()
        .unwrap();
    publish(&client, "t", "a", 10).await;
    let subscribe = Subscribe::new("t")
        .group_id("g")
        .offset(StartOffset::Head)
        .on_any(|_: Context, _: Event| async { Ok::<_, std::io::Error>(()) });
    let subscription = client.register(subscribe).await.unwrap();
    until("handled", || client.reader_stats().handled == 10).await;
    until("committed", || client.reader_stats().commits > 0).await;
    // Thirty more intervals, in most of which there is nothing to commit.
    tokio::time::sleep(Duration::from_millis(600)).await;
    subscription.stop(Duration::from_secs(5)).await.unwrap();
    // Each commit moves at least one of ten offsets.
    assert!(client.reader_stats().commits <= 10);
    client.shutdown(Duration::from_secs(5)).await;
}

/// There, a rebalance takes about as long as the session: long enough to leave the group in the middle of one.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_rejoins_in_the_middle_of_a_rebalance_reads_on() {
    let broker = EmbeddedBroker::start().unwrap();
    broker.create_topic("p.t", 1).unwrap();
    let config = BrokerConfig::new()
        .assignment(Assignment::CooperativeSticky)
        .session_timeout(Duration::from_secs(6))
        .heartbeat_interval(Duration::from_millis(500));
    let member = || {
        let client = Client::embedded().prefix("p").embedded_broker(&broker);
        client.config(config.clone()).build().unwrap()
    };
    let (handled, fails) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicUsize::new(usize::MAX)),
    );
    let subscribe = || {
        let (handled, fails) = (Arc::clone(&handled), Arc::clone(&fails));
        Subscribe::new("t")
            .group_id("g")
            .offset(StartOffset::Head)
            .retry(Retry::Rejoin)
            .on_any(move |_: Context, _: Event| {
                // The one that is due, once.
                let once = fails.fetch_sub(1, Atomic::SeqCst) == 0;
                if !once {
                    handled.fetch_add(1, Atomic::SeqCst);
                }
                async move {
                    match once {
                        true => Err(std::io::Error::other("not on this member")),
                        false => Ok(()),
                    }
                }
            })
    };
    let (first, second) = (member(), member());
    let _first = first.register(subscribe()).await.unwrap();
    publish(&first, "t", "e", 10).await;
    until("it reads", || handled.load(Atomic::SeqCst) == 10).await;
    // A commit in a rebalance would hold up the leaving until the end of that.
    let committed = || async {
        let query = MetadataQuery::new().topic("t").group("g");
        let found = first.query_metadata(query, Duration::from_secs(10)).await;
        found.unwrap().topics[0].partitions[0].committed
    };
    while committed().await != Some(10) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let _second = second.register(subscribe()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    // One alone, so that there is nothing to commit.
    fails.store(0, Atomic::SeqCst);
    publish(&first, "t", "e", 1).await;
    until("it fails", || fails.load(Atomic::SeqCst) == usize::MAX).await;
    publish(&first, "t", "e", 9).await;
    until("the rest", || handled.load(Atomic::SeqCst) >= 20).await;
    assert_eq!(handled.load(Atomic::SeqCst), 20, "handled twice");
    first.shutdown(Duration::from_secs(10)).await;
    second.shutdown(Duration::from_secs(10)).await;
}
