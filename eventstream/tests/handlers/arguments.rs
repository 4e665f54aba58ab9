use std::sync::{Arc, Mutex};

use eventstream::testing::Consumed;
use eventstream::{
    Context, Event, EventType, FromRecord, FromRef, Headers, Key, Payload, Publish, RawRecord,
    Reject, State, Subscribe,
};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, EventType)]
#[event(topic = "player", name = "levelUp", version = 3, key = player)]
struct LevelUp {
    player: u64,
    level: u32,
}

type Seen = Arc<Mutex<Vec<String>>>;

fn up() -> Publish {
    Publish::of(&LevelUp {
        player: 7,
        level: 12,
    })
}

#[tokio::test]
async fn a_type_gives_topic_name_version_key_and_payload() {
    let consumed = Consumed::new(up().user_id("me"));
    let event = consumed.event().unwrap();
    assert_eq!((event.name(), event.version()), ("levelUp", 3));
    assert_eq!(event.user_id(), "me");
    let context = consumed.context();
    assert_eq!(context.topic().as_str(), "player");
    assert_eq!(context.key(), Some(&b"7"[..]));
    assert_eq!(event.payload().as_str(), r#"{"player":7,"level":12}"#);
}

#[tokio::test]
async fn each_argument_is_taken_from_the_record_or_the_state() {
    #[derive(Clone)]
    struct Log(Seen);
    struct App {
        log: Log,
    }
    impl FromRef<App> for Log {
        fn from_ref(app: &App) -> Self {
            app.log.clone()
        }
    }
    async fn all(
        Payload(up): Payload<LevelUp>,
        event: Event,
        context: Context,
        Key(key): Key<u64>,
        headers: Headers,
        raw: RawRecord,
        State(Log(seen)): State<Log>,
    ) {
        let trace = headers.get("trace").map(<[u8]>::to_vec);
        let told = format!(
            "{} {} {} {} {key} {trace:?} {}",
            up.level,
            event.name(),
            context.attempt(),
            context.offset(),
            raw.value().is_some(),
        );
        seen.lock().unwrap().push(told);
    }
    let seen = Seen::default();
    let app = App {
        log: Log(Arc::clone(&seen)),
    };
    Consumed::new(up().header("trace", "t"))
        .at(4, 17)
        .attempt(2)
        .state(app)
        .call(all)
        .await
        .expect_handled();
    assert_eq!(
        *seen.lock().unwrap(),
        ["12 levelUp 2 17 7 Some([116]) true"]
    );
}

#[tokio::test]
async fn an_argument_of_the_users_own_may_reject() {
    struct Known;
    impl<S> FromRecord<S> for Known {
        type Error = Reject;

        fn from_record(context: &Context, _: &S) -> Result<Self, Reject> {
            match context.key() {
                Some(b"7") => Ok(Self),
                _ => Err(Reject::new("no such player")),
            }
        }
    }
    async fn handler(_: Known) {}
    Consumed::new(up()).call(handler).await.expect_handled();
    let stranger = Consumed::new(up()).key("8");
    let reason = stranger.call(handler).await.expect_rejected();
    assert_eq!(reason.to_string(), "no such player");
}

#[tokio::test]
async fn a_key_that_is_missing_or_no_number_is_rejected() {
    async fn handler(_: Key<u64>) {}
    let none = Consumed::raw("player", "{}");
    let reason = none.call(handler).await.expect_rejected();
    assert_eq!(reason.to_string(), "the record has no key");
    for key in [&b"seven"[..], b"\xff"] {
        let other = Consumed::raw("player", "{}").key(key);
        other.call(handler).await.expect_rejected();
    }
}

#[tokio::test]
async fn a_payload_that_does_not_fit_is_rejected_without_a_call() {
    let misfit = Consumed::new(
        Publish::new("player", "levelUp").payload(serde_json::json!({ "player": "seven" })),
    );
    let handler = async |_: Payload<LevelUp>| -> () { panic!("called") };
    let reason = misfit.call(handler).await.expect_rejected();
    assert_eq!(reason.to_string(), "cannot decode the payload");
    let poison = Consumed::raw("player", "no event");
    poison.call(handler).await.expect_rejected();
    poison
        .call(async |raw: RawRecord| assert_eq!(raw.value(), Some(&b"no event"[..])))
        .await
        .expect_handled();
}

#[tokio::test]
async fn an_event_of_another_topic_is_refused() {
    async fn handler(_: Payload<LevelUp>) {}
    let client = eventstream::Client::none().build().unwrap();
    let subscribe = Subscribe::new("match").group_id("g").on_event(handler);
    let error = client.register(subscribe).await.unwrap_err();
    let fault = &error.faults()[0];
    assert_eq!((&*fault.field, &*fault.value), ("on_event", "levelUp"));
    assert!(fault.allowed.contains("topic player"), "{}", fault.allowed);
    let subscribe = Subscribe::to::<LevelUp>().group_id("g").on_event(handler);
    client.register(subscribe).await.unwrap().detach();
}
