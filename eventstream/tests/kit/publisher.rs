use std::sync::Arc;
use std::time::Duration;

use eventstream::testing::{Consumed, Recorder, TestBroker};
use eventstream::{
    Client, Context, ErrorKind, Event, Payload, Publish, Publisher, StartOffset, Subscribe,
};

use super::{LevelUp, up};

/// A service that is generic over its publisher.
async fn level_up(publisher: impl Publisher) -> eventstream::Result<i64> {
    let delivery = publisher.publish(up(12)).await?.await?;
    Ok(delivery.offset())
}

#[tokio::test]
async fn a_client_is_a_publisher_behind_a_reference_an_arc_and_a_trait_object() {
    let client = Client::embedded().build().unwrap();
    let shared: Arc<dyn Publisher> = Arc::new(client.clone());
    assert_eq!(level_up(&client).await.unwrap(), 0);
    let mut last = level_up(Arc::clone(&shared)).await.unwrap();
    last = last.max(level_up(&*shared).await.unwrap());
    last = last.max(level_up(client.clone()).await.unwrap());
    assert_eq!(last, 3);
    let receipt = shared.try_publish(up(13)).unwrap();
    shared.flush(Duration::from_secs(20)).await.unwrap();
    assert!(receipt.is_done());
    client.shutdown(Duration::from_secs(10)).await;
    let refused = shared.publish(up(14)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn a_recorder_stands_in_for_a_client() {
    let recorder = Recorder::new();
    let shared: Arc<dyn Publisher> = Arc::new(recorder.clone());
    assert_eq!(level_up(&shared).await.unwrap(), 0);
    assert_eq!(level_up(&recorder).await.unwrap(), 1);
    assert_eq!(recorder.published_to("player").len(), 2);
}

#[tokio::test]
async fn both_refuse_the_same_with_the_same_words() {
    let client = Client::embedded().build().unwrap();
    let recorder = Recorder::new();
    for event in [
        Publish::new("not a topic", "ok"),
        Publish::new("player", "not a name!").payload([1]),
        Publish::new("player", "levelUp").timestamp_text("yesterday", 0),
        Publish::new("player", "levelUp")
            .payload(serde_json::json!({"text": "x".repeat(2_000_000)})),
    ] {
        let publishers: [&dyn Publisher; 2] = [&client, &recorder];
        let mut errors = Vec::new();
        for publisher in publishers {
            let waited = publisher.publish(event.clone()).await.unwrap_err();
            let tried = publisher.try_publish(event.clone()).unwrap_err();
            assert_eq!(waited.to_string(), tried.to_string());
            errors.push((waited.kind(), waited.to_string()));
        }
        assert_eq!(errors[0], errors[1]);
    }
    recorder.expect_nothing();
}

async fn promote(Payload(up): Payload<LevelUp>, cx: Context) -> eventstream::Result<()> {
    let id = format!("promoted-{}-{}", cx.partition(), cx.offset());
    let event = Publish::new("player", "promoted").id(id).key(&up.player);
    cx.publish(event).await?.await?;
    Ok(())
}

#[tokio::test]
async fn a_handler_publishes_through_its_context() {
    let broker = TestBroker::start().topic("player", 2);
    let subscribe = Subscribe::new("player")
        .group_id("promotions")
        .offset(StartOffset::Head)
        .on("levelUp", promote)
        .on("promoted", async |_: Event| {});
    let _subscription = broker.client().register(subscribe).await.unwrap();
    broker.publish(up(12)).await;
    broker.settled().await;
    let promoted = broker.handled("promoted").await_count(1).await;
    assert!(promoted[0].id().starts_with("promoted-"));
}

#[tokio::test]
async fn what_a_called_handler_publishes_is_recorded_and_without_a_publisher_it_fails() {
    let recorder = Recorder::new();
    let event = Consumed::new(up(12)).at(3, 17).publisher(recorder.clone());
    event.call(promote).await.expect_handled();
    let published = recorder.published_as("promoted");
    assert_eq!(published.len(), 1);
    assert_eq!(published[0].event().id(), "promoted-3-17");

    let error = Consumed::new(up(12)).call(promote).await.expect_failed();
    let error: Box<eventstream::Error> = error.downcast().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.remedy().contains("Consumed::publisher"), "{error}");
}
