//! A service with a publisher in its state: what it publishes is tested with a recorder, the whole of it on a broker of its
//! own.
//!
//! In a service the functions of `main` are `#[tokio::test]`s.

use std::sync::Arc;
use std::time::Duration;

use eventstream::testing::{Recorder, TestBroker};
use eventstream::{
    Backoff, Client, ErrorKind, EventType, Exhausted, Payload, Publish, Publisher, Reject, Retry,
    State, Subscribe, Subscription,
};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, EventType)]
#[event(topic = "shop", name = "itemBought", key = player)]
struct ItemBought {
    player: String,
    item: String,
    price: u64,
}

#[derive(Serialize, Deserialize, EventType, Debug, PartialEq)]
#[event(topic = "purse", name = "coinsSpent", key = player)]
struct CoinsSpent {
    player: String,
    coins: u64,
}

/// The service: it takes coins for what players buy.
#[derive(Clone)]
struct Shop {
    publisher: Arc<dyn Publisher>,
}

impl Shop {
    async fn spend(&self, player: &str, coins: u64) -> eventstream::Result<()> {
        let player = player.to_owned();
        let event = Publish::of(&CoinsSpent { player, coins });
        self.publisher.publish(event).await?.await?;
        Ok(())
    }

    /// Subscribes the service.
    async fn start(self, client: &Client) -> eventstream::Result<Subscription> {
        let backoff = Backoff::default().initial(Duration::from_millis(10));
        let retry = Retry::attempts(3).backoff(backoff);
        let subscribe = Subscribe::to::<ItemBought>()
            .group_id("shop")
            .retry(retry.then(Exhausted::DeadLetter))
            .state(self)
            .on_event(bought);
        client.register(subscribe).await
    }
}

async fn bought(
    Payload(bought): Payload<ItemBought>,
    State(shop): State<Shop>,
) -> anyhow::Result<()> {
    if bought.item.is_empty() {
        return Err(Reject::new("nothing was bought").into());
    }
    shop.spend(&bought.player, bought.price).await?;
    Ok(())
}

fn purchase(item: &str, price: u64) -> Publish {
    let (player, item) = ("player-7".to_owned(), item.to_owned());
    Publish::of(&ItemBought {
        player,
        item,
        price,
    })
}

/// Without a broker: the recorder is the publisher.
async fn coins_are_spent_once() -> eventstream::Result<()> {
    let recorder = Recorder::new();
    let shop = Shop {
        publisher: Arc::new(recorder.clone()),
    };
    shop.spend("player-7", 30).await?;
    let spent = recorder.expect_one::<CoinsSpent>();
    assert_eq!((&*spent.player, spent.coins), ("player-7", 30));
    assert_eq!(recorder.published_with_key("player-7").len(), 1);
    Ok(())
}

/// What the service does when an event is not stored.
async fn a_broker_that_stores_nothing_is_told() {
    let recorder = Recorder::new();
    recorder.fail_nth(1, ErrorKind::Broker);
    let shop = Shop {
        publisher: Arc::new(recorder.clone()),
    };
    let error = shop.spend("player-7", 30).await.expect_err("not stored");
    assert_eq!(error.kind(), ErrorKind::Broker);
    recorder.expect_nothing();
}

/// The whole of it, over the code that talks to Kafka.
async fn what_is_bought_is_paid_for() -> eventstream::Result<()> {
    let broker = TestBroker::start().topic("shop", 2).topic("purse", 2);
    let shop = Shop {
        publisher: Arc::new(broker.client().clone()),
    };
    let subscription = shop.start(broker.client()).await?;

    broker.publish(purchase("sword", 30)).await;
    broker.publish(purchase("", 10)).await;
    broker.settled().await;

    broker.handled("itemBought").expect_count(1);
    let letter = broker.dead_letters("shop").expect_one();
    println!("{}: {}", letter.reason(), letter.error());
    subscription.stop(Duration::from_secs(10)).await?;
    Ok(())
}

/// An outage: what the service publishes waits for the broker.
async fn an_outage_loses_nothing() -> eventstream::Result<()> {
    let broker = TestBroker::start().topic("shop", 1);
    let recorder = Recorder::new();
    let shop = Shop {
        publisher: Arc::new(recorder.clone()),
    };
    let subscription = shop.start(broker.client()).await?;

    broker.publish(purchase("sword", 30)).await;
    broker.down();
    let receipt = broker.client().publish(purchase("shield", 20)).await?;
    broker.up();
    receipt.await?;
    broker.settled().await;

    let coins = recorder.published::<CoinsSpent>();
    assert!(coins.iter().any(|spent| spent.coins == 30));
    assert!(coins.iter().any(|spent| spent.coins == 20));
    subscription.stop(Duration::from_secs(10)).await?;
    Ok(())
}

#[tokio::main]
async fn main() -> eventstream::Result<()> {
    coins_are_spent_once().await?;
    a_broker_that_stores_nothing_is_told().await;
    what_is_bought_is_paid_for().await?;
    an_outage_loses_nothing().await?;
    println!("4 tests passed");
    Ok(())
}
