use std::time::Duration;

use eventstream::{
    Backoff, BrokerConfig, Client, EmbeddedBroker, Events, Publish, PulledEvent, Retry,
    StartOffset, Subscribe,
};

pub(crate) const SOON: Duration = Duration::from_secs(30);
/// Long enough for an event to arrive.
pub(crate) const A_WHILE: Duration = Duration::from_millis(700);

pub(crate) fn client_of(broker: &EmbeddedBroker) -> Client {
    let config = BrokerConfig::new().registration_settle(Duration::ZERO);
    Client::embedded()
        .prefix("p")
        .embedded_broker(broker)
        .config(config)
        .build()
        .unwrap()
}

/// A client, and a topic `t` with this many partitions.
pub(crate) fn client(partitions: i32) -> Client {
    let broker = EmbeddedBroker::start().unwrap();
    broker.create_topic("p.t", partitions).unwrap();
    client_of(&broker)
}

/// The subscription of `t` by `g` from its head, with short waits between attempts.
pub(crate) fn head() -> Subscribe {
    let short = Backoff::default().initial(Duration::from_millis(1));
    Subscribe::new("t")
        .group_id("g")
        .offset(StartOffset::Head)
        .retry(Retry::forever().backoff(short))
}

/// Publishes a number, with a key of its own among ten.
pub(crate) async fn publish(client: &Client, name: &str, n: u64) {
    drop(client.publish(event(name, n)).await.unwrap());
}

pub(crate) fn event(name: &str, n: u64) -> Publish {
    Publish::new("t", name)
        .key(format!("k{}", n % 10))
        .payload(serde_json::json!({ "n": n }))
}

/// Publishes `0..count` named `e`, and waits until they are stored.
pub(crate) async fn publish_all(client: &Client, count: u64) {
    for n in 0..count {
        publish(client, "e", n).await;
    }
    client.flush(SOON).await.unwrap();
}

pub(crate) fn number(event: &PulledEvent) -> u64 {
    event.event().payload().get("n").unwrap().decode().unwrap()
}

pub(crate) async fn next(events: &mut Events) -> PulledEvent {
    let next = tokio::time::timeout(SOON, events.next()).await;
    next.expect("an event in time")
        .expect("the stream has not ended")
}

/// The next event, if one arrives in a while.
pub(crate) async fn next_in_a_while(events: &mut Events) -> Option<PulledEvent> {
    let next = tokio::time::timeout(A_WHILE, events.next()).await;
    next.ok().flatten()
}
