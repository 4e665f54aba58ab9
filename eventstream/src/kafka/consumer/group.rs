use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering as Atomic};
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
use super::refusals::{Cause, Refusals};
use super::roster::{Entry, Policies, Roster};
use super::routes::{Registration, RouteTable};
use super::words::{PollerHandle, Shared, ToPoller};
use crate::config::CommitPolicy;
use crate::error::{Error, ErrorKind};
use crate::guard::{guarded, tracing, with_causes};
use crate::kafka::EmbeddedBroker;
use crate::kafka::config::ClientConfigs;
use crate::kafka::context::Reporter;
use crate::kafka::sender::Sender;
use crate::name::{Topic, prefixed};
use crate::observe::health::Problem;
use crate::observe::metrics::{GroupMeter, PartitionGauges};
use crate::observe::trace::Labels;
use crate::publish::MakesOutputs;
use crate::subscribe::{Staging, StartOffset};
use crate::witness::Witness;

/// What everything that works for one group needs; never changes.
pub(super) struct GroupEnv {
    pub(super) prefix: Arc<str>,
    /// `prefix.group`, as on the broker.
    pub(super) wire_group: Arc<str>,
    /// Without a group: what would be committed, for the life of the process.
    pub(super) groupless: Option<Memory>,
    /// `prefix.instance`, empty without static membership.
    pub(super) wire_instance: String,
    pub(super) start: StartOffset,
    pub(super) commit: CommitPolicy,
    /// Exactly once: what makes the outputs of its handlers.
    pub(super) exactly_once: Option<Arc<dyn MakesOutputs>>,
    /// The name of its transactions.
    pub(super) transactional_id: Arc<str>,
    pub(super) registration_settle: Duration,
    pub(super) dead_letter_suffix: Arc<str>,
    pub(super) log_errors: bool,
    pub(super) drain_millis: AtomicU64,
    pub(super) configs: Arc<ClientConfigs>,
    pub(super) sender: Arc<Sender>,
    pub(super) reporter: Arc<Reporter>,
    pub(super) counters: Arc<Counters>,
    pub(super) witness: Option<Arc<dyn Witness>>,
    pub(super) meter: GroupMeter,
    pub(super) labels: Arc<Labels>,
    pub(super) runtime: Handle,
    pub(super) tasks: TaskTracker,
    /// A partition has nothing left to do, or is given up.
    pub(super) quiet: Notify,
    /// Numbers the assignments of partitions, across the group's successive consumers.
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

    /// Registrations were added or removed.
    fn changed(&self) {
        if let Some(witness) = &self.witness {
            witness.changed();
        }
    }

    /// The longest drain timeout of the registrations.
    pub(super) fn drain_timeout(&self) -> Duration {
        Duration::from_millis(self.drain_millis.load(Atomic::Relaxed))
    }

    /// Where an attempt publishes, if the group is exactly once.
    pub(super) fn staging(&self) -> Option<Arc<Staging>> {
        self.exactly_once.as_ref().map(Staging::new)
    }

    /// Whether the broker assigns the partitions (KIP-848).
    pub(super) fn broker_assigns(&self) -> bool {
        self.configs.consumer.get("group.protocol") == Some("consumer")
    }

    /// Whether partitions that move wait for their former owner, in a rebalance of the classic protocol.
    pub(super) fn is_cooperative(&self) -> bool {
        let strategy = self.configs.consumer.get("partition.assignment.strategy");
        strategy == Some("cooperative-sticky")
    }

    pub(super) fn consumer_config(&self) -> ClientConfig {
        let mut config = self.configs.consumer.clone();
        config.set("group.id", &*self.wire_group);
        if self.groupless.is_some() {
            // The other protocol would join because of its heartbeats.
            config.remove("group.protocol");
        } else if !self.wire_instance.is_empty() {
            config.set("group.instance.id", &self.wire_instance);
        }
        config
    }
}

/// How far partitions were handled.
pub(super) type Memory = Mutex<HashMap<TopicPartition, Commit>>;

/// One group's consumer: its routes, and the channel to its polling thread.
pub(super) struct Group {
    pub(super) env: Arc<GroupEnv>,
    poller: PollerHandle,
    pub(super) state: Mutex<State>,
    registered: Notify,
    /// The polling thread has ended, or never started.
    pub(super) ended: CancellationToken,
    /// The topics of which this member reads all its partitions, from committed starts.
    ready: watch::Sender<Vec<String>>,
    /// In how many partitions.
    cut_short: AtomicUsize,
    pub(super) refusals: Refusals,
}

pub(super) struct State {
    pub(super) roster: Roster,
    last_registration: Instant,
    /// There is a polling thread, and it will end the group.
    polled: bool,
    pub(super) assigned: Vec<Arc<Shared>>,
    pub(super) was_assigned: bool,
    pub(super) problem: Option<Problem>,
    /// Why the last transaction failed, or why none can start.
    pub(super) transacting: Option<Problem>,
    /// Why partitions are not read yet.
    pub(super) waiting: Vec<Problem>,
    /// Recent resets of offsets, with their times.
    pub(super) notices: VecDeque<(Instant, Error)>,
    /// Why the group has ended by itself.
    pub(super) end: Option<Problem>,
}

/// The number of notices about offsets that are kept, and how long health shows them.
const NOTICES: usize = 32;
pub(super) const LATELY: Duration = Duration::from_secs(3600);

impl Group {
    /// A group that starts once its registrations have settled, and not before its `predecessor`
    /// has ended: the static member of the same name, which would otherwise be fenced in the middle
    /// of its last commits.
    pub(super) fn start(env: GroupEnv, predecessor: Option<CancellationToken>) -> Arc<Self> {
        let (commands, inbox) = std::sync::mpsc::channel();
        let group = Arc::new(Self {
            env: Arc::new(env),
            poller: PollerHandle {
                commands,
                queue: Arc::default(),
            },
            state: Mutex::new(State {
                roster: Roster::default(),
                last_registration: Instant::now(),
                polled: false,
                assigned: Vec::new(),
                was_assigned: false,
                problem: None,
                transacting: None,
                waiting: Vec::new(),
                notices: VecDeque::new(),
                end: None,
            }),
            ready: watch::Sender::new(Vec::new()),
            registered: Notify::new(),
            ended: CancellationToken::new(),
            cut_short: AtomicUsize::new(0),
            refusals: Refusals::default(),
        });
        let watched = Arc::downgrade(&group);
        group
            .env
            .meter
            .watch(move || watched.upgrade().map(|group| group.gauges()));
        let watch = RuntimeWatch(Arc::clone(&group));
        group.env.runtime.spawn(async move {
            let group = &watch.0;
            if let Some(predecessor) = predecessor {
                predecessor.cancelled().await;
            }
            group.settle().await;
            group.spawn_poller(inbox);
            group.ended.cancelled().await;
        });
        group
    }

    /// Waits until no registration has arrived for the settling time.
    async fn settle(&self) {
        loop {
            let until = {
                let state = self.state.lock();
                if state.roster.is_over() {
                    return;
                }
                state.last_registration + self.env.registration_settle
            };
            if Instant::now() >= until {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep_until(until.into()) => {}
                () = self.registered.notified() => {}
            }
        }
    }

    fn spawn_poller(self: &Arc<Self>, inbox: std::sync::mpsc::Receiver<ToPoller>) {
        let is_over = {
            let mut state = self.state.lock();
            state.polled = !state.roster.is_over();
            !state.polled
        };
        if is_over {
            self.end();
            return;
        }
        let group = Arc::clone(self);
        let spawned = std::thread::Builder::new()
            .name("eventstream-poller".to_owned())
            .spawn(move || {
                let handle = group.poller.clone();
                if guarded(|| Poller::run(&group, &handle, inbox)).is_none() {
                    group.fail(Error::new(ErrorKind::Fatal, "the polling thread panicked"));
                }
                group.end();
            });
        if let Err(error) = spawned {
            self.fail(Error::new(ErrorKind::Fatal, "start the polling thread").with_source(error));
            self.end();
        }
    }

    /// Ends by itself, and reports it to all.
    pub(super) fn fail(&self, error: Error) {
        tracing::error!(group = &*self.env.wire_group, "{}", with_causes(&error));
        self.tell_all(&error);
        self.state.lock().end = Some(Problem::now(error));
    }

    /// The end. Drops what handlers hold, which may include this client.
    fn end(&self) {
        let (registrations, leftovers) = self.state.lock().roster.clear();
        for registration in registrations {
            registration.ended.cancel();
        }
        drop(leftovers);
        self.ended.cancel();
        self.env.changed();
    }

    /// The runtime is gone, and with it every task of the group: nothing is handled any more.
    /// Finished work is committed, and the partitions go to others.
    fn runtime_gone(&self) {
        if self.ended.is_cancelled() {
            return;
        }
        let error = Error::new(
            ErrorKind::Closed,
            "the runtime of the group's first registration has ended, and the group with it: \
             register again on a running one",
        )
        .with_remedy("register again on a running one");
        tracing::error!(group = &*self.env.wire_group, "{error}");
        let polled = {
            let mut state = self.state.lock();
            state.roster.stop();
            state.end = Some(Problem::now(error));
            state.polled
        };
        if polled {
            self.poller.send(ToPoller::Stop(RUNTIME_GONE));
        } else {
            self.end();
        }
    }

    pub(super) fn table(&self) -> Arc<RouteTable> {
        self.state.lock().roster.table()
    }

    /// Options on which the registrations of a topic agree.
    pub(super) fn policies(&self, topic: &Topic) -> Option<Policies> {
        self.state.lock().roster.policies(topic)
    }

    /// Adds a registration and notifies the polling thread. The entry is returned if the group is
    /// ending: accepting it and starting to stop are one decision.
    pub(super) fn add(&self, entry: Entry, policies: Policies) -> Result<(), Entry> {
        let leftovers = {
            let mut state = self.state.lock();
            let added = state.roster.add(entry, policies)?;
            state.last_registration = Instant::now();
            added
        };
        drop(leftovers);
        self.registered.notify_one();
        self.poller.send(ToPoller::RoutesChanged);
        self.env.changed();
        Ok(())
    }

    /// Makes the partitions check their registrations: one was paused or resumed.
    pub(super) fn look_again(&self) {
        let leftovers = self.state.lock().roster.touch();
        drop(leftovers);
        self.poller.send(ToPoller::RoutesChanged);
    }

    /// Closes a registration: its routes are removed, and with the last registration the group
    /// stops.
    pub(super) fn close(&self, registration: &Registration, timeout: Duration) {
        registration.state.lock().closing = true;
        let (is_last, leftovers) = self.state.lock().roster.close(registration.id);
        drop(leftovers);
        if is_last {
            self.stop(timeout);
        } else {
            self.poller.send(ToPoller::RoutesChanged);
            self.env.changed();
        }
    }

    /// Handlers of this many partitions were cancelled because the time to finish was over.
    pub(super) fn cut_short(&self, partitions: usize) {
        self.cut_short.store(partitions, Atomic::SeqCst);
    }

    /// The number of partitions in which the last drain that was too short cancelled handlers.
    pub(super) fn cut_short_in(&self) -> usize {
        self.cut_short.load(Atomic::SeqCst)
    }

    /// Whether this group accepts no more registrations.
    pub(super) fn is_over(&self) -> bool {
        self.state.lock().roster.is_over()
    }

    /// Requests the end: running handlers may finish within the timeout.
    pub(super) fn stop(&self, timeout: Duration) {
        self.state.lock().roster.stop();
        self.registered.notify_one();
        self.poller.send(ToPoller::Stop(timeout));
        self.env.changed();
    }

    /// Completes when thread and tasks are gone.
    pub(super) async fn gone(&self) {
        self.ended.cancelled().await;
        self.env.tasks.close();
        self.env.tasks.wait().await;
    }

    /// A policy has stopped the group here: nothing after the record is acknowledged, so its
    /// consumer leaves all partitions to others. `told`: the registrations already notified.
    pub(super) fn stop_by_policy(&self, told: &[u32], error: &Error) {
        let registrations = {
            let mut state = self.state.lock();
            state.end = Some(Problem::now(error.clone()));
            state.roster.stop()
        };
        for found in registrations {
            {
                let mut state = found.state.lock();
                state.closing = true;
                state.problem = Some(Problem::now(error.clone()));
            }
            if !told.contains(&found.id) {
                found.tell(error);
            }
        }
        self.stop(self.env.drain_timeout());
    }

    /// The time of a closed registration is over: what it has not started is given away, so that it
    /// blocks nobody.
    pub(super) fn abandon(&self, registration: &Registration) {
        registration.state.lock().abandoned = true;
        self.look_again();
    }

    pub(super) fn tell_all(&self, error: &Error) {
        let registrations = self.state.lock().roster.registrations();
        for registration in registrations {
            registration.tell(error);
        }
    }

    /// Reports a refusal that lasts until somebody acts, once, and shows it in `health`.
    pub(super) fn refuse(&self, cause: Cause, error: &Error) {
        let group = &self.env.wire_group;
        if self.refusals.add(group, cause, error, Instant::now()) {
            self.tell_all(error);
        }
    }

    /// Notes that a refusal is over; `false` if there was none.
    pub(super) fn allow(&self, cause: &Cause) -> bool {
        self.refusals.remove(&self.env.wire_group, cause)
    }

    /// Forgets refusals of topics that are no longer subscribed to.
    pub(super) fn leave_topics_but(&self, subscribed: &[String]) {
        self.refusals.keep_topics(subscribed);
    }

    /// Whether there is a refusal that lasts until somebody acts.
    pub(super) fn is_refused(&self) -> bool {
        !self.refusals.is_empty()
    }

    pub(super) fn set_problem(&self, problem: Option<Error>) {
        let mut state = self.state.lock();
        state.problem = problem.map(|error| Problem::after(state.problem.as_ref(), error));
    }

    /// Why the last transaction failed, or why none can start. The consumer's own progress says nothing about that.
    pub(super) fn set_transacting(&self, problem: Option<Error>) {
        let mut state = self.state.lock();
        state.transacting = problem.map(|error| Problem::after(state.transacting.as_ref(), error));
    }

    /// Why partitions are not read yet; empty if none has waited for long.
    pub(super) fn set_waiting(&self, problems: Vec<Problem>) {
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

    /// Completes when this member reads all its partitions of a topic; `false` if it ended first.
    pub(super) async fn ready(&self, topic: &Topic) -> bool {
        let topic = self.env.wire_topic(topic);
        let mut ready = self.ready.subscribe();
        tokio::select! {
            found = ready.wait_for(|ready| ready.contains(&topic)) => found.is_ok(),
            () = self.ended.cancelled() => false,
        }
    }

    /// Reports to the registrations of a topic what happened to its offsets; health shows it for a
    /// while.
    pub(super) fn notice(&self, wire_topic: &str, error: &Error) {
        let mut state = self.state.lock();
        while state.notices.len() >= NOTICES {
            state.notices.pop_front();
        }
        state.notices.push_back((Instant::now(), error.clone()));
        drop(state);
        self.tell_topic(wire_topic, error);
    }

    /// Reports an error to the registrations of a topic.
    pub(super) fn tell_topic(&self, wire_topic: &str, error: &Error) {
        let Some(topic) = self.env.topic(wire_topic) else {
            return;
        };
        let registrations = self.state.lock().roster.registrations_of(&topic);
        for registration in registrations {
            registration.tell(error);
        }
    }

    pub(super) fn set_assigned(&self, assigned: Vec<Arc<Shared>>) {
        let mut state = self.state.lock();
        state.was_assigned |= !assigned.is_empty();
        state.assigned = assigned;
        drop(state);
        self.env.quiet.notify_waiters();
    }

    /// Completes when no record read of a topic is queued or running.
    pub(super) async fn idle(&self, topic: &Topic) {
        loop {
            let quiet = self.env.quiet.notified();
            tokio::pin!(quiet);
            // Before the check, so that what becomes quiet after it is noticed.
            quiet.as_mut().enable();
            let is_busy = {
                let state = self.state.lock();
                let mut of_topic = state.assigned.iter().filter(|a| a.source.topic == *topic);
                of_topic.any(|shared| shared.is_busy())
            };
            if !is_busy {
                return;
            }
            quiet.await;
        }
    }

    /// Partitions assigned, and records read but not done.
    pub(super) fn sizes(&self) -> (usize, usize) {
        let state = self.state.lock();
        let buffered = state
            .assigned
            .iter()
            .map(|a| a.progress.lock().buffered)
            .sum();
        (state.assigned.len(), buffered)
    }

    #[cfg(feature = "testing")]
    pub(super) fn topics(&self) -> Vec<Topic> {
        self.state.lock().roster.topics().cloned().collect()
    }

    #[cfg(feature = "testing")]
    pub(super) fn wire_topics(&self) -> Vec<String> {
        let topics = self.topics();
        topics
            .iter()
            .map(|topic| self.env.wire_topic(topic))
            .collect()
    }

    /// Its topics, and the state of each assigned partition.
    fn gauges(&self) -> (Vec<String>, Vec<PartitionGauges>) {
        let state = self.state.lock();
        let topics = state.roster.topics();
        let topics = topics.map(|topic| self.env.wire_topic(topic)).collect();
        let gauges = |shared: &Arc<Shared>| {
            let progress = shared.progress.lock();
            let (buffered, since) = (progress.buffered, progress.since);
            let failing = progress
                .failing
                .as_ref()
                .map_or(Duration::ZERO, |failing| failing.since.elapsed());
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
                failing,
                committed: known(shared.committed.load(Atomic::Relaxed)),
                position: shared.watermark().or(known(shared.start)),
            }
        };
        (topics, state.assigned.iter().map(gauges).collect())
    }
}

/// Dropped with the task that holds it: when the group has ended, or with the runtime.
struct RuntimeWatch(Arc<Group>);

impl Drop for RuntimeWatch {
    fn drop(&mut self) {
        self.0.runtime_gone();
    }
}

/// What the group needs for its end when its runtime is gone. There are no tasks left to wait for;
/// what still runs is on threads for blocking work, and has nobody to report to.
const RUNTIME_GONE: Duration = Duration::from_secs(1);

/// Offsets are negative while unknown.
fn known(offset: i64) -> Option<i64> {
    (offset >= 0).then_some(offset)
}
