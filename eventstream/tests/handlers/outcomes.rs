use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use eventstream::testing::Consumed;
use eventstream::{
    Backoff, Client, Context, DeadLetter, Event, Exhausted, Payload, Publish, Reject, Retry,
    StartOffset, State, Subscribe,
};
use tokio::sync::mpsc;

const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn handlers_return_nothing_or_a_result_of_any_error() {
    let event = Consumed::new(Publish::new("t", "e"));
    event.call(async || ()).await.expect_handled();
    event.call(|_: Event| async {}).await.expect_handled();
    let failed = event.call(async || Err("a text".to_owned())).await;
    assert_eq!(failed.expect_failed().to_string(), "a text");
    let failed = event.call(async || Err(anyhow::anyhow!("of anyhow"))).await;
    assert_eq!(failed.expect_failed().to_string(), "of anyhow");
    let failed = event.call(async || Err(io::Error::other("of io"))).await;
    assert_eq!(failed.expect_failed().to_string(), "of io");
    let failed = event
        .call(async |_: Event| -> () { panic!("a panic") })
        .await;
    assert_eq!(failed.expect_failed().to_string(), "a panic");
}

#[tokio::test]
async fn a_rejection_counts_at_any_depth() {
    let event = Consumed::new(Publish::new("t", "e"));
    let plain = async || Err(Reject::new("no such user"));
    let reason = event.call(plain).await.expect_rejected();
    assert_eq!(reason.to_string(), "no such user");
    async fn questioned() -> anyhow::Result<()> {
        Err(Reject::new("no such user"))?;
        Ok(())
    }
    event.call(questioned).await.expect_rejected();
    let wrapped = async || {
        let error = anyhow::Error::from(io::Error::other(Reject::new("no such user")));
        Err(error.context("load the user"))
    };
    event.call(wrapped).await.expect_rejected();
}

#[tokio::test]
async fn a_call_without_a_broker_takes_microseconds() {
    #[derive(serde::Deserialize)]
    struct Number {
        n: u64,
    }
    async fn handler(Payload(number): Payload<Number>, State(sum): State<Arc<AtomicU32>>) {
        sum.fetch_add(u32::try_from(number.n).unwrap(), Ordering::Relaxed);
    }
    let sum = Arc::new(AtomicU32::new(0));
    let publish = Publish::new("t", "e").payload(serde_json::json!({ "n": 1 }));
    let event = Consumed::new(publish).state(Arc::clone(&sum));
    let mut times = Vec::new();
    for _ in 0..1000 {
        let start = std::time::Instant::now();
        event.call(handler).await.expect_handled();
        times.push(start.elapsed());
    }
    times.sort_unstable();
    assert_eq!(sum.load(Ordering::Relaxed), 1000);
    assert!(times[500] < Duration::from_micros(100), "{:?}", times[500]);
}

/// What no retry can fix is dead-lettered at its first attempt; a handler that hangs is retried.
#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_retries_what_a_retry_can_mend() {
    let client = Client::embedded().prefix("p").build().unwrap();
    client
        .embedded_broker()
        .unwrap()
        .create_topic("p.t", 1)
        .unwrap();
    for (name, n) in [
        ("hangs", 0),
        ("rejected", 1),
        ("misfit", 2),
        ("fails", 3),
        ("good", 4),
    ] {
        let event = Publish::new("t", name)
            .key("k")
            .payload(serde_json::json!({ "n": n }));
        client.publish_sync(event).await.unwrap();
    }
    #[derive(serde::Deserialize)]
    struct Text {
        #[serde(rename = "n")]
        _text: String,
    }
    let (calls, mut called) = mpsc::unbounded_channel();
    let (letters, mut lettered) = mpsc::unbounded_channel();
    type Calls = mpsc::UnboundedSender<(String, u32)>;
    let note = |calls: &Calls, event: &Event, context: &Context| {
        calls
            .send((event.name().to_owned(), context.attempt()))
            .unwrap();
    };
    let hangs = move |event: Event, cx: Context, State(calls): State<Calls>| async move {
        note(&calls, &event, &cx);
        if cx.attempt() == 1 {
            std::future::pending::<()>().await;
        }
    };
    let rejected = move |event: Event, cx: Context, State(calls): State<Calls>| async move {
        note(&calls, &event, &cx);
        Err(anyhow::Error::from(Reject::new("no such player")).context("load"))
    };
    let fails = move |event: Event, cx: Context, State(calls): State<Calls>| async move {
        note(&calls, &event, &cx);
        Err("always")
    };
    let good = move |event: Event, cx: Context, State(calls): State<Calls>| async move {
        note(&calls, &event, &cx);
    };
    let short = Backoff::default().initial(Duration::from_millis(1));
    let subscribe = Subscribe::new("t")
        .group_id("g")
        .offset(StartOffset::Head)
        .handler_timeout(Duration::from_millis(300))
        .retry(
            Retry::attempts(2)
                .then(Exhausted::DeadLetter)
                .backoff(short),
        )
        .on_dead_letter(move |letter: DeadLetter| {
            let told = (
                letter.reason().as_str(),
                letter.context().attempt(),
                letter.error().to_owned(),
            );
            letters.send(told).unwrap();
        })
        .state(calls)
        .on("hangs", hangs)
        .on("rejected", rejected)
        .on("misfit", async |_: Payload<Text>| -> () {
            panic!("called")
        })
        .on("fails", fails)
        .on("good", good);
    let subscription = client.register(subscribe).await.unwrap();
    let mut seen = Vec::new();
    while seen.last().is_none_or(|(name, _)| name != "good") {
        let call = tokio::time::timeout(SOON, called.recv()).await.unwrap();
        seen.push(call.unwrap());
    }
    let seen: Vec<_> = seen
        .iter()
        .map(|(name, attempt)| (&**name, *attempt))
        .collect();
    let expected = [
        ("hangs", 1),
        ("hangs", 2),
        ("rejected", 1),
        ("fails", 1),
        ("fails", 2),
        ("good", 1),
    ];
    assert_eq!(seen, expected);
    let mut told = Vec::new();
    for _ in 0..3 {
        let letter = tokio::time::timeout(SOON, lettered.recv()).await.unwrap();
        told.push(letter.unwrap());
    }
    let cause = "cannot decode the payload: invalid type: integer `2`, expected a string at line 1 column 6";
    let expected = [
        ("rejected", 1, "load: rejected: no such player".to_owned()),
        ("rejected", 1, cause.to_owned()),
        ("exhausted", 2, "always".to_owned()),
    ];
    assert_eq!(told, expected);
    subscription.stop(SOON).await.unwrap();
    client.shutdown(SOON).await;
}
