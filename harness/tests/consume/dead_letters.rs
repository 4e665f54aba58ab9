//! Dead letters that cannot be written, and too many of them, on real Kafka.

use std::io::Error as IoError;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering as Atomic};
use std::time::Duration;

use eventstream::{
    BrokerConfig, Client, Context, DeadLetterLimit, Event, Publish, Reject, StartOffset, Subscribe,
};
use eventstream_harness::{Kafka, shared, unique_topic};
use tokio_util::sync::CancellationToken;

use crate::support::{
    END, Seen, client, client_of, committed, create, number, publish, until, wire,
};

fn head(topic: &str) -> Subscribe {
    Subscribe::new(topic)
        .group_id(topic)
        .offset(StartOffset::Head)
        .dead_letters(true)
}

fn says(client: &Client, words: &[&str]) -> bool {
    client.health().problems.iter().any(|problem| {
        let text = problem.to_string();
        words.iter().all(|word| text.contains(word))
    })
}

/// A topic of five events, the third with a payload of this size, and dead letters of at most 2,000
/// bytes.
async fn with_small_letters(topic: &str, bytes: usize) -> Client {
    create(topic, 1);
    let letters = wire(&format!("{topic}-dlq"));
    let limit = [("max.message.bytes", "2000")];
    let created = shared().admin().create_topic(&letters, 1, 1, &limit);
    created.expect("a topic");
    let client = client(BrokerConfig::new());
    for n in 0..5 {
        let padding = "x".repeat(if n == 2 { bytes } else { 1 });
        let event = Publish::new(topic, "e")
            .key("k")
            .payload(serde_json::json!({ "n": n, "padding": padding }));
        client.publish_sync(event).await.expect("published");
    }
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_error_is_cut_before_a_dead_letter_is_too_large() {
    let topic = unique_topic("long_error");
    let client = with_small_letters(&topic, 1000).await;
    let subscribe = head(&topic).on_any(|_context: Context, event: Event| async move {
        match number(&event) {
            2 => Err(IoError::other(Reject::new("no such player ".repeat(1000)))),
            _ => Ok(()),
        }
    });
    let _subscription = client.register(subscribe).await.expect("registered");
    until("dead-lettered", END, || {
        client.reader_stats().dead_lettered == 1
    })
    .await;
    until("the rest", END, || client.reader_stats().handled == 4).await;
    assert!(client.health().is_healthy(), "{:?}", client.health());
    client.shutdown(END).await;
    assert_eq!(committed(&topic, &topic), 5);
    let letters = shared().admin().read_all(&wire(&format!("{topic}-dlq")));
    let letters = letters.expect("letters");
    let source = shared().admin().read_all(&wire(&topic)).expect("records");
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].value, source[2].value);
    let error = letters[0]
        .headers
        .iter()
        .find(|(name, _)| name == "eventstream-dead-letter-error")
        .and_then(|(_, value)| value.clone())
        .expect("an error");
    assert!(error.starts_with(b"no such player") && error.len() == 128);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_that_is_too_large_is_held_until_its_topic_takes_it() {
    let topic = unique_topic("too_large");
    let client = with_small_letters(&topic, 5000).await;
    let subscribe = head(&topic).on_any(|_context: Context, event: Event| async move {
        match number(&event) {
            2 => Err(IoError::other(Reject::new("no such player"))),
            _ => Ok(()),
        }
    });
    let _subscription = client.register(subscribe).await.expect("registered");
    until("health says why", END, || {
        says(
            &client,
            &["dead letter of", "offset 2", "max.message.bytes"],
        )
    })
    .await;
    until("committed before", END, || committed(&topic, &topic) == 2).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(committed(&topic, &topic), 2, "the offset has moved");
    assert_eq!(client.reader_stats().handled, 2, "something passed it");
    raise(&wire(&format!("{topic}-dlq"))).await;
    until("goes on", Duration::from_secs(180), || {
        client.reader_stats().dead_lettered == 1 && client.reader_stats().handled == 4
    })
    .await;
    assert!(client.health().is_healthy(), "{:?}", client.health());
    client.shutdown(END).await;
    assert_eq!(committed(&topic, &topic), 5);
}

/// Lets the topic accept messages of 100,000 bytes.
async fn raise(topic: &str) {
    let kafka = shared().kafka().expect("a Kafka of our own");
    let arguments = [
        "--bootstrap-server",
        &kafka.bootstrap(),
        "--alter",
        "--entity-type",
        "topics",
        "--entity-name",
        topic,
        "--add-config",
        "max.message.bytes=100000",
    ]
    .map(str::to_owned);
    let altered = tokio::task::spawn_blocking(move || {
        let arguments = arguments.each_ref().map(String::as_str);
        kafka.tool("kafka.admin.ConfigCommand", &arguments)
    });
    altered.await.expect("joined").expect("altered");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_waits_for_a_broker_that_is_gone() {
    let kafka = Kafka::builder().start().expect("Kafka");
    let admin = kafka.admin().expect("admin");
    let topic = unique_topic("broker_gone");
    for name in [wire(&topic), wire(&format!("{topic}-dlq"))] {
        admin.create_topic(&name, 1, 1, &[]).expect("a topic");
    }
    let config = BrokerConfig::new()
        .publish_timeout(Duration::from_secs(4))
        // Longer than the outage: a member that loses its place in the group reads everything
        // again.
        .session_timeout(Duration::from_secs(60));
    let client = client_of(&kafka.bootstrap(), config);
    publish(&client, &topic, "e", 0..10).await;
    let (reached, gone) = (Arc::new(AtomicBool::new(false)), CancellationToken::new());
    let (reach, wait) = (Arc::clone(&reached), gone.clone());
    let subscribe = head(&topic).on_any(move |_context: Context, event: Event| {
        let (reach, wait) = (Arc::clone(&reach), wait.clone());
        async move {
            if number(&event) != 3 {
                return Ok(());
            }
            reach.store(true, Atomic::SeqCst);
            wait.cancelled().await;
            Err(IoError::other(Reject::new("no such player")))
        }
    });
    let _subscription = client.register(subscribe).await.expect("registered");
    until("at the record", END, || reached.load(Atomic::SeqCst)).await;
    kafka.kill(1).expect("killed");
    gone.cancel();
    until("health says why", END, || {
        says(&client, &["dead letter of", "offset 3"])
    })
    .await;
    assert_eq!(client.reader_stats().handled, 3, "something passed it");
    kafka.restart(1).expect("restarted");
    until("goes on", Duration::from_secs(60), || {
        client.reader_stats().dead_lettered == 1 && client.reader_stats().handled >= 9
    })
    .await;
    until("healthy", END, || client.health().is_healthy()).await;
    client.shutdown(END).await;
    let offsets = admin.committed(&wire(&topic), &wire(&topic));
    assert_eq!(offsets.expect("offsets"), [Some(10)]);
    let letters = admin.count_records(&wire(&format!("{topic}-dlq")));
    assert_eq!(letters.expect("letters"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_dead_letters_pauses_the_subscription() {
    const EVENTS: usize = 300;
    let topic = unique_topic("flood");
    create(&topic, 3);
    create(&format!("{topic}-dlq"), 1);
    let client = client(BrokerConfig::new());
    let (seen, broken) = (Seen::default(), Arc::new(AtomicBool::new(true)));
    let (handled, is_broken) = (seen.clone(), Arc::clone(&broken));
    let subscribe = head(&topic)
        .dead_letter_limit(DeadLetterLimit::new(20, 0.5))
        .on_any(move |_context: Context, event: Event| {
            let rejected = is_broken.load(Atomic::SeqCst);
            if !rejected {
                handled.add(number(&event));
            }
            async move {
                if rejected {
                    return Err(IoError::other(Reject::new("the database is away")));
                }
                Ok(())
            }
        });
    let subscription = client.register(subscribe).await.expect("registered");
    // The partitions have looked at their registrations before the flood arrives.
    until("assigned", END, || client.reader_stats().partitions == 3).await;
    subscription.pause();
    subscription.resume();
    publish(&client, &topic, "e", 0..EVENTS).await;
    let told = || {
        subscription
            .health()
            .problems
            .iter()
            .any(|p| p.to_string().contains("too many dead letters"))
    };
    until("paused", END, told).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let letters = client.reader_stats().dead_lettered;
    tokio::time::sleep(Duration::from_secs(1)).await;
    println!("paused after {letters} dead letters of {EVENTS} events");
    assert_eq!(client.reader_stats().dead_lettered, letters, "not paused");
    assert!(letters <= 23, "the window and what ran in each partition");
    broken.store(false, Atomic::SeqCst);
    subscription.resume();
    until("the rest", END, || {
        seen.distinct() + usize::try_from(letters).expect("few") == EVENTS
    })
    .await;
    assert!(subscription.health().is_healthy());
    subscription.stop(END).await.expect("stopped");
    client.shutdown(END).await;
    assert_eq!(
        committed(&topic, &topic),
        i64::try_from(EVENTS).expect("few")
    );
}
