use std::borrow::Borrow;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::Instant;

use super::changes::deadline;
use super::ledger::{Ledger, Told};
use super::{BOUND, DeadLetters, HandledEvents, listed};
use crate::client::{Client, ClientBuilder};
use crate::config::BrokerConfig;
use crate::error::Result;
use crate::kafka::{EmbeddedBroker, Refusal};
use crate::publish::Publish;
use crate::publish::receipt::Delivery;
use crate::record::RawRecord;
use crate::subscribe::{Subscribe, Subscription};

/// An [`EmbeddedBroker`] for one test that knows what its clients have done.
///
/// ```
/// use eventstream::testing::TestBroker;
/// use eventstream::{Payload, Publish, Reject, Subscribe};
///
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct LevelUp { level: u32 }
/// async fn level_up(Payload(up): Payload<LevelUp>) -> Result<(), Reject> {
///     if up.level > 100 { Err(Reject::new("no such level")) } else { Ok(()) }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), eventstream::Error> {
/// let broker = TestBroker::start().topic("player", 2);
/// let subscribe = Subscribe::new("player").group_id("levels").on("levelUp", level_up);
/// let _subscription = broker.client().register(subscribe).await?;
///
/// for level in [12, 101] {
///     broker.publish(Publish::new("player", "levelUp").payload(LevelUp { level })).await;
/// }
/// broker.settled().await;
///
/// assert_eq!(broker.handled("levelUp").payloads::<LevelUp>()[0].level, 12);
/// assert_eq!(broker.dead_letters("player").expect_one().error(), "no such level");
/// # Ok(()) }
/// ```
///
/// The service under test gets [`client`](Self::client), or one from [`builder`](Self::builder) with its own
/// configuration. What other clients do on this broker is not tracked. It needs a runtime whose clock runs: with
/// `start_paused`, every bound passes at once.
pub struct TestBroker {
    prefix: String,
    bound: Duration,
    ledger: Arc<Ledger>,
    client: OnceLock<Client>,
    embedded: EmbeddedBroker,
}

/// Its id in its cluster, which has no other broker.
const NODE: i32 = 1;

impl TestBroker {
    /// Starts a broker whose clients have no prefix.
    ///
    /// # Panics
    ///
    /// If the process has no thread or port left.
    pub fn start() -> Self {
        Self::with_prefix("")
    }

    /// Starts a broker whose clients have this prefix.
    ///
    /// # Panics
    ///
    /// If the process has no thread or port left.
    pub fn with_prefix(prefix: impl Into<String>) -> Self {
        Self {
            prefix: prefix.into(),
            bound: BOUND,
            ledger: Arc::default(),
            client: OnceLock::new(),
            embedded: done(EmbeddedBroker::start()),
        }
    }

    /// Creates a topic, given without the prefix. One that is not created gets 4 partitions on first use.
    ///
    /// # Panics
    ///
    /// If it exists, or has no partitions.
    #[track_caller]
    pub fn topic(self, topic: &str, partitions: i32) -> Self {
        let name = crate::name::prefixed(&self.prefix, topic);
        done(self.embedded.create_topic(&name, partitions));
        self
    }

    /// How long [`publish`](Self::publish), [`settled`](Self::settled) and the other waiting calls may take. Default:
    /// 30 s.
    pub fn bound(mut self, bound: Duration) -> Self {
        self.bound = bound;
        self
    }

    /// The broker's own client, the same at each call: what it publishes and handles is tracked.
    ///
    /// # Panics
    ///
    /// If the prefix is not allowed.
    #[track_caller]
    pub fn client(&self) -> &Client {
        self.client.get_or_init(|| done(self.builder().build()))
    }

    /// Another client, with its own options: what it publishes and handles is tracked too. Its configuration is
    /// [`config`](Self::config) unless it is given another.
    pub fn builder(&self) -> ClientBuilder {
        Client::embedded()
            .embedded_broker(&self.embedded)
            .prefix(&*self.prefix)
            .config(Self::config())
            .witness(Arc::new(Told(Arc::clone(&self.ledger))))
    }

    /// The configuration of a test's clients, which makes it fast. A group's registrations settle for 10 ms instead of
    /// 250, and librdkafka reconnects and retries after 10 ms instead of 100. The producer is not idempotent and has
    /// one request in flight: order is kept, but events published while the broker goes down may be stored twice. An
    /// idempotent one stores nothing in its first half second, because librdkafka waits that long before asking for its
    /// id again.
    pub fn config() -> BrokerConfig {
        BrokerConfig::new()
            .registration_settle(Duration::from_millis(10))
            .idempotence(false)
            .base_config("max.in.flight", 1)
            .base_config("retry.backoff.ms", 10)
            .base_config("reconnect.backoff.ms", 10)
    }

    /// Waits until every subscription of the broker's clients is ready, so that none misses the event, then publishes it
    /// and waits until it is stored.
    ///
    /// # Panics
    ///
    /// If it is refused, or is not stored within the bound.
    pub async fn publish(&self, event: impl Borrow<Publish>) -> Delivery {
        let until = deadline(self.bound);
        self.ready(until).await;
        let stored = self.client().publish_sync(event.borrow());
        match tokio::time::timeout_at(until, stored).await {
            Ok(Ok(delivery)) => delivery,
            Ok(Err(error)) => panic!("publish: {}", crate::guard::with_causes(&error)),
            Err(_) => self.give_up("the event is not stored"),
        }
    }

    async fn ready(&self, until: Instant) {
        for client in self.ledger.clients() {
            if tokio::time::timeout_at(until, client.ready())
                .await
                .is_err()
            {
                self.give_up("a subscription is not ready");
            }
        }
    }

    /// Waits until nothing is left to do: every event the broker's clients published is stored or has failed, and every
    /// subscribed group has handled, dead-lettered or skipped what is stored. This includes events that handlers publish,
    /// and any that follow from them.
    ///
    /// Tasks that a handler has spawned are not waited for.
    ///
    /// # Panics
    ///
    /// When the bound has passed, with what is not done in which partition and group, and the last failures.
    pub async fn settled(&self) {
        let until = deadline(self.bound);
        loop {
            let done = || self.ledger.outstanding().is_empty().then_some(());
            if self.ledger.changes.until(until, done).await.is_none() {
                self.give_up("not settled");
            }
            // Everything that handlers published is accepted, as they have returned. If nothing else is stored until
            // all of it has an outcome, no handler has run since, and nothing is in flight.
            let stored = self.ledger.stored();
            if !self.ledger.outstanding().is_empty() {
                continue;
            }
            for client in self.ledger.clients() {
                let left = crate::deadline::left(until.into());
                if client.flush(left).await.is_err() {
                    self.give_up("events that were published have no outcome");
                }
            }
            if self.ledger.stored() == stored {
                return;
            }
        }
    }

    fn give_up(&self, what: &str) -> ! {
        let clients = self.ledger.clients();
        let problems = clients.iter().flat_map(|client| client.health().problems);
        let in_flight: usize = clients.iter().map(|c| c.writer_stats().in_flight).sum();
        panic!(
            "after {:?}: {what}; events in flight: {in_flight}; not done is:{}\nproblems:{}",
            self.bound,
            listed(self.ledger.outstanding()),
            listed(problems.map(|problem| crate::guard::with_causes(problem.error())))
        )
    }

    /// The events of a name that were handled.
    pub fn handled(&self, event_name: &str) -> HandledEvents {
        HandledEvents::new(&self.ledger, event_name, &self.prefix, self.bound)
    }

    /// The records of a topic, given without prefix and suffix, that have been dead-lettered so far.
    pub fn dead_letters(&self, topic: &str) -> DeadLetters {
        DeadLetters::new(topic, self.ledger.letters())
    }

    /// Takes the broker down: connections break and new ones are refused.
    ///
    /// # Panics
    ///
    /// Never, as long as the broker lives.
    pub fn down(&self) {
        done(self.embedded.broker_down(NODE));
    }

    /// Brings the broker back, with all that it has stored.
    ///
    /// # Panics
    ///
    /// Never, as long as the broker lives.
    pub fn up(&self) {
        done(self.embedded.broker_up(NODE));
    }

    /// Delays the broker's answer to each request by this much; zero ends it.
    ///
    /// # Panics
    ///
    /// Never, as long as the broker lives.
    pub fn slow(&self, delay: Duration) {
        done(self.embedded.round_trip_time(NODE, delay));
    }

    /// Refuses this many of the next requests to store events. A request may carry many events.
    ///
    /// # Panics
    ///
    /// Never, as long as the broker lives.
    pub fn refuse_publishing(&self, requests: usize, refusal: Refusal) {
        done(self.embedded.refuse_produce(requests, refusal));
    }

    /// Refuses this many of the next requests for records.
    ///
    /// # Panics
    ///
    /// Never, as long as the broker lives.
    pub fn refuse_reading(&self, requests: usize, refusal: Refusal) {
        done(self.embedded.refuse_fetch(requests, refusal));
    }

    /// Takes the group coordinator away: no member can join, and no commit succeeds. Members that have
    /// partitions keep reading.
    ///
    /// # Panics
    ///
    /// Never, as long as the broker lives.
    pub fn lose_coordinator(&self) {
        done(self.embedded.lose_coordinator());
    }

    /// Restores the coordinator, with its groups and their committed offsets.
    ///
    /// # Panics
    ///
    /// Never, as long as the broker lives.
    pub fn restore_coordinator(&self) {
        done(self.embedded.restore_coordinator());
    }

    /// Adds a member to a group; names are given without the prefix. The group rebalances, which takes 2 s or more, and
    /// the member gets its share of the partitions. It handles nothing: their records wait until it
    /// [leaves](Member::leave). Returns once it has them.
    ///
    /// # Panics
    ///
    /// If it has no place in the group within the bound.
    pub async fn join(&self, topic: &str, group: &str) -> Member {
        let client = done(self.builder().build());
        let subscribe = Subscribe::new(topic)
            .group_id(group)
            .on_any(async |_: RawRecord| {});
        let subscription = done(client.register(subscribe).await);
        subscription.pause();
        let ready = tokio::time::timeout_at(deadline(self.bound), subscription.ready());
        if !matches!(ready.await, Ok(Ok(()))) {
            self.give_up("the further member has no place in its group");
        }
        Member {
            subscription,
            client,
        }
    }
}

impl fmt::Debug for TestBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestBroker")
            .field("prefix", &self.prefix)
            .field("outstanding", &self.ledger.outstanding())
            .finish_non_exhaustive()
    }
}

/// Another member of a group, created by [`TestBroker::join`].
#[must_use = "a member leaves when it is dropped, in the background"]
#[derive(Debug)]
pub struct Member {
    subscription: Subscription,
    client: Client,
}

impl Member {
    /// Leaves the group. Its partitions go to the others, which takes 2 s or more: `settled` waits for that.
    pub async fn leave(self) {
        let Self {
            subscription,
            client,
        } = self;
        // It runs nothing that could be left over.
        let _ = subscription.stop(LEAVING).await;
        let _ = client.shutdown(LEAVING).await;
    }
}

const LEAVING: Duration = Duration::from_secs(10);

/// Unwraps a result that only fails if the process is out of resources.
#[track_caller]
fn done<T>(result: Result<T>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{}", crate::guard::with_causes(&error)),
    }
}
