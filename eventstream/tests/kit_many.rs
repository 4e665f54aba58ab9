//! Two hundred tests with a broker each, as a service would have them: without sleeps, and concurrently.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use eventstream::testing::TestBroker;
use eventstream::{
    Backoff, Concurrency, Context, Event, EventType, Exhausted, Payload, Publish, Publisher,
    Reject, Retry, StartOffset, State, Subscribe,
};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, EventType, PartialEq, Debug)]
#[event(topic = "player", name = "levelUp", key = player)]
struct LevelUp {
    player: String,
    level: u32,
}

fn up(player: &str, level: u32) -> Publish {
    let player = player.to_owned();
    Publish::of(&LevelUp { player, level })
}

fn subscribe(group: &str) -> Subscribe {
    let backoff = Backoff::default().initial(Duration::from_millis(5));
    Subscribe::new("player").group_id(group).retry(
        Retry::attempts(3)
            .backoff(backoff)
            .then(Exhausted::DeadLetter),
    )
}

async fn one_event_is_handled() {
    let broker = TestBroker::start().topic("player", 1);
    let subscribe = subscribe("g").on("levelUp", async |_: Event| {});
    let _subscription = broker.client().register(subscribe).await.unwrap();
    broker.publish(up("a", 1)).await;
    broker.settled().await;
    let handled = broker.handled("levelUp").payloads::<LevelUp>();
    assert_eq!(handled[0].level, 1);
    broker.dead_letters("player").expect_none();
}

async fn what_was_there_before_is_handled_from_the_head() {
    let broker = TestBroker::with_prefix("dev").topic("player", 3);
    for level in 0..10 {
        broker.publish(up(&format!("p{level}"), level)).await;
    }
    let subscribe = subscribe("g").offset(StartOffset::Head);
    let subscribe = subscribe.on("levelUp", async |_: Event| {});
    let _subscription = broker.client().register(subscribe).await.unwrap();
    broker.settled().await;
    broker.handled("levelUp").by("g").expect_count(10);
}

async fn what_was_there_before_is_not_handled_from_the_tail() {
    let broker = TestBroker::start().topic("player", 1);
    broker.publish(up("a", 1)).await;
    let subscribe = subscribe("g").on("levelUp", async |_: Event| {});
    let _subscription = broker.client().register(subscribe).await.unwrap();
    broker.publish(up("a", 2)).await;
    broker.settled().await;
    let handled = broker.handled("levelUp").payloads::<LevelUp>();
    assert_eq!(handled.iter().map(|up| up.level).collect::<Vec<_>>(), [2]);
}

async fn what_is_rejected_is_dead_lettered() {
    let broker = TestBroker::start().topic("player", 2);
    let reject = async |Payload(up): Payload<LevelUp>| match up.level {
        0..100 => Ok(()),
        _ => Err(Reject::new("no such level")),
    };
    let subscribe = subscribe("g").on("levelUp", reject);
    let _subscription = broker.client().register(subscribe).await.unwrap();
    broker.publish(up("a", 1)).await;
    broker.publish(up("a", 100)).await;
    broker.settled().await;
    broker.handled("levelUp").expect_count(1);
    let letters = broker.dead_letters("player");
    assert_eq!(letters.payloads::<LevelUp>()[0].level, 100);
    assert_eq!(letters.expect_one().error(), "no such level");
}

async fn what_fails_is_tried_again() {
    let broker = TestBroker::start().topic("player", 1);
    let second = async |cx: Context| match cx.attempt() {
        1 => Err("not yet"),
        _ => Ok(()),
    };
    let subscribe = subscribe("g").on("levelUp", second);
    let _subscription = broker.client().register(subscribe).await.unwrap();
    broker.publish(up("a", 1)).await;
    broker.settled().await;
    broker.handled("levelUp").expect_count(1);
}

async fn what_fails_for_good_is_dead_lettered() {
    let broker = TestBroker::start().topic("player", 1);
    let never = async |_: Event| Err::<(), _>("never");
    let subscribe = subscribe("g").on("levelUp", never);
    let _subscription = broker.client().register(subscribe).await.unwrap();
    broker.publish(up("a", 1)).await;
    broker.settled().await;
    broker.handled("levelUp").expect_count(0);
    let letter = broker.dead_letters("player").expect_one();
    assert_eq!((letter.error(), letter.context().attempt()), ("never", 3));
}

async fn two_groups_handle_the_same() {
    let broker = TestBroker::start().topic("player", 1);
    let other = broker.builder().build().unwrap();
    let handler = async |_: Event| {};
    let one = broker
        .client()
        .register(subscribe("one").on("levelUp", handler));
    let two = other.register(subscribe("two").on("levelUp", handler));
    let _subscriptions = (one.await.unwrap(), two.await.unwrap());
    broker.publish(up("a", 1)).await;
    broker.settled().await;
    for group in ["one", "two"] {
        broker.handled("levelUp").by(group).expect_count(1);
    }
    broker.handled("levelUp").expect_count(2);
}

async fn a_chain_of_handlers_is_waited_for() {
    let broker = TestBroker::start().topic("player", 1).topic("prize", 1);
    type Shared = Arc<dyn Publisher>;
    async fn prize(State(publisher): State<Shared>, event: Event) -> eventstream::Result<()> {
        let prize = Publish::new("prize", "won").key(event.key().unwrap_or_default());
        drop(publisher.publish(prize).await?);
        Ok(())
    }
    let publisher: Shared = Arc::new(broker.client().clone());
    let levels = subscribe("g").state(publisher).on("levelUp", prize);
    let prizes = Subscribe::new("prize")
        .group_id("g")
        .on("won", async |_: Event| {});
    let _levels = broker.client().register(levels).await.unwrap();
    let _prizes = broker.client().register(prizes).await.unwrap();
    for player in ["a", "b", "c"] {
        broker.publish(up(player, 1)).await;
    }
    broker.settled().await;
    broker.handled("won").expect_count(3);
}

async fn the_order_of_a_key_is_kept() {
    let broker = TestBroker::start().topic("player", 2);
    let fails = async |Payload(up): Payload<LevelUp>, cx: Context| match (up.level, cx.attempt()) {
        (3, 1) => Err("not yet"),
        _ => Ok(()),
    };
    let subscribe = subscribe("g")
        .concurrency(Concurrency::PerKey(8))
        .on("levelUp", fails);
    let _subscription = broker.client().register(subscribe).await.unwrap();
    for level in 1..=6 {
        broker.publish(up("a", level)).await;
        broker.publish(up("b", level)).await;
    }
    broker.settled().await;
    let handled = broker.handled("levelUp").payloads::<LevelUp>();
    for player in ["a", "b"] {
        let of_player = handled.iter().filter(|up| up.player == player);
        assert!(of_player.map(|up| up.level).eq(1..=6), "{handled:?}");
    }
}

async fn a_count_can_be_waited_for() {
    let broker = TestBroker::start().topic("player", 1);
    let subscribe = subscribe("g").on_event(async |_: Payload<LevelUp>| {});
    let _subscription = broker.client().register(subscribe).await.unwrap();
    broker.publish(up("a", 1)).await;
    broker.publish(up("a", 2)).await;
    let events = broker.handled("levelUp").await_count(2).await;
    assert_eq!(events.len(), 2);
}

/// Boxed, so that each of the tests is compiled once.
fn run(test: Pin<Box<dyn Future<Output = ()>>>) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap().block_on(test);
}

macro_rules! many {
    ($($name:ident)*) => { $(many!(@ $name
        one_event_is_handled
        what_was_there_before_is_handled_from_the_head
        what_was_there_before_is_not_handled_from_the_tail
        what_is_rejected_is_dead_lettered
        what_fails_is_tried_again
        what_fails_for_good_is_dead_lettered
        two_groups_handle_the_same
        a_chain_of_handlers_is_waited_for
        the_order_of_a_key_is_kept
        a_count_can_be_waited_for
    );)* };
    (@ $name:ident $($test:ident)*) => {
        mod $name {
            $(#[test]
            fn $test() {
                super::run(Box::pin(super::$test()));
            })*
        }
    };
}

many! { a b c d e f g h i j k l m n o p q r s t }
