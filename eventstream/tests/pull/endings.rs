use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use eventstream::{Client, EmbeddedBroker, Settled, Subscribe};
use tokio_util::sync::CancellationToken;

use crate::support::{A_WHILE, SOON, client, client_of, head, next, number, publish_all};

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_waits_for_what_is_out() {
    let client = client(1);
    publish_all(&client, 2).await;
    let mut events = client.consume(head()).await.unwrap();
    let event = next(&mut events).await;
    let stop = tokio::spawn(events.stop(SOON));
    tokio::time::sleep(A_WHILE).await;
    assert!(!stop.is_finished());
    assert_eq!(event.ack(), Settled::InTime);
    stop.await.unwrap().unwrap();
    let mut events = client.consume(head()).await.unwrap();
    let mut event = next(&mut events).await;
    assert_eq!(number(&event), 1, "the first is committed");
    // Unanswered events are read again.
    assert!(events.stop(Duration::from_millis(100)).await.is_err());
    tokio::time::timeout(SOON, event.cancelled()).await.unwrap();
    assert_eq!(event.ack(), Settled::TooLate);
    let mut events = client.consume(head()).await.unwrap();
    assert_eq!(number(&next(&mut events).await), 1);
    client.shutdown(SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_rejected_right_before_a_stop_is_dead_lettered() {
    for _ in 0..20 {
        let client = client(1);
        publish_all(&client, 1).await;
        let letters = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&letters);
        let count = move |_| {
            seen.fetch_add(1, Ordering::SeqCst);
        };
        let mut events = client.consume(head().on_dead_letter(count)).await.unwrap();
        let event = next(&mut events).await;
        assert_eq!(event.reject("no such level"), Settled::InTime);
        events.stop(SOON).await.unwrap();
        assert_eq!(letters.load(Ordering::SeqCst), 1);
        client.shutdown(SOON).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_ends_after_its_drain() {
    let client = client(1);
    publish_all(&client, 10).await;
    let token = CancellationToken::new();
    let subscribe = head().cancel_on(token.clone());
    let mut events = client.consume(subscribe).await.unwrap();
    let event = next(&mut events).await;
    token.cancel();
    assert_eq!(event.ack(), Settled::InTime);
    let rest = async {
        while let Some(event) = events.next().await {
            event.ack();
        }
    };
    tokio::time::timeout(SOON, rest).await.expect("it ends");
    assert!(events.next().await.is_none(), "and does not begin again");
    client.shutdown(SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_of_the_client_ends_the_stream() {
    let client = client(1);
    publish_all(&client, 10).await;
    let mut events = client.consume(head()).await.unwrap();
    next(&mut events).await.ack();
    let start = Instant::now();
    client.shutdown(SOON).await;
    assert!(start.elapsed() < Duration::from_secs(10), "nothing is out");
    assert!(events.next().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dropped_stream_had_out_is_read_again() {
    let client = client(1);
    publish_all(&client, 3).await;
    let mut events = client.consume(head()).await.unwrap();
    next(&mut events).await.ack();
    let event = next(&mut events).await;
    let ended = events.subscription().ended();
    drop(events);
    drop(event);
    tokio::time::timeout(Duration::from_secs(10), ended)
        .await
        .expect("it stops");
    let mut events = client.consume(head()).await.unwrap();
    for n in 1..3 {
        let event = next(&mut events).await;
        assert_eq!(number(&event), n);
        event.ack();
    }
    client.shutdown(SOON).await;
}

/// A subscription to other names continues: events that nobody pulls do not block it.
#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_stream_does_not_hold_up_its_group() {
    let client = client(1);
    let (told, mut errors) = tokio::sync::mpsc::unbounded_channel();
    let subscribe = head().events(["e"]);
    let subscribe = subscribe.on_error(move |error| drop(told.send(error)));
    let mut events = client.consume(subscribe).await.unwrap();
    let (sent, mut handled) = tokio::sync::mpsc::unbounded_channel();
    let other = head().on("other", move || {
        let sent = sent.send(());
        async move { sent }
    });
    let _other = client.register(other).await.unwrap();
    publish_all(&client, 3).await;
    client
        .publish_sync(crate::support::event("other", 3))
        .await
        .unwrap();
    next(&mut events).await.ack();
    drop(events);
    tokio::time::timeout(Duration::from_secs(10), handled.recv())
        .await
        .expect("handled");
    let error = tokio::time::timeout(SOON, errors.recv()).await.unwrap();
    let error = error.unwrap().to_string();
    assert!(
        error.contains("were not handled before the subscription stopped"),
        "{error}"
    );
    client.shutdown(SOON).await;
}

/// Others may be read again too: the mock rejects commits while a member joins.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_after_a_rebalance_comes_too_late() {
    let broker = EmbeddedBroker::start().unwrap();
    broker.create_topic("p.t", 2).unwrap();
    let (first, second) = (client_of(&broker), client_of(&broker));
    publish_all(&first, 40).await;
    let subscribe = || head().drain_timeout(Duration::from_millis(300));
    let mut events = first.consume(subscribe()).await.unwrap();
    let mut held = next(&mut events).await;
    let mut others = second.consume(subscribe()).await.unwrap();
    tokio::time::timeout(SOON, held.cancelled())
        .await
        .expect("its partition is taken away");
    assert!(held.is_cancelled());
    assert_eq!(held.ack(), Settled::TooLate);
    // All of them, so the one that was held is read again.
    let mut read = BTreeSet::new();
    while read.len() < 40 {
        let event = tokio::select! {
            event = next(&mut events) => event,
            event = next(&mut others) => event,
        };
        read.insert((event.context().partition(), event.context().offset()));
        assert_eq!(event.ack(), Settled::InTime);
    }
    second.shutdown(SOON).await;
    first.shutdown(SOON).await;
}

/// Only a real broker shows that nothing is delivered twice: the mock rejects commits while a member joins.
#[tokio::test(flavor = "multi_thread")]
async fn members_that_pull_come_and_go_and_nothing_is_lost() {
    const COUNT: u64 = 600;
    let broker = EmbeddedBroker::start().unwrap();
    broker.create_topic("p.t", 4).unwrap();
    let first = client_of(&broker);
    publish_all(&first, COUNT).await;
    let (sent, mut answered) = tokio::sync::mpsc::unbounded_channel();
    let pull = |client: &Client, subscribe: Subscribe| {
        let (client, sent) = (client.clone(), sent.clone());
        async move {
            let mut events = client.consume(subscribe).await.unwrap();
            while let Some(event) = events.next().await {
                tokio::time::sleep(Duration::from_millis(2)).await;
                let n = number(&event);
                assert_eq!(event.ack(), Settled::InTime);
                sent.send(n).unwrap();
            }
        }
    };
    tokio::spawn(pull(&first, head()));
    let mut seen = BTreeSet::new();
    let token = CancellationToken::new();
    let mut guest = None;
    while (seen.len() as u64) < COUNT {
        if seen.len() == 100 && guest.is_none() {
            let second = client_of(&broker);
            let subscribe = head().cancel_on(token.clone());
            guest = Some(tokio::spawn(pull(&second, subscribe)));
        }
        if seen.len() == 400 {
            token.cancel();
        }
        let number = tokio::time::timeout(SOON, answered.recv()).await;
        seen.insert(number.expect("an answer in time").unwrap());
    }
    let guest = tokio::time::timeout(SOON, guest.unwrap()).await;
    guest.expect("its stream ends").unwrap();
    assert!(seen.into_iter().eq(0..COUNT));
    first.shutdown(SOON).await;
}
