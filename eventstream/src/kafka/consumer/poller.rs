//! The polling thread of one group: librdkafka's consumer lives and dies on it.
//!
//! It reads records and hands them to the partitions' tasks, answers rebalances, commits, and
//! carries out what the tasks ask for. It never runs a handler, so the group never loses its
//! member to a slow one; it waits for the tasks only while a partition is taken away, and serves
//! their wishes meanwhile.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering as Atomic;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{
    BaseConsumer, CommitMode as KafkaCommit, Consumer, ConsumerContext, RebalanceProtocol,
};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::topic_partition_list::Offset;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::assignment::{self, KnownPartitions};
use super::driver::{Driver, DriverOptions, Shared, ToPartition};
use super::events::{ConsumerQueue, Event, Message, TopicPartition};
use super::group::Group;
use crate::delivery::{self, CommitMode, PartitionConfig, Sabotage};
use crate::error::{Error, ErrorKind, Result};
use crate::handler::{Record, Source};
use crate::kafka::context::Reporter;
use crate::kafka::error::{classify, from_code, from_kafka};

/// What the polling thread is asked for. Partitions are named by the number of their assignment: a
/// task that ends late must not speak for a partition that has come back since.
pub(super) enum ToPoller {
    Commit {
        number: u64,
        up_to: i64,
    },
    /// A partition's machine is full, or is no longer.
    Pause(u64),
    Resume(u64),
    /// A partition's inbox has room again.
    Room,
    /// A partition's task has ended.
    Drained(u64),
    RoutesChanged,
    StopSubscription {
        registration: Option<u32>,
        error: Error,
    },
    Rejoin,
    /// Drain within this time, leave the group, end.
    Stop(Duration),
}

/// The way to the polling thread: sends, and ends the poll it may be blocked in.
#[derive(Clone)]
pub(super) struct PollerHandle {
    pub(super) commands: Sender<ToPoller>,
    pub(super) queue: Arc<Mutex<Option<ConsumerQueue>>>,
}

impl PollerHandle {
    pub(super) fn send(&self, command: ToPoller) {
        // A poller that is gone has given up all partitions: nothing is left to ask for.
        if self.commands.send(command).is_ok()
            && let Some(queue) = &*self.queue.lock()
        {
            queue.wake();
        }
    }
}

/// librdkafka's callbacks of a consumer. Rebalances and commits come as events instead.
struct PollerContext {
    reporter: Arc<Reporter>,
}

impl ClientContext for PollerContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.reporter.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.reporter.error(&error, reason);
    }
}

impl ConsumerContext for PollerContext {}

/// One assigned partition, as the polling thread sees it.
struct Assigned {
    name: TopicPartition,
    number: u64,
    shared: Arc<Shared>,
    words: mpsc::UnboundedSender<ToPartition>,
    inbox: mpsc::Sender<Vec<Record>>,
    /// Records read and not yet handed over.
    batch: Vec<Record>,
    machine_full: bool,
    inbox_full: bool,
    /// Since when it is full; its reading goes on until [`GRACE`] has passed.
    full_since: Option<Instant>,
    paused: bool,
    committed: i64,
    ended: bool,
}

impl Assigned {
    fn is_full(&self) -> bool {
        self.machine_full || self.inbox_full
    }

    /// Hands over what was read, and says how many records and bytes; what does not fit stays.
    fn flush(&mut self) -> (usize, usize) {
        if self.batch.is_empty() {
            return (0, 0);
        }
        self.shared.starved.store(true, Atomic::Release);
        match self.inbox.try_reserve() {
            Ok(room) => {
                self.shared.starved.store(false, Atomic::Release);
                let bytes = self.batch.iter().map(Record::size).sum();
                let handed = (self.batch.len(), bytes);
                room.send(std::mem::take(&mut self.batch));
                self.inbox_full = false;
                handed
            }
            Err(_) => {
                self.inbox_full = true;
                (0, 0)
            }
        }
    }
}

/// Batches that wait in a partition's inbox; beside them its machine has its own marks.
pub(super) const INBOX: usize = 8;
/// Records read in one go before they are handed over.
const BATCH: usize = 512;
/// How long a full partition holds up the reading before its fetching is paused. A pause throws
/// away what librdkafka has read ahead, so a handler that is merely a little behind is waited for.
const GRACE: Duration = Duration::from_millis(50);
/// How long the poll sleeps when nothing happens; it is woken for everything that matters.
const IDLE: Duration = Duration::from_millis(500);
/// How long the last commit of partitions that are given up is tried, and how often.
const LAST_COMMIT: Duration = Duration::from_secs(3);
const COMMIT_AGAIN: Duration = Duration::from_millis(100);
const REBUILD_MIN: Duration = Duration::from_secs(1);
const REBUILD_MAX: Duration = Duration::from_secs(30);
/// As long as the Go SDK waits before it joins again.
const REJOIN: Duration = Duration::from_secs(1);

pub(super) struct Poller {
    group: Arc<Group>,
    handle: PollerHandle,
    commands: Receiver<ToPoller>,
    /// Before the consumer, which must outlive it when a panic drops both.
    queue: ConsumerQueue,
    consumer: BaseConsumer<PollerContext>,
    assigned: Vec<Assigned>,
    /// The partition of the last record: runs of one partition are the normal case.
    last: usize,
    known: KnownPartitions,
    subscribed: Vec<String>,
    next_commit: Instant,
    incarnation: u16,
    rejoin_at: Option<Instant>,
    stop: Option<Instant>,
    fatal: Option<Error>,
    commits_wanted: HashMap<u64, i64>,
}

impl Poller {
    /// The body of the polling thread.
    pub(super) fn run(group: &Arc<Group>, handle: &PollerHandle, commands: Receiver<ToPoller>) {
        let mut commands = commands;
        let mut backoff = REBUILD_MIN;
        loop {
            let started = Instant::now();
            let error = match Self::start(group, handle, commands) {
                Ok(mut poller) => {
                    let error = poller.serve();
                    commands = poller.end();
                    match error {
                        Some(error) => error,
                        None => return,
                    }
                }
                Err((error, back)) => {
                    commands = back;
                    error
                }
            };
            if started.elapsed() > REBUILD_MAX {
                backoff = REBUILD_MIN;
            }
            tracing::error!(group = &*group.env.wire_group, %error, ?backoff, "consumer lost, rebuilding it");
            group.tell_all(&error);
            group.set_problem(Some(error));
            if stop_wanted(group, &commands, backoff) {
                return;
            }
            backoff = (backoff * 2).min(REBUILD_MAX);
        }
    }

    fn start(
        group: &Arc<Group>,
        handle: &PollerHandle,
        commands: Receiver<ToPoller>,
    ) -> Result<Self, (Error, Receiver<ToPoller>)> {
        let context = PollerContext {
            reporter: Arc::clone(&group.env.reporter),
        };
        let made = group
            .env
            .consumer_config()
            .create_with_context::<_, BaseConsumer<_>>(context)
            .map_err(|e| from_kafka("create the consumer", e));
        let consumer = match made {
            Ok(consumer) => consumer,
            Err(error) => return Err((error, commands)),
        };
        let queues = (
            ConsumerQueue::new(consumer.client()),
            ConsumerQueue::new(consumer.client()),
        );
        let (Some(queue), Some(waker)) = queues else {
            let error = Error::new(ErrorKind::Fatal, "create the consumer: it has no queue");
            return Err((error, commands));
        };
        *handle.queue.lock() = Some(waker);
        Ok(Self {
            group: Arc::clone(group),
            handle: handle.clone(),
            commands,
            consumer,
            queue,
            assigned: Vec::new(),
            last: 0,
            known: KnownPartitions::default(),
            subscribed: Vec::new(),
            next_commit: Instant::now() + group.env.auto_commit_interval,
            incarnation: 0,
            rejoin_at: None,
            stop: None,
            fatal: None,
            commits_wanted: HashMap::new(),
        })
    }

    /// Polls until it is stopped (`None`) or the consumer is beyond repair.
    fn serve(&mut self) -> Option<Error> {
        self.subscribe();
        loop {
            while let Ok(command) = self.commands.try_recv() {
                self.command(command);
            }
            self.commit_wanted();
            if let Some(deadline) = self.stop {
                self.drain_all(deadline.saturating_duration_since(Instant::now()));
                return None;
            }
            if self.assigned.iter().any(|a| a.words.is_closed()) {
                // Those that were told to end are no longer in the list.
                self.fatal = Some(Error::new(
                    ErrorKind::Fatal,
                    "consume: the task of a partition ended by itself",
                ));
            }
            if self.fatal.is_some() {
                self.lose_all();
                return self.fatal.take();
            }
            let now = Instant::now();
            if now >= self.next_commit {
                self.commit_watermarks(KafkaCommit::Async);
                self.next_commit = now + self.group.env.auto_commit_interval;
            }
            if self.rejoin_at.is_some_and(|at| now >= at) {
                self.rejoin_at = None;
                self.subscribe();
            }
            match self.backpressure(now) {
                Some(wait) => match self.commands.recv_timeout(wait) {
                    Ok(command) => self.command(command),
                    Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
                },
                None => self.read(),
            }
        }
    }

    /// Reads what there is, at most a batch for each partition, and hands it over.
    fn read(&mut self) {
        let until = self
            .rejoin_at
            .map_or(self.next_commit, |at| at.min(self.next_commit));
        let mut wait = until
            .saturating_duration_since(Instant::now())
            .min(IDLE)
            .max(Duration::from_millis(1));
        if self.assigned.iter().any(|a| a.inbox_full) {
            wait = wait.min(GRACE);
        }
        for _ in 0..BATCH {
            let mut other = None;
            // The records go straight into the batches; everything else is rare, and needs `self`.
            let (assigned, last) = (&mut self.assigned, &mut self.last);
            let some = self
                .queue
                .poll(self.consumer.client(), wait, &mut |event| match event {
                    Event::Record(message) => take(assigned, last, message),
                    Event::Assign(partitions) => other = Some(Event::Assign(partitions)),
                    Event::Revoke(partitions) => other = Some(Event::Revoke(partitions)),
                    Event::Committed(error, offsets) => {
                        other = Some(Event::Committed(error, offsets));
                    }
                    Event::Error {
                        code,
                        reason,
                        fatal,
                    } => {
                        other = Some(Event::Error {
                            code,
                            reason,
                            fatal,
                        });
                    }
                });
            wait = Duration::ZERO;
            if let Some(event) = other {
                self.flush();
                self.event(event);
                return;
            }
            if !some {
                break;
            }
        }
        self.flush();
    }

    fn flush(&mut self) {
        let (mut records, mut bytes) = (0, 0);
        for assigned in &mut self.assigned {
            let handed = assigned.flush();
            records += handed.0;
            bytes += handed.1;
        }
        let counters = &self.group.env.counters;
        counters.records.fetch_add(records as u64, Atomic::Relaxed);
        counters.bytes.fetch_add(bytes as u64, Atomic::Relaxed);
    }

    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Record(_) => {}
            Event::Assign(partitions) => self.assign(&partitions),
            Event::Revoke(partitions) => self.revoke(&partitions),
            Event::Committed(error, offsets) => self.committed(error, &offsets),
            Event::Error {
                code,
                reason,
                fatal,
            } => self.error(code, &reason, fatal),
        }
    }

    fn error(&mut self, code: Code, reason: &str, fatal: bool) {
        let doing = if reason.is_empty() {
            "consume".to_owned()
        } else {
            format!("consume: {reason}")
        };
        let error = from_code(doing, code);
        if fatal {
            self.fatal = Some(error);
            return;
        }
        tracing::debug!(group = &*self.group.env.wire_group, %error, "consumer error");
        self.group.tell_all(&error);
        let (kind, _) = classify(code);
        if matches!(
            kind,
            ErrorKind::UnknownTopic | ErrorKind::Unauthorized | ErrorKind::Authentication
        ) {
            self.group.set_problem(Some(error));
        }
    }

    fn command(&mut self, command: ToPoller) {
        match command {
            ToPoller::Commit { number, up_to } => {
                let wanted = self.commits_wanted.entry(number).or_insert(up_to);
                *wanted = up_to.max(*wanted);
            }
            ToPoller::Pause(number) => {
                if let Some(assigned) = self.find(number) {
                    assigned.machine_full = true;
                }
            }
            ToPoller::Resume(number) => {
                if let Some(assigned) = self.find(number) {
                    assigned.machine_full = false;
                }
            }
            ToPoller::Room => self.flush(),
            ToPoller::Drained(number) => {
                if let Some(assigned) = self.find(number) {
                    assigned.ended = true;
                }
            }
            ToPoller::RoutesChanged => {
                self.send_routes();
                self.subscribe();
            }
            ToPoller::StopSubscription {
                registration,
                error,
            } => {
                self.group.stop_by_policy(registration, &error);
            }
            ToPoller::Rejoin => {
                if self.rejoin_at.is_none() {
                    self.consumer.unsubscribe();
                    self.subscribed.clear();
                    self.rejoin_at = Some(Instant::now() + REJOIN);
                }
            }
            ToPoller::Stop(deadline) => self.stop = Some(Instant::now() + deadline),
        }
    }

    fn find(&mut self, number: u64) -> Option<&mut Assigned> {
        self.assigned.iter_mut().find(|a| a.number == number)
    }

    fn send_routes(&self) {
        let table = self.group.table();
        for assigned in &self.assigned {
            // A task that has ended needs no routes.
            let _ = assigned.words.send(ToPartition::Routes(Arc::clone(&table)));
        }
    }

    /// Subscribes to the topics of the routes, where they have changed.
    fn subscribe(&mut self) {
        if self.rejoin_at.is_some() {
            return;
        }
        let mut topics: Vec<String> = self
            .group
            .table()
            .topic_names()
            .into_iter()
            .map(|topic| self.group.env.wire_topic(topic))
            .collect();
        topics.sort();
        if topics == self.subscribed || topics.is_empty() {
            return;
        }
        for topic in &topics {
            self.known.meet(&self.consumer, topic);
        }
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        match self.consumer.subscribe(&names) {
            Ok(()) => self.subscribed = topics,
            Err(error) => self.fatal = Some(from_kafka("subscribe", error)),
        }
    }

    /// How long to leave the queue alone because a partition is full; pauses what stays full.
    fn backpressure(&mut self, now: Instant) -> Option<Duration> {
        let (mut pause, mut resume, mut wait) = (Vec::new(), Vec::new(), None);
        for assigned in &mut self.assigned {
            if !assigned.is_full() {
                assigned.full_since = None;
                if std::mem::take(&mut assigned.paused) {
                    resume.push(assigned.name.clone());
                }
                continue;
            }
            if assigned.paused {
                continue;
            }
            let since = *assigned.full_since.get_or_insert(now);
            let left = GRACE.saturating_sub(now - since);
            if left.is_zero() {
                assigned.paused = true;
                pause.push(assigned.name.clone());
            } else {
                wait = Some(wait.map_or(left, |w: Duration| w.min(left)));
            }
        }
        let list = |names: &[TopicPartition]| {
            assignment::list(names.iter().map(|name| (name, Offset::Invalid)))
        };
        if !pause.is_empty()
            && let Err(error) = self.consumer.pause(&list(&pause))
        {
            tracing::warn!(%error, "pause");
        }
        if !resume.is_empty()
            && let Err(error) = self.consumer.resume(&list(&resume))
        {
            tracing::warn!(%error, "resume");
        }
        wait
    }

    // --- rebalances ---

    fn assign(&mut self, partitions: &[TopicPartition]) {
        let env = &self.group.env;
        let starts = assignment::starts(&self.consumer, &mut self.known, partitions, env.start);
        let list = assignment::list(starts.iter().map(|s| (&s.partition, s.offset)));
        let assigned = match self.consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => self.consumer.incremental_assign(&list),
            RebalanceProtocol::Eager | RebalanceProtocol::None => self.consumer.assign(&list),
        };
        if let Err(error) = assigned {
            self.fatal = Some(from_kafka("take the assigned partitions", error));
            return;
        }
        tracing::info!(
            group = &*env.wire_group,
            partitions = partitions.len(),
            "partitions assigned"
        );
        env.counters.rebalances.fetch_add(1, Atomic::Relaxed);
        env.reporter.accepted();
        self.group.set_problem(None);
        for start in starts {
            self.start_partition(start);
        }
        self.group.set_assigned(
            self.assigned
                .iter()
                .map(|a| Arc::clone(&a.shared))
                .collect(),
        );
    }

    fn start_partition(&mut self, start: assignment::Start) {
        let env = &self.group.env;
        let table = self.group.table();
        // Its routes may be gone by now, or not be there yet: its task then waits for the next ones.
        let Some(topic) = env.topic(&start.partition.0) else {
            tracing::error!(topic = start.partition.0, "assigned and not subscribed to");
            return;
        };
        let partition = start.partition.1;
        let source = Arc::new(Source {
            topic: topic.clone(),
            partition,
            lost: CancellationToken::new(),
        });
        let shared = Arc::new(Shared::new(source));
        if let Some(position) = start.commit {
            shared.watermark.store(position, Atomic::Release);
        }
        self.incarnation = self.incarnation.wrapping_add(1);
        let routes = table.topics.get(&topic).cloned().unwrap_or_default();
        let number = env.assignments.fetch_add(1, Atomic::Relaxed);
        let (words, heard) = mpsc::unbounded_channel();
        let (sender, inbox) = mpsc::channel(INBOX);
        let driver = Driver::new(DriverOptions {
            env: Arc::clone(env),
            shared: Arc::clone(&shared),
            table: Arc::clone(&table),
            poller: self.handle.clone(),
            words: heard,
            inbox,
            number,
            config: PartitionConfig {
                commit: env.commit,
                on_unmatched: routes.on_unmatched,
                on_undecodable: routes.on_undecodable,
                incarnation: self.incarnation,
                seed: u64::from(self.incarnation) << 32 | u64::from(partition.unsigned_abs()),
                ..PartitionConfig::default()
            },
        });
        env.tasks.spawn_on(driver.run(), &env.runtime);
        self.assigned.push(Assigned {
            name: start.partition,
            number,
            shared,
            words,
            inbox: sender,
            batch: Vec::new(),
            machine_full: false,
            inbox_full: false,
            full_since: None,
            paused: false,
            committed: -1,
            ended: false,
        });
    }

    fn revoke(&mut self, partitions: &[TopicPartition]) {
        let lost = self.consumer.assignment_lost();
        tracing::info!(
            group = &*self.group.env.wire_group,
            partitions = partitions.len(),
            lost,
            "partitions revoked"
        );
        let names: Vec<TopicPartition> = partitions.to_vec();
        if lost {
            self.lose(&names);
        } else {
            self.drain(&names, self.group.env.drain_timeout());
        }
        // The pause of a partition must not outlive its assignment.
        let paused = self
            .assigned
            .iter()
            .filter(|a| a.paused && names.contains(&a.name));
        let paused = assignment::list(paused.map(|a| (&a.name, Offset::Invalid)));
        if paused.count() > 0
            && let Err(error) = self.consumer.resume(&paused)
        {
            tracing::debug!(%error, "resume what is revoked");
        }
        self.assigned.retain(|a| !names.contains(&a.name));
        self.last = 0;
        let unassigned = match self.consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => self.consumer.incremental_unassign(
                &assignment::list(names.iter().map(|name| (name, Offset::Invalid))),
            ),
            RebalanceProtocol::Eager | RebalanceProtocol::None => self.consumer.unassign(),
        };
        if let Err(error) = unassigned {
            self.fatal = Some(from_kafka("give up the revoked partitions", error));
        }
        self.group.set_assigned(
            self.assigned
                .iter()
                .map(|a| Arc::clone(&a.shared))
                .collect(),
        );
    }

    /// Lets what runs in these partitions finish, then commits. What does not finish in time is
    /// lost to this member, and read again by the next.
    fn drain(&mut self, names: &[TopicPartition], timeout: Duration) {
        let deadline = Instant::now() + timeout;
        self.tell(names, || ToPartition::Revoke);
        if delivery::chosen_sabotage() == Some(Sabotage::RevokeWithoutDrain) {
            self.commit_finally(deadline);
            self.lose(names);
            return;
        }
        self.await_ended(names, deadline);
        self.commit_finally(deadline);
        let late: Vec<_> = self
            .assigned
            .iter()
            .filter(|a| names.contains(&a.name) && !a.ended)
            .map(|a| a.name.clone())
            .collect();
        if !late.is_empty() {
            self.group.cut_short();
            tracing::warn!(
                group = &*self.group.env.wire_group,
                partitions = late.len(),
                "handlers still run at the end of the drain: they are cancelled"
            );
            self.lose(&late);
        }
    }

    fn lose(&mut self, names: &[TopicPartition]) {
        for assigned in self.assigned.iter().filter(|a| names.contains(&a.name)) {
            assigned.shared.watermark.store(-1, Atomic::Release);
            assigned.shared.source.lost.cancel();
        }
        self.tell(names, || ToPartition::Lost);
    }

    fn lose_all(&mut self) {
        let names: Vec<_> = self.assigned.iter().map(|a| a.name.clone()).collect();
        self.lose(&names);
        self.assigned.clear();
        self.group.set_assigned(Vec::new());
    }

    fn drain_all(&mut self, deadline: Duration) {
        let names: Vec<_> = self.assigned.iter().map(|a| a.name.clone()).collect();
        self.drain(&names, deadline);
        self.assigned.clear();
        self.group.set_assigned(Vec::new());
    }

    /// Says a word to partitions.
    fn tell(&self, names: &[TopicPartition], word: impl Fn() -> ToPartition) {
        for assigned in self
            .assigned
            .iter()
            .filter(|a| names.contains(&a.name) && !a.ended)
        {
            // What cannot be told is told to a task that has ended.
            let _ = assigned.words.send(word());
        }
    }

    /// Serves the tasks' wishes until those of these partitions have ended.
    fn await_ended(&mut self, names: &[TopicPartition], deadline: Instant) {
        loop {
            let open = self
                .assigned
                .iter()
                .any(|a| names.contains(&a.name) && !a.ended);
            // A stop may come meanwhile, with less time.
            let deadline = self.stop.map_or(deadline, |stop| stop.min(deadline));
            let left = deadline.saturating_duration_since(Instant::now());
            if !open || left.is_zero() {
                return;
            }
            if let Ok(command) = self.commands.recv_timeout(left) {
                self.command(command);
            }
            self.commit_wanted();
        }
    }

    // --- commits ---

    /// Commits what machines that commit record by record wait for: all at once.
    fn commit_wanted(&mut self) {
        if self.commits_wanted.is_empty() {
            return;
        }
        let wanted = std::mem::take(&mut self.commits_wanted);
        let mode = match self.group.env.commit {
            CommitMode::AsyncEach | CommitMode::Auto => KafkaCommit::Async,
            CommitMode::AfterEach | CommitMode::BeforeProcessing => KafkaCommit::Sync,
        };
        let offsets: Vec<_> = self
            .assigned
            .iter()
            .filter_map(|a| Some((a.name.clone(), *wanted.get(&a.number)?)))
            .collect();
        let ok = self.commit(&offsets, mode);
        for assigned in &mut self.assigned {
            if let Some(up_to) = wanted.get(&assigned.number) {
                if ok && mode as i32 == KafkaCommit::Sync as i32 {
                    assigned.committed = assigned.committed.max(*up_to);
                }
                let up_to = *up_to;
                let _ = assigned.words.send(ToPartition::Committed { up_to, ok });
            }
        }
    }

    /// Commits what the partitions have done before they are given up. A commit that was sent while
    /// the group agrees anew waits at the broker behind this member's own request to join, and is
    /// then refused as one of an older generation. It is sent again, for what is not committed is
    /// handled twice.
    fn commit_finally(&mut self, deadline: Instant) {
        let mut again_until = None;
        while !self.commit_watermarks(KafkaCommit::Sync) {
            // From the first refusal, which may have taken long.
            let until = *again_until.get_or_insert_with(|| Instant::now() + LAST_COMMIT);
            if Instant::now() >= deadline.min(until) {
                return;
            }
            std::thread::sleep(COMMIT_AGAIN);
        }
    }

    /// Commits every watermark that has moved; `false` when that was refused.
    fn commit_watermarks(&mut self, mode: KafkaCommit) -> bool {
        let offsets: Vec<_> = self
            .assigned
            .iter()
            .filter_map(|a| {
                let watermark = a.shared.watermark()?;
                (watermark > a.committed).then(|| (a.name.clone(), watermark))
            })
            .collect();
        if offsets.is_empty() {
            return true;
        }
        let ok = self.commit(&offsets, mode);
        if ok && mode as i32 == KafkaCommit::Sync as i32 {
            self.confirm(&offsets);
        }
        ok
    }

    fn commit(&mut self, offsets: &[(TopicPartition, i64)], mode: KafkaCommit) -> bool {
        let list = assignment::list(offsets.iter().map(|(p, o)| (p, Offset::Offset(*o))));
        match self.consumer.commit(&list, mode) {
            Ok(()) => {
                if mode as i32 == KafkaCommit::Sync as i32 {
                    self.group
                        .env
                        .counters
                        .commits
                        .fetch_add(1, Atomic::Relaxed);
                }
                true
            }
            Err(error) => {
                self.commit_failed(error.rdkafka_error_code());
                false
            }
        }
    }

    /// The outcome of an asynchronous commit.
    fn committed(&mut self, error: Option<Code>, offsets: &[(TopicPartition, i64, Option<Code>)]) {
        if let Some(code) = error {
            self.commit_failed(Some(code));
            return;
        }
        self.group
            .env
            .counters
            .commits
            .fetch_add(1, Atomic::Relaxed);
        let confirmed: Vec<_> = offsets
            .iter()
            .filter(|(_, _, error)| error.is_none())
            .map(|(name, offset, _)| (name.clone(), *offset))
            .collect();
        self.confirm(&confirmed);
    }

    fn confirm(&mut self, offsets: &[(TopicPartition, i64)]) {
        for (name, offset) in offsets {
            if let Some(assigned) = self.assigned.iter_mut().find(|a| a.name == *name) {
                assigned.committed = assigned.committed.max(*offset);
            }
        }
    }

    /// A commit that a rebalance has overtaken is nobody's loss: the next owner reads again.
    fn commit_failed(&self, code: Option<Code>) {
        let code = code.unwrap_or(Code::Unknown);
        let passing = matches!(
            code,
            Code::IllegalGeneration
                | Code::UnknownMemberId
                | Code::RebalanceInProgress
                | Code::NoOffset
                | Code::AssignmentLost
                | Code::State
        );
        let error = from_code("commit offsets", code);
        if passing {
            tracing::debug!(group = &*self.group.env.wire_group, %error, "commit overtaken");
        } else {
            tracing::warn!(group = &*self.group.env.wire_group, %error, "commit failed, tried again");
            self.group.tell_all(&error);
        }
    }

    /// Leaves the group and destroys the consumer, on this thread.
    fn end(self) -> Receiver<ToPoller> {
        self.handle.queue.lock().take();
        let Self {
            commands,
            consumer,
            queue,
            ..
        } = self;
        drop(queue);
        drop(consumer);
        commands
    }
}

/// Waits before a new consumer is made; `true` when the group is stopped meanwhile.
fn stop_wanted(group: &Group, commands: &Receiver<ToPoller>, wait: Duration) -> bool {
    let deadline = Instant::now() + wait;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match commands.recv_timeout(left) {
            Ok(ToPoller::Stop(_)) | Err(RecvTimeoutError::Disconnected) => return true,
            Ok(ToPoller::StopSubscription {
                registration,
                error,
            }) => group.stop_by_policy(registration, &error),
            // The partitions it speaks of are gone; routes are read when the consumer starts.
            Ok(_) => {}
            Err(RecvTimeoutError::Timeout) => return false,
        }
    }
}

/// Puts a record into its partition's batch. One of a partition that is not assigned any more is
/// left: its next owner reads it.
fn take(assigned: &mut [Assigned], last: &mut usize, message: Message<'_>) {
    let (topic, partition) = (message.topic(), message.partition());
    let is = |a: &Assigned| a.name.1 == partition && a.name.0 == topic;
    let found = match assigned.get(*last) {
        Some(a) if is(a) => Some(*last),
        _ => assigned.iter().position(is),
    };
    let Some(at) = found else { return };
    *last = at;
    let to = &mut assigned[at];
    let record = record(&to.shared.source, message);
    to.batch.push(record);
}

fn record(source: &Arc<Source>, message: Message<'_>) -> Record {
    thread_local! {
        static BODY: std::cell::RefCell<Vec<u8>> = const { std::cell::RefCell::new(Vec::new()) };
    }
    let (key, value) = (message.key(), message.value());
    let key_len = key.map_or(0, <[u8]>::len);
    let value_len = value.map_or(0, <[u8]>::len);
    // Key and value in one allocation that events can share.
    let body = BODY.with_borrow_mut(|body| {
        body.clear();
        body.extend_from_slice(key.unwrap_or_default());
        body.extend_from_slice(value.unwrap_or_default());
        Arc::from(body.as_slice())
    });
    Record {
        source: Arc::clone(source),
        offset: message.offset(),
        timestamp_ms: message.timestamp_ms(),
        body,
        key: key.map(|_| 0..key_len),
        value: value.map(|_| key_len..key_len + value_len),
        headers: message.headers(),
        event: None,
    }
}
