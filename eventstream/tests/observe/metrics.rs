use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering as Atomic};
use std::time::{Duration, Instant};

use eventstream::{
    Backoff, BrokerConfig, Client, Context, EmbeddedBroker, Event, Metrics, Publish, Reject, Retry,
    StartOffset, Subscribe,
};
use prometheus::Registry;

use crate::scrape::Scrape;

const SOON: Duration = Duration::from_secs(30);

pub(crate) fn registry() -> (Registry, Metrics) {
    let (registry, metrics) = (Registry::new(), Metrics::new());
    registry.register(Box::new(metrics.clone())).unwrap();
    (registry, metrics)
}

pub(crate) fn client(broker: &EmbeddedBroker, name: &str, metrics: &Metrics) -> Client {
    Client::embedded()
        .embedded_broker(broker)
        .name(name)
        .prefix("p")
        .config(BrokerConfig::new().statistics_interval(Duration::from_millis(50)))
        .metrics(metrics)
        .build()
        .unwrap()
}

pub(crate) async fn until(
    registry: &Registry,
    what: &str,
    condition: impl Fn(&Scrape) -> bool,
) -> Scrape {
    let deadline = Instant::now() + SOON;
    loop {
        let scrape = Scrape::of(registry);
        if condition(&scrape) {
            return scrape;
        }
        assert!(Instant::now() < deadline, "{what}: {scrape:#?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn publish(client: &Client, topic: &str, name: &str, count: usize) {
    for n in 0..count {
        let event = Publish::new(topic, name)
            .key(format!("k{n}"))
            .payload(serde_json::json!({ "n": n }));
        drop(client.publish(event).await.unwrap());
    }
    client.flush(SOON).await.unwrap();
}

/// Handles an event by its name.
async fn by_name(
    context: Context,
    event: Event,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    match event.name() {
        "fails" => Err("always".into()),
        "panics" if context.attempt() == 1 => panic!("once"),
        "rejected" => Err(Reject::new("no such player").into()),
        _ => Ok(()),
    }
}

/// A client that has done, and failed at, everything there is; with its registry.
pub(crate) async fn busy() -> (Registry, Client) {
    let (registry, metrics) = registry();
    let broker = EmbeddedBroker::start().unwrap();
    broker.create_topic("p.t", 3).unwrap();
    let client = client(&broker, "one", &metrics);
    publish(&client, "t", "good", 20).await;
    publish(&client, "t", "fails", 2).await;
    publish(&client, "t", "panics", 3).await;
    publish(&client, "t", "rejected", 4).await;
    publish(&client, "t", "nobody", 5).await;
    client
        .publish(Publish::new("not a topic", "x"))
        .await
        .unwrap_err();
    let short = Backoff::default().initial(Duration::from_millis(1));
    let retry = Retry::attempts(3).backoff(short);
    let mut subscribe = Subscribe::new("t")
        .group_id("g")
        .offset(StartOffset::Head)
        .retry(retry);
    for name in ["good", "fails", "panics", "rejected"] {
        subscribe = subscribe.on(name, by_name);
    }
    client.register(subscribe).await.unwrap().detach();
    (registry, client)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_outcome_is_counted_under_its_labels() {
    let (registry, client) = busy().await;
    let of = [("client", "one"), ("group", "p.g"), ("topic", "p.t")];
    let with = |key, value| [of[0], of[1], of[2], (key, value)];
    let scrape = until(&registry, "all done, and told by librdkafka", |scrape| {
        scrape.get("reader_dead_letters_total", &of) == Some(6.0)
            && scrape.get("reader_handler_outcomes_total", &with("outcome", "handled"))
                == Some(23.0)
            && scrape.get("reader_skipped_total", &with("reason", "unmatched")) == Some(5.0)
            && scrape.get("reader_lag", &of) == Some(0.0)
            && scrape.get("reader_offset", &of) == Some(34.0)
            && scrape
                .get("writer_request_seconds_count", &[])
                .is_some_and(|n| n > 0.0)
    })
    .await;
    let is = |name, labels: &[(&str, &str)], value: f64| {
        assert_eq!(
            scrape.value(name, labels).to_string(),
            value.to_string(),
            "{name} {labels:?}"
        );
    };
    is(
        "writer_messages",
        &[("client", "one"), ("topic", "p.t")],
        34.0,
    );
    is(
        "writer_messages",
        &[("client", "one"), ("topic", "p.t-dlq")],
        6.0,
    );
    let writer = client.writer_stats();
    is(
        "writer_messages",
        &[("client", "one")],
        writer.stored as f64,
    );
    is("writer_message_bytes", &[], writer.stored_bytes as f64);
    is(
        "writer_refused_total",
        &[("client", "one"), ("kind", "validation")],
        1.0,
    );
    is("writer_failures_total", &[], 0.0);
    is("writer_in_flight_events", &[], 0.0);
    is("writer_in_flight_bytes", &[], 0.0);
    is("writer_waiting", &[], 0.0);
    is("writer_rebuilt_total", &[], 0.0);
    assert!(scrape.value("writer_buffer_capacity_events", &[]) > 0.0);
    for partition in ["0", "1", "2"] {
        assert!(scrape.value("reader_messages", &with("partition", partition)) > 0.0);
        assert!(
            scrape.value(
                "writer_messages",
                &[("topic", "p.t"), ("partition", partition)]
            ) > 0.0
        );
    }
    let reader = client.reader_stats();
    is("reader_messages", &of, 34.0);
    is("reader_messages", &of, reader.records as f64);
    is("reader_message_bytes", &of, reader.bytes as f64);
    is(
        "reader_handler_outcomes_total",
        &with("outcome", "failed"),
        6.0,
    );
    is(
        "reader_handler_outcomes_total",
        &with("outcome", "panicked"),
        3.0,
    );
    is(
        "reader_handler_outcomes_total",
        &with("outcome", "rejected"),
        4.0,
    );
    is("reader_handler_seconds_count", &of, 23.0 + 6.0 + 3.0 + 4.0);
    is("reader_retries_total", &of, 4.0 + 3.0);
    is(
        "reader_dead_letters_total",
        &with("reason", "exhausted"),
        2.0,
    );
    is(
        "reader_dead_letters_total",
        &with("reason", "rejected"),
        4.0,
    );
    is("reader_assigned_partitions", &of, 3.0);
    is("reader_buffered", &of, 0.0);
    is("reader_rebalances", &of, reader.rebalances as f64);
    assert!(reader.rebalances > 0);
    is(
        "reader_commits_total",
        &[("client", "one"), ("group", "p.g")],
        reader.commits as f64,
    );
    assert!(scrape.value("reader_dials", &[("group", "p.g")]) >= 1.0);
    assert!(scrape.value("writer_writes", &[("client", "one")]) >= 1.0);
    assert!(scrape.value("writer_batch_size_summary_sum", &[("topic", "p.t")]) > 0.0);
    assert_eq!(client.reader_stats(), reader, "reading changes nothing");
    assert_eq!(client.writer_stats(), writer);
    client.shutdown(SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_clients_of_one_registry_have_series_of_their_own() {
    let (registry, metrics) = registry();
    let broker = EmbeddedBroker::start().unwrap();
    broker.create_topic("p.t", 4).unwrap();
    let one = client(&broker, "one", &metrics);
    let two = client(&broker, "two", &metrics);
    let shares = client(&broker, "two", &metrics);
    let handled = Arc::new(AtomicU64::new(0));
    for (client, group) in [(&one, "a"), (&two, "a"), (&two, "b")] {
        let handled = Arc::clone(&handled);
        let subscribe = Subscribe::new("t")
            .group_id(group)
            .offset(StartOffset::Head)
            .on_any(move |_: Context, _: Event| {
                let handled = Arc::clone(&handled);
                async move {
                    handled.fetch_add(1, Atomic::SeqCst);
                    Ok::<_, std::io::Error>(())
                }
            });
        client.register(subscribe).await.unwrap().detach();
    }
    // With a rebalance in between, some events would be handled twice: see `EmbeddedBroker`.
    until(&registry, "the members share the topic", |scrape| {
        let of = |client, group| {
            let labels = [("client", client), ("group", group)];
            scrape.get("reader_assigned_partitions", &labels)
        };
        of("one", "p.a") == Some(2.0)
            && of("two", "p.a") == Some(2.0)
            && of("two", "p.b") == Some(4.0)
    })
    .await;
    publish(&one, "t", "e", 30).await;
    publish(&two, "t", "e", 50).await;
    publish(&shares, "t", "e", 7).await;
    let scrape = until(&registry, "both groups have all", |scrape| {
        scrape.get("reader_handler_outcomes_total", &[("outcome", "handled")]) == Some(174.0)
    })
    .await;
    assert_eq!(handled.load(Atomic::SeqCst), 174);
    for (name, labels, value) in [
        ("writer_messages", &[("client", "one")][..], 30.0),
        ("writer_messages", &[("client", "two")], 57.0),
        ("reader_messages", &[("group", "p.a")], 87.0),
        (
            "reader_messages",
            &[("client", "two"), ("group", "p.b")],
            87.0,
        ),
        (
            "writer_buffer_capacity_events",
            &[("client", "two")],
            2.0 * scrape.value("writer_buffer_capacity_events", &[("client", "one")]),
        ),
    ] {
        assert!(
            (scrape.value(name, labels) - value).abs() < 0.5,
            "{name} {labels:?}"
        );
    }
    // One ends: its counters stay, its gauges do not.
    one.shutdown(SOON).await;
    drop(one);
    let after = until(&registry, "the gauges are gone", |scrape| {
        scrape.get("writer_waiting", &[("client", "one")]).is_none()
    })
    .await;
    after.assert_follows(&scrape);
    assert!(after.get("writer_waiting", &[("client", "two")]).is_some());
    two.shutdown(SOON).await;
    shares.shutdown(SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_counted_by_kind_from_zero() {
    let (registry, metrics) = registry();
    let broker = EmbeddedBroker::start().unwrap();
    broker.create_topic("p.t", 1).unwrap();
    let client = client(&broker, "one", &metrics);
    let failures = |kind| {
        let labels = [("client", "one"), ("kind", kind)];
        Scrape::of(&registry).value("writer_failures_total", &labels) as u64
    };
    assert_eq!((failures("timeout"), failures("closed")), (0, 0));
    publish(&client, "t", "e", 1).await;
    broker.broker_down(1).unwrap();
    let event = || Publish::new("t", "e");
    let late = client
        .publish(event().timeout(Duration::from_millis(200)))
        .await
        .unwrap();
    assert!(late.await.is_err());
    let _never = client.publish(event()).await.unwrap();
    let in_flight = Scrape::of(&registry).value("writer_in_flight_events", &[]);
    assert!(in_flight >= 1.0);
    client.shutdown(Duration::from_millis(10)).await;
    assert_eq!((failures("timeout"), failures("closed")), (1, 1));
}

/// Those who wait for room are accepted in the end.
#[test]
fn a_blocking_publish_that_waits_for_room_is_no_refusal() {
    let (registry, metrics) = registry();
    let client = Client::embedded()
        .name("one")
        .config(BrokerConfig::new().buffer_events(4usize))
        .metrics(&metrics)
        .build_blocking()
        .unwrap();
    for _ in 0..800 {
        drop(client.publish(Publish::new("t", "e")).unwrap());
    }
    client.flush(SOON).unwrap();
    let scrape = Scrape::of(&registry);
    let refused = scrape.get("writer_refused_total", &[("client", "one")]);
    assert_eq!(refused.unwrap_or_default().to_string(), "0");
    assert!(client.shutdown(SOON).is_empty());
}
