use std::sync::Arc;
use std::time::Duration;

use eventstream::testing::TestBroker;
use eventstream::{
    Backoff, Batch, BrokerConfig, CommitPolicy, Concurrency, Event, OnUndecodable, Payload,
    Publish, Reject, Retry, State, Subscribe,
};
use tokio::sync::Semaphore;

use super::{LevelUp, panic_of, up};

/// A handler that handles as many events as there are permits.
async fn permitted(State(permits): State<Arc<Semaphore>>) {
    permits.acquire().await.unwrap().forget();
}

#[tokio::test]
async fn a_broker_without_anything_is_settled() {
    TestBroker::start().settled().await;
}

#[tokio::test]
async fn settled_waits_for_a_handler_that_runs() {
    let permits = Arc::new(Semaphore::new(0));
    let broker = TestBroker::start().topic("player", 1);
    let subscribe = Subscribe::new("player")
        .group_id("g")
        .state(Arc::clone(&permits));
    let subscribe = subscribe.on("levelUp", permitted);
    let _subscription = broker.client().register(subscribe).await.unwrap();
    broker.publish(up(1)).await;
    let mut settled = Box::pin(broker.settled());
    for _ in 0..100 {
        assert!(futures_util::poll!(&mut settled).is_pending());
        tokio::task::yield_now().await;
    }
    permits.add_permits(1);
    settled.await;
    broker.handled("levelUp").expect_count(1);
}

#[tokio::test]
async fn settled_waits_for_a_handler_whose_offset_is_committed_before_it_runs() {
    let permits = Arc::new(Semaphore::new(0));
    let broker = TestBroker::start().topic("player", 1);
    let config = TestBroker::config().commit(CommitPolicy::BeforeProcessing);
    let client = broker.builder().config(config).build().unwrap();
    let subscribe = Subscribe::new("player")
        .group_id("g")
        .state(Arc::clone(&permits));
    let subscription = client
        .register(subscribe.on("levelUp", permitted))
        .await
        .unwrap();
    broker.publish(up(1)).await;
    let mut settled = Box::pin(broker.settled());
    // The commit comes first, and takes its time.
    while client.reader_stats().commits == 0 || client.reader_stats().buffered == 0 {
        assert!(futures_util::poll!(&mut settled).is_pending());
        tokio::task::yield_now().await;
    }
    assert!(futures_util::poll!(&mut settled).is_pending());
    permits.add_permits(1);
    settled.await;
    broker.handled("levelUp").expect_count(1);
    drop(subscription);
}

#[tokio::test]
async fn settled_waits_for_a_batch_that_is_not_full() {
    let broker = TestBroker::start().topic("player", 1);
    let batch = Batch::up_to(500).within(Duration::from_millis(100));
    let handler = async |ups: Vec<Payload<LevelUp>>| assert_eq!(ups.len(), 2);
    let subscribe = Subscribe::new("player").group_id("g");
    let subscribe = subscribe.on_batch("levelUp", batch, handler);
    let _subscription = broker.client().register(subscribe).await.unwrap();
    broker.publish(up(1)).await;
    broker.publish(up(2)).await;
    broker.settled().await;
    broker.handled("levelUp").expect_count(2);
}

#[tokio::test]
async fn settled_waits_for_what_tasks_publish_before_it_is_called() {
    let broker = TestBroker::start().topic("player", 1);
    let subscribe = Subscribe::new("player").group_id("g");
    let subscribe = subscribe.on("levelUp", async |_: Event| {});
    let subscription = broker.client().register(subscribe).await.unwrap();
    subscription.ready().await.unwrap();
    for level in 0..100 {
        drop(broker.client().publish(up(level)).await.unwrap());
    }
    broker.settled().await;
    broker.handled("levelUp").expect_count(100);
}

#[tokio::test]
async fn who_is_not_subscribed_any_more_is_not_waited_for() {
    let broker = TestBroker::start().topic("player", 1);
    let never = Backoff::default().initial(Duration::from_secs(30));
    let subscribe = Subscribe::new("player").group_id("g");
    let subscribe = subscribe.retry(Retry::forever().backoff(never));
    let subscribe = subscribe.on("levelUp", async |_: Event| Err::<(), _>("never"));
    let subscription = broker.client().register(subscribe).await.unwrap();
    broker.publish(up(1)).await;
    let stopping = subscription.stop(Duration::from_secs(10));
    let ((), stopped) = tokio::join!(broker.settled(), stopping);
    stopped.unwrap();
}

#[tokio::test]
async fn what_is_outstanding_is_named_when_the_bound_is_over() {
    let broker = TestBroker::start()
        .topic("player", 1)
        .bound(Duration::from_secs(2));
    let retry = Retry::forever().backoff(Backoff::default().initial(Duration::from_millis(1)));
    let subscribe = Subscribe::new("player").group_id("g").retry(retry);
    let subscribe = subscribe.on("levelUp", async |_: Event| Err::<(), _>("no such player"));
    let _subscription = broker.client().register(subscribe).await.unwrap();
    broker.publish(up(1)).await;
    broker.publish(up(2)).await;
    let text = panic_of(broker.settled()).await;
    assert!(
        text.contains(r#"group ".g", topic player, partition 0: done up to offset 0 of 2"#),
        "{text}"
    );
    assert!(
        text.contains("offset 0 failed attempt") && text.contains("no such player"),
        "{text}"
    );
    let text = panic_of(broker.handled("levelUp").await_count(1)).await;
    assert!(
        text.contains("expected 1 of levelUp to be handled, found 0"),
        "{text}"
    );
    assert!(text.contains("not done is:\n  group"), "{text}");
}

#[tokio::test]
async fn assertions_print_what_was_handled_and_dead_lettered_instead() {
    let broker = TestBroker::start().topic("player", 1).topic("raw", 1);
    let subscribe = Subscribe::new("player").group_id("g");
    let subscribe = subscribe
        .dead_letters(true)
        .on("levelUp", async |_: Event| {})
        .on("levelDown", async |_: Event| {
            Err::<(), _>(Reject::new("never down"))
        });
    let _subscription = broker.client().register(subscribe).await.unwrap();
    broker.publish(up(1)).await;
    broker
        .publish(Publish::new("player", "levelDown").key("k"))
        .await;
    broker.settled().await;
    let text = panic_of(async { broker.handled("levelUp").by("other").expect_count(1) }).await;
    assert!(
        text.contains(r#"handled by group ".other", found 0"#),
        "{text}"
    );
    assert!(
        text.contains(
            r#"player levelUp key "player-7" {"player":"player-7","level":1} by group ".g""#
        ),
        "{text}"
    );
    let text = panic_of(async { broker.dead_letters("player").expect_none() }).await;
    assert!(
        text.contains("rejected: never down (partition 0, offset 1, attempt 1): player levelDown"),
        "{text}"
    );
    let text = panic_of(async { broker.dead_letters("other").expect_one() }).await;
    assert!(
        text.contains("found 0") && text.contains("of other topics:\n  rejected"),
        "{text}"
    );
    let text = panic_of(async { broker.dead_letters("player").payloads::<LevelUp>() }).await;
    assert!(text.contains("levelDown"), "{text}");
}

#[tokio::test]
async fn a_client_with_a_configuration_of_its_own_is_known() {
    let broker = TestBroker::with_prefix("dev").topic("player", 3);
    let config = BrokerConfig::new().commit(CommitPolicy::EachEvent);
    let client = broker.builder().config(config).build().unwrap();
    let subscribe = Subscribe::new("player")
        .group_id("g")
        .concurrency(Concurrency::PerKey(4))
        .on_undecodable(OnUndecodable::DeadLetter)
        .on("levelUp", async |_: Event| {});
    let _subscription = client.register(subscribe).await.unwrap();
    broker.publish(up(1)).await;
    broker.settled().await;
    broker.handled("levelUp").by("g").expect_count(1);
    client.flush(Duration::from_secs(10)).await.unwrap();
    let receipt = client.publish(up(2)).await.unwrap();
    receipt.await.unwrap();
    broker.settled().await;
    broker.handled("levelUp").by("g").expect_count(2);
}
