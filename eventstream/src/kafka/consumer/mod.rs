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
//! | `group` | a group: its routes, its life from the first registration to the end |
//! | `routes` | which handlers a record goes to |
//! | `words` | what the polling thread and the tasks say to each other |
//! | `poller` | the polling thread: reading, rebalances, commits |
//! | `assignment` | where to start in a partition |
//! | `events` | librdkafka's consumer events |
//! | `driver` | one partition's task: intake, calls of handlers, failures |
//! | `letters` | the dead letter format |

mod assignment;
mod counters;
mod driver;
mod events;
mod group;
mod letters;
mod poller;
mod routes;
mod words;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering as Atomic};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::counters::Counters;
use self::group::{Group, GroupEnv};
use self::routes::{Handlers, Registration, Route, TopicRoutes, serial};
use super::config::ClientConfigs;
use super::context::Reporter;
use super::producer::Producer;
use super::{EmbeddedBroker, prefixed};
use crate::config::{BrokerConfig, LogMode};
use crate::delivery::{CommitMode, FloodGuard, FloodOptions, RouteId, RouteOptions};
use crate::error::{Error, ErrorKind, Fault, Result};
use crate::metrics::ClientMeter;
use crate::name::Topic;
use crate::stats::ReaderStats;
use crate::subscribe::CheckedSubscribe;
use crate::subscription::{Health, Subscription};
use crate::trace::Labels;

/// The groups of one client.
pub(crate) struct Consumers {
    prefix: Arc<str>,
    config: BrokerConfig,
    configs: Arc<ClientConfigs>,
    producer: Arc<Producer>,
    reporter: Arc<Reporter>,
    meter: ClientMeter,
    embedded: Option<EmbeddedBroker>,
    counters: Arc<Counters>,
    /// By the group as on the broker, and the instance.
    groups: Mutex<HashMap<(Arc<str>, String), Arc<Group>>>,
    numbers: AtomicU32,
    closed: AtomicBool,
}

impl Consumers {
    pub(crate) fn new(
        prefix: Arc<str>,
        config: BrokerConfig,
        configs: Arc<ClientConfigs>,
        producer: Arc<Producer>,
        reporter: Arc<Reporter>,
        meter: ClientMeter,
        embedded: Option<EmbeddedBroker>,
    ) -> Self {
        Self {
            prefix,
            config,
            configs,
            producer,
            reporter,
            meter,
            embedded,
            counters: Arc::default(),
            groups: Mutex::default(),
            numbers: AtomicU32::new(0),
            closed: AtomicBool::new(false),
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
        if self.closed.load(Atomic::SeqCst) {
            return Err(Error::new(
                ErrorKind::Closed,
                "register: the client has been shut down",
            ));
        }
        let labels = Arc::new(Labels {
            client: self.reporter.client(),
            prefix: Arc::clone(&self.prefix),
            group: subscribe.wire_group(&self.prefix).into(),
        });
        let registration = Arc::new(Registration {
            labels: Arc::clone(&labels),
            id: self.numbers.fetch_add(1, Atomic::Relaxed),
            serial: serial(subscribe.options.ordering),
            flood: subscribe.options.dead_letter_limit.map(|limit| {
                Mutex::new(FloodGuard::new(FloodOptions {
                    window: limit.window,
                    ratio: limit.ratio,
                }))
            }),
            on_error: subscribe.options.on_error.clone(),
            on_dead_letter: subscribe.options.on_dead_letter.clone(),
            working: TaskTracker::new(),
            ended: CancellationToken::new(),
            state: Mutex::default(),
        });
        let group = loop {
            let group = self.group(&subscribe, &labels, runtime.clone())?;
            if self.add_routes(&group, &subscribe, &registration)? {
                break group;
            }
            // It came to its end in between: the next one is a new one.
        };
        let routes = RegisteredRoutes {
            group: Arc::clone(&group),
            topic: subscribe.topic.clone(),
            registration: Arc::clone(&registration),
        };
        if let Some(context) = subscribe.options.context.clone() {
            let routes = routes.clone();
            group.env.runtime.spawn(async move {
                tokio::select! {
                    () = context.cancelled() => routes.stop_in_background(),
                    () = routes.registration.ended.cancelled() => {}
                }
            });
        }
        Ok(Subscription::new(subscribe.slug(), routes))
    }

    /// The group's consumer: the running one, if its options agree, or a new one.
    fn group(
        &self,
        subscribe: &CheckedSubscribe,
        labels: &Arc<Labels>,
        runtime: Handle,
    ) -> Result<Arc<Group>> {
        let options = &subscribe.options;
        let commit = self.commit_mode(options.async_commit);
        // The group waits for the drain, and the broker for the next poll: less than all of it.
        let drain = options
            .drain_timeout
            .min(self.config.max_poll_interval.mul_f64(0.75));
        let drain = u64::try_from(drain.as_millis()).unwrap_or(u64::MAX);
        let key = (Arc::clone(&labels.group), options.group_instance_id.clone());
        let mut groups = self.groups.lock();
        groups.retain(|_, group| !group.ended.is_cancelled());
        if let Some(group) = groups.get(&key).filter(|group| !group.is_over()) {
            let mut faults = Vec::new();
            if group.env.start != options.offset {
                faults.push(disagrees("offset", &options.offset, &group.env.start));
            }
            if group.env.commit != commit {
                faults.push(disagrees(
                    "async_commit_message",
                    &commit,
                    &group.env.commit,
                ));
            }
            refuse(faults)?;
            group.env.drain_millis.fetch_max(drain, Atomic::Relaxed);
            return Ok(Arc::clone(group));
        }
        let predecessor = groups
            .get(&key)
            .filter(|_| !options.group_instance_id.is_empty())
            .map(|group| group.ended.clone());
        let env = GroupEnv {
            prefix: Arc::clone(&self.prefix),
            meter: self.meter.group(&labels.group),
            labels: Arc::clone(labels),
            wire_group: Arc::clone(&labels.group),
            groupless: subscribe.is_groupless().then(Mutex::default),
            wire_instance: match &*options.group_instance_id {
                "" => String::new(),
                instance => prefixed(&self.prefix, instance),
            },
            start: options.offset,
            commit,
            auto_commit_interval: self.config.auto_commit_interval,
            registration_settle: self.config.registration_settle,
            dead_letter_suffix: self.config.dead_letter_suffix.as_str().into(),
            log_errors: self.config.log_mode != LogMode::Off,
            drain_millis: AtomicU64::new(drain),
            configs: Arc::clone(&self.configs),
            producer: Arc::clone(&self.producer),
            reporter: Arc::clone(&self.reporter),
            counters: Arc::clone(&self.counters),
            runtime,
            tasks: TaskTracker::new(),
            assignments: AtomicU64::new(0),
            _keep_alive: self.embedded.clone(),
        };
        let group = Group::start(env, predecessor)?;
        groups.insert(key, Arc::clone(&group));
        Ok(group)
    }

    fn commit_mode(&self, async_commit: bool) -> CommitMode {
        if self.config.commit_before_processing {
            CommitMode::BeforeProcessing
        } else if async_commit {
            CommitMode::AsyncEach
        } else if self.config.disable_auto_commit {
            CommitMode::AfterEach
        } else {
            CommitMode::Auto
        }
    }

    fn add_routes(
        &self,
        group: &Group,
        subscribe: &CheckedSubscribe,
        registration: &Arc<Registration>,
    ) -> Result<bool> {
        let options = &subscribe.options;
        let on_undecodable = options.effective_on_undecodable();
        let mut faults = Vec::new();
        if let Some(topic) = group.table().topics.get(&subscribe.topic)
            && topic.routes.iter().any(|r| !r.registration.is_closing())
        {
            if topic.on_unmatched != options.on_unmatched {
                faults.push(disagrees(
                    "on_unmatched",
                    &options.on_unmatched,
                    &topic.on_unmatched,
                ));
            }
            if topic.on_undecodable != on_undecodable {
                faults.push(disagrees(
                    "on_undecodable",
                    &on_undecodable,
                    &topic.on_undecodable,
                ));
            }
        }
        refuse(faults)?;
        let added = group.change_routes(|table| {
            let topic = table
                .topics
                .entry(subscribe.topic.clone())
                .or_insert_with(TopicRoutes::default);
            topic.on_unmatched = options.on_unmatched;
            topic.on_undecodable = on_undecodable;
            for handlers in handlers_of(subscribe) {
                topic.routes.push(Arc::new(Route {
                    id: RouteId(self.numbers.fetch_add(1, Atomic::Relaxed)),
                    handlers,
                    options: RouteOptions {
                        ordering: options.ordering,
                        retry: options.effective_retry(),
                    },
                    registration: Arc::clone(registration),
                }));
            }
        });
        Ok(added)
    }

    pub(crate) fn stats(&self) -> ReaderStats {
        let sizes = self
            .groups
            .lock()
            .values()
            .map(|g| g.sizes())
            .fold((0, 0), |(partitions, buffered), (p, b)| {
                (partitions + p, buffered + b)
            });
        self.counters.snapshot(sizes.0, sizes.1)
    }

    pub(crate) fn health(&self) -> Health {
        let groups = self.groups.lock();
        let mut health = Health {
            assigned: true,
            ..Health::default()
        };
        for group in groups.values() {
            let one = group.health(None);
            health.problems.extend(one.problems);
            health.notices.extend(one.notices);
            health.assigned &= one.assigned;
        }
        health
    }

    /// Stops every group, all at once.
    pub(crate) async fn shutdown(&self, deadline: Duration) {
        self.closed.store(true, Atomic::SeqCst);
        let groups: Vec<_> = self.groups.lock().values().map(Arc::clone).collect();
        for group in &groups {
            group.stop(deadline);
        }
        let until = tokio::time::Instant::now() + deadline + LEAVE;
        for group in &groups {
            // A handler that blocks its thread cannot be cancelled, and is not waited for.
            if tokio::time::timeout_at(until, group.gone()).await.is_err() {
                tracing::warn!(
                    group = &*group.env.wire_group,
                    "handlers still run at the end of the shutdown"
                );
            }
        }
        self.groups.lock().clear();
    }
}

impl Drop for Consumers {
    fn drop(&mut self) {
        for group in self.groups.lock().values() {
            group.stop(group.env.drain_timeout());
        }
    }
}

/// The handlers of a registration by the routes they make: all named ones are one.
fn handlers_of(subscribe: &CheckedSubscribe) -> Vec<Handlers> {
    let mut named = Vec::new();
    let mut routes = Vec::new();
    for (name, handler) in subscribe.routes() {
        match name {
            Some(name) => named.push((name, handler)),
            None => routes.push(Handlers::Any(handler)),
        }
    }
    if !named.is_empty() {
        routes.push(Handlers::Named(named));
    }
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
    pub(crate) async fn stop(self, deadline: Duration) -> bool {
        self.begin_stop(deadline);
        let done = async {
            if self.group.is_over() {
                self.group.gone().await;
            } else {
                self.registration.working.wait().await;
            }
        };
        // The last one leaves the group: the polling thread keeps the deadline itself, and what is
        // beyond it is leaving. Where others go on, there is nothing but the deadline.
        let within = if self.group.is_over() {
            deadline + LEAVE
        } else {
            deadline
        };
        let done = tokio::time::timeout(within, done).await.is_ok();
        self.registration.ended.cancel();
        done && !(self.group.is_over() && self.group.was_cut_short())
    }

    pub(crate) fn stop_in_background(&self) {
        self.begin_stop(self.group.env.drain_timeout());
        let registration = Arc::clone(&self.registration);
        self.group.env.runtime.spawn(async move {
            registration.working.wait().await;
            registration.ended.cancel();
        });
    }

    fn begin_stop(&self, deadline: Duration) {
        self.registration.working.close();
        self.group.close(&self.registration, deadline);
    }

    pub(crate) fn pause(&self) {
        self.registration.state.lock().paused = true;
        self.group.change_routes(|_| {});
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
        self.group.change_routes(|_| {});
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

    pub(crate) fn ended(&self) -> CancellationToken {
        self.registration.ended.clone()
    }
}

/// What leaving a group and destroying its consumer may take beyond the handlers' deadline.
const LEAVE: Duration = Duration::from_secs(10);
