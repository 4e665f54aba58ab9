//! Handlers inside tower's layers, and handlers with their own options.

use std::sync::{Arc, Mutex};
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use eventstream::testing::Consumed;
use eventstream::{
    Backoff, Client, CommitPolicy, Context, Event, Exhausted, Extension, Handler, Payload, Publish,
    Reject, Retry, StartOffset, State, Subscribe,
};
use tokio::sync::mpsc;
use tower::ServiceBuilder;
use tower::timeout::TimeoutLayer;
use tower_layer::{Layer, layer_fn};
use tower_service::Service;

const SOON: Duration = Duration::from_secs(20);

/// Records each call under a name, and numbers it for the handler.
#[derive(Clone)]
struct Noting {
    name: &'static str,
    notes: Arc<Mutex<Vec<String>>>,
}

#[derive(Clone)]
struct Noted<S>(Noting, S);

#[derive(Clone, Debug, PartialEq)]
struct Outermost(&'static str);

impl<S> Layer<S> for Noting {
    type Service = Noted<S>;

    fn layer(&self, inner: S) -> Noted<S> {
        Noted(self.clone(), inner)
    }
}

impl<S: Service<Context>> Service<Context> for Noted<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), S::Error>> {
        self.1.poll_ready(cx)
    }

    fn call(&mut self, mut context: Context) -> S::Future {
        let event = context.event().map_or("none", Event::name);
        let note = format!("{} {event}", self.0.name);
        self.0.notes.lock().unwrap().push(note);
        if context.extension::<Outermost>().is_none() {
            context.insert_extension(Outermost(self.0.name));
        }
        self.1.call(context)
    }
}

fn noting(name: &'static str, notes: &Arc<Mutex<Vec<String>>>) -> Noting {
    let notes = Arc::clone(notes);
    Noting { name, notes }
}

#[tokio::test]
async fn a_layer_sees_the_call_and_passes_on_what_the_handler_says() {
    #[derive(serde::Deserialize)]
    struct Text {
        _n: String,
    }
    async fn fine(_: Event, Extension(first): Extension<Outermost>, State(n): State<u32>) {
        assert_eq!((first, n), (Outermost("outer"), 7));
    }
    async fn rejects() -> anyhow::Result<()> {
        Err(anyhow::Error::from(Reject::new("no such player")).context("load"))
    }
    async fn fails() -> Result<(), String> {
        Err("away".to_owned())
    }
    async fn misfit(_: Payload<Text>) {}
    let notes = Arc::default();
    let layer = ServiceBuilder::new()
        .layer(TimeoutLayer::new(SOON))
        .layer(noting("outer", &notes))
        .layer(noting("inner", &notes));
    let event = Consumed::new(Publish::new("t", "e")).state(7u32);
    event.call(fine.layer(layer.clone())).await.expect_handled();
    assert_eq!(*notes.lock().unwrap(), ["outer e", "inner e"]);
    event
        .call(rejects.layer(layer.clone()))
        .await
        .expect_rejected();
    event
        .call(misfit.layer(layer.clone()))
        .await
        .expect_rejected();
    let error = event.call(fails.layer(layer)).await.expect_failed();
    assert_eq!(error.to_string(), "away");
    let missing = event.call(fine).await.expect_failed().to_string();
    assert!(missing.contains("Outermost"), "{missing}");
}

#[tokio::test]
async fn an_error_of_a_layer_fails_the_attempt() {
    let event = Consumed::new(Publish::new("t", "e"));
    let hangs = (async || std::future::pending::<()>().await)
        .layer(TimeoutLayer::new(Duration::from_millis(1)));
    let error = event.call(hangs).await.expect_failed();
    assert!(error.is::<tower::timeout::error::Elapsed>());
    #[derive(Clone)]
    struct NeverReady;
    impl Service<Context> for NeverReady {
        type Response = ();
        type Error = String;
        type Future = std::future::Ready<Result<(), String>>;

        fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), String>> {
            Poll::Ready(Err("shedding load".to_owned()))
        }

        fn call(&mut self, _: Context) -> Self::Future {
            unreachable!("not ready")
        }
    }
    let never = (async || ()).layer(layer_fn(|_| NeverReady));
    let error = event.call(never).await.expect_failed();
    assert_eq!(error.to_string(), "shedding load");
}

fn short() -> Backoff {
    Backoff::default().initial(Duration::from_millis(1))
}

/// Names with their own policies share one order; layers of the subscription wrap all.
#[tokio::test(flavor = "multi_thread")]
async fn names_have_policies_and_layers_of_their_own_and_one_order() {
    type Calls = mpsc::UnboundedSender<(String, u32)>;
    fn note(calls: &Calls, event: &Event, cx: &Context) {
        calls.send((event.name().to_owned(), cx.attempt())).unwrap();
    }
    async fn fails(event: Event, cx: Context, State(calls): State<Calls>) -> Result<(), String> {
        note(&calls, &event, &cx);
        Err("always".to_owned())
    }
    async fn hangs(event: Event, cx: Context, State(calls): State<Calls>) {
        note(&calls, &event, &cx);
        if cx.attempt() == 1 {
            std::future::pending::<()>().await;
        }
    }
    async fn good(event: Event, cx: Context, State(calls): State<Calls>) {
        note(&calls, &event, &cx);
    }
    let client = Client::embedded().prefix("p").build().unwrap();
    let broker = client.embedded_broker().unwrap();
    broker.create_topic("p.t", 1).unwrap();
    for name in ["skipped", "lettered", "hangs", "general", "good"] {
        let event = Publish::new("t", name).key("k");
        client.publish_sync(event).await.unwrap();
    }
    let (calls, mut called) = mpsc::unbounded_channel();
    let (letters, mut lettered) = mpsc::unbounded_channel();
    let notes = Arc::default();
    let subscribe = Subscribe::new("t")
        .group_id("g")
        .offset(StartOffset::Head)
        .retry(
            Retry::attempts(2)
                .backoff(short())
                .then(Exhausted::DeadLetter),
        )
        .on_dead_letter(move |letter| letters.send(letter).unwrap())
        .state(calls)
        .on(
            "skipped",
            fails.retry(Retry::attempts(1).then(Exhausted::Skip)),
        )
        .on("lettered", fails.retry(Retry::attempts(3).backoff(short())))
        .on(
            "hangs",
            hangs
                .timeout(Duration::from_millis(100))
                .retry(Retry::forever().backoff(short())),
        )
        .layer(noting("one", &notes))
        .layer(noting("two", &notes))
        .on("general", fails)
        .on("good", good.layer(noting("own", &notes)));
    let subscription = client.register(subscribe).await.unwrap();
    let expected = [
        ("skipped", 1),
        ("lettered", 1),
        ("lettered", 2),
        ("lettered", 3),
        ("hangs", 1),
        ("hangs", 2),
        ("general", 1),
        ("general", 2),
        ("good", 1),
    ];
    for (name, attempt) in expected {
        let call = tokio::time::timeout(SOON, called.recv()).await.unwrap();
        assert_eq!(call.unwrap(), (name.to_owned(), attempt));
    }
    for (name, attempts) in [("lettered", 3), ("general", 2)] {
        let letter = tokio::time::timeout(SOON, lettered.recv())
            .await
            .unwrap()
            .unwrap();
        let event = letter.context().event().map(|e| e.name().to_owned());
        assert_eq!(
            (event.as_deref(), letter.context().attempt()),
            (Some(name), attempts)
        );
    }
    subscription.stop(SOON).await.unwrap();
    let notes = notes.lock().unwrap().clone();
    assert_eq!(notes[..2], ["two skipped", "one skipped"]);
    assert_eq!(
        notes[notes.len() - 3..],
        ["two good", "one good", "own good"]
    );
    assert_eq!(client.reader_stats().skipped, 1);
    client.shutdown(SOON).await;
}

#[tokio::test]
async fn a_policy_of_a_handler_is_checked_as_that_of_all() {
    let client = Client::embedded().build().unwrap();
    let subscribe = || Subscribe::new("t").group_id("g");
    let handler = async |_: Event| ();
    let bad = Backoff::default().multiplier(0.1);
    let wrong = subscribe()
        .on("a", handler.retry(Retry::attempts(1).backoff(bad)))
        .on_any(handler.timeout(Duration::ZERO));
    let error = client.register(wrong).await.unwrap_err();
    let fields: Vec<_> = error.faults().iter().map(|f| &*f.field).collect();
    assert_eq!(fields, ["handler_timeout", "retry of a.backoff"]);
    let twice = subscribe()
        .commit(CommitPolicy::BeforeProcessing)
        .on("a", handler.retry(Retry::attempts(2)));
    let error = client.register(twice).await.unwrap_err();
    assert_eq!(error.faults()[0].field, "retry of a");
    client.shutdown(SOON).await;
}
