//! Reading and replaying dead letters, on the embedded broker.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::time::Duration;

use eventstream::dead_letters::{By, End, Filter, Replay, Report};
use eventstream::{
    BrokerConfig, Client, DeadLetterReason, ErrorKind, Event, OnUnmatched, Publish, Reject,
    StartOffset, Subscribe,
};

const PATIENCE: Duration = Duration::from_secs(60);

async fn client() -> Client {
    let client = Client::embedded().prefix("p").build().unwrap();
    // If a topic does not exist, it takes a second to be sure, so the one for finished work is created first.
    let ours = [
        "player",
        "player-dlq",
        "player-dlq-replayed",
        "player-parked",
        "other",
        "other-dlq",
    ];
    for topic in ours {
        client.create_topic(topic, 2, 1, PATIENCE).await.unwrap();
    }
    client
}

/// A dead letter as a subscription writes it, for the event with this number.
fn letter(name: &str, n: usize, reason: &str, error: &str) -> Publish {
    let number = n.to_string();
    let mut letter = Publish::new("player-dlq", name)
        .key(format!("k{}", n % 7))
        .payload(serde_json::json!({ "n": n }))
        .header("own", format!("h{n}"));
    for (header, value) in [
        ("reason", reason),
        ("error", error),
        ("attempts", "3"),
        ("topic", "player"),
        ("partition", "0"),
        ("offset", &number),
        ("group", "p.rewards"),
        ("event-name", name),
    ] {
        letter = letter.header(format!("eventstream-dead-letter-{header}"), value);
    }
    letter
}

async fn publish(client: &Client, letters: impl IntoIterator<Item = Publish>) {
    for letter in letters {
        let _receipt = client.publish(letter).await.unwrap();
    }
    client.flush(PATIENCE).await.unwrap();
}

/// This many events of a topic, in order of arrival.
async fn read(client: &Client, topic: &str, count: u64) -> Vec<Event> {
    let subscribe = Subscribe::new(topic).offset(StartOffset::Head);
    let mut pulled = client.consume(subscribe).await.unwrap();
    let mut events = Vec::new();
    for _ in 0..count {
        let next = tokio::time::timeout(PATIENCE, pulled.next()).await;
        let event = next.unwrap().unwrap();
        events.push(event.event().clone());
        event.ack();
    }
    events
}

fn number(event: &Event) -> u64 {
    event.payload().to_value().unwrap()["n"].as_u64().unwrap()
}

async fn replay(client: &Client, filter: Filter, replay: Replay) -> Report {
    let letters = client.dead_letters("player").unwrap().filter(filter);
    let report = letters.replay(replay).await.unwrap();
    let report = report.run(|_| {}).await.unwrap();
    assert!(matches!(report.end(), End::Complete), "{report:?}");
    assert_eq!(report.failed(), 0, "{report:?}");
    report
}

#[tokio::test(flavor = "multi_thread")]
async fn causes_are_told_with_their_counts() {
    let client = client().await;
    let letters = client.dead_letters("player").unwrap();
    assert_eq!(letters.causes().await.unwrap().count(), 0);
    let down = |n: usize| {
        let error = format!("connect 10.0.0.{n}:5432: refused");
        letter("paid", n, "exhausted", &error)
    };
    let unknown = |n: usize| letter("won", n, "rejected", &format!("no player {n}"));
    publish(&client, (0..30).map(down).chain((30..40).map(unknown))).await;
    // Records of other programs have no headers about their origin.
    publish(&client, [Publish::new("player-dlq", "foreign").key("f")]).await;
    let causes = letters.causes().await.unwrap();
    let told: Vec<_> = causes
        .list()
        .iter()
        .map(|cause| (cause.reason(), cause.name(), cause.error(), cause.count()))
        .collect();
    let (exhausted, rejected) = (DeadLetterReason::Exhausted, DeadLetterReason::Rejected);
    assert_eq!(
        told,
        [
            (Some(exhausted), Some("paid"), "connect <addr>: refused", 30),
            (Some(rejected), Some("won"), "no player <n>", 10),
            (None, None, "", 1),
        ]
    );
    let over_time = causes.over_time(&causes.list()[0], 8);
    assert_eq!(over_time.iter().sum::<u64>(), 30);
    let by_key = letters.causes_by(By::Key).await.unwrap();
    assert_eq!(by_key.list().len(), 8);
    let rejected = letters.clone().filter(Filter::new().reason(rejected));
    assert_eq!(rejected.causes().await.unwrap().count(), 10);
    let mut each = rejected.letters().await.unwrap();
    let first = each.next().await.unwrap().unwrap();
    assert_eq!(first.origin().unwrap().group(), "p.rewards");
    assert_eq!(first.event().unwrap().name(), "won");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_replayed_comes_back_as_it_was_and_once() {
    let client = client().await;
    let letters = (0..300).map(|n| letter(["paid", "won"][n % 2], n, "exhausted", "down"));
    publish(&client, letters).await;
    let before = read(&client, "player-dlq", 300).await;
    let paid = || Filter::new().name("paid");
    // In two runs, and a third that finds nothing left.
    let report = replay(&client, paid(), Replay::new().limit(50).rate(2_000)).await;
    assert_eq!((report.replayed(), report.selected()), (50, 50));
    let report = replay(&client, paid(), Replay::new()).await;
    assert_eq!((report.replayed(), report.already_replayed()), (100, 50));
    let report = replay(&client, paid(), Replay::new()).await;
    assert_eq!((report.replayed(), report.already_replayed()), (0, 150));
    assert_eq!(report.selected(), 150);

    let after = read(&client, "player", 150).await;
    let by_number: HashMap<_, _> = before.iter().map(|event| (number(event), event)).collect();
    let mut last = HashMap::new();
    for event in &after {
        let original = by_number[&number(event)];
        assert_eq!(event.as_bytes(), original.as_bytes());
        assert_eq!(event.key_bytes(), original.key_bytes());
        let headers: Vec<_> = event.headers().collect();
        let own = format!("h{}", number(event));
        assert!(headers.contains(&("own", Some(own.as_bytes()))));
        let ours = headers
            .iter()
            .filter(|(name, _)| name.starts_with("eventstream-"));
        let ours: Vec<_> = ours.collect();
        assert_eq!(
            ours,
            [&("eventstream-dead-letter-replays", Some(&b"1"[..]))]
        );
        let before = last.insert(event.key_bytes().map(<[u8]>::to_vec), number(event));
        assert!(before < Some(number(event)), "order within a key");
    }
    let letters = client.dead_letters("player").unwrap();
    assert_eq!(letters.causes().await.unwrap().count(), 150);
    assert_eq!(letters.all().causes().await.unwrap().count(), 300);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_back_too_often_or_is_put_aside_is_parked() {
    let client = client().await;
    let worn =
        letter("paid", 0, "exhausted", "down").header("eventstream-dead-letter-replays", "3");
    publish(&client, [worn]).await;
    publish(
        &client,
        (1..4).map(|n| letter("won", n, "rejected", "gone")),
    )
    .await;
    let report = replay(&client, Filter::new().name("paid"), Replay::new()).await;
    assert_eq!((report.replayed(), report.parked()), (0, 1));
    let report = replay(&client, Filter::new(), Replay::park("players deleted")).await;
    assert_eq!((report.parked(), report.already_replayed()), (3, 1));
    let parked = read(&client, "player-parked", 4).await;
    for event in parked {
        let headers: HashMap<_, _> = event.headers().collect();
        let why = headers["eventstream-dead-letter-parked"].unwrap();
        let expected: &[u8] = match number(&event) {
            0 => b"replayed 3 times",
            _ => b"players deleted",
        };
        assert_eq!(why, expected);
        assert!(headers.contains_key("eventstream-dead-letter-error"));
    }
    let letters = client.dead_letters("player").unwrap();
    assert_eq!(letters.causes().await.unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_again_counts_its_replays_and_is_told() {
    let client = client().await;
    let subscribe = Subscribe::new("player")
        .group_id("rewards")
        .offset(StartOffset::Head)
        .on_unmatched(OnUnmatched::DeadLetter)
        .on("paid", async |event: Event| {
            if number(&event).is_multiple_of(2) {
                Err(Reject::new("no such player"))
            } else {
                Ok(())
            }
        });
    let _subscription = client.register(subscribe).await.unwrap();
    let events = (0..20).map(|n| {
        Publish::new("player", ["paid", "won"][n / 10])
            .key(format!("k{n}"))
            .payload(serde_json::json!({ "n": n }))
    });
    publish(&client, events).await;
    let letters = client.dead_letters("player").unwrap();
    let (rejected, unmatched) = (DeadLetterReason::Rejected, DeadLetterReason::Unmatched);
    settle(&letters, 15).await;
    let causes = letters.causes().await.unwrap();
    let told: Vec<_> = causes
        .list()
        .iter()
        .map(|c| (c.reason(), c.count()))
        .collect();
    assert_eq!(told, [(Some(unmatched), 10), (Some(rejected), 5)]);

    for round in 1..=2 {
        let report = replay(&client, Filter::new().reason(rejected), Replay::new()).await;
        assert_eq!(report.replayed(), 5);
        let mut follow = report.follow();
        let ended = tokio::time::timeout(PATIENCE, async {
            while !follow.is_over() {
                follow.look().await.unwrap();
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        ended.await.unwrap();
        let again = follow.dead_lettered_again().list();
        assert_eq!((again.len(), again[0].count()), (1, 5));
        assert_eq!(again[0].error(), "no such player");
        assert_eq!(follow.groups()[0].group, "p.rewards");
        let back = letters.clone().filter(Filter::new().reason(rejected));
        let mut back = back.letters().await.unwrap();
        for _ in 0..5 {
            assert_eq!(back.next().await.unwrap().unwrap().replays(), round);
        }
        assert!(back.next().await.is_none());
    }
}

/// Waits until there are this many dead letters.
async fn settle(letters: &eventstream::dead_letters::DeadLetters, count: u64) {
    let settled = tokio::time::timeout(PATIENCE, async {
        while letters.causes().await.unwrap().count() < count {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    settled.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_another_topic_need_their_target_named() {
    let client = client().await;
    let foreign =
        letter("paid", 1, "exhausted", "down").header("eventstream-dead-letter-topic", "other");
    publish(&client, [foreign, letter("paid", 2, "exhausted", "down")]).await;
    let letters = client.dead_letters("player").unwrap();
    let plan = letters.replay(Replay::new()).await.unwrap();
    assert_eq!(plan.foreign()["other"], 1);
    let error = plan.run(|_| {}).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Validation);
    assert_eq!(error.faults()[0].field, "to");
    assert!(error.to_string().contains("1 from other"), "{error}");
    let report = replay(&client, Filter::new(), Replay::new().to("other")).await;
    assert_eq!(report.replayed(), 2);
    assert_eq!(read(&client, "other", 2).await.len(), 2);
    for (wrong, field) in [
        (Replay::new().to("player-dlq"), "to"),
        (Replay::new().to("player-parked"), "to"),
        (Replay::new().rate(0), "rate"),
        (Replay::new().limit(0), "limit"),
    ] {
        let error = letters.replay(wrong).await.unwrap_err();
        assert_eq!(error.faults()[0].field, field, "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edited_copy_has_a_new_id_and_names_its_original() {
    let client = client().await;
    publish(&client, [letter("paid", 1, "rejected", "n must be 2")]).await;
    let letters = client.dead_letters("player").unwrap();
    let original = letters
        .letters()
        .await
        .unwrap()
        .next()
        .await
        .unwrap()
        .unwrap();
    let event = original.event().unwrap();
    let edited = event.json().replace("\"n\":1", "\"n\":2");
    letters.edit(&original, &edited).await.unwrap();
    let copy = read(&client, "player", 1).await.remove(0);
    assert_eq!(number(&copy), 2);
    assert_ne!(copy.id(), event.id());
    assert_eq!(copy.key_bytes(), event.key_bytes());
    let headers: HashMap<_, _> = copy.headers().collect();
    let context = original.context();
    let place = format!("player-dlq/{}@{}", context.partition(), context.offset());
    assert_eq!(headers["eventstream-edited-from"], Some(place.as_bytes()));
    assert!(
        headers
            .keys()
            .all(|name| !name.starts_with("eventstream-dead-letter"))
    );
    assert_eq!(letters.causes().await.unwrap().count(), 0);
    let error = letters.edit(&original, &edited).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Validation);
    let error = letters.edit(&original, "[1]").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Decode);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_not_there_and_a_backend_without_records_are_refused() {
    let client = client().await;
    let missing = client.dead_letters("missing").unwrap();
    let error = missing.causes().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownTopic);
    let none = Client::none().build().unwrap();
    let error = none.dead_letters("player").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let error = client.dead_letters("no topic").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Validation);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_runs_at_once_find_each_other() {
    let client = client().await;
    let letters = (0..60).map(|n| letter("paid", n, "exhausted", "down"));
    publish(&client, letters).await;
    let letters = client.dead_letters("player").unwrap();
    // Four in a batch, ten batches a second.
    let slow = letters.replay(Replay::new().rate(40)).await.unwrap();
    let (begun, begins) = tokio::sync::oneshot::channel();
    let mut begun = Some(begun);
    let slow = tokio::spawn(slow.run(move |_| {
        begun.take().map(|begun| begun.send(()));
    }));
    begins.await.unwrap();
    let fast = letters.replay(Replay::new()).await.unwrap();
    let fast = fast.run(|_| {}).await.unwrap();
    assert!(matches!(fast.end(), End::Complete), "{fast:?}");
    let slow = slow.await.unwrap().unwrap();
    let End::Failed(error) = slow.end() else {
        panic!("{slow:?}");
    };
    assert!(error.to_string().contains("another run"), "{error}");
    let repeated = fast.replayed() + slow.replayed() - 60;
    assert!((1..60).contains(&repeated), "{repeated}");
    let report = replay(&client, Filter::new(), Replay::new()).await;
    assert_eq!((report.replayed(), report.already_replayed()), (0, 60));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_holds_back_its_key_and_no_other() {
    let client = client().await;
    let letters = (0..20).map(|n| {
        let letter = letter("paid", n, "exhausted", "down");
        match n {
            5 => letter.payload(serde_json::json!({ "n": n, "much": "x".repeat(4_000) })),
            _ => letter,
        }
    });
    publish(&client, letters).await;
    let broker = client.embedded_broker().unwrap().clone();
    let small = Client::embedded()
        .prefix("p")
        .embedded_broker(&broker)
        .config(BrokerConfig::new().message_max_bytes(2_000))
        .build()
        .unwrap();
    let letters = small.dead_letters("player").unwrap();
    let report = letters.replay(Replay::new()).await.unwrap();
    let report = report.run(|_| {}).await.unwrap();
    assert!(matches!(report.end(), End::Complete), "{report:?}");
    // Key k5 has 5, 12 and 19.
    assert_eq!((report.replayed(), report.failed()), (17, 3));
    let [(place, error)] = report.failures() else {
        panic!("{report:?}");
    };
    assert!(place.starts_with("player-dlq/"), "{place}");
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    let report = replay(&client, Filter::new(), Replay::new()).await;
    assert_eq!(report.replayed(), 3);
}
