use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering as Atomic};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::config::ClientConfig;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::assignment::Commit;
use super::counters::Counters;
use super::events::TopicPartition;
use super::poller::Poller;
use super::routes::{Registration, RouteTable};
use super::words::{PollerHandle, Shared, ToPoller};
use crate::delivery::CommitMode;
use crate::error::{Error, ErrorKind, Result};
use crate::kafka::config::ClientConfigs;
use crate::kafka::context::Reporter;
use crate::kafka::producer::Producer;
use crate::kafka::{EmbeddedBroker, prefixed};
use crate::metrics::{GroupMeter, PartitionGauges};
use crate::name::Topic;
use crate::subscribe::StartOffset;
use crate::subscription::Health;
use crate::trace::Labels;

/// What everything that works for one group needs, and never changes.
pub(super) struct GroupEnv {
    pub(super) prefix: Arc<str>,
    /// `prefix.group`, as on the broker.
    pub(super) wire_group: Arc<str>,
    /// Where there is no group: what would be committed, for as long as the process lives.
    pub(super) groupless: Option<Memory>,
    /// `prefix.instance`, empty without static membership.
    pub(super) wire_instance: String,
    pub(super) start: StartOffset,
    pub(super) commit: CommitMode,
    pub(super) auto_commit_interval: Duration,
    pub(super) registration_settle: Duration,
    pub(super) dead_letter_suffix: Arc<str>,
    pub(super) log_errors: bool,
    pub(super) drain_millis: AtomicU64,
    pub(super) configs: Arc<ClientConfigs>,
    pub(super) producer: Arc<Producer>,
    pub(super) reporter: Arc<Reporter>,
    pub(super) counters: Arc<Counters>,
    pub(super) meter: GroupMeter,
    pub(super) labels: Arc<Labels>,
    pub(super) runtime: Handle,
    pub(super) tasks: TaskTracker,
    /// Numbers the assignments of partitions over the consumers that the group has had.
    pub(super) assignments: AtomicU64,
    /// The broker inside the process must outlive the polling thread.
    pub(super) _keep_alive: Option<EmbeddedBroker>,
}

impl GroupEnv {
    /// The topic without the client's prefix.
    pub(super) fn topic(&self, wire: &str) -> Option<Topic> {
        let name = match &*self.prefix {
            "" => wire,
            prefix => wire.strip_prefix(prefix)?.strip_prefix('.')?,
        };
        Topic::new(name).ok()
    }

    pub(super) fn wire_topic(&self, topic: &Topic) -> String {
        prefixed(&self.prefix, topic.as_str())
    }

    /// The longest of the registrations' drain timeouts.
    pub(super) fn drain_timeout(&self) -> Duration {
        Duration::from_millis(self.drain_millis.load(Atomic::Relaxed))
    }

    pub(super) fn consumer_config(&self) -> ClientConfig {
        let mut config = self.configs.consumer.clone();
        config.set("group.id", &*self.wire_group);
        if self.groupless.is_some() {
            // The other protocol would join for the sake of its heartbeats.
            config.remove("group.protocol");
        } else if !self.wire_instance.is_empty() {
            config.set("group.instance.id", &self.wire_instance);
        }
        config
    }
}

/// How far partitions were handled.
pub(super) type Memory = Mutex<HashMap<TopicPartition, Commit>>;

/// One group's consumer: its routes, and the way to its polling thread.
pub(super) struct Group {
    pub(super) env: Arc<GroupEnv>,
    poller: PollerHandle,
    state: Mutex<State>,
    registered: Notify,
    /// The polling thread has ended, or never started.
    pub(super) ended: CancellationToken,
    /// The topics of which this member reads all that it was given, from starts that are committed.
    ready: watch::Sender<Vec<String>>,
    stopping: AtomicBool,
    cut_short: AtomicBool,
}

struct State {
    table: Arc<RouteTable>,
    last_registration: Instant,
    assigned: Vec<Arc<Shared>>,
    was_assigned: bool,
    problem: Option<Error>,
    /// Why partitions are not read yet.
    waiting: Vec<Error>,
    /// What happened to offsets lately, and when.
    notices: VecDeque<(Instant, Error)>,
}

/// How many notices about offsets are kept, and how long health shows them.
const NOTICES: usize = 32;
const LATELY: Duration = Duration::from_secs(3600);
/// After so long without progress, with records waiting, a partition counts as stuck.
const STUCK: Duration = Duration::from_secs(60);

impl Group {
    /// A group that starts once its registrations have settled, and not before the `predecessor`
    /// has ended: the static member of the same name, which would be fenced by this one in the
    /// middle of its last commits.
    pub(super) fn start(
        env: GroupEnv,
        predecessor: Option<CancellationToken>,
    ) -> Result<Arc<Self>> {
        let (commands, inbox) = std::sync::mpsc::channel();
        let group = Arc::new(Self {
            env: Arc::new(env),
            poller: PollerHandle {
                commands,
                queue: Arc::default(),
            },
            state: Mutex::new(State {
                table: Arc::default(),
                last_registration: Instant::now(),
                assigned: Vec::new(),
                was_assigned: false,
                problem: None,
                waiting: Vec::new(),
                notices: VecDeque::new(),
            }),
            ready: watch::Sender::new(Vec::new()),
            registered: Notify::new(),
            ended: CancellationToken::new(),
            stopping: AtomicBool::new(false),
            cut_short: AtomicBool::new(false),
        });
        let watched = Arc::downgrade(&group);
        group
            .env
            .meter
            .watch(move || watched.upgrade().map(|group| group.gauges()));
        let starting = Arc::clone(&group);
        group.env.runtime.spawn(async move {
            if let Some(predecessor) = predecessor {
                predecessor.cancelled().await;
            }
            starting.settle().await;
            starting.spawn_poller(inbox);
        });
        Ok(group)
    }

    /// Waits until no registration has come for the settling time.
    async fn settle(&self) {
        loop {
            let until = self.state.lock().last_registration + self.env.registration_settle;
            if self.stopping.load(Atomic::SeqCst) || Instant::now() >= until {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep_until(until.into()) => {}
                () = self.registered.notified() => {}
            }
        }
    }

    fn spawn_poller(self: &Arc<Self>, inbox: std::sync::mpsc::Receiver<ToPoller>) {
        if self.stopping.load(Atomic::SeqCst) {
            self.end();
            return;
        }
        let group = Arc::clone(self);
        let spawned = std::thread::Builder::new()
            .name("eventstream-poller".to_owned())
            .spawn(move || {
                let handle = group.poller.clone();
                let run = std::panic::AssertUnwindSafe(|| Poller::run(&group, &handle, inbox));
                if std::panic::catch_unwind(run).is_err() {
                    let error = Error::new(ErrorKind::Fatal, "the polling thread panicked");
                    tracing::error!(group = &*group.env.wire_group, "{error}");
                    group.tell_all(&error);
                    group.set_problem(Some(error));
                }
                group.end();
            });
        if let Err(error) = spawned {
            let error = Error::new(ErrorKind::Fatal, "start the polling thread").with_source(error);
            self.tell_all(&error);
            self.set_problem(Some(error));
            self.end();
        }
    }

    fn end(&self) {
        for registration in self.table().registrations() {
            registration.ended.cancel();
        }
        self.ended.cancel();
    }

    pub(super) fn table(&self) -> Arc<RouteTable> {
        Arc::clone(&self.state.lock().table)
    }

    /// Changes the routes and tells the polling thread. `false`: the group is at its end, and
    /// nothing was changed.
    pub(super) fn change_routes(&self, change: impl FnOnce(&mut RouteTable)) -> bool {
        {
            let mut state = self.state.lock();
            if self.is_over() {
                return false;
            }
            let mut table = RouteTable::clone(&state.table);
            change(&mut table);
            state.table = Arc::new(table);
            state.last_registration = Instant::now();
        }
        self.registered.notify_one();
        self.poller.send(ToPoller::RoutesChanged);
        true
    }

    /// Closes a registration: its routes go, and with the last registration the group stops.
    pub(super) fn close(&self, registration: &Registration, deadline: Duration) {
        registration.state.lock().closing = true;
        let mut state = self.state.lock();
        if state.table.registrations().iter().all(|r| r.is_closing()) {
            drop(state);
            self.stop(deadline);
            return;
        }
        let mut table = RouteTable::clone(&state.table);
        table.remove(registration.id);
        state.table = Arc::new(table);
        drop(state);
        self.poller.send(ToPoller::RoutesChanged);
    }

    /// Handlers were cancelled because the time to finish was over.
    pub(super) fn cut_short(&self) {
        self.cut_short.store(true, Atomic::SeqCst);
    }

    pub(super) fn was_cut_short(&self) -> bool {
        self.cut_short.load(Atomic::SeqCst)
    }

    /// Whether this group takes no more registrations.
    pub(super) fn is_over(&self) -> bool {
        self.stopping.load(Atomic::SeqCst) || self.ended.is_cancelled()
    }

    /// Asks for the end: running handlers may finish until the deadline.
    pub(super) fn stop(&self, deadline: Duration) {
        let state = self.state.lock();
        self.stopping.store(true, Atomic::SeqCst);
        drop(state);
        self.registered.notify_one();
        self.poller.send(ToPoller::Stop(deadline));
    }

    /// Completes when thread and tasks are gone.
    pub(super) async fn gone(&self) {
        self.ended.cancelled().await;
        self.env.tasks.close();
        self.env.tasks.wait().await;
    }

    /// A retry policy has stopped a registration (all of them where none is named): nothing after
    /// the record is acknowledged, so the whole group's consumer leaves its partitions to others.
    pub(super) fn stop_by_policy(&self, registration: Option<u32>, error: &Error) {
        for found in self.table().registrations() {
            if registration.is_none_or(|id| id == found.id) {
                found.state.lock().problem = Some(error.clone());
                self.close(&found, self.env.drain_timeout());
                found.ended.cancel();
            }
        }
    }

    pub(super) fn tell_all(&self, error: &Error) {
        for registration in self.table().registrations() {
            registration.tell(error);
        }
    }

    pub(super) fn set_problem(&self, problem: Option<Error>) {
        self.state.lock().problem = problem;
    }

    /// Why partitions are not read yet; empty: none waits for long.
    pub(super) fn set_waiting(&self, problems: Vec<Error>) {
        self.state.lock().waiting = problems;
    }

    pub(super) fn set_ready(&self, ready: &[&String]) {
        self.ready.send_if_modified(|was| {
            let changes = !was.iter().eq(ready.iter().copied());
            if changes {
                *was = ready.iter().copied().cloned().collect();
            }
            changes
        });
    }

    /// Completes when all that this member has of a topic is read; `false`: it ended first.
    pub(super) async fn ready(&self, topic: &Topic) -> bool {
        let topic = self.env.wire_topic(topic);
        let mut ready = self.ready.subscribe();
        tokio::select! {
            found = ready.wait_for(|ready| ready.contains(&topic)) => found.is_ok(),
            () = self.ended.cancelled() => false,
        }
    }

    /// Tells the registrations of a topic what became of its offsets; health shows it for a while.
    pub(super) fn notice(&self, wire_topic: &str, error: &Error) {
        let mut state = self.state.lock();
        while state.notices.len() >= NOTICES {
            state.notices.pop_front();
        }
        state.notices.push_back((Instant::now(), error.clone()));
        let table = Arc::clone(&state.table);
        drop(state);
        let topic = self.env.topic(wire_topic);
        for registration in table.registrations_of(topic.as_ref()) {
            registration.tell(error);
        }
    }

    pub(super) fn set_assigned(&self, assigned: Vec<Arc<Shared>>) {
        let mut state = self.state.lock();
        state.was_assigned |= !assigned.is_empty();
        state.assigned = assigned;
    }

    /// Partitions assigned, and records read and not done.
    pub(super) fn sizes(&self) -> (usize, usize) {
        let state = self.state.lock();
        let buffered = state
            .assigned
            .iter()
            .map(|a| a.progress.lock().buffered)
            .sum();
        (state.assigned.len(), buffered)
    }

    /// The topics it works for, and what it has of each assigned partition.
    fn gauges(&self) -> (Vec<String>, Vec<PartitionGauges>) {
        let state = self.state.lock();
        let topics = state.table.topics.keys();
        let topics = topics.map(|topic| self.env.wire_topic(topic)).collect();
        let gauges = |shared: &Arc<Shared>| {
            let progress = shared.progress.lock();
            let (buffered, since) = (progress.buffered, progress.since);
            drop(progress);
            PartitionGauges {
                topic: self.env.wire_topic(&shared.source.topic),
                partition: shared.source.partition,
                paused: shared.paused.load(Atomic::Relaxed),
                buffered,
                stalled: match buffered {
                    0 => Duration::ZERO,
                    _ => since.elapsed(),
                },
                committed: known(shared.committed.load(Atomic::Relaxed)),
                position: shared.watermark().or(known(shared.start)),
            }
        };
        (topics, state.assigned.iter().map(gauges).collect())
    }

    /// The health of the group, and of one registration where one is named.
    pub(super) fn health(&self, registration: Option<&Registration>) -> Health {
        let state = self.state.lock();
        let lately = |(at, _): &&(Instant, Error)| at.elapsed() < LATELY;
        let notices = state.notices.iter().filter(lately);
        let problems = state.problem.iter().chain(&state.waiting);
        let mut health = Health {
            problems: problems.cloned().collect(),
            notices: notices.map(|(_, error)| error.clone()).collect(),
            assigned: state.was_assigned,
        };
        match registration {
            Some(registration) => health
                .problems
                .extend(registration.state.lock().problem.clone()),
            None => {
                for registration in state.table.registrations() {
                    health
                        .problems
                        .extend(registration.state.lock().problem.clone());
                }
            }
        }
        for shared in &state.assigned {
            let progress = shared.progress.lock();
            let blocked = progress.blocked.as_ref();
            health
                .problems
                .extend(blocked.map(|(_, error)| error.clone()));
            let stuck = progress.since.elapsed();
            if progress.buffered > 0 && stuck > STUCK {
                let mut error = Error::new(
                    ErrorKind::Handler,
                    format!(
                        "partition {}/{} has {} records waiting and made no progress for {} s",
                        shared.source.topic,
                        shared.source.partition,
                        progress.buffered,
                        stuck.as_secs()
                    ),
                );
                if let Some(cause) = progress.last_failure.clone() {
                    error = error.with_source(cause);
                }
                health.problems.push(error);
            }
        }
        health
    }
}

/// Offsets are negative while unknown.
fn known(offset: i64) -> Option<i64> {
    (offset >= 0).then_some(offset)
}
