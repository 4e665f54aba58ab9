//! Handlers of several events at once, on the embedded broker.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use eventstream::{
    Backoff, Batch, BatchResult, Client, Concurrency, Context, DeadLetterReason, ErrorKind, Event,
    EventType, Exhausted, Key, Payload, Publish, Reject, Retry, StartOffset, State, Subscribe,
};
use tokio::sync::mpsc;

#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize, EventType)]
#[event(topic = "rows", name = "row")]
struct Row {
    n: u32,
}

/// The keys and numbers of each handler call.
type Calls = mpsc::UnboundedSender<Vec<(String, u32)>>;

async fn client(partitions: i32) -> Client {
    let client = Client::embedded().build().unwrap();
    let broker = client.embedded_broker().unwrap();
    broker.create_topic("rows", partitions).unwrap();
    client
}

async fn publish(client: &Client, rows: impl IntoIterator<Item = (String, u32)>) {
    for (key, n) in rows {
        let row = Publish::of(&Row { n }).key(key);
        let _receipt = client.publish(row).await.unwrap();
    }
    client.flush(Duration::from_secs(20)).await.unwrap();
}

fn subscribe(calls: Calls) -> Subscribe<Calls> {
    Subscribe::to::<Row>()
        .group_id("warehouse")
        .offset(StartOffset::Head)
        .state(calls)
}

fn rows(items: &[(Key<String>, Payload<Row>)]) -> Vec<(String, u32)> {
    let items = items.iter();
    items
        .map(|(Key(key), Payload(row))| (key.clone(), row.n))
        .collect()
}

/// A batch that starts when it is full, and hardly ever before.
fn full(events: usize) -> Batch {
    Batch::up_to(events).within(Duration::from_secs(60))
}

async fn write_all(items: Vec<(Key<String>, Payload<Row>)>, State(calls): State<Calls>) {
    calls.send(rows(&items)).unwrap();
}

async fn next(calls: &mut mpsc::UnboundedReceiver<Vec<(String, u32)>>) -> Vec<(String, u32)> {
    let next = tokio::time::timeout(Duration::from_secs(20), calls.recv());
    next.await.expect("a call in time").unwrap()
}

fn one_key(count: u32) -> impl Iterator<Item = (String, u32)> {
    (0..count).map(|n| ("k".to_owned(), n))
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_one_key_fill_batches() {
    let client = client(1).await;
    publish(&client, one_key(1250)).await;
    let (calls, mut seen) = mpsc::unbounded_channel();
    let batch = Batch::up_to(500).within(Duration::from_secs(1));
    let subscribe = subscribe(calls)
        .concurrency(Concurrency::PerKey(4))
        .on_batch("row", batch, write_all);
    let subscription = client.register(subscribe).await.unwrap();
    let mut sizes = Vec::new();
    let mut numbers = Vec::new();
    while numbers.len() < 1250 {
        let call = next(&mut seen).await;
        sizes.push(call.len());
        numbers.extend(call.into_iter().map(|(_, n)| n));
    }
    assert!(numbers.is_sorted(), "in order");
    assert!(sizes.len() <= 12, "few calls: {sizes:?}");
    assert!(sizes.iter().all(|size| *size <= 500), "{sizes:?}");
    subscription.stop(Duration::from_secs(10)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_many_keys_fill_batches() {
    let client = client(1).await;
    publish(&client, (0..5000).map(|n| (format!("k{n}"), n))).await;
    let (calls, mut seen) = mpsc::unbounded_channel();
    let batch = Batch::up_to(500).within(Duration::from_secs(1));
    let subscribe = subscribe(calls)
        .concurrency(Concurrency::PerKey(2))
        .on_batch("row", batch, write_all);
    let _subscription = client.register(subscribe).await.unwrap();
    let (mut count, mut number) = (0, 0);
    while number < 5000 {
        number += next(&mut seen).await.len();
        count += 1;
    }
    assert!(count <= 50, "few calls: {count}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_few_events_wait_no_longer_than_they_may() {
    let client = client(1).await;
    let (calls, mut seen) = mpsc::unbounded_channel();
    let within = Duration::from_millis(300);
    let subscribe = subscribe(calls).on_batch("row", Batch::up_to(500).within(within), write_all);
    let subscription = client.register(subscribe).await.unwrap();
    subscription.ready().await.unwrap();
    let start = Instant::now();
    publish(&client, one_key(3)).await;
    let mut handled = next(&mut seen).await.len();
    assert!(start.elapsed() >= within, "they waited for others");
    while handled < 3 {
        handled += next(&mut seen).await.len();
    }
    assert_eq!(handled, 3);
}

/// Fails the numbers that end in 3 once, and rejects those that end in 7.
async fn choosy(items: Vec<(Context, Payload<Row>)>, State(calls): State<Calls>) -> BatchResult {
    let call = items
        .iter()
        .map(|(cx, Payload(row))| (cx.attempt().to_string(), row.n));
    calls.send(call.collect()).unwrap();
    let items = items.iter();
    items
        .map(|(cx, Payload(row))| match row.n % 10 {
            3 if cx.attempt() == 1 => Err("not yet".into()),
            7 => Err(Box::<dyn std::error::Error + Send + Sync>::from(
                Reject::new("never"),
            )),
            _ => Ok(()),
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_is_tried_again_alone_and_what_is_rejected_never() {
    let client = client(1).await;
    publish(&client, one_key(20)).await;
    let (calls, mut seen) = mpsc::unbounded_channel();
    let (letters, mut dead) = mpsc::unbounded_channel();
    let quick = Backoff::default().initial(Duration::from_millis(10));
    let subscribe = subscribe(calls)
        .retry(
            Retry::attempts(3)
                .then(Exhausted::DeadLetter)
                .backoff(quick),
        )
        .on_dead_letter(move |letter| letters.send(letter.context().offset()).unwrap())
        .on_batch("row", full(10), choosy);
    let subscription = client.register(subscribe).await.unwrap();
    let all = |from: u32| (from..from + 10).map(|n| ("1".to_owned(), n));
    assert!(next(&mut seen).await.into_iter().eq(all(0)));
    assert_eq!(next(&mut seen).await, [("2".to_owned(), 3)]);
    assert_eq!(dead.recv().await, Some(7));
    assert!(next(&mut seen).await.into_iter().eq(all(10)));
    assert_eq!(next(&mut seen).await, [("2".to_owned(), 13)]);
    assert_eq!(dead.recv().await, Some(17));
    subscription.stop(Duration::from_secs(10)).await.unwrap();
    assert!(seen.try_recv().is_err(), "nothing is handled again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_that_does_not_fit_is_rejected_and_the_others_are_handled() {
    let client = client(1).await;
    for n in ["one", "two"] {
        let payload = serde_json::json!({ "n": n });
        let misfit = Publish::new("rows", "row").payload(payload).key("k");
        client.publish(misfit).await.unwrap().await.unwrap();
    }
    publish(&client, one_key(3)).await;
    let (calls, mut seen) = mpsc::unbounded_channel();
    let (letters, mut dead) = mpsc::unbounded_channel();
    let subscribe = subscribe(calls)
        .on_dead_letter(move |letter| letters.send(letter.reason()).unwrap())
        .dead_letters(true)
        .on_batch("row", full(5), write_all);
    let _subscription = client.register(subscribe).await.unwrap();
    assert_eq!(next(&mut seen).await.len(), 3);
    for _ in 0..2 {
        assert_eq!(dead.recv().await, Some(DeadLetterReason::Rejected));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_counts_for_each_event_and_so_does_a_panic() {
    let client = client(1).await;
    publish(&client, one_key(4)).await;
    let (calls, mut seen) = mpsc::unbounded_channel();
    let tries = Arc::new(Mutex::new(0));
    let quick = Backoff::default().initial(Duration::from_millis(10));
    let subscribe = subscribe(calls)
        .retry(Retry::forever().backoff(quick))
        .on_batch(
            "row",
            full(4),
            move |items: Vec<(Key<String>, Payload<Row>)>, State(calls): State<Calls>| {
                let attempt = {
                    let mut tries = tries.lock().unwrap();
                    *tries += 1;
                    *tries
                };
                calls.send(rows(&items)).unwrap();
                async move {
                    match attempt {
                        1 => Err("the database is away"),
                        2 => panic!("a bug"),
                        _ => Ok(()),
                    }
                }
            },
        );
    let subscription = client.register(subscribe).await.unwrap();
    let mut sizes = Vec::new();
    for _ in 0..6 {
        sizes.push(next(&mut seen).await.len());
    }
    // All four, the first fails once more, then each alone.
    assert_eq!(sizes, [4, 1, 1, 1, 1, 1]);
    subscription.stop(Duration::from_secs(10)).await.unwrap();
    assert!(seen.try_recv().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_takes_too_long_has_failed() {
    let client = client(1).await;
    publish(&client, one_key(2)).await;
    let (calls, mut seen) = mpsc::unbounded_channel();
    let quick = Backoff::default().initial(Duration::from_millis(10));
    let subscribe = subscribe(calls)
        .retry(Retry::forever().backoff(quick))
        .handler_timeout(Duration::from_millis(100))
        .on_batch(
            "row",
            full(2),
            async |items: Vec<(Key<String>, Payload<Row>)>, State(calls): State<Calls>| {
                calls.send(rows(&items)).unwrap();
                if items.len() > 1 {
                    std::future::pending::<()>().await;
                }
            },
        );
    let _subscription = client.register(subscribe).await.unwrap();
    assert_eq!(next(&mut seen).await.len(), 2);
    assert_eq!(next(&mut seen).await, [("k".to_owned(), 0)]);
    assert_eq!(next(&mut seen).await, [("k".to_owned(), 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_a_batch_to_fill() {
    let client = client(1).await;
    publish(&client, one_key(2)).await;
    let (calls, mut seen) = mpsc::unbounded_channel();
    let batch = Batch::up_to(500).within(Duration::from_secs(600));
    let subscribe = subscribe(calls).on_any_batch(batch, write_all);
    let subscription = client.register(subscribe).await.unwrap();
    subscription.ready().await.unwrap();
    let start = Instant::now();
    subscription.stop(Duration::from_secs(30)).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(20));
    // Handled now or left to the next member, but not lost.
    let handled = seen.try_recv().map_or(0, |call| call.len());
    let (calls, mut seen) = mpsc::unbounded_channel();
    let again = self::subscribe(calls).on_any_batch(Batch::up_to(1), write_all);
    let _subscription = client.register(again).await.unwrap();
    for _ in handled..2 {
        assert_eq!(next(&mut seen).await.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_registration_may_have_batches_beside_other_handlers() {
    let client = client(1).await;
    publish(&client, one_key(2)).await;
    let other = Publish::new("rows", "other").payload(Row { n: 0 }).key("k");
    client.publish(other).await.unwrap().await.unwrap();
    let (calls, mut seen) = mpsc::unbounded_channel();
    let subscribe = subscribe(calls)
        .concurrency(Concurrency::Serial)
        .on_batch("row", full(2), write_all)
        .on("other", async |event: Event, State(calls): State<Calls>| {
            calls.send(vec![(event.name().to_owned(), 0)]).unwrap();
        });
    let _subscription = client.register(subscribe).await.unwrap();
    let mut sizes = [next(&mut seen).await.len(), next(&mut seen).await.len()];
    sizes.sort_unstable();
    assert_eq!(sizes, [1, 2]);
}

#[tokio::test]
async fn what_cannot_be_is_refused_by_name() {
    let client = Client::embedded().build().unwrap();
    let (calls, _seen) = mpsc::unbounded_channel();
    for batch in [
        Batch::up_to(0),
        Batch::up_to(100_001),
        Batch::up_to(1).within(Duration::from_secs(601)),
    ] {
        let subscribe = subscribe(calls.clone()).on_batch("row", batch, write_all);
        let error = client.register(subscribe).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Validation);
        assert!(error.to_string().contains("must be 1 to 100000"), "{error}");
    }
    let twice = subscribe(calls)
        .on("row", async |_: Event| {})
        .on_batch("row", full(2), write_all);
    let error = client.register(twice).await.unwrap_err();
    assert!(error.to_string().contains("on_batch"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_that_is_not_there_fails_the_batch() {
    let client = client(1).await;
    publish(&client, one_key(1)).await;
    let (calls, _seen) = mpsc::unbounded_channel();
    let (failures, mut failed) = mpsc::unbounded_channel();
    let subscribe = subscribe(calls)
        .on_retry(move |attempt| {
            let error = std::error::Error::source(attempt.error()).map(ToString::to_string);
            failures.send(error.unwrap_or_default()).unwrap();
        })
        .on_batch("row", Batch::up_to(1), async |_: Vec<Event>| {
            let mut result = BatchResult::handled();
            result.fail(7, "which?");
            result
        });
    let _subscription = client.register(subscribe).await.unwrap();
    let error = failed.recv().await.unwrap();
    assert!(
        error.contains("position 7 of a batch of 1 events"),
        "{error}"
    );
}
