use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use serde::de::DeserializeOwned;

use super::changes::{Changes, deadline};
use super::{BOUND, Consumed, Published, listed};
use crate::config::BrokerConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::event::EventType;
use crate::kafka::{Admission, Outgoing, Refused, refusals};
use crate::name::{Topic, check_whole_topic};
use crate::publish::receipt::{EventId, Receipt, SlotRef, Stored};
use crate::publish::{Publish, Publisher};

/// A [`Publisher`] that keeps what it is given, for testing what a service publishes. Clones share everything.
///
/// It checks, encodes and admits events as a Kafka client does, and refuses what that would refuse. Receipts report the
/// event as stored at once, in partition 0 of its topic, unless a test asks for something else: see
/// [`fail_nth`](Self::fail_nth), [`refuse_nth`](Self::refuse_nth), [`fill`](Self::fill) and [`hold`](Self::hold).
/// Waiting for room needs a tokio runtime with time enabled.
///
/// ```
/// use eventstream::testing::Recorder;
/// use eventstream::{ErrorKind, Publish, Publisher};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), eventstream::Error> {
/// let recorder = Recorder::new();
/// recorder.fail_nth(2, ErrorKind::Broker);
/// for level in [11, 12, 13] {
///     let event = Publish::new("player", "levelUp").payload(serde_json::json!({ "level": level }));
///     let stored = recorder.publish(event).await?.await;
///     assert_eq!(stored.is_err(), level == 12);
/// }
/// assert_eq!(recorder.published_as("levelUp").len(), 2);
/// assert_eq!(recorder.failed().len(), 1);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Recorder {
    inner: Arc<Inner>,
}

struct Inner {
    prefix: String,
    strict: bool,
    message_max_bytes: usize,
    buffer: (usize, usize),
    publish_timeout: Duration,
    admission: Admission,
    state: Mutex<State>,
    changes: Changes,
}

struct State {
    bound: Duration,
    published: Vec<Published>,
    failed: Vec<Published>,
    /// The failures ordered, by the number of calls before them.
    orders: Vec<(usize, Order)>,
    offsets: HashMap<Topic, i64>,
    holding: bool,
    accepted: u64,
    held: VecDeque<Held>,
    /// Slots that fill the buffer.
    filling: Vec<SlotRef>,
}

impl State {
    fn new() -> Self {
        Self {
            bound: BOUND,
            published: Vec::new(),
            failed: Vec::new(),
            orders: Vec::new(),
            offsets: HashMap::new(),
            holding: false,
            accepted: 0,
            held: VecDeque::new(),
            filling: Vec::new(),
        }
    }
}

enum Order {
    Refuse(Error),
    Fail(Error),
}

/// An event whose receipt is pending.
struct Held {
    number: u64,
    slot: SlotRef,
    outcome: Result<Stored>,
}

/// An event to publish.
struct Ready {
    topic: Topic,
    id: EventId,
    consumed: Consumed,
    room: usize,
    timeout: Option<Duration>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new()
    }
}

impl Recorder {
    /// A recorder configured like a default client.
    pub fn new() -> Self {
        Self::with(&BrokerConfig::new())
    }

    /// A recorder that checks events as a client with this configuration does: by its prefix, `strict_validation`,
    /// `message_max_bytes`, `buffer_events`, `buffer_bytes` and `publish_timeout`.
    pub fn with(config: &BrokerConfig) -> Self {
        let buffer = (config.buffer_events, config.buffer_bytes);
        Self {
            inner: Arc::new(Inner {
                prefix: config.prefix.clone(),
                strict: config.strict_validation,
                message_max_bytes: config.effective_message_max_bytes(),
                buffer,
                publish_timeout: config.effective_publish_timeout(),
                admission: Admission::new(buffer.0, buffer.1),
                state: Mutex::new(State::new()),
                changes: Changes::default(),
            }),
        }
    }

    /// How long [`await_count`](Self::await_count) and [`await_waiting`](Self::await_waiting) may take, for all clones.
    /// Default: 30 s.
    pub fn bound(self, bound: Duration) -> Self {
        self.inner.state.lock().bound = bound;
        self
    }

    /// Everything that was accepted and has not failed, in order of acceptance, including what [`hold`](Self::hold)
    /// holds.
    pub fn all(&self) -> Vec<Published> {
        self.inner.state.lock().published.clone()
    }

    /// The payloads published as a type: by its topic and its name.
    ///
    /// # Panics
    ///
    /// If one does not fit the type, with the payload.
    #[track_caller]
    pub fn published<T: EventType + DeserializeOwned>(&self) -> Vec<T> {
        let mut payloads = Vec::new();
        for published in self.all() {
            if published.topic() == T::TOPIC && published.name() == T::NAME {
                payloads.push(published.payload());
            }
        }
        payloads
    }

    /// What was published to a topic.
    pub fn published_to(&self, topic: &str) -> Vec<Published> {
        self.those(|published| published.topic() == topic)
    }

    /// What was published with a key; an event without its own key has its id.
    pub fn published_with_key(&self, key: &str) -> Vec<Published> {
        self.those(|published| published.key() == key)
    }

    /// What was published under an event name.
    pub fn published_as(&self, event_name: &str) -> Vec<Published> {
        self.those(|published| published.name() == event_name)
    }

    fn those(&self, wanted: impl Fn(&Published) -> bool) -> Vec<Published> {
        let mut found = self.all();
        found.retain(wanted);
        found
    }

    /// What was accepted but failed, by [`fail_nth`](Self::fail_nth).
    pub fn failed(&self) -> Vec<Published> {
        self.inner.state.lock().failed.clone()
    }

    /// Forgets what was published and what failed.
    pub fn clear(&self) {
        let mut state = self.inner.state.lock();
        state.published.clear();
        state.failed.clear();
    }

    /// The one event of a type.
    ///
    /// # Panics
    ///
    /// If there is none, or more than one, with everything that was published.
    #[track_caller]
    pub fn expect_one<T: EventType + DeserializeOwned>(&self) -> T {
        self.expect::<T>(1).remove(0)
    }

    /// Exactly this many events of a type.
    ///
    /// # Panics
    ///
    /// If there are fewer or more, with everything that was published.
    #[track_caller]
    pub fn expect<T: EventType + DeserializeOwned>(&self, count: usize) -> Vec<T> {
        let found = self.published::<T>();
        assert!(
            found.len() == count,
            "{}",
            self.instead::<T>(count, found.len())
        );
        found
    }

    /// # Panics
    ///
    /// If anything was published, with all of it.
    #[track_caller]
    pub fn expect_nothing(&self) {
        let all = self.all();
        assert!(
            all.is_empty(),
            "expected nothing to be published, but there was:{}",
            lines(&all)
        );
    }

    /// Waits until this many events of a type were published: for a service that publishes in the background.
    ///
    /// # Panics
    ///
    /// When the [`bound`](Self::bound) has passed, with everything that was published.
    pub async fn await_count<T: EventType + DeserializeOwned>(&self, count: usize) -> Vec<T> {
        let bound = self.inner.state.lock().bound;
        let enough = || Some(self.published::<T>()).filter(|found| found.len() >= count);
        let Some(found) = self.inner.changes.until(deadline(bound), enough).await else {
            let found = self.published::<T>().len();
            panic!("after {bound:?}: {}", self.instead::<T>(count, found))
        };
        found
    }

    fn instead<T: EventType>(&self, expected: usize, found: usize) -> String {
        format!(
            "expected {expected} of {} on {}, found {found}; published was:{}",
            T::NAME,
            T::TOPIC,
            lines(&self.all())
        )
    }

    /// Makes the n-th publish from now, counted from 1, fail after it was accepted: its receipt returns this error, as
    /// if a broker did not store the event. Events that a client would refuse do not count.
    ///
    /// # Panics
    ///
    /// If `n` is 0.
    pub fn fail_nth(&self, n: usize, error: impl Into<Error>) {
        self.order(n, Order::Fail(error.into()));
    }

    /// Refuses the n-th publish from now, counted from 1, with this error: `publish` and `try_publish` return it, and
    /// nothing is accepted. Events that a client would refuse anyway do not count.
    ///
    /// # Panics
    ///
    /// If `n` is 0.
    pub fn refuse_nth(&self, n: usize, error: impl Into<Error>) {
        self.order(n, Order::Refuse(error.into()));
    }

    fn order(&self, n: usize, order: Order) {
        assert!(n > 0, "publishes are counted from 1");
        self.inner.state.lock().orders.push((n - 1, order));
    }

    /// Fills the buffer: `publish` waits for room, up to the publish timeout, and `try_publish` returns
    /// [`ErrorKind::BufferFull`].
    pub fn fill(&self) {
        let inner = &*self.inner;
        // While one fits, more may.
        loop {
            let (_, bytes) = inner.admission.in_flight();
            let left = inner.buffer.1.saturating_sub(bytes).max(1);
            match inner.admission.try_admit(left) {
                Ok(slot) => inner.state.lock().filling.push(slot),
                Err(_) => return,
            }
        }
    }

    /// Undoes [`fill`](Self::fill): waiting calls proceed.
    pub fn make_room(&self) {
        let filling = std::mem::take(&mut self.inner.state.lock().filling);
        for slot in &filling {
            self.inner.admission.release(slot);
        }
    }

    /// Calls of `publish` waiting for room.
    pub fn waiting(&self) -> usize {
        self.inner.admission.waiting()
    }

    /// Waits until this many calls of `publish` are waiting for room.
    ///
    /// # Panics
    ///
    /// When the [`bound`](Self::bound) has passed, with how many are waiting.
    pub async fn await_waiting(&self, count: usize) {
        let bound = self.inner.state.lock().bound;
        let enough = || (self.waiting() >= count).then_some(());
        let found = self.inner.changes.until(deadline(bound), enough).await;
        assert!(
            found.is_some(),
            "after {bound:?}: expected {count} publishers to wait for room, found {}",
            self.waiting()
        );
    }

    /// Makes receipts wait from now on, as with a slow broker, until [`release`](Self::release). Events without an
    /// outcome take up room in the buffer.
    pub fn hold(&self) {
        self.inner.state.lock().holding = true;
    }

    /// Completes this many of the held events, oldest first.
    ///
    /// # Panics
    ///
    /// If fewer are held.
    #[track_caller]
    pub fn release(&self, count: usize) {
        let held: Vec<_> = {
            let mut state = self.inner.state.lock();
            let has = state.held.len();
            assert!(
                count <= has,
                "cannot release {count} events: {has} are held"
            );
            state.held.drain(..count).collect()
        };
        self.inner.complete(held);
    }

    /// Gives all held events their outcomes, and stops holding.
    pub fn release_all(&self) {
        let held = {
            let mut state = self.inner.state.lock();
            state.holding = false;
            std::mem::take(&mut state.held)
        };
        self.inner.complete(held);
    }

    /// Events whose receipts are waiting.
    pub fn held(&self) -> usize {
        self.inner.state.lock().held.len()
    }
}

impl Inner {
    /// What a client does with an event before there is room for it.
    fn ready(&self, event: &Publish) -> Result<Ready> {
        event.validate(self.strict)?;
        if let Some(fault) = check_whole_topic(&self.prefix, event.topic_name(), "") {
            return Err(Error::from_faults(
                ErrorKind::Validation,
                "publish",
                vec![fault],
            ));
        }
        let topic = Topic::new(event.topic_name())?;
        let id = event.assign_id();
        let mut value = Vec::new();
        event.encode(id.as_str(), None, &mut value);
        let key = event.key_or(&id).to_owned();
        let outgoing = Outgoing {
            key: Some(&key),
            value: Some(&value),
            headers: event.headers(),
            ..Outgoing::default()
        };
        refusals::check_size(topic.as_str(), &outgoing, self.message_max_bytes)?;
        let room = outgoing.room();
        Ok(Ready {
            consumed: Consumed::raw(&topic, value)
                .key(key)
                .headers(event.headers()),
            topic,
            id,
            room,
            timeout: event.own_timeout(),
        })
    }

    /// Whether this publish fails. `Err` if it is rejected at once.
    fn due(&self) -> Result<Option<Error>> {
        let mut state = self.state.lock();
        let mut due = None;
        state.orders.retain_mut(|(before, order)| {
            if *before > 0 {
                *before -= 1;
                return true;
            }
            due = Some(match order {
                Order::Refuse(error) => Err(error.clone()),
                Order::Fail(error) => Ok(error.clone()),
            });
            false
        });
        due.transpose()
    }

    async fn publish(&self, event: Publish) -> Result<Receipt> {
        let ready = self.ready(&event)?;
        let slot = match self.admission.try_admit(ready.room) {
            Ok(slot) => slot,
            Err(_) => self.wait_for_room(&ready).await?,
        };
        self.accept(slot, ready)
    }

    async fn wait_for_room(&self, ready: &Ready) -> Result<SlotRef> {
        let own = ready.timeout.unwrap_or(self.publish_timeout);
        let patience = own.min(self.publish_timeout);
        let mut admitted = std::pin::pin!(self.admission.admit(ready.room));
        let mut first = true;
        // Waiting for waiters is notified once there is another one.
        let admitted = std::future::poll_fn(|cx| {
            let polled = admitted.as_mut().poll(cx);
            if std::mem::take(&mut first) {
                self.changes.tell();
            }
            polled
        });
        match tokio::time::timeout(patience, admitted).await {
            Ok(slot) => slot.map_err(|refused| self.refused(refused)),
            Err(_) => Err(refusals::no_room(patience, "")),
        }
    }

    fn refused(&self, refused: Refused) -> Error {
        match refused {
            Refused::Full => refusals::full(self.buffer.0, self.buffer.1),
            Refused::Closed => refusals::closed(),
        }
    }

    fn accept(&self, slot: SlotRef, ready: Ready) -> Result<Receipt> {
        let fails = self.due().inspect_err(|_| self.admission.release(&slot))?;
        let receipt = Receipt::new(slot.clone(), ready.topic.clone(), ready.id);
        let mut state = self.state.lock();
        let outcome = match fails {
            Some(error) => {
                state.failed.push(Published::new(ready.consumed));
                Err(error)
            }
            None => {
                let next = state.offsets.entry(ready.topic).or_default();
                let offset = std::mem::replace(next, *next + 1);
                state
                    .published
                    .push(Published::new(ready.consumed.at(0, offset)));
                Ok(stored(offset))
            }
        };
        let number = state.accepted;
        state.accepted += 1;
        let held = Held {
            number,
            slot,
            outcome,
        };
        if state.holding {
            state.held.push_back(held);
        } else {
            drop(state);
            self.complete([held]);
        }
        self.changes.tell();
        Ok(receipt)
    }

    fn complete(&self, held: impl IntoIterator<Item = Held>) {
        for Held { slot, outcome, .. } in held {
            slot.complete(outcome);
            self.admission.release(&slot);
        }
        self.changes.tell();
    }
}

impl Publisher for Recorder {
    fn publish(
        &self,
        event: Publish,
    ) -> Pin<Box<dyn Future<Output = Result<Receipt>> + Send + '_>> {
        Box::pin(self.inner.publish(event))
    }

    fn try_publish(&self, event: Publish) -> Result<Receipt> {
        let ready = self.inner.ready(&event)?;
        let admitted = self.inner.admission.try_admit(ready.room);
        let slot = admitted.map_err(|refused| self.inner.refused(refused))?;
        self.inner.accept(slot, ready)
    }

    fn flush(&self, timeout: Duration) -> Pin<Box<dyn Future<Output = Result<()>> + Send + '_>> {
        Box::pin(async move {
            let accepted = self.inner.state.lock().accepted;
            // They are released in order.
            let pending = || {
                let state = self.inner.state.lock();
                let before = |held: &&Held| held.number < accepted;
                state.held.iter().take_while(before).count()
            };
            let done = || (pending() == 0).then_some(());
            let flushed = self.inner.changes.until(deadline(timeout), done).await;
            flushed.ok_or_else(|| refusals::pending(pending(), timeout))
        })
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.inner.state.lock();
        f.debug_struct("Recorder")
            .field("published", &state.published.len())
            .field("failed", &state.failed.len())
            .field("held", &state.held.len())
            .finish_non_exhaustive()
    }
}

fn stored(offset: i64) -> Stored {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Stored {
        partition: 0,
        offset,
        timestamp_ms: i64::try_from(now.unwrap_or_default().as_millis()).unwrap_or(i64::MAX),
    }
}

fn lines(all: &[Published]) -> String {
    listed(all.iter().map(ToString::to_string))
}
