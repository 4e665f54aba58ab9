use std::collections::HashMap;
use std::sync::mpsc;
use std::time::Duration;

use eventstream::{Concurrency, Reject, Retry, Settled};

use crate::support::{
    SOON, client, event, head, next, next_in_a_while, number, publish, publish_all,
};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_acknowledged_does_not_come_again() {
    let client = client(1);
    publish_all(&client, 3).await;
    let mut events = client.consume(head()).await.unwrap();
    events.subscription().ready().await.unwrap();
    for n in 0..3 {
        let event = next(&mut events).await;
        assert_eq!((number(&event), event.context().attempt()), (n, 1));
        assert_eq!(event.context().offset(), i64::try_from(n).unwrap());
        assert_eq!(event.ack(), Settled::InTime);
    }
    events.stop(SOON).await.unwrap();
    assert_eq!(client.reader_stats().handled, 3);
    publish(&client, "e", 3).await;
    // As any stream.
    let mut again = client.consume(head()).await.unwrap();
    let event = futures_util::StreamExt::next(&mut again).await.unwrap();
    assert_eq!(number(&event), 3);
    event.ack();
    client.shutdown(SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_retried_comes_before_what_follows_it() {
    let client = client(1);
    publish_all(&client, 2).await;
    let (told, failures) = mpsc::channel();
    let subscribe = head().on_retry(move |failed| {
        let cause = std::error::Error::source(failed.error()).unwrap();
        told.send(cause.to_string()).unwrap();
    });
    let mut events = client.consume(subscribe).await.unwrap();
    let first = next(&mut events).await;
    assert_eq!(first.retry("the database is away"), Settled::InTime);
    let second = next(&mut events).await;
    assert_eq!((number(&second), second.context().attempt()), (0, 2));
    drop(second);
    let third = next(&mut events).await;
    assert_eq!((number(&third), third.context().attempt()), (0, 3));
    third.settle(Ok::<(), String>(()));
    let last = next(&mut events).await;
    assert_eq!((number(&last), last.context().attempt()), (1, 1));
    last.ack();
    events.stop(SOON).await.unwrap();
    let failures: Vec<_> = failures.iter().collect();
    let expected = [
        "the database is away",
        "the pulled event was dropped without an answer",
    ];
    assert_eq!(failures, expected);
    client.shutdown(SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_retry_can_mend_is_dead_lettered_at_the_first_attempt() {
    #[derive(serde::Deserialize)]
    struct Text {
        #[serde(rename = "n")]
        _text: String,
    }
    let client = client(1);
    publish_all(&client, 4).await;
    let (told, letters) = mpsc::channel();
    let subscribe = head().on_dead_letter(move |letter| told.send(letter).unwrap());
    let mut events = client.consume(subscribe).await.unwrap();
    next(&mut events).await.reject("no such player");
    let event = next(&mut events).await;
    let misfit = event.payload::<Text>().map(drop).unwrap_err();
    event.reject(misfit);
    let event = next(&mut events).await;
    let misfit = event.payload::<Text>().map(drop);
    event.settle(misfit);
    let event = next(&mut events).await;
    assert_eq!(number(&event), 3);
    event.retry(Reject::new("a rejection all the same"));
    for error in [
        "no such player",
        "cannot decode the payload",
        "cannot decode the payload",
        "a rejection all the same",
    ] {
        let letter = tokio::task::block_in_place(|| letters.recv_timeout(SOON)).unwrap();
        assert_eq!(
            (letter.reason().as_str(), letter.context().attempt()),
            ("rejected", 1)
        );
        assert!(letter.error().starts_with(error), "{}", letter.error());
    }
    events.stop(SOON).await.unwrap();
    assert_eq!(client.reader_stats().failed_attempts, 4);
    client.shutdown(SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_attempt_is_followed_by_a_dead_letter() {
    let client = client(1);
    publish_all(&client, 2).await;
    let subscribe = head().retry(Retry::attempts(2).backoff(short()));
    let mut events = client.consume(subscribe).await.unwrap();
    next(&mut events).await.retry("once");
    next(&mut events).await.retry("twice");
    let event = next(&mut events).await;
    assert_eq!(number(&event), 1);
    event.ack();
    events.stop(SOON).await.unwrap();
    assert_eq!(client.reader_stats().dead_lettered, 1);
    client.shutdown(SOON).await;
}

fn short() -> eventstream::Backoff {
    eventstream::Backoff::default().initial(Duration::from_millis(1))
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_names_that_were_asked_for_are_pulled() {
    let client = client(1);
    for (n, name) in ["a", "b", "c", "a"].into_iter().enumerate() {
        client.publish_sync(event(name, n as u64)).await.unwrap();
    }
    let mut events = client.consume(head().events(["a", "c"])).await.unwrap();
    for (n, name) in [(0, "a"), (2, "c"), (3, "a")] {
        let event = next(&mut events).await;
        assert_eq!((number(&event), event.event().name()), (n, name));
        event.ack();
    }
    events.stop(SOON).await.unwrap();
    assert_eq!(client.reader_stats().unmatched, 1);
    client.shutdown(SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_keeps_its_order_whatever_the_answers() {
    const COUNT: u64 = 300;
    let client = client(2);
    publish_all(&client, COUNT).await;
    let subscribe = head().concurrency(Concurrency::PerKey(4));
    let mut events = client.consume(subscribe).await.unwrap();
    let mut done: HashMap<u64, Vec<u64>> = HashMap::new();
    let (mut left, mut held) = (COUNT, Vec::new());
    while left > 0 {
        let Some(event) = next_in_a_while(&mut events).await else {
            // The rest waits for the events that are held.
            assert!(!held.is_empty(), "{left} are left");
            held.drain(..).for_each(|held| {
                done.entry(number(&held) % 10)
                    .or_default()
                    .push(number(&held));
                held.ack();
                left -= 1;
            });
            continue;
        };
        let n = number(&event);
        match (n % 7, event.context().attempt()) {
            // Answered later, between others.
            (0, 1) if held.len() < 3 => held.push(event),
            (1, 1) => {
                event.retry("again");
            }
            (2, 1) => drop(event),
            _ => {
                done.entry(n % 10).or_default().push(n);
                event.ack();
                left -= 1;
            }
        }
        if held.len() == 3 {
            for event in held.drain(..).rev() {
                done.entry(number(&event) % 10)
                    .or_default()
                    .push(number(&event));
                event.ack();
                left -= 1;
            }
        }
    }
    for (key, numbers) in done {
        let expected: Vec<_> = (0..COUNT).filter(|n| n % 10 == key).collect();
        assert_eq!(numbers, expected, "key {key}");
    }
    assert!(next_in_a_while(&mut events).await.is_none());
    client.shutdown(SOON).await;
}
