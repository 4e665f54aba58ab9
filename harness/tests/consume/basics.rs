//! Consuming on real Kafka: routes, poison, retries, slow handlers.

use std::io::Error as IoError;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering as Atomic};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use eventstream::{
    Backoff, BrokerConfig, Concurrency, Context, Event, Reject, Retry, StartOffset, Subscribe,
};
use eventstream_harness::{Kafka, shared, unique_topic};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use crate::support::{
    END, Seen, client, client_of, committed, create, number, publish, until, wire,
};

fn head(topic: &str) -> Subscribe {
    Subscribe::new(topic)
        .group_id(topic)
        .offset(StartOffset::Head)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_registrations_in_either_order_share_a_topic() {
    for order in [["a", "b"], ["b", "a"]] {
        let topic = unique_topic("two_registrations");
        create(&topic, 3);
        let client = client(BrokerConfig::new());
        publish(&client, &topic, "a", 0..500).await;
        publish(&client, &topic, "b", 0..500).await;
        let seen = [Seen::default(), Seen::default()];
        let mut subscriptions = Vec::new();
        for name in order {
            let seen = seen[usize::from(name == "b")].clone();
            let subscribe = head(&topic).on(name, move |_: Context, event: Event| {
                assert_eq!(event.name(), name);
                seen.add(number(&event));
                async { Ok::<_, IoError>(()) }
            });
            subscriptions.push(client.register(subscribe).await.expect("registered"));
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        until("1000 events", END, || {
            seen.iter().map(Seen::distinct).sum::<usize>() == 1000
        })
        .await;
        assert!(client.shutdown(END).await.is_empty());
        assert_eq!(seen.iter().map(Seen::total).sum::<usize>(), 1000);
        assert_eq!(client.reader_stats().unmatched, 0);
        assert_eq!(committed(&topic, &topic), 1000);
    }
}

/// The key and the value of a record.
type KeyValue<'a> = (Option<&'a [u8]>, Option<&'a [u8]>);

fn produce(topic: &str, records: &[KeyValue<'_>]) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", shared().bootstrap())
        .set("enable.idempotence", "true")
        .create()
        .expect("a producer");
    for (key, value) in records {
        let topic = wire(topic);
        let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(&topic).partition(0);
        if let Some(key) = key {
            record = record.key(key);
        }
        if let Some(value) = value {
            record = record.payload(value);
        }
        producer.send(record).map_err(|(e, _)| e).expect("queued");
    }
    producer.flush(END).expect("delivered");
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_goes_to_the_dead_letters_and_the_rest_goes_on() {
    let topic = unique_topic("poison");
    create(&topic, 1);
    create(&format!("{topic}-dlq"), 1);
    let client = client(BrokerConfig::new());
    let garbage: Vec<u8> = (0..900_000_u32).map(|n| (n * 31 % 251) as u8).collect();
    let bad: Vec<KeyValue<'_>> = vec![
        (Some(b"k"), Some(b"null")),
        (None, Some(b"")),
        (Some(b"k"), None),
        (Some(b""), Some(b"not json")),
        (Some(b"k"), Some(b"[1]")),
        (Some(b"k"), Some(b"\"text\"")),
        (
            Some(b"k"),
            Some(br#"{"id":"a","name":"e","version":"one"}"#),
        ),
        (Some(b"\xff\x00"), Some(&garbage)),
    ];
    for (i, record) in bad.iter().enumerate() {
        publish(&client, &topic, "e", i..i + 1).await;
        produce(&topic, std::slice::from_ref(record));
    }
    publish(&client, &topic, "e", bad.len()..bad.len() + 1).await;
    publish(&client, &topic, "e", 1000..1001).await;
    publish(&client, &topic, "e", 20..21).await;
    let seen = Seen::default();
    let handled = seen.clone();
    let _subscription = client
        .register(
            head(&topic)
                .dead_letters(true)
                .retry(
                    Retry::attempts(2)
                        .backoff(Backoff::default().initial(Duration::from_millis(5))),
                )
                .on_any(move |_: Context, event: Event| {
                    let n = number(&event);
                    assert_ne!(n, 1000, "a poisoned event");
                    handled.add(n);
                    async { Ok::<_, IoError>(()) }
                }),
        )
        .await
        .expect("registered");
    until("dead letters", END, || {
        client.reader_stats().dead_lettered == 9
    })
    .await;
    until("good events", END, || seen.distinct() == 10).await;
    assert!(client.shutdown(END).await.is_empty());
    assert_eq!(seen.total(), 10);
    assert_eq!(committed(&topic, &topic), 19);
    let letters = shared()
        .admin()
        .read_all(&wire(&format!("{topic}-dlq")))
        .expect("letters");
    let source = shared().admin().read_all(&wire(&topic)).expect("records");
    assert_eq!(letters.len(), 9);
    for letter in letters {
        let header = |name: &str| {
            let name = format!("eventstream-dead-letter-{name}");
            let found = letter.headers.iter().find(|(key, _)| *key == name);
            found
                .and_then(|(_, value)| String::from_utf8(value.clone()?).ok())
                .unwrap_or_default()
        };
        let offset: i64 = header("offset").parse().expect("an offset");
        let original = source.iter().find(|r| r.offset == offset).expect("it");
        assert_eq!(letter.value, original.value);
        assert_eq!(letter.key, original.key, "offset {offset}");
        assert_eq!(letter.timestamp, original.timestamp);
        assert_eq!(header("topic"), topic);
        assert_eq!(header("group"), wire(&topic));
        assert!(!header("error").is_empty());
        if offset == 17 {
            assert_eq!(header("reason"), "exhausted");
            assert_eq!(header("attempts"), "2");
            assert!(
                header("error").contains("a poisoned event"),
                "{}",
                header("error")
            );
        } else {
            assert_eq!(header("reason"), "undecodable");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_that_cannot_be_written_holds_its_offset() {
    let kafka = Kafka::builder()
        .auto_create_topics(false)
        .start()
        .expect("Kafka");
    let admin = kafka.admin().expect("admin");
    let topic = unique_topic("no_dlq");
    admin
        .create_topic(&wire(&topic), 1, 1, &[])
        .expect("a topic");
    let client = client_of(&kafka.bootstrap(), BrokerConfig::new());
    publish(&client, &topic, "e", 0..10).await;
    let told = Arc::new(AtomicUsize::new(0));
    let telling = Arc::clone(&told);
    let _subscription = client
        .register(
            head(&topic)
                .dead_letters(true)
                .on_error(move |_| {
                    telling.fetch_add(1, Atomic::SeqCst);
                })
                .on_any(|_ctx: Context, event: Event| async move {
                    match number(&event) {
                        3 => Err(IoError::other(Reject::new("no such player"))),
                        _ => Ok(()),
                    }
                }),
        )
        .await
        .expect("registered");
    let started = Instant::now();
    until("health says why", Duration::from_secs(60), || {
        let problems = client.health().problems;
        problems
            .iter()
            .any(|p| p.to_string().contains("dead letter of"))
    })
    .await;
    println!("told after {:?}", started.elapsed());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(told.load(Atomic::SeqCst) > 0);
    let committed = || {
        admin
            .committed(&wire(&topic), &wire(&topic))
            .expect("offsets")
    };
    assert_eq!(committed(), [Some(3)]);
    // Once the topic exists, it resumes.
    admin
        .create_topic(&wire(&format!("{topic}-dlq")), 1, 1, &[])
        .expect("a topic");
    until("goes on", Duration::from_secs(90), || {
        client.reader_stats().dead_lettered == 1 && client.reader_stats().handled == 9
    })
    .await;
    assert!(client.health().is_healthy(), "{:?}", client.health());
    client.shutdown(END).await;
    assert_eq!(committed(), [Some(10)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_record_holds_back_its_key_and_nothing_else() {
    let topic = unique_topic("failing");
    create(&topic, 2);
    let client = client(BrokerConfig::new());
    publish(&client, &topic, "e", 0..500).await;
    let (seen, attempts) = (Seen::default(), Arc::new(Mutex::new(Vec::new())));
    let (handled, times) = (seen.clone(), Arc::clone(&attempts));
    let order = Arc::new(Mutex::new(Vec::new()));
    let ordered = Arc::clone(&order);
    let _subscription = client
        .register(
            head(&topic)
                .concurrency(Concurrency::PerKey(8))
                .retry(
                    Retry::forever()
                        .backoff(Backoff::default().initial(Duration::from_millis(300))),
                )
                .on_any(move |ctx: Context, event: Event| {
                    let n = number(&event);
                    let failed = n == 7 && {
                        times
                            .lock()
                            .expect("a lock")
                            .push((Instant::now(), handled.distinct()));
                        ctx.attempt() < 4
                    };
                    if !failed {
                        handled.add(n);
                        if n % 50 == 7 {
                            ordered.lock().expect("a lock").push(n);
                        }
                    }
                    async move {
                        if failed {
                            Err(IoError::other("not yet"))
                        } else {
                            Ok(())
                        }
                    }
                }),
        )
        .await
        .expect("registered");
    until("all", END, || seen.distinct() == 500).await;
    let attempts = attempts.lock().expect("a lock").clone();
    let waits: Vec<_> = attempts.windows(2).map(|w| w[1].0 - w[0].0).collect();
    println!("waits {waits:?}");
    assert_eq!(attempts.len(), 4);
    assert!(waits[2] > waits[0], "{waits:?}");
    assert!(attempts[1].1 >= 490, "the others went on: {attempts:?}");
    let order = order.lock().expect("a lock").clone();
    assert!(order.is_sorted() && order.len() == 10, "{order:?}");
    assert_eq!(client.reader_stats().rebalances, 1);
    client.shutdown(END).await;
    assert_eq!(seen.total(), 500);
    assert_eq!(committed(&topic, &topic), 500);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_handler_keeps_its_place_in_the_group() {
    let topic = unique_topic("slow");
    create(&topic, 1);
    let config = BrokerConfig::new()
        .max_poll_interval(Duration::from_secs(10))
        .session_timeout(Duration::from_secs(6));
    let client = client(config);
    publish(&client, &topic, "e", 0..5).await;
    let seen = Seen::default();
    let handled = seen.clone();
    let slept = Arc::new(AtomicBool::new(false));
    let sleeping = Arc::clone(&slept);
    let _subscription = client
        .register(head(&topic).on_any(move |_: Context, event: Event| {
            let (handled, first) = (handled.clone(), !sleeping.swap(true, Atomic::SeqCst));
            async move {
                if first {
                    tokio::time::sleep(Duration::from_secs(30)).await;
                }
                handled.add(number(&event));
                Ok::<_, IoError>(())
            }
        }))
        .await
        .expect("registered");
    until("all", Duration::from_secs(60), || seen.distinct() == 5).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(client.reader_stats().rebalances, 1);
    assert_eq!(seen.total(), 5);
    assert_eq!(committed(&topic, &topic), 5);
    client.shutdown(END).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_is_behind_pauses_and_misses_nothing() {
    let topic = unique_topic("behind");
    create(&topic, 2);
    let client = client(BrokerConfig::new());
    publish(&client, &topic, "e", 0..60_000).await;
    let seen = Seen::default();
    let handled = seen.clone();
    let _subscription = client
        .register(head(&topic).on_any(move |_: Context, event: Event| {
            let handled = handled.clone();
            async move {
                let n = number(&event);
                if n.is_multiple_of(64) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                handled.add(n);
                Ok::<_, IoError>(())
            }
        }))
        .await
        .expect("registered");
    until("all", Duration::from_secs(60), || seen.distinct() == 60_000).await;
    let stats = client.reader_stats();
    println!("{stats:?}");
    assert!(stats.pauses > 0);
    client.shutdown(END).await;
    assert_eq!(seen.total(), 60_000);
    assert_eq!(committed(&topic, &topic), 60_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_record_holds_back_its_partition_and_no_other() {
    const PARTITIONS: usize = 4;
    let topic = unique_topic("failing_partition");
    create(&topic, 4);
    let client = client(BrokerConfig::new());
    publish(&client, &topic, "e", 0..2000).await;
    let ends = shared().admin().end_offsets(&wire(&topic)).expect("ends");
    let slow = (0..).zip(&ends).find(|(_, (_, end))| *end > 0);
    let slow: i32 = slow.expect("records").0;
    let attempts = Arc::new(Mutex::new(Vec::new()));
    let last = Arc::new(Mutex::new([None; PARTITIONS]));
    let (seen, times, done) = (Seen::default(), Arc::clone(&attempts), Arc::clone(&last));
    let handled = seen.clone();
    let started = Instant::now();
    let retry = Retry::forever().backoff(Backoff::default().initial(Duration::from_secs(1)));
    let subscribe = head(&topic)
        .retry(retry)
        .on_any(move |ctx: Context, event: Event| {
            let now = started.elapsed();
            let first = ctx.partition() == slow && ctx.offset() == 0;
            if first {
                times.lock().expect("a lock").push(now);
            }
            let failed = first && ctx.attempt() < 4;
            if !failed {
                handled.add(number(&event));
                let at = usize::try_from(ctx.partition()).expect("small");
                done.lock().expect("a lock")[at] = Some(now);
            }
            async move {
                if failed {
                    Err(IoError::other("not yet"))
                } else {
                    Ok(())
                }
            }
        });
    let _subscription = client.register(subscribe).await.expect("registered");
    until("all", END, || seen.distinct() == 2000).await;
    let attempts = attempts.lock().expect("a lock").clone();
    let last = *last.lock().expect("a lock");
    println!("attempts at {attempts:?}, partitions done at {last:?}");
    assert_eq!(attempts.len(), 4);
    for (partition, at) in (0..).zip(last) {
        if partition != slow && ends[usize::try_from(partition).expect("small")].1 > 0 {
            assert!(
                at.expect("done") < attempts[2],
                "partition {partition} waited"
            );
        }
    }
    client.shutdown(END).await;
    assert_eq!(seen.total(), 2000);
}
