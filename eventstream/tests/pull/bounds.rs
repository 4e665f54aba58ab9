use std::time::{Duration, Instant};

use eventstream::{Concurrency, EmbeddedBroker, Settled};

use crate::support::{
    A_WHILE, SOON, client, client_of, head, next, next_in_a_while, number, publish_all,
};

/// What the machine buffers for one partition, and what may be on its way to it.
const BOUND: usize = 10_000 + 8 * 1_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_nobody_polls_is_bounded_and_keeps_its_place() {
    const COUNT: u64 = 25_000;
    let broker = EmbeddedBroker::start().unwrap();
    broker.create_topic("p.t", 2).unwrap();
    let client = client_of(&broker);
    publish_all(&client, COUNT).await;
    let subscribe = || head().drain_timeout(3 * SOON);
    let mut events = client.consume(subscribe()).await.unwrap();
    events.subscription().ready().await.unwrap();
    let end = Instant::now() + SOON;
    while client.reader_stats().pauses < 2 {
        assert!(Instant::now() < end, "both partitions pause");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(A_WHILE).await;
    let buffered = client.reader_stats().buffered;
    assert!(buffered < 2 * BOUND, "{buffered} are buffered");
    // Events that were not pulled do not block a rebalance.
    let second = client_of(&broker);
    let mut others = second.consume(subscribe()).await.unwrap();
    let start = Instant::now();
    others.subscription().ready().await.unwrap();
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    let mut seen = vec![0u8; usize::try_from(COUNT).unwrap()];
    for _ in 0..COUNT {
        let event = tokio::select! {
            event = next(&mut events) => event,
            event = next(&mut others) => event,
        };
        seen[usize::try_from(number(&event)).unwrap()] += 1;
        assert_eq!(event.context().attempt(), 1);
        event.ack();
    }
    assert!(seen.iter().all(|times| *times == 1), "each once");
    second.shutdown(SOON).await;
    client.shutdown(SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_event_of_each_partition_is_out_at_a_time() {
    let client = client(3);
    publish_all(&client, 60).await;
    let mut events = client.consume(head()).await.unwrap();
    let mut out = Vec::new();
    while let Some(event) = next_in_a_while(&mut events).await {
        out.push(event);
    }
    let mut partitions: Vec<_> = out.iter().map(|e| e.context().partition()).collect();
    partitions.sort_unstable();
    assert_eq!(partitions, [0, 1, 2]);
    let acknowledged = out.pop().unwrap();
    let partition = acknowledged.context().partition();
    acknowledged.ack();
    let event = next(&mut events).await;
    assert_eq!(event.context().partition(), partition);
    client.shutdown(Duration::from_millis(10)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_serial_subscription_has_one_event_out() {
    let client = client(3);
    publish_all(&client, 60).await;
    let subscribe = head().concurrency(Concurrency::Serial);
    let mut events = client.consume(subscribe).await.unwrap();
    for _ in 0..2 {
        let event = next(&mut events).await;
        assert!(next_in_a_while(&mut events).await.is_none());
        event.ack();
    }
    for _ in 2..60 {
        next(&mut events).await.ack();
    }
    client.shutdown(SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_to_answer_counts_from_the_pull() {
    let limit = Duration::from_millis(300);
    let client = client(1);
    publish_all(&client, 1).await;
    let subscribe = head().handler_timeout(limit);
    let mut events = client.consume(subscribe).await.unwrap();
    events.subscription().ready().await.unwrap();
    tokio::time::sleep(A_WHILE).await;
    let mut late = next(&mut events).await;
    assert_eq!(late.context().attempt(), 1);
    assert!(!late.is_cancelled());
    let start = Instant::now();
    tokio::time::timeout(SOON, late.cancelled()).await.unwrap();
    assert!(start.elapsed() >= limit - Duration::from_millis(50));
    assert!(late.is_cancelled());
    assert_eq!(late.ack(), Settled::TooLate);
    let again = next(&mut events).await;
    assert_eq!(again.context().attempt(), 2);
    assert_eq!(again.ack(), Settled::InTime);
    client.shutdown(SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_pulled_while_the_subscription_is_paused() {
    let client = client(1);
    let mut events = client.consume(head()).await.unwrap();
    events.subscription().ready().await.unwrap();
    publish_all(&client, 2).await;
    let first = next(&mut events).await;
    events.subscription().pause();
    // As with handlers, the partitions are notified a moment later.
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(first.ack(), Settled::InTime);
    assert!(next_in_a_while(&mut events).await.is_none());
    events.subscription().resume();
    let second = next(&mut events).await;
    assert_eq!((number(&second), second.context().attempt()), (1, 1));
    second.ack();
    client.shutdown(SOON).await;
}
