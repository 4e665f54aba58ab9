//! The consuming machine: one consumer and one polling thread for each group, one task and one
//! state machine for each partition.
//!
//! ```text
//!  librdkafka -> Poller (a thread) --records--> Driver (a task) -> machine -> handlers
//!                   ^  ^                          |     |                        |
//!        rebalance -'  '--- commit, pause, ended -'     '<------- outcomes -----'
//! ```
//!
//! | file | what |
//! |---|---|
//! | `group` | a group: its life from the first registration to the end |
//! | `roster` | who is registered in it, and whether it takes others |
//! | `health` | whether it can do its work |
//! | `told` | the callbacks of a registration |
//! | `routes` | which handlers a record goes to |
//! | `words` | what the polling thread and the tasks say to each other |
//! | `poller` | the polling thread: reading, rebalances, commits |
//! | `assignment` | where to start in a partition |
//! | `events` | librdkafka's consumer events |
//! | `inquiry` | questions about topics and the group that nobody waits for |
//! | `refusals` | what is refused until somebody acts |
//! | `driver` | one partition's task: intake, calls of handlers, events that are pulled, failures |
//! | `transactor` | the thread of a group that is exactly once |
//! | `letters` | the dead letter format |

mod assignment;
mod counters;
mod driver;
mod events;
mod group;
mod health;
mod inquiry;
mod letters;
mod poller;
mod refusals;
mod roster;
mod routes;
mod told;
mod transactor;
mod words;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering as Atomic};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(super) use self::assignment::mark as commit_mark;
use self::counters::Counters;
use self::group::{Group, GroupEnv};
use self::roster::{Entry, Policies};
use self::routes::{Handlers, Registration, Route, serial};
use self::told::Told;
use super::EmbeddedBroker;
use super::config::ClientConfigs;
use super::context::Reporter;
use super::sender::Sender;
use crate::config::{BrokerConfig, CommitPolicy, LogMode};
use crate::deadline;
use crate::delivery::{Batch, CommitMode, FloodGuard, FloodOptions, RouteId, RouteOptions};
use crate::error::{Error, ErrorKind, Fault, Result};
use crate::guard::tracing;
use crate::name::{Topic, prefixed};
use crate::observe::health::Health;
use crate::observe::metrics::ClientMeter;
use crate::observe::stats::ReaderStats;
use crate::observe::trace::{Labels, Tracer};
use crate::subscribe::{CheckedSubscribe, DeadLetterLimit, Options, Subscription};
use crate::witness::Witness;

/// The group's name on the broker, and the static member.
type GroupKey = (Arc<str>, String);

/// What the groups of one client need.
pub(crate) struct ConsumersOptions {
    pub(crate) prefix: Arc<str>,
    pub(crate) config: BrokerConfig,
    pub(crate) configs: Arc<ClientConfigs>,
    pub(crate) sender: Arc<Sender>,
    pub(crate) reporter: Arc<Reporter>,
    pub(crate) meter: ClientMeter,
    pub(crate) tracer: Option<Tracer>,
    pub(crate) witness: Option<Arc<dyn Witness>>,
    pub(crate) embedded: Option<EmbeddedBroker>,
}

/// The groups of one client.
pub(crate) struct Consumers {
    options: ConsumersOptions,
    counters: Arc<Counters>,
    groups: Mutex<Groups>,
    numbers: AtomicU32,
}

#[derive(Default)]
struct Groups {
    running: HashMap<GroupKey, Arc<Group>>,
    /// Groups that are stopping while another of the same name has started.
    leaving: Vec<Arc<Group>>,
    /// No more groups are created.
    closed: bool,
}

impl Groups {
    fn all(&self) -> impl Iterator<Item = &Arc<Group>> {
        self.running.values().chain(&self.leaving)
    }

    /// Removes ended groups, to be dropped without the lock.
    fn take_ended(&mut self) -> Vec<Arc<Group>> {
        let running = self
            .running
            .extract_if(|_, group| group.ended.is_cancelled());
        let mut ended: Vec<_> = running.map(|(_, group)| group).collect();
        ended.extend(
            self.leaving
                .extract_if(.., |group| group.ended.is_cancelled()),
        );
        ended
    }
}

/// Brokers allow transactions of 15 minutes, with what they get beyond the interval.
const LONGEST_TRANSACTION: Duration = Duration::from_secs(600);

/// How often a registration retries if it finds a group that is ending.
const TRIES: u32 = 100;

impl Consumers {
    pub(crate) fn new(options: ConsumersOptions) -> Self {
        Self {
            options,
            counters: Arc::default(),
            groups: Mutex::default(),
            numbers: AtomicU32::new(0),
        }
    }

    pub(crate) fn register(&self, subscribe: CheckedSubscribe) -> Result<Subscription> {
        let runtime = Handle::try_current().map_err(|e| {
            Error::new(
                ErrorKind::Config,
                "register: must be called inside a tokio runtime",
            )
            .with_source(e)
        })?;
        refuse(self.contradictions(&subscribe))?;
        let group = subscribe.wire_group(&self.options.prefix).into();
        let labels = Arc::new(Labels::new(
            self.options.tracer.as_ref(),
            self.options.reporter.client(),
            Arc::clone(&self.options.prefix),
            Some((group, subscribe.topic.as_str())),
        ));
        let mut tries = 0;
        let (group, registration) = loop {
            let group = self.group(&subscribe, &labels, runtime.clone())?;
            let registration = self.registration(&group, &subscribe, &labels);
            if self.add_routes(&group, &subscribe, &registration)? {
                break (group, registration);
            }
            // It ended in between, so the next one is new. If that ends as well, the runtime is shutting down.
            tries += 1;
            if tries > TRIES {
                let text = "register: the runtime is shutting down";
                return Err(Error::new(ErrorKind::Closed, text));
            }
        };
        let routes = RegisteredRoutes {
            group: Arc::clone(&group),
            topic: subscribe.topic.clone(),
            registration: Arc::clone(&registration),
        };
        if let Some(token) = subscribe.options.cancel_on.clone() {
            let routes = routes.clone();
            group.env.runtime.spawn(async move {
                tokio::select! {
                    () = token.cancelled() => routes.stop_in_background(),
                    () = routes.registration.ended.cancelled() => {}
                }
            });
        }
        Ok(Subscription::new(subscribe.slug(), routes))
    }

    fn registration(
        &self,
        group: &Group,
        subscribe: &CheckedSubscribe,
        labels: &Arc<Labels>,
    ) -> Arc<Registration> {
        let options = &subscribe.options;
        let flood = |limit: DeadLetterLimit| {
            Mutex::new(FloodGuard::new(FloodOptions {
                window: limit.window,
                ratio: limit.ratio,
            }))
        };
        Arc::new(Registration {
            labels: Arc::clone(labels),
            id: self.numbers.fetch_add(1, Atomic::Relaxed),
            serial: serial(options.concurrency),
            flood: options.dead_letter_limit.map(flood),
            offers: subscribe.offers.clone(),
            told: Told::start(
                &group.env.runtime,
                &group.env.tasks,
                options.on_error.clone(),
                options.on_retry.clone(),
            ),
            on_dead_letter: options.on_dead_letter.clone(),
            handler_timeout: options.handler_timeout,
            working: TaskTracker::new(),
            ended: CancellationToken::new(),
            state: Mutex::default(),
        })
    }

    /// Options of a subscription that have no effect with this client's configuration.
    fn contradictions(&self, subscribe: &CheckedSubscribe) -> Vec<Fault> {
        let options = &subscribe.options;
        let mut faults = Vec::new();
        if options.exactly_once {
            faults.extend(self.not_exactly_once(self.commit_policy(options)));
        }
        if self.commit_policy(options) != CommitPolicy::BeforeProcessing {
            return faults;
        }
        if !options.batches.is_empty() {
            faults.push(Fault::new(
                "on_batch",
                format!("{} handlers", options.batches.len()),
                "must be `on` with `commit` before-processing: each event has a commit of its own there",
            ));
        }
        for (field, retry) in options
            .chosen_retries()
            .filter(|(_, retry)| !retry.is_once())
        {
            faults.push(Fault::new(
                field,
                format!("{retry:?}"),
                "must be one attempt with `commit` before-processing: what is committed is not \
                 tried again",
            ));
        }
        faults
    }

    /// What this client's configuration has against transactions.
    fn not_exactly_once(&self, commit: CommitPolicy) -> Vec<Fault> {
        let mut faults = Vec::new();
        if self.options.embedded.is_some() {
            let allowed = "needs a Kafka cluster: the embedded broker keeps no transactions";
            faults.push(Fault::new("exactly_once", "true", allowed));
        }
        let fits =
            matches!(commit, CommitPolicy::Interval(interval) if interval <= LONGEST_TRANSACTION);
        if !fits {
            let allowed = format!(
                "must be an interval of at most {LONGEST_TRANSACTION:?} with `exactly_once`: offsets are \
                 committed in transactions"
            );
            faults.push(Fault::new("commit", commit.to_string(), allowed));
        }
        faults
    }

    /// The group's consumer: the running one, if its options agree, or a new one.
    fn group(
        &self,
        subscribe: &CheckedSubscribe,
        labels: &Arc<Labels>,
        runtime: Handle,
    ) -> Result<Arc<Group>> {
        let options = &subscribe.options;
        let commit = self.commit_policy(options);
        // The group waits for the drain, and the broker for the next poll: less than all of it.
        let drain = options
            .drain_timeout
            .min(self.options.config.max_poll_interval.mul_f64(0.75));
        let drain = u64::try_from(drain.as_millis()).unwrap_or(u64::MAX);
        let key = (Arc::clone(&labels.group), options.group_instance_id.clone());
        let ended = self.groups.lock().take_ended();
        drop(ended);
        let mut groups = self.groups.lock();
        if groups.closed {
            return Err(Error::new(
                ErrorKind::Closed,
                "register: the client has been shut down",
            ));
        }
        if let Some(group) = groups.running.get(&key).filter(|group| !group.is_over()) {
            let mut faults = Vec::new();
            if group.env.start != options.offset {
                faults.push(disagrees("offset", &options.offset, &group.env.start));
            }
            if group.env.exactly_once.is_some() != options.exactly_once {
                let has = group.env.exactly_once.is_some();
                faults.push(disagrees("exactly_once", &options.exactly_once, &has));
            }
            if group.env.commit != commit {
                faults.push(disagrees("commit", &commit, &group.env.commit));
            }
            refuse(faults)?;
            group.env.drain_millis.fetch_max(drain, Atomic::Relaxed);
            return Ok(Arc::clone(group));
        }
        let predecessor = groups
            .running
            .get(&key)
            .filter(|_| !options.group_instance_id.is_empty())
            .map(|group| group.ended.clone());
        let wire_instance = match &*options.group_instance_id {
            "" => String::new(),
            instance => prefixed(&self.options.prefix, instance),
        };
        let exactly_once = options
            .exactly_once
            .then(|| Arc::clone(&self.options.sender) as _);
        let env = GroupEnv {
            prefix: Arc::clone(&self.options.prefix),
            meter: self.options.meter.group(&labels.group),
            labels: Arc::clone(labels),
            wire_group: Arc::clone(&labels.group),
            groupless: subscribe.is_groupless().then(Mutex::default),
            transactional_id: transactional_id(&labels.group, &wire_instance),
            wire_instance,
            exactly_once,
            start: options.offset.clone(),
            commit,
            registration_settle: self.options.config.registration_settle,
            dead_letter_suffix: self.options.config.dead_letter_suffix.as_str().into(),
            log_errors: self.options.config.log_mode != LogMode::Off,
            drain_millis: AtomicU64::new(drain),
            configs: Arc::clone(&self.options.configs),
            sender: Arc::clone(&self.options.sender),
            reporter: Arc::clone(&self.options.reporter),
            counters: Arc::clone(&self.counters),
            witness: self.options.witness.clone(),
            runtime,
            tasks: TaskTracker::new(),
            quiet: Notify::new(),
            assignments: AtomicU64::new(0),
            _keep_alive: self.options.embedded.clone(),
        };
        let group = Group::start(env, predecessor);
        let before = groups.running.insert(key, Arc::clone(&group));
        groups.leaving.extend(before);
        Ok(group)
    }

    /// The subscription's own policy, or else the client's.
    fn commit_policy(&self, options: &Options) -> CommitPolicy {
        options.commit.unwrap_or(self.options.config.commit)
    }

    fn add_routes(
        &self,
        group: &Group,
        subscribe: &CheckedSubscribe,
        registration: &Arc<Registration>,
    ) -> Result<bool> {
        let options = &subscribe.options;
        let policies = Policies {
            on_unmatched: options.on_unmatched,
            on_undecodable: options.effective_on_undecodable(),
        };
        let mut faults = Vec::new();
        if let Some(agreed) = group.policies(&subscribe.topic) {
            let (asked, has) = (&policies.on_unmatched, &agreed.on_unmatched);
            if asked != has {
                faults.push(disagrees("on_unmatched", asked, has));
            }
            let (asked, has) = (&policies.on_undecodable, &agreed.on_undecodable);
            if asked != has {
                faults.push(disagrees("on_undecodable", asked, has));
            }
        }
        refuse(faults)?;
        let route = |(handlers, batch)| {
            Arc::new(Route {
                id: RouteId(self.numbers.fetch_add(1, Atomic::Relaxed)),
                handlers,
                options: RouteOptions {
                    concurrency: options.concurrency,
                    retry: options.effective_retry(),
                    batch,
                },
                registration: Arc::clone(registration),
            })
        };
        let entry = Entry {
            registration: Arc::clone(registration),
            topic: subscribe.topic.clone(),
            routes: handlers_of(subscribe).into_iter().map(route).collect(),
        };
        Ok(group.add(entry, policies).is_ok())
    }

    pub(crate) fn stats(&self) -> ReaderStats {
        let groups: Vec<_> = self.groups.lock().all().map(Arc::clone).collect();
        let sizes = groups
            .iter()
            .map(|g| g.sizes())
            .fold((0, 0), |(partitions, buffered), (p, b)| {
                (partitions + p, buffered + b)
            });
        self.counters.snapshot(sizes.0, sizes.1)
    }

    pub(crate) fn health(&self) -> Health {
        let mut health = Health {
            assigned: true,
            connected: self.options.reporter.is_connected(),
            ..Health::of_nothing()
        };
        let groups: Vec<_> = self.groups.lock().all().map(Arc::clone).collect();
        for group in groups {
            let one = group.health(None);
            for problem in one.problems {
                health.add(problem);
            }
            health.notices.extend(one.notices);
            // A stopping one waits for no partitions.
            health.assigned &= one.assigned || group.is_over();
        }
        health
    }

    /// Groups that accept registrations, and their topics, as named on the broker.
    #[cfg(feature = "testing")]
    pub(crate) fn subscribed(&self) -> Vec<(Arc<str>, Vec<String>)> {
        let groups: Vec<_> = self.groups.lock().all().map(Arc::clone).collect();
        let living = groups.iter().filter(|group| !group.is_over());
        living
            .map(|group| (Arc::clone(&group.env.wire_group), group.wire_topics()))
            .collect()
    }

    /// Completes when each topic of each group is read, or the group has ended.
    #[cfg(feature = "testing")]
    pub(crate) async fn ready(&self) {
        let groups: Vec<_> = self.groups.lock().all().map(Arc::clone).collect();
        for group in groups.iter().filter(|group| !group.is_over()) {
            for topic in group.topics() {
                group.ready(&topic).await;
            }
        }
    }

    /// Stops every group in parallel. Handlers have the timeout, leaving takes a little longer.
    pub(crate) async fn shutdown(&self, timeout: Duration) {
        let groups: Vec<_> = {
            let mut groups = self.groups.lock();
            groups.closed = true;
            groups.all().map(Arc::clone).collect()
        };
        for group in &groups {
            group.stop(timeout);
        }
        let until = deadline::after(timeout.saturating_add(LEAVE)).into();
        for group in &groups {
            if tokio::time::timeout_at(until, group.gone()).await.is_ok() {
                continue;
            }
            let name = &*group.env.wire_group;
            if group.ended.is_cancelled() {
                // A handler that blocks its thread cannot be cancelled, and is not waited for.
                tracing::warn!(
                    group = name,
                    "handlers still run at the end of the shutdown"
                );
            } else {
                tracing::warn!(
                    group = name,
                    "the consumer is still leaving its group at the end of the shutdown; it continues in \
                     the background, and no handler runs any more"
                );
            }
        }
        let gone = std::mem::take(&mut *self.groups.lock());
        self.groups.lock().closed = true;
        drop(gone);
    }
}

impl Drop for Consumers {
    fn drop(&mut self) {
        let groups = std::mem::take(&mut *self.groups.lock());
        for group in groups.all() {
            group.stop(group.env.drain_timeout());
        }
    }
}

impl From<CommitPolicy> for CommitMode {
    fn from(policy: CommitPolicy) -> Self {
        match policy {
            CommitPolicy::Interval(_) => Self::Auto,
            CommitPolicy::EachEvent => Self::AfterEach,
            CommitPolicy::EachEventAsync => Self::AsyncEach,
            CommitPolicy::BeforeProcessing => Self::BeforeProcessing,
        }
    }
}

/// The name of a member's transactions. That of a static member stays, so that its next life ends at
/// once what the last one has left open; others have none that stays, and need none: the group refuses
/// the offsets of a member that it has let go (KIP-447).
fn transactional_id(group: &str, instance: &str) -> Arc<str> {
    match instance {
        "" => format!("{group}.{}", crate::event::new_id().as_str()).into(),
        instance => format!("{group}.{instance}").into(),
    }
}

/// The handlers of a registration by the routes they form: all named ones are one route, and each
/// batch handler has its own.
fn handlers_of(subscribe: &CheckedSubscribe) -> Vec<(Handlers, Option<Batch>)> {
    let mut named = Vec::new();
    let mut routes = Vec::new();
    for (name, handler) in subscribe.routes() {
        match name {
            Some(name) => named.push((name, handler)),
            None => routes.push((Handlers::Any(handler), None)),
        }
    }
    if !named.is_empty() {
        routes.push((Handlers::Named(named), None));
    }
    routes.extend(subscribe.batches().map(|(name, options)| {
        let handlers = Handlers::Batch(name, options.handler.clone());
        (handlers, Some(options.batch))
    }));
    routes
}

fn disagrees(field: &str, asked: &dyn std::fmt::Debug, has: &dyn std::fmt::Debug) -> Fault {
    Fault::new(
        field,
        format!("{asked:?}"),
        format!("must agree with the earlier registration of this group, which has {has:?}"),
    )
}

fn refuse(faults: Vec<Fault>) -> Result<()> {
    if faults.is_empty() {
        Ok(())
    } else {
        Err(Error::from_faults(
            ErrorKind::Validation,
            "register",
            faults,
        ))
    }
}

/// The routes of one subscription, for its handle.
#[derive(Clone)]
pub(crate) struct RegisteredRoutes {
    group: Arc<Group>,
    topic: Topic,
    registration: Arc<Registration>,
}

impl RegisteredRoutes {
    pub(crate) async fn stop(self, timeout: Duration) -> Result<()> {
        self.begin_stop(timeout);
        self.abandon_unpulled();
        // The last one leaves the group: the polling thread keeps the timeout itself, and the rest
        // is leaving. If others continue, there is only the timeout.
        let is_over = self.group.is_over();
        let done = async {
            if is_over {
                self.group.gone().await;
            } else {
                self.registration.working.wait().await;
            }
        };
        let leave = if is_over { LEAVE } else { Duration::ZERO };
        let within = deadline::after(timeout.saturating_add(leave));
        let done = tokio::time::timeout_at(within.into(), done).await.is_ok();
        let is_over = self.group.is_over();
        let (late, left) = match is_over {
            true => (
                self.group.cut_short_in(),
                "are cancelled, and their events are read again",
            ),
            false if done => (0, ""),
            // Counted before they are told, since they may end as soon as they are.
            false => (
                self.registration.working.len(),
                "may finish; records not started go to another subscription or are skipped",
            ),
        };
        if !done && !is_over {
            self.group.abandon(&self.registration);
        }
        self.registration.ended.cancel();
        if late == 0 && (done || !is_over) {
            return Ok(());
        }
        let group = &self.group.env.wire_group;
        let text = match late {
            0 => format!("stop: group {group} has not been left after {timeout:?}"),
            n => {
                let s = if n == 1 { "" } else { "s" };
                format!(
                    "stop: handlers of {n} partition{s} were still running after {timeout:?}: they {left}"
                )
            }
        };
        Err(Error::new(ErrorKind::Timeout, text))
    }

    pub(crate) fn stop_in_background(&self) {
        self.begin_stop(self.group.env.drain_timeout());
        self.abandon_unpulled();
        let routes = self.clone();
        // Also ends if the runtime ends first.
        let ended = self.registration.ended.clone().drop_guard();
        self.group.env.runtime.spawn(async move {
            let working = routes.registration.working.wait();
            let time = routes.group.env.drain_timeout();
            if tokio::time::timeout(time, working).await.is_err() {
                routes.group.abandon(&routes.registration);
                routes.registration.working.wait().await;
            }
            drop(ended);
        });
    }

    fn begin_stop(&self, timeout: Duration) {
        self.registration.working.close();
        self.group.close(&self.registration, timeout);
    }

    /// If the stream is gone, nobody would pull what is queued, so it is not waited for.
    fn abandon_unpulled(&self) {
        let offers = self.registration.offers.as_ref();
        if offers.is_some_and(|offers| offers.is_closed()) {
            self.group.abandon(&self.registration);
        }
    }

    pub(crate) fn pause(&self) {
        self.registration.state.lock().paused = true;
        self.group.look_again();
    }

    pub(crate) fn resume(&self) {
        {
            let mut state = self.registration.state.lock();
            state.paused = false;
            state.problem = None;
        }
        if let Some(flood) = &self.registration.flood {
            flood.lock().reset();
        }
        self.group.look_again();
    }

    pub(crate) async fn ready(&self) -> bool {
        tokio::select! {
            ready = self.group.ready(&self.topic) => ready,
            () = self.registration.ended.cancelled() => false,
        }
    }

    pub(crate) fn health(&self) -> Health {
        self.group.health(Some(&self.registration))
    }

    /// Only for the handle: cancelling it ends the subscription.
    pub(crate) fn ended(&self) -> CancellationToken {
        self.registration.ended.clone()
    }

    /// Completes when nothing of the topic is queued or running, or the subscription has ended.
    pub(crate) async fn idle(&self) {
        tokio::select! {
            () = self.group.idle(&self.topic) => {}
            () = self.registration.ended.cancelled() => {}
        }
    }
}

/// The time for leaving a group and destroying its consumer, beyond the handlers' timeout.
const LEAVE: Duration = Duration::from_secs(10);
