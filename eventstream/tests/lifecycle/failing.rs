use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use eventstream::{Backoff, Context, Event, Reject, Retry, StartOffset, Subscribe};
use tracing::Subscriber;
use tracing::field::{Field, Visit};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context as LayerContext, SubscriberExt as _};

use crate::support::{SOON, client, publish, until};

#[derive(Debug)]
struct Unspeakable;

impl fmt::Display for Unspeakable {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("it cannot be told")
    }
}

impl std::error::Error for Unspeakable {}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_whose_text_panics_is_dead_lettered_all_the_same() {
    let client = client();
    let subscribe = Subscribe::new("t")
        .group_id("g")
        .offset(StartOffset::Head)
        .retry(Retry::attempts(1))
        .dead_letters(true)
        .on_any(|_: Context, _: Event| async { Err::<(), _>(Unspeakable) });
    let _subscription = client.register(subscribe).await.unwrap();
    publish(&client, "t", 1).await;
    until("dead-lettered", || client.reader_stats().dead_lettered == 1).await;
    client.shutdown(SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_that_does_not_fit_is_not_tried_again() {
    let client = client();
    let subscribe = Subscribe::new("t")
        .group_id("g")
        .offset(StartOffset::Head)
        .on_any(
            |_: Context, event: Event| async move { event.payload().decode::<Vec<u8>>().map(drop) },
        );
    let _subscription = client.register(subscribe).await.unwrap();
    publish(&client, "t", 1).await;
    until("dead-lettered", || client.reader_stats().dead_lettered == 1).await;
    assert_eq!(client.reader_stats().failed_attempts, 1);
    client.shutdown(SOON).await;
}

/// Lines at WARN, each with all its fields.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &tracing::Event<'_>, _: LayerContext<'_, S>) {
        struct Text(String);
        impl Visit for Text {
            fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
                self.0.push_str(&format!(" {field}={value:?}"));
            }
        }
        if *event.metadata().level() == tracing::Level::WARN {
            let mut text = Text(String::new());
            event.record(&mut text);
            self.0.lock().unwrap().push(text.0);
        }
    }
}

// One thread: the log is that of the thread.
#[tokio::test]
async fn a_record_that_cannot_be_handled_is_told_by_log_callback_and_health() {
    let lines = Lines::default();
    let log = tracing_subscriber::registry().with(lines.clone());
    let _log = tracing::subscriber::set_default(log);
    let client = client();
    let retries = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&retries);
    let backoff = Backoff::default().initial(Duration::from_millis(20));
    let subscribe = Subscribe::new("t")
        .group_id("g")
        .offset(StartOffset::Head)
        .retry(Retry::forever().backoff(backoff))
        .on_retry(move |failed| told.lock().unwrap().push(failed))
        .on_any(|_: Context, _: Event| async {
            Err::<(), _>(std::io::Error::other("the disk is full"))
        });
    let subscription = client.register(subscribe).await.unwrap();
    publish(&client, "t", 7).await;
    until("unhealthy", || !subscription.health().is_healthy()).await;
    assert!(!client.health().is_ready());
    let problem = subscription.health().problems.remove(0);
    let text = format!("{problem}");
    assert!(
        text.contains(" offset 0: its handler has failed "),
        "{text}"
    );
    assert!(text.contains("the disk is full"), "{text}");
    let age = problem.since().elapsed().unwrap();
    assert!(age < SOON && problem.remedy().contains("handler"), "{text}");
    let line = lines
        .0
        .lock()
        .unwrap()
        .iter()
        .find(|l| l.contains("attempt=1 "))
        .cloned();
    let line = line.expect("the first failure in the log");
    for part in [
        "the disk is full",
        "event=\"tested\"",
        "key=\"k\"",
        "topic=\"t\"",
        "offset=0",
        "next_within=20ms",
    ] {
        assert!(line.contains(part), "{part} in {line}");
    }
    assert!(!line.contains('7'), "no bodies: {line}");
    let first = retries.lock().unwrap()[0].clone();
    assert_eq!(
        (first.context().attempt(), first.context().offset()),
        (1, 0)
    );
    assert_eq!(first.next_within(), Duration::from_millis(20));
    let cause = std::error::Error::source(first.error())
        .unwrap()
        .to_string();
    assert_eq!(cause, "the disk is full");
    client.shutdown(Duration::from_secs(1)).await;
}

#[derive(Debug)]
struct Above(std::io::Error);

impl fmt::Display for Above {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no such player")
    }
}

impl std::error::Error for Above {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_keeps_the_whole_chain_of_causes() {
    let client = client();
    let (sender, told) = std::sync::mpsc::channel();
    let subscribe = Subscribe::new("t")
        .group_id("g")
        .offset(StartOffset::Head)
        .on_dead_letter(move |letter| sender.send(letter.error().to_owned()).unwrap())
        .on_any(async |_: Event| {
            let above = Above(std::io::Error::other("the table is gone"));
            Err::<(), _>(Reject::new(above))
        });
    let _subscription = client.register(subscribe).await.unwrap();
    publish(&client, "t", 1).await;
    until("dead-lettered", || client.reader_stats().dead_lettered == 1).await;
    let error = told.recv_timeout(SOON).unwrap();
    assert_eq!(error, "no such player: the table is gone");
    client.shutdown(SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_ready_once_it_is_in_contact_and_has_partitions() {
    let client = client();
    assert!(!client.health().is_ready(), "before any contact");
    let (sender, _numbers) = crate::support::channel();
    let subscription = client
        .register(crate::support::numbers(sender))
        .await
        .unwrap();
    assert!(!subscription.health().is_ready(), "without partitions");
    publish(&client, "t", 1).await;
    until("ready", || {
        client.health().is_ready() && subscription.health().is_ready()
    })
    .await;
    client.shutdown(SOON).await;
}
