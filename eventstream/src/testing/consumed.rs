use std::borrow::Borrow;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;

use crate::event::Event;
use crate::name::Topic;
use crate::publish::{NoPublisher, Publish, Publisher};
use crate::record::{self, Record, Source};
use crate::subscribe::{self, BoxError, Context, Handler};

/// A record as a handler gets it: what an event becomes on its way through a broker, but without one.
///
/// ```
/// use eventstream::testing::{Consumed, Outcome};
/// use eventstream::{Payload, Publish, Reject, State};
/// # use std::sync::{Arc, Mutex};
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct LevelUp { level: u32 }
///
/// type Levels = Arc<Mutex<Vec<u32>>>;
///
/// async fn level_up(Payload(up): Payload<LevelUp>, State(levels): State<Levels>) -> Result<(), Reject> {
///     if up.level > 100 {
///         return Err(Reject::new("no such level"));
///     }
///     levels.lock().unwrap().push(up.level);
///     Ok(())
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let levels = Levels::default();
/// let publish = Publish::new("player", "levelUp").key("player-7");
///
/// let event = Consumed::new(publish.clone().payload(LevelUp { level: 12 })).state(levels.clone());
/// event.call(level_up).await.expect_handled();
/// assert_eq!(*levels.lock().unwrap(), [12]);
///
/// let event = Consumed::new(publish.payload(LevelUp { level: 101 })).state(levels);
/// assert_eq!(event.call(level_up).await.expect_rejected().to_string(), "no such level");
/// # }
/// ```
#[derive(Clone)]
pub struct Consumed<S = ()> {
    record: Parts,
    attempt: u32,
    state: Arc<S>,
}

#[derive(Clone)]
struct Parts {
    topic: Topic,
    partition: i32,
    offset: i64,
    timestamp: SystemTime,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
    lost: CancellationToken,
    publisher: Arc<dyn Publisher>,
}

impl Consumed {
    /// The record of an event: encoded as a client does and decoded as a consumer does. It is the first of its
    /// partition, at its first attempt.
    ///
    /// # Panics
    ///
    /// If publishing it would be refused, with every bad field.
    pub fn new(event: impl Borrow<Publish>) -> Self {
        let event = event.borrow();
        if let Err(error) = event.validate(false) {
            panic!("{error}");
        }
        let id = event.assign_id();
        let mut value = Vec::new();
        event.encode(id.as_str(), None, &mut value);
        Self::raw(event.topic_name(), value)
            .key(event.key_or(&id))
            .headers(event.headers())
    }

    /// A record with any value, which need not be an event.
    ///
    /// # Panics
    ///
    /// If Kafka does not allow the topic's name.
    pub fn raw(topic: impl AsRef<str>, value: impl Into<Vec<u8>>) -> Self {
        let topic = match Topic::new(topic.as_ref()) {
            Ok(topic) => topic,
            Err(error) => panic!("{error}"),
        };
        Self {
            record: Parts {
                topic,
                partition: 0,
                offset: 0,
                timestamp: SystemTime::now(),
                key: None,
                value: Some(value.into()),
                headers: Vec::new(),
                lost: CancellationToken::new(),
                publisher: Arc::new(NoPublisher),
            },
            attempt: 1,
            state: Arc::new(()),
        }
    }
}

impl<S> Consumed<S> {
    pub(super) fn headers(mut self, headers: &[(String, Option<Vec<u8>>)]) -> Self {
        self.record.headers = headers.to_vec();
        self
    }

    /// The state that the subscription would have.
    pub fn state<T>(self, state: T) -> Consumed<T> {
        Consumed {
            record: self.record,
            attempt: self.attempt,
            state: Arc::new(state),
        }
    }

    /// The record's position. Default: partition 0, offset 0.
    pub fn at(mut self, partition: i32, offset: i64) -> Self {
        (self.record.partition, self.record.offset) = (partition, offset);
        self
    }

    /// The attempt that a call counts as. Default: the first.
    pub fn attempt(mut self, attempt: u32) -> Self {
        self.attempt = attempt;
        self
    }

    /// The record's key.
    pub fn key(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.record.key = Some(key.into());
        self
    }

    /// Adds a header.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.record.headers.push((name.into(), Some(value.into())));
        self
    }

    /// The record's timestamp. Default: now.
    pub fn timestamp(mut self, timestamp: SystemTime) -> Self {
        self.record.timestamp = timestamp;
        self
    }

    /// What [`Context::publish`] publishes through, for example a [`Recorder`](super::Recorder). Without one it fails
    /// with [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported).
    pub fn publisher(mut self, publisher: impl Publisher + 'static) -> Self {
        self.record.publisher = Arc::new(publisher);
        self
    }

    /// Takes the partition away, as a rebalance does: [`Context::cancelled`] completes.
    pub fn revoke(&self) {
        self.record.lost.cancel();
    }

    /// The record's event.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Decode`](crate::ErrorKind::Decode) if it is not one.
    pub fn event(&self) -> crate::Result<Event> {
        record::decode(&self.record())
    }

    /// What a handler gets as its context.
    pub fn context(&self) -> Context {
        let mut record = self.record();
        record.event = record::decode(&record).ok();
        Context::of(&Arc::new(record), self.attempt)
    }

    /// Calls a handler: extracts its arguments from the record and the state, runs it once, and returns
    /// how a subscription would treat the result.
    pub async fn call<H, Args>(&self, handler: H) -> Outcome
    where
        H: Handler<Args, S>,
        S: Send + Sync + 'static,
    {
        let context = self.context();
        let handler = handler.erase(&self.state);
        let begun = catch_unwind(AssertUnwindSafe(|| handler.call(context)));
        let returned = match begun {
            Ok(future) => AssertUnwindSafe(future).catch_unwind().await,
            Err(panic) => Err(panic),
        };
        match returned {
            Ok(Ok(())) => Outcome::Handled,
            Ok(Err(error)) if subscribe::is_final(&*error) => Outcome::Rejected(own(error)),
            Ok(Err(error)) => Outcome::Failed(error),
            Err(panic) => Outcome::Failed(crate::guard::panic_text(&*panic).into()),
        }
    }

    fn record(&self) -> Record {
        let parts = &self.record;
        let mut body = parts.key.clone().unwrap_or_default();
        let key = parts.key.as_ref().map(|key| 0..key.len());
        let start = body.len();
        let value = parts.value.as_ref().map(|value| {
            body.extend_from_slice(value);
            start..body.len()
        });
        let since = parts.timestamp.duration_since(SystemTime::UNIX_EPOCH);
        let millis = since.unwrap_or(Duration::ZERO).as_millis();
        Record {
            source: Arc::new(Source {
                topic: parts.topic.clone(),
                partition: parts.partition,
                lost: parts.lost.clone(),
                publisher: Arc::clone(&parts.publisher),
            }),
            offset: parts.offset,
            timestamp_ms: i64::try_from(millis).ok(),
            body: body.into(),
            key,
            value,
            headers: Some(parts.headers.clone().into()),
            event: None,
        }
    }
}

/// The reason, if the error is the rejection itself; its text, if a type such as `anyhow`'s hides it.
fn own(error: BoxError) -> BoxError {
    let error = match error.downcast::<subscribe::Reject>() {
        Ok(reject) => return reject.into_reason(),
        Err(error) => error,
    };
    let reason = subscribe::reason(&*error);
    if std::ptr::addr_eq(reason, &raw const *error) {
        error
    } else {
        crate::guard::with_causes(reason).into()
    }
}

impl<S> fmt::Debug for Consumed<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumed")
            .field("topic", &self.record.topic)
            .field("partition", &self.record.partition)
            .field("offset", &self.record.offset)
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}

/// How a subscription treats the result of a handler call.
#[derive(Debug)]
pub enum Outcome {
    /// The event is done.
    Handled,
    /// It is retried according to the subscription's retry policy. A panic counts as a failure.
    Failed(Box<dyn std::error::Error + Send + Sync>),
    /// No retry can fix it: it goes to the dead-letter topic, with this reason.
    Rejected(Box<dyn std::error::Error + Send + Sync>),
}

impl Outcome {
    /// # Panics
    ///
    /// If it was not handled, with the error.
    #[track_caller]
    pub fn expect_handled(self) {
        match self {
            Self::Handled => {}
            other => panic!("expected the event to be handled, but it {}", other.told()),
        }
    }

    /// The error.
    ///
    /// # Panics
    ///
    /// If it did not fail, or was rejected.
    #[track_caller]
    pub fn expect_failed(self) -> Box<dyn std::error::Error + Send + Sync> {
        match self {
            Self::Failed(error) => error,
            other => panic!(
                "expected the handler to fail, but the event {}",
                other.told()
            ),
        }
    }

    /// The reason.
    ///
    /// # Panics
    ///
    /// If it was not rejected.
    #[track_caller]
    pub fn expect_rejected(self) -> Box<dyn std::error::Error + Send + Sync> {
        match self {
            Self::Rejected(reason) => reason,
            other => panic!("expected the event to be rejected, but it {}", other.told()),
        }
    }

    fn told(&self) -> String {
        match self {
            Self::Handled => "was handled".to_owned(),
            Self::Failed(error) => format!("failed: {}", crate::guard::with_causes(&**error)),
            Self::Rejected(reason) => {
                format!("was rejected: {}", crate::guard::with_causes(&**reason))
            }
        }
    }
}
