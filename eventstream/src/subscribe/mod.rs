//! Subscriptions: their builder, handlers and arguments, and their callbacks.

mod batch;
mod context;
mod dead_letter;
mod dead_letter_reason;
mod extract;
mod failed_attempt;
mod handler;
#[cfg(feature = "tower")]
mod layer;
mod offers;
mod origin;
mod pull;
mod reject;
mod staging;
mod subscription;
mod tuned;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio_util::sync::CancellationToken;

pub(crate) use self::batch::{BatchAnswer, BoxBatchHandler};
pub use self::batch::{BatchHandler, BatchHandlerResult, BatchResult};
pub use self::context::Context;
pub use self::dead_letter::DeadLetter;
pub use self::dead_letter_reason::DeadLetterReason;
pub use self::extract::{FromRecord, FromRef, Headers, Key, Payload, State, TypedArgs};
pub use self::failed_attempt::FailedAttempt;
pub(crate) use self::handler::{BoxError, BoxHandler, Handled, all_arities};
pub use self::handler::{Handler, HandlerResult};
#[cfg(feature = "tower")]
pub use self::layer::{Extension, HandlerLayer, HandlerService, Layered};
pub(crate) use self::offers::{Answer, Offer, Offers, Place};
pub use self::origin::DeadLetterOrigin;
pub(crate) use self::origin::{PARKED, REPLAYS};
pub use self::pull::{Events, PulledEvent, Settled};
pub use self::reject::Reject;
pub(crate) use self::reject::{is_final, reason};
pub(crate) use self::staging::Staging;
pub use self::subscription::Subscription;
pub use self::tuned::Tuned;
use crate::config::CommitPolicy;
use crate::delivery::{Batch, Concurrency, Exhausted, OnUndecodable, OnUnmatched, Retry};
use crate::error::{Error, ErrorKind, Fault, Result};
use crate::event::EventType;
use crate::name::{self, EventName, GroupId, Topic};

/// Where a group starts in a partition for which it has no committed offset, and where a subscription
/// without a group starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartOffset {
    /// After the last record: only new records. -1 in the Go SDK, and the default. 'Now' is
    /// when the group has given this member its partitions, some time after `register` returned:
    /// await [`Subscription::ready`](crate::Subscription::ready), and what is published after that is
    /// handled. The position is committed before any event is handled, so a crash does not move it. A
    /// partition
    /// that is added to the topic later, or a topic that does not exist yet, is still read from its
    /// head.
    #[default]
    Tail,
    /// At the first record that the broker still has. -2 in the Go SDK.
    Head,
    /// At this offset, in every partition. If it is out of range, reading starts at the head, and
    /// `on_error` reports it.
    At(i64),
    /// At a separate offset in each partition, by partition number: for a program that keeps its
    /// offsets in a database, next to what its handlers write. The offset is the first to read, one
    /// past the last handled. A partition that is not listed starts at the head; so does one whose
    /// offset is out of range, which `on_error` reports.
    ///
    /// With a group, what it has committed wins; without one, a program always starts here.
    ///
    /// ```
    /// use std::collections::BTreeMap;
    /// use eventstream::Subscribe;
    ///
    /// let handled = BTreeMap::from([(0, 1_706), (1, 1_812)]); // from the database
    /// let next = handled.into_iter().map(|(partition, offset)| (partition, offset + 1));
    /// let subscribe = Subscribe::new("player").offset(next.collect::<BTreeMap<_, _>>());
    /// # drop(subscribe);
    /// ```
    Each(BTreeMap<i32, i64>),
    /// At the first record with this timestamp or a later one; at the tail if there is none.
    Time(SystemTime),
}

impl From<SystemTime> for StartOffset {
    fn from(time: SystemTime) -> Self {
        Self::Time(time)
    }
}

impl From<BTreeMap<i32, i64>> for StartOffset {
    fn from(offsets: BTreeMap<i32, i64>) -> Self {
        Self::Each(offsets)
    }
}

impl StartOffset {
    /// Its faults.
    fn faults(&self) -> Vec<Fault> {
        match self {
            Self::At(n) if *n < 0 => vec![Fault::new(
                "offset",
                n.to_string(),
                "must be -1 (tail), -2 (head), or an offset from 0",
            )],
            Self::Each(offsets) => {
                let wrong = offsets
                    .iter()
                    .filter(|(partition, offset)| **partition < 0 || **offset < 0);
                let fault = |(partition, offset)| {
                    Fault::new(
                        "offset",
                        format!("partition {partition}: {offset}"),
                        "must be a partition and an offset from 0",
                    )
                };
                wrong.map(fault).collect()
            }
            Self::Tail | Self::Head | Self::At(_) | Self::Time(_) => Vec::new(),
        }
    }
}

/// The Go SDK's numbers: -1 is the tail, -2 the head, 0 and above an offset. Other negative numbers are refused
/// when the subscription is registered.
impl From<i64> for StartOffset {
    fn from(offset: i64) -> Self {
        match offset {
            -1 => Self::Tail,
            -2 => Self::Head,
            n => Self::At(n),
        }
    }
}

/// When dead letters come too fast, something other than the records is broken: the subscription
/// then pauses instead of draining the topic into the dead-letter topic.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct DeadLetterLimit {
    /// How many of the latest records are considered: 1 to 1,000,000, at a byte each.
    pub window: usize,
    /// The share of them, from 0 to 1, that pauses the subscription.
    pub ratio: f64,
}

/// The largest window of a [`DeadLetterLimit`].
const LIMIT_WINDOW: usize = 1_000_000;

impl DeadLetterLimit {
    /// A limit of `ratio` (0 to 1) dead letters among the last `window` records.
    pub fn new(window: usize, ratio: f64) -> Self {
        Self { window, ratio }
    }
}

/// Called with errors of a subscription other than its handlers' own results.
pub(crate) type OnSubscriptionError = Arc<dyn Fn(Error) + Send + Sync>;

/// Called if a handler has failed and will be called again.
pub(crate) type OnRetry = Arc<dyn Fn(FailedAttempt) + Send + Sync>;

/// Called with a record once its dead letter is acknowledged.
pub(crate) type OnDeadLetter = Arc<dyn Fn(DeadLetter) + Send + Sync>;

/// A subscription to register: the subscribe parameters of the Go SDK as a builder.
///
/// Handlers are async functions and closures, whose arguments say what they need: see [`Handler`].
/// The type parameter is the state available to them.
///
/// ```
/// use eventstream::{Event, Subscribe};
///
/// let subscribe = Subscribe::new("userAuthentication")
///     .group_id("inventory")
///     .on("userLoggedIn", async |event: Event| println!("{} logged in", event.user_id()));
/// ```
#[must_use = "a subscription does nothing until it is given to `Client::register` or `Client::consume`"]
pub struct Subscribe<S = ()> {
    state: Arc<S>,
    options: Options,
}

/// All of a subscription except its state, which its handlers have.
#[derive(Clone)]
pub(crate) struct Options {
    pub(crate) topic: String,
    pub(crate) group_id: String,
    /// The group's name is the one on the broker.
    pub(crate) exact_group: bool,
    pub(crate) group_instance_id: String,
    /// Handlers by event name; `None` matches all.
    pub(crate) handlers: Vec<(Option<String>, BoxHandler)>,
    pub(crate) batches: Vec<BatchOptions>,
    /// The names to pull; `None` for all.
    pub(crate) events: Option<Vec<String>>,
    /// Topics of typed handlers that differ from the subscription's, with the event's name.
    pub(crate) strangers: Vec<(&'static str, &'static str)>,
    #[cfg(feature = "tower")]
    pub(crate) layers: Vec<Arc<dyn HandlerLayer>>,
    pub(crate) offset: StartOffset,
    pub(crate) cancel_on: Option<CancellationToken>,
    pub(crate) concurrency: Concurrency,
    pub(crate) handler_timeout: Option<Duration>,
    pub(crate) retry: Option<Retry>,
    pub(crate) dead_letters: bool,
    pub(crate) on_undecodable: Option<OnUndecodable>,
    pub(crate) on_unmatched: OnUnmatched,
    pub(crate) commit: Option<CommitPolicy>,
    pub(crate) exactly_once: bool,
    pub(crate) drain_timeout: Duration,
    pub(crate) dead_letter_limit: Option<DeadLetterLimit>,
    pub(crate) on_error: Option<OnSubscriptionError>,
    pub(crate) on_retry: Option<OnRetry>,
    pub(crate) on_dead_letter: Option<OnDeadLetter>,
}

/// A batch handler; without a name, for all names.
#[derive(Clone)]
pub(crate) struct BatchOptions {
    pub(crate) name: Option<String>,
    pub(crate) batch: Batch,
    pub(crate) handler: BoxBatchHandler,
}

/// The largest batch.
const LARGEST_BATCH: usize = 100_000;
/// The longest time that an event waits for others.
const LONGEST_WAIT: Duration = Duration::from_secs(600);

impl Subscribe {
    /// A subscription to a topic, given without the client's prefix: any that Kafka allows, see [`Topic`].
    /// It needs at least one handler, unless it is passed to [`Client::consume`](crate::Client::consume).
    pub fn new(topic: impl Into<String>) -> Self {
        Self {
            state: Arc::new(()),
            options: Options {
                topic: topic.into(),
                group_id: String::new(),
                exact_group: false,
                group_instance_id: String::new(),
                handlers: Vec::new(),
                batches: Vec::new(),
                events: None,
                strangers: Vec::new(),
                #[cfg(feature = "tower")]
                layers: Vec::new(),
                offset: StartOffset::default(),
                cancel_on: None,
                concurrency: Concurrency::default(),
                handler_timeout: None,
                retry: None,
                dead_letters: false,
                on_undecodable: None,
                on_unmatched: OnUnmatched::default(),
                commit: None,
                exactly_once: false,
                drain_timeout: Duration::from_secs(20),
                dead_letter_limit: None,
                on_error: None,
                on_retry: None,
                on_dead_letter: None,
            },
        }
    }

    /// A subscription to the topic of an event type.
    pub fn to<T: EventType>() -> Self {
        Self::new(T::TOPIC)
    }
}

impl<S: Send + Sync + 'static> Subscribe<S> {
    /// The state that handlers added after this may take as [`State`], whole or in part: see
    /// [`FromRef`]. Handlers added earlier keep the previous state.
    pub fn state<T>(self, state: T) -> Subscribe<T> {
        Subscribe {
            state: Arc::new(state),
            options: self.options,
        }
    }

    /// A handler for the events of one name. Several names in one registration share all other
    /// options, and their order: an event whose handler fails holds back later events in its
    /// partition or key, whatever their names.
    pub fn on<H, Args>(mut self, event_name: impl Into<String>, handler: H) -> Self
    where
        H: Handler<Args, S>,
    {
        let handler = handler.erase(&self.state);
        let event_name = Some(event_name.into());
        self.options.handlers.push((event_name, handler));
        self
    }

    /// A handler for the events of one type, matched by name. Its first argument is the [`Payload`]
    /// of that type, whose topic must be this subscription's.
    ///
    /// ```
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct LoggedIn { platform: String }
    /// # impl eventstream::EventType for LoggedIn {
    /// #     const TOPIC: &'static str = "userAuthentication";
    /// #     const NAME: &'static str = "userLoggedIn";
    /// # }
    /// use eventstream::{Payload, Subscribe};
    ///
    /// async fn logged_in(Payload(login): Payload<LoggedIn>) {
    ///     println!("{}", login.platform);
    /// }
    ///
    /// let subscribe = Subscribe::to::<LoggedIn>().group_id("inventory").on_event(logged_in);
    /// # drop(subscribe);
    /// ```
    pub fn on_event<H, Args>(mut self, handler: H) -> Self
    where
        H: Handler<Args, S>,
        Args: TypedArgs,
    {
        let (topic, name) = (Args::Type::TOPIC, Args::Type::NAME);
        if topic != self.options.topic {
            self.options.strangers.push((topic, name));
        }
        self.on(name, handler)
    }

    /// A handler for every event of the topic, including those that have a handler from
    /// [`on`](Self::on): both are then called, and their attempts are counted separately. At most
    /// one per registration.
    ///
    /// If it takes a [`RawRecord`](crate::RawRecord) and no event, it also gets records that are not
    /// event envelopes.
    pub fn on_any<H, Args>(mut self, handler: H) -> Self
    where
        H: Handler<Args, S>,
    {
        let handler = handler.erase(&self.state);
        self.options.handlers.push((None, handler));
        self
    }

    /// A handler for the events of one name, several at once: see [`BatchHandler`].
    ///
    /// A call takes events of one partition, in order. Those it does not handle are retried as
    /// [`retry`](Self::retry) says, each alone; those it does handle are not handled again. Until
    /// then, later events wait: in the partition, or in the key with [`Concurrency::PerKey`], where
    /// several calls may run at once, each with different keys.
    ///
    /// Offsets are committed up to the first event that is not done. A rebalance waits up to 5 s for
    /// failed events whose next attempt is due by then. Events after one that still fails, or after
    /// the last commit of a process that dies, are handled again, including those of its batch that
    /// succeeded.
    ///
    /// A batch holds at most what a partition buffers: 10,000 events or 32 MiB. Order is kept among
    /// the events of this name; events of this registration's other handlers do not wait for them.
    ///
    /// Not available if the client commits before processing, because each event then has its own commit.
    pub fn on_batch<H, Args>(
        mut self,
        event_name: impl Into<String>,
        batch: Batch,
        handler: H,
    ) -> Self
    where
        H: BatchHandler<Args, S>,
    {
        self.options.batches.push(BatchOptions {
            name: Some(event_name.into()),
            batch,
            handler: BoxBatchHandler::new(handler, &self.state),
        });
        self
    }

    /// Like [`on_batch`](Self::on_batch), for every event of the topic. Can be combined with
    /// handlers for names, like [`on_any`](Self::on_any).
    pub fn on_any_batch<H, Args>(mut self, batch: Batch, handler: H) -> Self
    where
        H: BatchHandler<Args, S>,
    {
        self.options.batches.push(BatchOptions {
            name: None,
            batch,
            handler: BoxBatchHandler::new(handler, &self.state),
        });
        self
    }

    /// A [`tower`](https://docs.rs/tower) layer around every handler of this registration, added before or after, except batch
    /// handlers: see [`HandlerLayer`]. The last layer added is the outermost, as in axum. Each handler gets its own service, so
    /// a limit applies per event name. [`Handler::layer`] wraps a single handler, inside these layers.
    #[cfg(feature = "tower")]
    pub fn layer<L: HandlerLayer>(mut self, layer: L) -> Self {
        self.options.layers.push(Arc::new(layer));
        self
    }

    /// The names of the events to be pulled, for [`Client::consume`](crate::Client::consume) alone. Default:
    /// every event of the topic.
    pub fn events<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.options.events = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// The group whose members share the topic's partitions. On the broker it is `prefix.group`, and
    /// `.group` for a client without a prefix, where the Go SDK keeps its offsets.
    ///
    /// Default: none. The subscription then reads every partition itself, including those added
    /// later. It commits nothing, needs no permission for a group and leaves no group behind; after
    /// a restart it begins at [`offset`](Self::offset) again.
    pub fn group_id(mut self, group: impl Into<String>) -> Self {
        self.options.group_id = group.into();
        self.options.exact_group = false;
        self
    }

    /// Like [`group_id`](Self::group_id), with the group's full name on the broker: for a group
    /// with another prefix, or one made by another client.
    pub fn exact_group_id(mut self, group: impl Into<String>) -> Self {
        self.options.group_id = group.into();
        self.options.exact_group = true;
        self
    }

    /// A stable name for this member: a restart within the session timeout then causes no rebalance, unless a partition
    /// would remain unread because its topics have changed, or one has grown. Must be unique within the group: a second
    /// member with the same name fences the first, which then tries to rejoin every 1 to 30 s, and whose `health` says
    /// so. Within one client, a subscription registered with the name of one that is stopping waits until that one has
    /// left.
    pub fn group_instance_id(mut self, instance: impl Into<String>) -> Self {
        self.options.group_instance_id = instance.into();
        self
    }

    /// Where the group starts in a partition without a committed offset. Default: the tail.
    pub fn offset(mut self, offset: impl Into<StartOffset>) -> Self {
        self.options.offset = offset.into();
        self
    }

    /// Stops this subscription when the token is cancelled, as `stop` does.
    pub fn cancel_on(mut self, token: CancellationToken) -> Self {
        self.options.cancel_on = Some(token);
        self
    }

    /// What may be handled concurrently. Default: partitions in parallel, each in order.
    pub fn concurrency(mut self, concurrency: Concurrency) -> Self {
        self.options.concurrency = concurrency;
        self
    }

    /// The timeout of one call of a handler. A call that takes longer is dropped at its current
    /// await point and counts as failed: its event is retried as [`retry`](Self::retry) says. A
    /// handler that never
    /// awaits cannot be stopped. Default: no limit.
    pub fn handler_timeout(mut self, timeout: Duration) -> Self {
        self.options.handler_timeout = Some(timeout);
        self
    }

    /// What happens when a handler without its own policy fails, see [`Handler::retry`]. A failure
    /// that no retry can fix is not retried: a payload that does not fit its type, and a [`Reject`]
    /// anywhere in the error's chain. Such a record is
    /// dead-lettered at the first attempt, whatever the policy. With [`CommitPolicy::BeforeProcessing`] there is one
    /// attempt, and a policy with more is refused.
    ///
    /// Default: called again until it succeeds; with [`dead_letters`](Self::dead_letters) at most ten
    /// times (50 s of growing delays), then dead-lettered.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.options.retry = Some(retry);
        self
    }

    /// Sends records that cannot be decoded, or failed their last attempt, to the dead-letter topic:
    /// the topic's name with the configured suffix. A [`retry`](Self::retry) that ends with
    /// [`Exhausted::DeadLetter`] does the same. The Go SDK's `SendErrorDLQ`. Default: no.
    pub fn dead_letters(mut self, send: bool) -> Self {
        self.options.dead_letters = send;
        self
    }

    /// What happens to a record that is not an event envelope. Default: it is skipped, reported to
    /// `on_error`, logged and counted; with [`dead_letters`](Self::dead_letters) it is dead-lettered.
    pub fn on_undecodable(mut self, policy: OnUndecodable) -> Self {
        self.options.on_undecodable = Some(policy);
        self
    }

    /// What happens to a record that no handler of the group asked for.
    pub fn on_unmatched(mut self, policy: OnUnmatched) -> Self {
        self.options.on_unmatched = policy;
        self
    }

    /// When the offsets of handled events are committed; all subscriptions of the group in this
    /// client must agree. Default: as the client's [`commit`](crate::BrokerConfig::commit) says,
    /// over which this wins.
    pub fn commit(mut self, policy: CommitPolicy) -> Self {
        self.options.commit = Some(policy);
        self
    }

    /// Exactly once, from Kafka to Kafka: what handlers publish through their context becomes visible
    /// together with the offsets of their events, or not at all. All subscriptions of the group in this
    /// client must agree.
    ///
    /// [`Context::publish`] and [`Context::publish_raw`] then *stage* an event. If the attempt fails, it
    /// is dropped; if it succeeds, it is sent in the member's open transaction as soon as all earlier
    /// events of the partition are done. Each [commit interval](CommitPolicy::Interval) the transaction
    /// is committed, with the offsets up to which that is all. So any [`concurrency`](Self::concurrency)
    /// is allowed, retries abort nothing, and a dead letter is part of the transaction too. What is
    /// published in other ways, as through a [`Client`](crate::Client), is not.
    ///
    /// ```no_run
    /// use eventstream::{Client, Context, Payload, Publish, Subscribe};
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Order { item: String }
    ///
    /// async fn ship(Payload(order): Payload<Order>, cx: Context) -> eventstream::Result<()> {
    ///     let event = Publish::new("shipping", "shipped").key(&order.item);
    ///     cx.publish(event).await?; // staged
    ///     Ok(())
    /// }
    ///
    /// # async fn run() -> eventstream::Result<()> {
    /// let client = Client::kafka(["127.0.0.1:9092"]).build()?;
    /// let subscribe = Subscribe::new("orders").group_id("shipping").exactly_once();
    /// client.register(subscribe.on("ordered", ship)).await?.detach();
    /// # Ok(()) }
    /// ```
    ///
    /// - **A handler may run again** for an event, as always: after a crash, a lost partition, or an
    ///   aborted transaction. What it does outside Kafka is repeated then; what it published is not.
    /// - **Receipts** of staged events complete at once, with partition and offset -1. To await one in
    ///   the handler for its place would be to wait for the handler's own end.
    /// - **Readers** see the events of a committed transaction only, if they read with
    ///   `isolation.level=read_committed`. That is the default of this crate and of librdkafka, but not
    ///   of Java clients. They see them up to one commit interval later.
    /// - **A transaction that fails** is aborted, which `on_error` reports, and the member reads its
    ///   partitions again from the committed offsets. That of a process that was killed is aborted
    ///   by the broker 10 s after its commit was due, or when a member with the same
    ///   [`group_instance_id`](Self::group_instance_id) starts.
    /// - **Callbacks**: [`on_dead_letter`](Self::on_dead_letter) is called when the dead letter is
    ///   staged, with partition and offset -1.
    ///
    /// It needs a Kafka cluster, a group, a commit policy of `Interval`, and the rights to write and
    /// describe a transactional id: the group's name as on the broker, a dot, and the instance id or
    /// a generated text. Not possible with [`Client::consume`](crate::Client::consume).
    pub fn exactly_once(mut self) -> Self {
        self.options.exactly_once = true;
        self
    }

    /// How long running handlers may take to finish when a rebalance revokes their partition.
    /// Default: 20 s. All members of the group wait for them, so keep it below `max_poll_interval`.
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.options.drain_timeout = timeout;
        self
    }

    /// Pauses the subscription when dead letters come too fast. Default: no limit.
    pub fn dead_letter_limit(mut self, limit: DeadLetterLimit) -> Self {
        self.options.dead_letter_limit = Some(limit);
        self
    }

    /// Called with errors outside the handlers' results: skipped records, dead letters that cannot be
    /// written, errors of the consumer. Called one at a time and in order, on a runtime worker,
    /// which it must not block. If it falls more than 1,024 calls behind, it misses some, and the
    /// next call reports how many.
    pub fn on_error(mut self, callback: impl Fn(Error) + Send + Sync + 'static) -> Self {
        self.options.on_error = Some(Arc::new(callback));
        self
    }

    /// Called when a handler has failed and will be called again with the same record; it is also
    /// logged at `WARN`, immediately the first time and then at growing intervals. Runs on a runtime
    /// worker, in turn with [`on_error`](Self::on_error) and under the same rules. Not called for the
    /// last attempt, which goes to `on_error` or `on_dead_letter`.
    ///
    /// ```
    /// use eventstream::{FailedAttempt, Subscribe};
    ///
    /// let subscribe = Subscribe::new("player").on_retry(|failed: FailedAttempt| {
    ///     let place = (failed.context().partition(), failed.context().offset());
    ///     println!("{place:?}: {} in {:?}", failed.error(), failed.next_within());
    /// });
    /// # drop(subscribe);
    /// ```
    pub fn on_retry(mut self, callback: impl Fn(FailedAttempt) + Send + Sync + 'static) -> Self {
        self.options.on_retry = Some(Arc::new(callback));
        self
    }

    /// Called with each record of this subscription that was written to the dead letter topic,
    /// once the broker has acknowledged it. Runs on a runtime worker: must not block.
    pub fn on_dead_letter(mut self, callback: impl Fn(DeadLetter) + Send + Sync + 'static) -> Self {
        self.options.on_dead_letter = Some(Arc::new(callback));
        self
    }

    /// The options, checked.
    pub(crate) fn check(self) -> Result<CheckedSubscribe> {
        let options = self.options;
        #[cfg(feature = "tower")]
        let options = options.layered();
        options.check()
    }

    /// The checked options of a subscription whose events are pulled.
    pub(crate) fn check_pulled(mut self) -> Result<CheckedSubscribe> {
        let misplaced = self.options.prepare_pull();
        let mut checked = self.options.check_with("consume", misplaced)?;
        checked.offers = Some(Arc::default());
        Ok(checked)
    }
}

impl Options {
    /// Checks every field, lists all faults, and returns what later code relies on.
    pub(crate) fn check(self) -> Result<CheckedSubscribe> {
        let misplaced = self.events.as_ref().map(|names| {
            let to = "is for `Client::consume`: to handle events by name, use `on`";
            Fault::new("events", names.join(", "), to)
        });
        self.check_with("register", misplaced.into_iter().collect())
    }

    #[cfg(feature = "tower")]
    fn layered(mut self) -> Self {
        for (_, handler) in &mut self.handlers {
            for layer in &self.layers {
                *handler = layer.wrap(handler.clone());
            }
        }
        self
    }

    /// A pulled subscription has no handlers, only the names they would be for. Returns settings that do not go with
    /// pulling.
    fn prepare_pull(&mut self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let batches = self.batches.drain(..).map(|batch| batch.name);
        let handlers = self.handlers.drain(..).map(|(name, _)| name);
        let names: Vec<_> = handlers
            .chain(batches)
            .map(|name| name.unwrap_or_else(|| "on_any".to_owned()))
            .collect();
        if !names.is_empty() {
            let to = "handlers are for `Client::register`: to pull events by name, use `events`";
            faults.push(Fault::new("on", names.join(", "), to));
        }
        #[cfg(feature = "tower")]
        if !self.layers.is_empty() {
            let to = "layers are for handlers, and so for `Client::register`";
            let count = format!("{} layers", self.layers.len());
            faults.push(Fault::new("layer", count, to));
        }
        if self.exactly_once {
            let to = "is for handlers, and so for `Client::register`";
            faults.push(Fault::new("exactly_once", "true", to));
        }
        if self.events.as_ref().is_some_and(Vec::is_empty) {
            let to = "must name an event, or be left out for all";
            faults.push(Fault::new("events", "", to));
        }
        let names = self.events.take().unwrap_or_default();
        let names: BTreeSet<_> = names.into_iter().collect();
        let named = names
            .into_iter()
            .map(|name| (Some(name), BoxHandler::pulled()));
        self.handlers = named.collect();
        if self.handlers.is_empty() {
            self.handlers.push((None, BoxHandler::pulled()));
        }
        faults
    }

    fn check_with(self, doing: &str, mut faults: Vec<Fault>) -> Result<CheckedSubscribe> {
        let mut keep = |fault: Option<Fault>| faults.extend(fault);
        keep(name::check_topic(&self.topic));
        let names = || {
            let one = self
                .handlers
                .iter()
                .map(|(name, _)| ("on", name.as_deref()));
            let several = self.batches.iter();
            one.chain(several.map(|batch| ("on_batch", batch.name.as_deref())))
        };
        for name in names().filter_map(|(_, name)| name) {
            keep(name::check_event_name(name));
        }
        keep((names().count() == 0).then(|| {
            Fault::new(
                "on",
                "",
                "at least one handler is required: `on`, `on_event`, `on_batch` or `on_any`",
            )
        }));
        for BatchOptions { batch, .. } in &self.batches {
            let fits = (1..=LARGEST_BATCH).contains(&batch.up_to) && batch.within <= LONGEST_WAIT;
            keep((!fits).then(|| {
                Fault::new(
                    "batch",
                    format!("{batch:?}"),
                    "must be 1 to 100000 events, within at most 600 s",
                )
            }));
        }
        let unnamed = names().filter(|(_, name)| name.is_none()).count();
        keep((unnamed > 1).then(|| {
            Fault::new(
                "on_any",
                format!("{unnamed} handlers"),
                "must be at most one; register twice for two workers",
            )
        }));
        for (topic, event_name) in &self.strangers {
            keep(Some(Fault::new(
                "on_event",
                *event_name,
                format!(
                    "is an event of topic {topic}; subscribe to that topic with another registration"
                ),
            )));
        }
        for (at, (field, name)) in names().enumerate() {
            if let Some(name) = name
                && names().take(at).any(|(_, earlier)| earlier == Some(name))
            {
                keep(Some(Fault::new(
                    field,
                    name,
                    "already has a handler in this registration; register twice for two workers",
                )));
            }
        }
        let own = |handler: &BoxHandler| handler.timeout();
        let timeouts = self.handlers.iter().map(|(_, handler)| own(handler));
        for timeout in timeouts.chain([self.handler_timeout]).flatten() {
            keep(timeout.is_zero().then(|| {
                Fault::new(
                    "handler_timeout",
                    "0",
                    "must be longer, or left out for no limit",
                )
            }));
        }
        keep(self.commit.and_then(CommitPolicy::fault));
        keep(self.exactly_once_fault());
        for fault in self.offset.faults() {
            keep(Some(fault));
        }
        if let Some(limit) = self.dead_letter_limit
            && (limit.window == 0
                || limit.window > LIMIT_WINDOW
                || !(limit.ratio > 0.0 && limit.ratio <= 1.0))
        {
            keep(Some(Fault::new(
                "dead_letter_limit",
                format!("{limit:?}"),
                "window must be from 1 to 1000000, and ratio above 0 and at most 1",
            )));
        }
        for (field, retry) in self.chosen_retries() {
            if let Retry::InPlace { backoff, .. } = retry
                && let Some(allowed) = backoff.fault()
            {
                let field = format!("{field}.backoff");
                keep(Some(Fault::new(field, format!("{backoff:?}"), allowed)));
            }
        }
        let group = if self.group_id.is_empty() {
            GroupId::new(crate::event::new_id().as_str())
        } else {
            GroupId::new(&self.group_id)
        };
        match (&group, Topic::new(&self.topic)) {
            (Ok(group), Ok(topic)) if faults.is_empty() => Ok(CheckedSubscribe {
                topic,
                group: group.clone(),
                options: self,
                offers: None,
            }),
            _ => {
                faults.extend(group.err().iter().flat_map(|e| e.faults().to_vec()));
                Err(Error::from_faults(ErrorKind::Validation, doing, faults))
            }
        }
    }

    /// What does not go with [`Subscribe::exactly_once`].
    fn exactly_once_fault(&self) -> Option<Fault> {
        let groupless = self.exactly_once && self.group_id.is_empty();
        groupless.then(|| {
            let allowed =
                "must be given with `exactly_once`: its offsets are part of the transactions";
            Fault::new("group_id", "", allowed)
        })
    }

    pub(crate) fn effective_retry(&self) -> Retry {
        self.retry.unwrap_or(if self.dead_letters {
            Retry::attempts(10).then(Exhausted::DeadLetter)
        } else {
            Retry::forever()
        })
    }

    /// The retry policies given for the subscription and its handlers, each with its name for errors.
    pub(crate) fn chosen_retries(&self) -> impl Iterator<Item = (String, Retry)> + '_ {
        let of_all = self.retry.map(|retry| ("retry".to_owned(), retry));
        let own = self.handlers.iter().filter_map(|(name, handler)| {
            let name = name.as_ref().map_or("on_any", |name| name);
            Some((format!("retry of {name}"), handler.retry()?))
        });
        of_all.into_iter().chain(own)
    }

    /// Whether events that fail their last attempt are dead-lettered, unless the handler has its own policy.
    fn dead_letters_exhausted(&self) -> bool {
        dead_letters(self.effective_retry())
    }

    /// Whether its policies can produce a dead letter.
    pub(crate) fn may_dead_letter(&self) -> bool {
        self.dead_letters_exhausted()
            || self.chosen_retries().any(|(_, retry)| dead_letters(retry))
            || self.effective_on_undecodable() == OnUndecodable::DeadLetter
            || self.on_unmatched == OnUnmatched::DeadLetter
    }

    pub(crate) fn effective_on_undecodable(&self) -> OnUndecodable {
        let dead_letters = self.dead_letters || self.dead_letters_exhausted();
        self.on_undecodable.unwrap_or(if dead_letters {
            OnUndecodable::DeadLetter
        } else {
            OnUndecodable::Skip
        })
    }
}

fn dead_letters(retry: Retry) -> bool {
    matches!(
        retry,
        Retry::InPlace {
            max_attempts: Some(_),
            then: Exhausted::DeadLetter,
            ..
        }
    )
}

/// A subscription whose names have been checked.
pub(crate) struct CheckedSubscribe {
    pub(crate) topic: Topic,
    pub(crate) group: GroupId,
    pub(crate) options: Options,
    /// Where its events wait, if they are pulled.
    pub(crate) offers: Option<Arc<Offers>>,
}

impl CheckedSubscribe {
    /// Whether it reads without a group; the name of its group is then private to it.
    pub(crate) fn is_groupless(&self) -> bool {
        self.options.group_id.is_empty()
    }

    /// The group's name on the broker.
    pub(crate) fn wire_group(&self, prefix: &str) -> String {
        if self.options.exact_group {
            self.group.as_str().to_owned()
        } else {
            crate::kafka::wire_group(prefix, self.group.as_str())
        }
    }

    /// Each handler with the name it is for; `None` matches all.
    pub(crate) fn routes(&self) -> impl Iterator<Item = (Option<EventName>, BoxHandler)> + '_ {
        let handlers = self.options.handlers.iter();
        handlers.map(|(name, handler)| {
            let name = name.as_ref().and_then(|name| EventName::new(name).ok());
            (name, handler.clone())
        })
    }

    /// The handlers of batches, each with the name it is for; `None` matches all.
    pub(crate) fn batches(&self) -> impl Iterator<Item = (Option<EventName>, &BatchOptions)> {
        let batches = self.options.batches.iter();
        batches.map(|batch| {
            let name = batch.name.as_ref();
            (name.and_then(|name| EventName::new(name).ok()), batch)
        })
    }

    /// The README's slug: topic, event name and group, joined by `$`.
    pub(crate) fn slug(&self) -> String {
        let one = self.routes().map(|(name, _)| name);
        let names: Vec<_> = one
            .chain(self.batches().map(|(name, _)| name))
            .map(|name| name.map_or(String::new(), |n| n.as_str().to_owned()))
            .collect();
        format!("{}${}${}", self.topic, names.join(","), self.group)
    }
}

impl<S> Clone for Subscribe<S> {
    fn clone(&self) -> Self {
        Self {
            state: Arc::clone(&self.state),
            options: self.options.clone(),
        }
    }
}

impl<S> fmt::Debug for Subscribe<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options = &self.options;
        f.debug_struct("Subscribe")
            .field("topic", &options.topic)
            .field("group_id", &options.group_id)
            .field(
                "handlers",
                &(options.handlers.len() + options.batches.len()),
            )
            .field("offset", &options.offset)
            .field("concurrency", &options.concurrency)
            .finish_non_exhaustive()
    }
}
