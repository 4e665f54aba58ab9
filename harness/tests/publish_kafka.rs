//! Publishing to real Apache Kafka while it is paused, killed, or rejects requests.
#![expect(clippy::unwrap_used, reason = "a test may")]

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use eventstream::{Actor, AuditLog, BrokerConfig, Client, ErrorKind, Publish, Receipt};
use eventstream_harness::{Kafka, eventually, unique_topic};

const MINUTE: Duration = Duration::from_secs(60);

fn client(kafka: &Kafka, config: BrokerConfig) -> (Client, Arc<AtomicUsize>) {
    let failed = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&failed);
    let client = Client::kafka(kafka.bootstrap().split(','))
        .config(config)
        .on_error(move |_| {
            seen.fetch_add(1, Ordering::SeqCst);
        })
        .build()
        .unwrap();
    (client, failed)
}

fn create_topic(kafka: &Kafka, name: &str, partitions: i32) -> String {
    let topic = unique_topic(name);
    let admin = kafka.admin().unwrap();
    admin.create_topic(&topic, partitions, 1, &[]).unwrap();
    topic
}

/// Event `n` of one of 500 keys.
fn event(topic: &str, n: usize) -> Publish {
    Publish::new(topic, "tested")
        .key(format!("k{}", n % 500))
        .payload(HashMap::from([("n", n)]))
}

/// Publishes `0..count`, with a disturbance on its own thread after a third of it.
async fn publish_through(
    client: &Client,
    topic: &str,
    count: usize,
    disturb: impl FnOnce() -> Result<()> + Send + 'static,
) -> Vec<Receipt> {
    let mut disturb = Some(disturb);
    let mut disturbance = None;
    let mut receipts = Vec::with_capacity(count);
    for n in 0..count {
        if n == count / 3 {
            let disturb = disturb.take().unwrap();
            disturbance = Some(tokio::task::spawn_blocking(disturb));
        }
        receipts.push(client.publish(event(topic, n)).await.unwrap());
    }
    disturbance.unwrap().await.unwrap().unwrap();
    receipts
}

/// The numbers as stored, partition by partition; checks that each key's numbers increase.
fn stored_in_order(kafka: &Kafka, topic: &str) -> Vec<usize> {
    let mut last: HashMap<Vec<u8>, usize> = HashMap::new();
    let mut all = Vec::new();
    for record in kafka.admin().unwrap().read_all(topic).unwrap() {
        let value: serde_json::Value = serde_json::from_slice(&record.value.unwrap()).unwrap();
        let n = usize::try_from(value["payload"]["n"].as_u64().unwrap()).unwrap();
        let before = last.insert(record.key.unwrap(), n);
        assert!(
            before.is_none_or(|before| before < n),
            "{before:?} before {n}"
        );
        all.push(n);
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_paused_for_five_seconds_loses_nothing() {
    const COUNT: usize = 400_000;
    let kafka = Arc::new(Kafka::builder().start().unwrap());
    let topic = create_topic(&kafka, "paused", 4);
    let (client, failed) = client(&kafka, BrokerConfig::new());
    let paused = Arc::clone(&kafka);
    let receipts = publish_through(&client, &topic, COUNT, move || {
        paused.pause(1)?;
        std::thread::sleep(Duration::from_secs(5));
        paused.resume(1)
    })
    .await;
    for receipt in receipts {
        receipt.await.unwrap();
    }
    assert!(client.shutdown(MINUTE).await.is_empty());
    assert_eq!(failed.load(Ordering::SeqCst), 0);
    let stats = client.writer_stats();
    assert_eq!((stats.stored, stats.failed), (COUNT as u64, 0));
    assert_eq!(
        kafka.admin().unwrap().count_records(&topic).unwrap(),
        COUNT as u64
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_killed_under_load_leaves_each_event_one_outcome_in_order() {
    const COUNT: usize = 300_000;
    let kafka = Arc::new(Kafka::builder().start().unwrap());
    let topic = create_topic(&kafka, "killed", 4);
    let (client, failed) = client(&kafka, BrokerConfig::new());
    let killed = Arc::clone(&kafka);
    let receipts = publish_through(&client, &topic, COUNT, move || {
        killed.kill(1)?;
        killed.restart(1)
    })
    .await;
    let (mut acknowledged, mut lost) = (HashSet::new(), 0);
    for (n, receipt) in receipts.into_iter().enumerate() {
        match receipt.await {
            Ok(_) => drop(acknowledged.insert(n)),
            Err(_) => lost += 1,
        }
    }
    assert!(client.shutdown(MINUTE).await.is_empty());
    assert_eq!(failed.load(Ordering::SeqCst), lost);
    let stored = stored_in_order(&kafka, &topic);
    let distinct: HashSet<_> = stored.iter().copied().collect();
    assert_eq!(distinct.len(), stored.len(), "no duplicates");
    assert!(
        acknowledged.is_subset(&distinct),
        "what is acknowledged is there"
    );
    println!(
        "{} acknowledged, {lost} failed, {} stored",
        acknowledged.len(),
        stored.len()
    );
    assert_eq!(lost, 0, "the absence was shorter than the publish timeout");
}

#[tokio::test(flavor = "multi_thread")]
async fn leaders_that_move_under_load_change_nothing() {
    const MOVES: usize = 6;
    let kafka = Arc::new(Kafka::builder().nodes(3).start().unwrap());
    let admin = kafka.admin().unwrap();
    let topic = unique_topic("moved");
    admin.create_topic(&topic, 2, 3, &[]).unwrap();
    let (client, failed) = client(&kafka, BrokerConfig::new());
    let (moved, of) = (Arc::clone(&kafka), topic.clone());
    let moves = tokio::task::spawn_blocking(move || {
        for (_, partition) in (0..MOVES).zip([0, 1].into_iter().cycle()) {
            let leader = moved.admin()?.leader(&of, partition)?.unwrap();
            moved.move_leader(&of, partition, leader % 3 + 1)?;
        }
        anyhow::Ok(())
    });
    // As long as the leaders move.
    let mut receipts = Vec::new();
    while !moves.is_finished() {
        for _ in 0..100 {
            let n = receipts.len();
            receipts.push(client.publish(event(&topic, n)).await.unwrap());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    moves.await.unwrap().unwrap();
    let count = receipts.len();
    println!("{count} events while leaders moved {MOVES} times");
    for receipt in receipts {
        receipt.await.unwrap();
    }
    assert!(client.shutdown(MINUTE).await.is_empty());
    assert_eq!(failed.load(Ordering::SeqCst), 0);
    let mut stored = stored_in_order(&kafka, &topic);
    stored.sort_unstable();
    assert!(stored.into_iter().eq(0..count), "each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn audit_logs_survive_an_outage_or_are_told() {
    const COUNT: usize = 20_000;
    let kafka = Arc::new(Kafka::builder().start().unwrap());
    let topic = create_topic(&kafka, "audit", 1);
    let audits = |config: BrokerConfig| {
        let failed = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&failed);
        let client = Client::kafka([kafka.bootstrap()])
            .config(config)
            .audit_log_topic(&topic)
            .on_error(move |_| {
                seen.fetch_add(1, Ordering::SeqCst);
            })
            .build()
            .unwrap();
        (client, failed)
    };
    let (client, failed) = audits(BrokerConfig::new());
    let log = |n: usize| {
        let actor = Actor::Anonymous("48bf8a020b584f31bc605bf65d3300ed".into());
        AuditLog::new("tested", "outage", actor)
            .client_id("fe5bd0e3dc184d2d8ae0e09fcedf0f51")
            .actor_namespace("accelbyte")
            .object_namespace("accelbyte")
            .content(&HashMap::from([("n", n)]))
    };
    let mut receipts = Vec::with_capacity(COUNT + 1);
    for n in 0..COUNT {
        if n == COUNT / 2 {
            kafka.kill(1).unwrap();
        }
        receipts.push(client.publish_audit_log(log(n)).await.unwrap().unwrap());
    }
    kafka.restart(1).unwrap();
    for receipt in receipts {
        receipt.await.unwrap();
    }
    let stored = || {
        let records = kafka.admin().unwrap().read_all(&topic).unwrap();
        let number = |record: eventstream_harness::RawRecord| {
            let value: serde_json::Value = serde_json::from_slice(&record.value.unwrap()).unwrap();
            usize::try_from(value["payload"]["content"]["n"].as_u64().unwrap()).unwrap()
        };
        records.into_iter().map(number).collect::<Vec<_>>()
    };
    assert_eq!(stored(), (0..COUNT).collect::<Vec<_>>());

    assert!(client.shutdown(MINUTE).await.is_empty());
    assert_eq!(failed.load(Ordering::SeqCst), 0);

    // An outage longer than the publish timeout is reported to the receipt and to `on_error`.
    let (client, failed) = audits(BrokerConfig::new().publish_timeout(Duration::from_secs(3)));
    kafka.kill(1).unwrap();
    let lost = client.publish_audit_log(log(COUNT)).await.unwrap().unwrap();
    let error = lost.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert_eq!(failed.load(Ordering::SeqCst), 1);
    assert!(client.shutdown(MINUTE).await.is_empty());
    kafka.restart(1).unwrap();
    assert_eq!(stored().len(), COUNT);
}

#[tokio::test(flavor = "multi_thread")]
async fn publish_retries_cap_the_attempts() {
    let kafka = Kafka::builder().nodes(3).start().unwrap();
    let admin = kafka.admin().unwrap();
    let topic = unique_topic("retries");
    admin
        .create_topic(&topic, 1, 2, &[("min.insync.replicas", "2")])
        .unwrap();
    // One replica is not enough: the broker answers each attempt with a retriable error.
    let leader = admin.leader(&topic, 0).unwrap();
    let replicas = admin.replicas(&topic, 0).unwrap();
    let follower = replicas.into_iter().find(|id| Some(*id) != leader).unwrap();
    kafka.kill(follower).unwrap();
    eventually("the follower to fall out of step", MINUTE, || {
        Ok((!admin.in_sync(&topic)?).then_some(()))
    })
    .unwrap();
    let mut waited = Vec::new();
    for config in [BrokerConfig::new().publish_retries(2), BrokerConfig::new()] {
        let (client, failed) = client(&kafka, config.publish_timeout(Duration::from_secs(15)));
        let start = std::time::Instant::now();
        let error = client.publish_sync(event(&topic, 0)).await.unwrap_err();
        waited.push(start.elapsed());
        assert!(error.is_retriable(), "{error}");
        assert_eq!(failed.load(Ordering::SeqCst), 1);
        assert!(client.shutdown(MINUTE).await.is_empty());
    }
    println!("capped after {:?}, else after {:?}", waited[0], waited[1]);
    assert!(waited[0] < Duration::from_secs(10), "{waited:?}");
    assert!(waited[1] >= Duration::from_secs(14), "{waited:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_broker_refuses_is_told() {
    let kafka = Kafka::builder().auto_create_topics(false).start().unwrap();
    let admin = kafka.admin().unwrap();
    let (client, failed) = client(&kafka, BrokerConfig::new());
    let unknown = client.publish(event("nowhere", 0)).await.unwrap();

    let small = unique_topic("small");
    admin
        .create_topic(&small, 1, 1, &[("max.message.bytes", "2000")])
        .unwrap();
    let fits = client.publish_sync(event(&small, 0)).await.unwrap();
    assert!(fits.timestamp_millis() > 1_700_000_000_000);
    let large = event(&small, 1).additional_fields(HashMap::from([("x", "x".repeat(3000))]));
    let error = client.publish_sync(large).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
    client.publish_sync(event(&small, 2)).await.unwrap();

    let deleted = unique_topic("deleted");
    admin.create_topic(&deleted, 1, 1, &[]).unwrap();
    client.publish_sync(event(&deleted, 0)).await.unwrap();
    admin.delete_topic(&deleted).unwrap();
    let gone = client.publish(event(&deleted, 1)).await.unwrap();

    for receipt in [unknown, gone] {
        let error = receipt.await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnknownTopic, "{error:?}");
    }
    client.publish_sync(event(&small, 3)).await.unwrap();
    admin.create_topic(&deleted, 1, 1, &[]).unwrap();
    // Once known to be gone, the topic is rejected at once, until the next metadata refresh (30 s).
    let deadline = tokio::time::Instant::now() + MINUTE;
    let mut refused = 0;
    while let Err(error) = client.publish_sync(event(&deleted, 2)).await {
        assert_eq!(error.kind(), ErrorKind::UnknownTopic, "{error}");
        assert!(tokio::time::Instant::now() < deadline, "never found again");
        refused += 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!("{refused} refused before the new topic was found");
    assert!(client.shutdown(MINUTE).await.is_empty());
    assert_eq!(failed.load(Ordering::SeqCst), 3);
}

/// librdkafka fails some of these events with a code of its own: those that are queued when it lets go of the partition.
#[tokio::test(flavor = "multi_thread")]
async fn events_for_a_topic_that_is_deleted_under_load_are_stored_or_told_to_have_no_topic() {
    let kafka = Arc::new(Kafka::builder().auto_create_topics(false).start().unwrap());
    let (client, _) = client(&kafka, BrokerConfig::new());
    let mut receipts = Vec::new();
    for _ in 0..15 {
        let topic = create_topic(&kafka, "deleted", 1);
        client.publish_sync(event(&topic, 0)).await.unwrap();
        let (at, name) = (Arc::clone(&kafka), topic.clone());
        let deletion =
            tokio::task::spawn_blocking(move || at.admin().unwrap().delete_topic(&name).unwrap());
        let mut n = 0;
        while !deletion.is_finished() {
            n += 1;
            receipts.extend(client.publish(event(&topic, n)).await);
            if n % 20 == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        deletion.await.unwrap();
    }
    let (mut stored, mut gone) = (0, 0);
    for receipt in receipts {
        match receipt.await {
            Ok(_) => stored += 1,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::UnknownTopic, "{error:?}");
                gone += 1;
            }
        }
    }
    println!("{stored} stored, {gone} without a topic");
    assert!(gone > 0);
    assert!(client.shutdown(MINUTE).await.is_empty());
}
