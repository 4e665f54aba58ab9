//! Metrics under load on real Kafka: counters neither vanish nor decrease.

#[path = "../../eventstream/tests/observe/scrape.rs"]
mod scrape;
#[path = "consume/support.rs"]
mod support;

use std::io::Error as IoError;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering as Atomic};
use std::time::Duration;

use eventstream::{
    BrokerConfig, Client, CommitPolicy, Concurrency, Context, Event, Metrics, Publish, StartOffset,
    Subscribe, Subscription,
};
use eventstream_harness::{shared, unique_topic};
use prometheus::Registry;
use scrape::Scrape;
use support::{END, PREFIX, create, until, wire};

const THREADS: usize = 4;
const SCRAPES: usize = 1000;

fn client(name: &str, metrics: &Metrics) -> Client {
    let config = BrokerConfig::new()
        .statistics_interval(Duration::from_millis(100))
        .commit(CommitPolicy::Interval(Duration::from_millis(200)));
    Client::kafka(shared().bootstrap().split(','))
        .prefix(PREFIX)
        .name(name)
        .config(config)
        .metrics(metrics)
        .build()
        .expect("a client")
}

async fn subscribe(
    client: &Client,
    topic: &str,
    group: &str,
    handled: &Arc<AtomicU64>,
) -> Subscription {
    let handled = Arc::clone(handled);
    let subscribe = Subscribe::new(topic)
        .group_id(group)
        .group_instance_id(if group == "fenced" { "i" } else { "" })
        .offset(StartOffset::Head)
        .concurrency(Concurrency::PerKey(8))
        .on_any(move |context: Context, _: Event| {
            let handled = Arc::clone(&handled);
            async move {
                if context.offset() % 50 == 0 && context.attempt() == 1 {
                    return Err(IoError::other("the first time"));
                }
                handled.fetch_add(1, Atomic::SeqCst);
                Ok(())
            }
        });
    client.register(subscribe).await.expect("registered")
}

/// Scrapes until told to stop, comparing each scrape with the one before; returns how many.
fn scrape_on(registry: &Registry, done: &AtomicBool) -> (usize, Scrape) {
    let mut before = Scrape::of(registry);
    let mut count = 1;
    while !done.load(Atomic::SeqCst) || count < SCRAPES / THREADS {
        let now = Scrape::of(registry);
        now.assert_follows(&before);
        before = now;
        count += 1;
        std::thread::sleep(Duration::from_millis(2));
    }
    (count, before)
}

#[tokio::test(flavor = "multi_thread")]
async fn counters_survive_rebalances_rebuilds_and_stops() {
    let topic = unique_topic("metrics");
    create(&topic, 6);
    let (registry, metrics) = (Registry::new(), Metrics::new());
    registry.register(Box::new(metrics.clone())).expect("once");
    let done = Arc::new(AtomicBool::new(false));
    let scrapers: Vec<_> = (0..THREADS)
        .map(|_| {
            let (registry, done) = (registry.clone(), Arc::clone(&done));
            std::thread::spawn(move || scrape_on(&registry, &done))
        })
        .collect();
    let publisher = client("publisher", &metrics);
    let loading = Arc::new(AtomicBool::new(true));
    let load = tokio::spawn({
        let (publisher, topic, loading) = (publisher.clone(), topic.clone(), Arc::clone(&loading));
        async move { load(&publisher, &topic, &loading).await }
    });
    let handled = Arc::new(AtomicU64::new(0));
    let aside = Arc::new(AtomicU64::new(0));
    let stays = client("stays", &metrics);
    let kept = subscribe(&stays, &topic, "g", &handled).await;
    let stopped = subscribe(&stays, &topic, "h", &aside).await;
    let rebuilt = subscribe(&stays, &topic, "fenced", &aside).await;
    until("assigned", END, || {
        rebuilt.health().assigned && kept.health().assigned
    })
    .await;
    // Members that join and leave cause rebalances. They are clients with the same name, one after
    // the other.
    for _ in 0..3 {
        let guest = client("guest", &metrics);
        let member = subscribe(&guest, &topic, "g", &handled).await;
        until("a rebalance", END, || member.health().assigned).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        guest.shutdown(END).await;
    }
    stopped.stop(END).await.expect("stopped");
    // A second member with the same instance id fences the first, whose consumer is lost and recreated.
    let fences = client("fences", &metrics);
    let other = subscribe(&fences, &topic, "fenced", &aside).await;
    let lost = [("client", "stays"), ("group", "p.fenced")];
    until("a rebuild", END, || {
        Scrape::of(&registry).value("reader_rebuilt_total", &lost) >= 1.0
    })
    .await;
    fences.shutdown(END).await;
    drop(other);
    loading.store(false, Atomic::SeqCst);
    let published = load.await.expect("published");
    until("all handled", END, || {
        handled.load(Atomic::SeqCst) >= published
    })
    .await;
    let all = [("topic", &*wire(&topic))];
    let in_group = [("group", "p.g"), all[0]];
    until("no lag, and all committed", END, || {
        let scrape = Scrape::of(&registry);
        scrape.get("reader_lag", &in_group) == Some(0.0)
            && scrape.get("reader_offset", &in_group) == Some(published as f64)
    })
    .await;
    done.store(true, Atomic::SeqCst);
    let mut scrapes = 0;
    for scraper in scrapers {
        let (count, last) = scraper
            .join()
            .expect("every scrape followed the one before");
        scrapes += count;
        Scrape::of(&registry).assert_follows(&last);
    }
    let end = Scrape::of(&registry);
    let handled_outcome = [in_group[0], in_group[1], ("outcome", "handled")];
    let outcomes = end.value("reader_handler_outcomes_total", &handled_outcome);
    let rebalances = end.value("reader_rebalances", &in_group);
    println!(
        "{scrapes} scrapes of {} rising series; {published} published, {outcomes} handled in p.g, \
         {rebalances} rebalances, {} rebuilt",
        end.rising(),
        end.value("reader_rebuilt_total", &[]),
    );
    assert!(scrapes >= SCRAPES);
    let same = |name: &str, labels: &[(&str, &str)], value: u64| {
        assert_eq!(end.value(name, labels) as u64, value, "{name} {labels:?}");
    };
    same("writer_messages", &all, published);
    same("writer_messages", &[("client", "publisher")], published);
    same("writer_messages", &all, publisher.writer_stats().stored);
    same(
        "writer_message_bytes",
        &all,
        publisher.writer_stats().stored_bytes,
    );
    same(
        "reader_handler_outcomes_total",
        &handled_outcome,
        handled.load(Atomic::SeqCst),
    );
    same("reader_handler_outcomes_total", &[("client", "stays")], {
        let stats = stays.reader_stats();
        stats.handled + stats.failed_attempts
    });
    same(
        "reader_messages",
        &[("client", "stays")],
        stays.reader_stats().records,
    );
    same(
        "reader_commits_total",
        &[("client", "stays")],
        stays.reader_stats().commits,
    );
    assert!(rebalances >= 7.0, "three members came and went");
    assert!(
        end.value(
            "reader_handler_outcomes_total",
            &[in_group[0], ("client", "guest")]
        ) > 0.0
    );
    assert!(
        end.get("reader_assigned_partitions", &[("client", "guest")])
            .is_none()
    );
    drop((kept, rebuilt));
    stays.shutdown(END).await;
    publisher.shutdown(END).await;
}

/// Publishes until told to stop; returns how many.
async fn load(client: &Client, topic: &str, on: &AtomicBool) -> u64 {
    let mut n = 0;
    while on.load(Atomic::SeqCst) {
        for _ in 0..50 {
            let event = Publish::new(topic, "e").key(format!("k{}", n % 50));
            drop(client.publish(event).await.expect("accepted"));
            n += 1;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    client.flush(END).await.expect("flushed");
    n
}
