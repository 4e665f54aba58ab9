use std::time::Duration;

use eventstream::testing::Recorder;
use eventstream::{BrokerConfig, ErrorKind, Payload, Publish, Publisher};

use super::{LevelUp, panic_of, up};

async fn publish(recorder: &Recorder, event: Publish) -> eventstream::Result<i64> {
    let delivery = recorder.publish(event).await?.await?;
    Ok(delivery.offset())
}

#[tokio::test]
async fn what_was_published_is_found_by_type_topic_key_and_name() {
    let recorder = Recorder::new();
    publish(&recorder, up(1)).await.unwrap();
    publish(&recorder, up(2)).await.unwrap();
    let won = Publish::new("prize", "won").key("player-8").user_id("u");
    publish(&recorder, won).await.unwrap();
    let levels = recorder.published::<LevelUp>();
    assert_eq!(levels.iter().map(|up| up.level).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(recorder.published_to("player").len(), 2);
    assert_eq!(recorder.published_with_key("player-8").len(), 1);
    let won = recorder.published_as("won").remove(0);
    assert_eq!((won.topic(), won.event().user_id()), ("prize", "u"));
    assert_eq!(won.to_string(), r#"prize won key "player-8" {}"#);
    recorder.clear();
    recorder.expect_nothing();
}

#[tokio::test]
async fn what_was_published_can_be_handled() {
    let recorder = Recorder::new();
    let event = up(12).header("trace", "t");
    publish(&recorder, event).await.unwrap();
    let consumed = recorder.all().remove(0).consumed();
    let handler = async |Payload(up): Payload<LevelUp>| assert_eq!(up.level, 12);
    consumed.call(handler).await.expect_handled();
    assert!(
        consumed
            .context()
            .headers()
            .any(|(name, value)| (name, value) == ("trace", Some(b"t")))
    );
}

#[tokio::test]
async fn assertions_print_what_is_there_instead() {
    let recorder = Recorder::new();
    publish(&recorder, Publish::new("prize", "won").key("k"))
        .await
        .unwrap();
    let text = panic_of(async { recorder.expect_one::<LevelUp>() }).await;
    assert!(
        text.contains("expected 1 of levelUp on player, found 0"),
        "{text}"
    );
    assert!(text.contains(r#"prize won key "k""#), "{text}");
    let text = panic_of(async { recorder.expect_nothing() }).await;
    assert!(text.contains("prize won"), "{text}");
    publish(
        &recorder,
        Publish::new("player", "levelUp").payload(serde_json::json!({"level": "x"})),
    )
    .await
    .unwrap();
    let text = panic_of(async { recorder.published::<LevelUp>() }).await;
    assert!(text.contains(r#"{"level":"x"}"#), "{text}");
}

#[tokio::test]
async fn the_nth_publish_fails_after_it_was_accepted() {
    let recorder = Recorder::new();
    recorder.fail_nth(2, ErrorKind::Broker);
    assert!(
        recorder
            .publish(Publish::new("no topic", "n"))
            .await
            .is_err(),
        "does not count"
    );
    assert_eq!(publish(&recorder, up(1)).await.unwrap(), 0);
    let receipt = recorder.publish(up(2)).await.unwrap();
    assert_eq!(receipt.await.unwrap_err().kind(), ErrorKind::Broker);
    assert_eq!(
        publish(&recorder, up(3)).await.unwrap(),
        1,
        "a failed one is not stored"
    );
    let levels = recorder.published::<LevelUp>();
    assert_eq!(levels.iter().map(|up| up.level).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(recorder.failed()[0].payload::<LevelUp>().level, 2);
}

#[tokio::test]
async fn the_nth_publish_is_refused() {
    let recorder = Recorder::new();
    recorder.refuse_nth(1, ErrorKind::UnknownTopic);
    recorder.refuse_nth(3, ErrorKind::Closed);
    assert_eq!(
        recorder.publish(up(1)).await.unwrap_err().kind(),
        ErrorKind::UnknownTopic
    );
    publish(&recorder, up(2)).await.unwrap();
    assert_eq!(
        recorder.try_publish(up(3)).unwrap_err().kind(),
        ErrorKind::Closed
    );
    publish(&recorder, up(4)).await.unwrap();
    recorder.expect::<LevelUp>(2);
    assert!(
        recorder.flush(Duration::ZERO).await.is_ok(),
        "what was refused holds nothing up"
    );
}

#[tokio::test]
async fn a_full_buffer_makes_publish_wait_and_try_publish_fail() {
    let recorder = Recorder::new();
    recorder.fill();
    let refused = recorder.try_publish(up(1)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::BufferFull);
    assert!(
        refused.to_string().contains("the buffer is full ("),
        "{refused}"
    );
    let task = tokio::spawn({
        let recorder = recorder.clone();
        async move { publish(&recorder, up(2)).await }
    });
    recorder.await_waiting(1).await;
    recorder.expect_nothing();
    recorder.make_room();
    assert_eq!(task.await.unwrap().unwrap(), 0);
    assert_eq!(recorder.expect_one::<LevelUp>().level, 2);
}

#[tokio::test]
async fn a_buffer_that_stays_full_refuses_after_the_publish_timeout() {
    let recorder = Recorder::new();
    recorder.fill();
    let own = up(1).timeout(Duration::from_millis(20));
    let refused = recorder.publish(own).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Timeout);
    assert!(
        refused.to_string().contains("stayed full for 20ms"),
        "{refused}"
    );
    let config = BrokerConfig::new().publish_timeout(Duration::from_millis(30));
    let brief = Recorder::with(&config);
    brief.fill();
    let refused = brief.publish(up(1)).await.unwrap_err();
    assert!(
        refused.to_string().contains("stayed full for 30ms"),
        "{refused}"
    );
    recorder.make_room();
    publish(&recorder, up(1)).await.unwrap();
}

#[tokio::test]
async fn a_slow_recorder_gives_receipts_on_command() {
    let recorder = Recorder::with(&BrokerConfig::new().buffer_events(3));
    recorder.hold();
    let mut receipts = Vec::new();
    for level in 0..3 {
        receipts.push(recorder.publish(up(level)).await.unwrap());
    }
    assert_eq!(recorder.held(), 3);
    assert_eq!(
        recorder.try_publish(up(3)).unwrap_err().kind(),
        ErrorKind::BufferFull
    );
    let pending = recorder.flush(Duration::ZERO).await.unwrap_err();
    assert_eq!(
        pending.to_string(),
        "flush: 3 events are still pending after 0ns"
    );
    recorder.release(1);
    let done: Vec<_> = receipts.iter().map(eventstream::Receipt::is_done).collect();
    assert_eq!(done, [true, false, false]);
    receipts.push(recorder.try_publish(up(4)).unwrap());
    let flushed = tokio::spawn({
        let recorder = recorder.clone();
        async move { recorder.flush(Duration::from_secs(20)).await }
    });
    tokio::task::yield_now().await;
    recorder.release_all();
    flushed.await.unwrap().unwrap();
    for (offset, receipt) in (0..).zip(receipts) {
        assert_eq!(receipt.await.unwrap().offset(), offset);
    }
    let text = panic_of(async { recorder.release(1) }).await;
    assert_eq!(text, "cannot release 1 events: 0 are held");
}

#[tokio::test]
async fn a_flush_waits_for_what_was_accepted_before_it() {
    let recorder = Recorder::new();
    recorder.hold();
    let _first = recorder.publish(up(1)).await.unwrap();
    let mut flush = recorder.flush(Duration::from_secs(20));
    assert!(futures_util::poll!(&mut flush).is_pending());
    let _second = recorder.publish(up(2)).await.unwrap();
    recorder.release(1);
    assert!(flush.await.is_ok(), "the second came later");
}

#[tokio::test]
async fn a_recorder_checks_as_its_configuration_says() {
    let strict = BrokerConfig::new()
        .strict_validation(true)
        .prefix("p".repeat(200));
    let recorder = Recorder::with(&strict);
    let refused = recorder.publish(up(1).user_id("bob")).await.unwrap_err();
    assert_eq!(refused.faults()[0].field, "user_id");
    let long = Publish::new("t".repeat(60), "levelUp");
    let refused = recorder.publish(long).await.unwrap_err();
    assert_eq!(refused.faults()[0].field, "topic");
}

#[tokio::test]
async fn what_is_published_in_the_background_can_be_waited_for() {
    let recorder = Recorder::new();
    let task = tokio::spawn({
        let recorder = recorder.clone();
        async move {
            publish(&recorder, up(1)).await?;
            publish(&recorder, up(2)).await
        }
    });
    assert_eq!(recorder.await_count::<LevelUp>(2).await[1].level, 2);
    task.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_wait_for_what_never_comes_ends_with_what_came() {
    let recorder = Recorder::new().bound(Duration::from_millis(20));
    publish(&recorder, up(1)).await.unwrap();
    let text = panic_of(recorder.await_count::<LevelUp>(2)).await;
    assert!(
        text.contains("after 20ms: expected 2 of levelUp on player, found 1"),
        "{text}"
    );
    assert!(text.contains(r#"player levelUp key "player-7""#), "{text}");
    let text = panic_of(recorder.await_waiting(1)).await;
    assert!(
        text.contains("expected 1 publishers to wait for room, found 0"),
        "{text}"
    );
}
