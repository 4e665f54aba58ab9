use std::collections::BTreeMap;
use std::io::Error as IoError;
use std::time::{Duration, Instant};

use eventstream::{BrokerConfig, Client, Context, EmbeddedBroker, Event, Publish, Subscribe};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

pub(crate) const SOON: Duration = Duration::from_secs(20);

pub(crate) fn client_of(broker: &EmbeddedBroker, config: BrokerConfig) -> Client {
    Client::embedded()
        .prefix("p")
        .embedded_broker(broker)
        .config(config)
        .build()
        .unwrap()
}

pub(crate) fn client() -> Client {
    client_of(&EmbeddedBroker::start().unwrap(), BrokerConfig::new())
}

pub(crate) async fn publish(client: &Client, topic: &str, n: u64) {
    let event = Publish::new(topic, "tested")
        .key("k")
        .payload(BTreeMap::from([("n", n)]));
    client.publish_sync(event).await.unwrap();
}

/// A subscription of `t` by `g` that sends the numbers of its events.
pub(crate) fn numbers(sender: UnboundedSender<u64>) -> Subscribe {
    Subscribe::new("t")
        .group_id("g")
        .offset(eventstream::StartOffset::Head)
        .on_any(move |_: Context, event: Event| {
            let n: u64 = event.payload().get("n").unwrap().decode().unwrap();
            let sent = sender.send(n).map_err(IoError::other);
            async move { sent }
        })
}

pub(crate) fn channel() -> (UnboundedSender<u64>, UnboundedReceiver<u64>) {
    unbounded_channel()
}

pub(crate) async fn next(numbers: &mut UnboundedReceiver<u64>) -> u64 {
    let next = tokio::time::timeout(SOON, numbers.recv()).await;
    next.expect("an event in time").expect("a handler")
}

/// Polls until the condition holds.
pub(crate) async fn until(what: &str, mut is: impl FnMut() -> bool) {
    let end = Instant::now() + SOON;
    while !is() {
        assert!(Instant::now() < end, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
