use std::time::Duration;

use eventstream::{Batch, Client, ErrorKind, Event, Subscribe};

use crate::support::{SOON, client, head, publish_all};

fn fields(error: &eventstream::Error) -> Vec<&str> {
    assert_eq!(error.kind(), ErrorKind::Validation);
    error.faults().iter().map(|f| &*f.field).collect()
}

#[tokio::test]
async fn what_does_not_go_with_pulling_is_refused_by_name() {
    let client = client(1);
    let with_handlers = head()
        .on("a", async |_: Event| ())
        .on_any(async |_: Event| ());
    let error = client.consume(with_handlers).await.unwrap_err();
    assert_eq!(fields(&error), ["on"]);
    let text = error.to_string();
    assert!(
        text.contains("a, on_any") && text.contains("use `events`"),
        "{text}"
    );
    let batch = Batch::up_to(2).within(Duration::from_secs(1));
    let batched = head().on_batch("b", batch, async |_: Vec<Event>| ());
    let error = client.consume(batched).await.unwrap_err();
    assert_eq!(error.faults()[0].value, "b");
    let layered = head().layer(tower_layer::Identity::new());
    assert_eq!(
        fields(&client.consume(layered).await.unwrap_err()),
        ["layer"]
    );
    let none: [&str; 0] = [];
    let error = client.consume(head().events(none)).await.unwrap_err();
    assert_eq!(fields(&error), ["events"]);
    let error = client.register(head()).await.unwrap_err();
    assert_eq!(fields(&error), ["on"]);
    let both = head().events(["a"]).on("a", async |_: Event| ());
    assert_eq!(
        fields(&client.register(both).await.unwrap_err()),
        ["events"]
    );
    client.shutdown(SOON).await;
}

#[tokio::test]
async fn a_backend_without_a_broker_gives_no_events() {
    let client = Client::none().build().unwrap();
    let mut events = client.consume(Subscribe::new("t")).await.unwrap();
    let next = tokio::time::timeout(Duration::from_millis(50), events.next()).await;
    assert!(next.is_err());
    events.stop(SOON).await.unwrap();
}

#[test]
fn events_are_pulled_without_a_runtime() {
    let client = Client::embedded().prefix("p").build_blocking().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let broker = client.embedded_broker().unwrap();
    broker.create_topic("p.t", 1).unwrap();
    runtime.block_on(publish_all(&crate::support::client_of(broker), 3));
    let mut events = client.consume(head()).unwrap();
    let first = events.next().unwrap();
    assert!(events.next_timeout(Duration::from_millis(100)).is_none());
    first.ack();
    for event in events.by_ref().take(2) {
        event.ack();
    }
    events.stop(SOON).unwrap();
    assert_eq!(client.reader_stats().handled, 3);
    client.shutdown(SOON);
}
