//! Records that cannot be decoded, and handlers that fail.

use std::future::ready;
use std::io;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use eventstream::{
    Backoff, BrokerConfig, Client, Context, ErrorKind, Event, Publish, RawRecord, Reject, Retry,
    StartOffset, Subscribe,
};

use super::seen::{Call, Events, Seen, number, numbers};
use super::setup::{Setup, end, publish_numbers};

const PREFIX: &str = "eventstream-dead-letter-";

fn quickly(retry: Retry) -> Retry {
    retry.backoff(
        Backoff::default()
            .initial(Duration::from_millis(5))
            .max(Duration::from_millis(20)),
    )
}

/// The raw dead letters of a topic, as they arrive.
async fn letters(client: &Client, topic: &str) -> Result<Seen<(Call, RawRecord)>> {
    let seen = Seen::default();
    let noted = seen.clone();
    let subscribe = Subscribe::new(format!("{topic}-dlq"))
        .offset(StartOffset::Head)
        .on_any(move |context: Context, record: RawRecord| {
            noted.push((Call::new(&context), record));
            ready(Ok::<_, io::Error>(()))
        });
    client.register(subscribe).await?.detach();
    Ok(seen)
}

/// Records that are not envelopes are skipped and reported to `on_error`; what follows them is
/// handled.
///
/// # Errors
/// The behaviour differs.
pub async fn what_cannot_be_decoded_is_skipped_and_told(setup: &Setup) -> Result<()> {
    let topic = setup.create_topic("undecodable", 1)?;
    let client = setup.client()?;
    let junk: [Option<&[u8]>; 5] = [
        Some(b"not json"),
        Some(b"null"),
        Some(b"[1]"),
        Some(br#"{"version":"1"}"#),
        None,
    ];
    setup.write_raw(&topic, &junk)?;
    publish_numbers(&client, &topic, "e", &["k"], 0..3).await?;
    let (seen, errors) = (Events::default(), Seen::default());
    let told = errors.clone();
    let subscribe = Subscribe::new(&topic)
        .group_id("g")
        .offset(StartOffset::Head)
        .on_error(move |error| told.push(error))
        .on_any(seen.handler());
    let _subscription = client.register(subscribe).await?;
    let handled = seen.wait_exactly(3).await?;
    assert_eq!(numbers(&handled), [0, 1, 2]);
    let errors = errors.wait_exactly(5).await?;
    ensure!(
        errors.iter().all(|one| one.kind() == ErrorKind::Decode),
        "{errors:?}"
    );
    let stats = client.reader_stats();
    assert_eq!((stats.undecodable, stats.skipped), (5, 5));
    end(&client).await
}

/// With `dead_letters`, records that are not envelopes are dead-lettered byte for byte, including null values.
///
/// # Errors
/// The behaviour differs.
pub async fn what_cannot_be_decoded_is_dead_lettered_as_it_came(setup: &Setup) -> Result<()> {
    let topic = setup.create_topic("undecodable_letters", 1)?;
    let client = setup.client()?;
    let junk: [Option<&[u8]>; 2] = [Some(b"\xfe\xff not json"), None];
    setup.write_raw(&topic, &junk)?;
    let seen = Events::default();
    let subscribe = Subscribe::new(&topic)
        .group_id("g")
        .offset(StartOffset::Head)
        .dead_letters(true)
        .on_any(seen.handler());
    let _subscription = client.register(subscribe).await?;
    let letters = letters(&client, &topic).await?.wait_exactly(2).await?;
    for ((call, record), value) in letters.iter().zip(junk) {
        assert_eq!(record.value(), value);
        assert_eq!(record.key(), Some(&b"raw"[..]));
        let reason = call.header(&format!("{PREFIX}reason"));
        assert_eq!(reason.as_deref(), Some("undecodable"));
        assert_eq!(call.header(&format!("{PREFIX}event-name")), None);
    }
    end(&client).await
}

/// A failing event is retried, with attempts counted from 1, before later ones of its partition.
///
/// # Errors
/// The behaviour differs.
pub async fn a_failing_event_is_tried_again_with_growing_attempts(setup: &Setup) -> Result<()> {
    let topic = setup.create_topic("attempts", 1)?;
    let client = setup.client()?;
    publish_numbers(&client, &topic, "e", &["k"], 0..3).await?;
    let seen = Seen::default();
    let noted = seen.clone();
    let subscribe = Subscribe::new(&topic)
        .group_id("g")
        .offset(StartOffset::Head)
        .retry(quickly(Retry::forever()))
        .on_any(move |context: Context, event: Event| {
            noted.push((number(&event), context.attempt()));
            ready(if number(&event) == 1 && context.attempt() < 4 {
                Err(io::Error::other("not yet"))
            } else {
                Ok(())
            })
        });
    let _subscription = client.register(subscribe).await?;
    let calls = seen.wait_exactly(6).await?;
    assert_eq!(calls, [(0, 1), (1, 1), (1, 2), (1, 3), (1, 4), (2, 1)]);
    assert_eq!(client.reader_stats().failed_attempts, 3);
    end(&client).await
}

/// After its last attempt, an event is dead-lettered with its key, headers, bytes and what happened.
///
/// # Errors
/// The behaviour differs.
pub async fn an_exhausted_event_is_dead_lettered_with_its_story(setup: &Setup) -> Result<()> {
    let topic = setup.create_topic("exhausted", 1)?;
    let client = setup.client()?;
    let publish = |number: u64| {
        Publish::new(&topic, "doomed")
            .key("key")
            .header("own", "kept")
            .payload(serde_json::json!({ "n": number }))
    };
    client.publish_sync(publish(0)).await?;
    client.publish_sync(publish(1)).await?;
    let failed = Events::default();
    let noted = failed.clone();
    let subscribe = Subscribe::new(&topic)
        .group_id("exhausted")
        .offset(StartOffset::Head)
        .retry(quickly(Retry::attempts(3)))
        .dead_letters(true)
        .on_any(move |context: Context, event: Event| {
            let fails = number(&event) == 1;
            if fails {
                noted.push((Call::new(&context), event));
            }
            ready(if fails {
                Err(io::Error::other("no room"))
            } else {
                Ok(())
            })
        });
    let subscription = client.register(subscribe).await?;
    let letters = letters(&client, &topic).await?.wait_exactly(1).await?;
    let attempts = failed.wait_exactly(3).await?;
    let ((call, letter), (original, event)) = (&letters[0], &attempts[2]);
    assert_eq!(letter.value(), Some(event.as_bytes()));
    assert_eq!(letter.key(), Some(&b"key"[..]));
    assert_eq!(call.header("own").as_deref(), Some("kept"));
    assert_eq!(call.timestamp, original.timestamp);
    let millis = original
        .timestamp
        .context("the record has no timestamp")?
        .duration_since(std::time::SystemTime::UNIX_EPOCH)?
        .as_millis();
    for (name, value) in [
        ("reason", "exhausted"),
        ("attempts", "3"),
        ("topic", &topic),
        ("partition", "0"),
        ("offset", "1"),
        ("timestamp", &millis.to_string()),
        ("group", "contract.exhausted"),
        ("event-name", "doomed"),
    ] {
        let header = call.header(&format!("{PREFIX}{name}"));
        assert_eq!(header.as_deref(), Some(value), "{name}");
    }
    let error = call.header(&format!("{PREFIX}error")).unwrap_or_default();
    ensure!(error.contains("no room"), "{error}");
    subscription.stop(Duration::from_secs(10)).await?;
    let metadata = client
        .group_metadata(Some(&topic), Some("exhausted"), Duration::from_secs(10))
        .await?;
    assert_eq!(metadata.topics[0].partitions[0].committed, Some(2));
    end(&client).await
}

/// What a handler dead-letters is not retried, whatever the retry policy, and has the handler's reason. The suffix of
/// the topic is an option.
///
/// # Errors
/// The behaviour differs.
pub async fn a_handler_dead_letters_what_no_retry_mends(setup: &Setup) -> Result<()> {
    let topic = setup.create_topic("rejected", 1)?;
    let config: BrokerConfig = setup.config().dead_letter_suffix(".dlq");
    let client = setup.builder().config(config).build()?;
    publish_numbers(&client, &topic, "e", &["k"], 0..3).await?;
    let seen = Seen::default();
    let noted = seen.clone();
    let subscribe = Subscribe::new(&topic)
        .group_id("g")
        .offset(StartOffset::Head)
        .on_any(move |context: Context, event: Event| {
            noted.push((number(&event), context.attempt()));
            ready(match number(&event) {
                0 => Err(io::Error::other(Reject::new("no such player"))),
                // At any depth of the error's chain.
                1 => Err(io::Error::other(io::Error::other(Reject::new(
                    "nor this one",
                )))),
                _ => Ok(()),
            })
        });
    let _subscription = client.register(subscribe).await?;
    let letters = Events::default();
    let subscribe = Subscribe::new(format!("{topic}.dlq"))
        .offset(StartOffset::Head)
        .on_any(letters.handler());
    assert_eq!(seen.wait_exactly(3).await?, [(0, 1), (1, 1), (2, 1)]);
    super::seen::until("the letters", || client.reader_stats().dead_lettered == 2).await?;
    let _letters = client.register(subscribe).await?;
    let letters = letters.wait_exactly(2).await?;
    assert_eq!(numbers(&letters), [0, 1]);
    for (call, event) in &letters {
        let header = |name: &str| call.header(&format!("{PREFIX}{name}")).unwrap_or_default();
        assert_eq!(header("reason"), "rejected");
        let reason = ["no such player", "nor this one"][usize::try_from(number(event))?];
        ensure!(header("error").contains(reason), "{}", header("error"));
    }
    end(&client).await
}

/// A handler that panics counts as failed, like one that returns an error; the subscription
/// continues.
///
/// # Errors
/// The behaviour differs.
pub async fn a_panic_is_a_failed_attempt(setup: &Setup) -> Result<()> {
    let topic = setup.create_topic("panic", 1)?;
    let client = setup.client()?;
    publish_numbers(&client, &topic, "e", &["k"], 0..2).await?;
    let seen = Seen::default();
    let noted = seen.clone();
    let subscribe = Subscribe::new(&topic)
        .group_id("g")
        .offset(StartOffset::Head)
        .retry(quickly(Retry::forever()))
        .on_any(move |context: Context, event: Event| {
            let seen = noted.clone();
            async move {
                seen.push((number(&event), context.attempt()));
                assert!(
                    number(&event) != 0 || context.attempt() != 1,
                    "a panic of the handler, as this behaviour wants it"
                );
                Ok::<_, io::Error>(())
            }
        });
    let _subscription = client.register(subscribe).await?;
    assert_eq!(seen.wait_exactly(3).await?, [(0, 1), (0, 2), (1, 1)]);
    end(&client).await
}
