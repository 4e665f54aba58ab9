//! The polling thread of one group, on which librdkafka's consumer lives.
//!
//! It reads records and passes them to the partitions' tasks, answers rebalances, commits, and
//! carries out the tasks' requests. It never runs a handler, so the group never evicts its member
//! because of a slow one. It waits for tasks only while a partition is being revoked, and serves
//! their requests meanwhile.

mod assigned;
mod commits;
mod coverage;
mod groupless;
mod leaving;
mod partitions;
mod reading;
mod rebalance;
mod rights;
mod starting;
mod transacting;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode as KafkaCommit, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use self::assigned::Assigned;
use self::commits::Sent;
use self::coverage::Coverage;
use self::partitions::Partitions;
use self::rights::Questions;
use self::starting::{Met, Starting};
use self::transacting::Transacting;
use super::events::{self, ConsumerQueue, Event};
use super::group::Group;
use super::inquiry::Inquiry;
use super::routes::RouteTable;
use super::transactor::{self, TransactorHandle};
use super::words::{PollerHandle, ToPartition, ToPoller};
use crate::deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::guard::tracing;
use crate::kafka::context::{Repeats, Reporter};
use crate::kafka::diagnosis::split;
use crate::kafka::error::{classify, from_code, from_kafka};
use crate::kafka::tokens::Supply;
use crate::observe::metrics::OnStatistics;

/// librdkafka's callbacks of a consumer. Rebalances and commits arrive as events instead.
struct PollerContext {
    reporter: Arc<Reporter>,
    statistics: OnStatistics,
    /// Connection errors from the log, to be reported to the subscriptions.
    heard: Mutex<Vec<Error>>,
}

impl ClientContext for PollerContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        let error = self.reporter.log(level, facility, message);
        self.heard.lock().extend(error);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.reporter.error(&error, reason);
    }

    fn stats_raw(&self, json: &[u8]) {
        (self.statistics)(json);
    }
}

impl ConsumerContext for PollerContext {}

/// How long librdkafka may report nothing about a partition of a recreated topic, not even its end.
const UNREAD: Duration = Duration::from_secs(10);
const REBUILD_MIN: Duration = Duration::from_secs(1);
const REBUILD_MAX: Duration = Duration::from_secs(30);
/// The wait after a refusal that ends a consumer.
const REFUSED: Duration = Duration::from_secs(3);
/// How long to wait before rejoining, as in the Go SDK.
const REJOIN: Duration = Duration::from_secs(1);
/// How often to look whether it has left.
const LEFT: Duration = Duration::from_millis(100);
/// After this long without an assignment, an admitted member has none.
const UNHEARD: Duration = Duration::from_secs(2);
/// After this long, one that had partitions has the same for its new topics: two heartbeats of KIP-848, by default, in
/// which another member can give up a partition and this one get it.
const HEARTBEATS: Duration = Duration::from_secs(11);

/// How often brokers are asked whether they are back, and how long to wait for an answer.
const ASK_EACH: Duration = Duration::from_secs(2);
const ASKING: Duration = Duration::from_millis(500);

pub(super) struct Poller {
    group: Arc<Group>,
    handle: PollerHandle,
    commands: Receiver<ToPoller>,
    /// Before the consumer, which must outlive it when a panic drops both.
    queue: ConsumerQueue,
    inquiry: Inquiry,
    supply: Option<Supply>,
    consumer: BaseConsumer<PollerContext>,
    assigned: Partitions,
    /// Some partition's task has ended since the last look.
    departed: bool,
    starting: Starting,
    subscribed: Vec<String>,
    subscribed_at: Instant,
    /// The group has assigned this member partitions, or none, for its subscriptions.
    is_given: bool,
    next_commit: Instant,
    /// The background commit without an outcome.
    commit_sent: Option<Sent>,
    /// Another commit was requested meanwhile, or this one is not for all partitions.
    commit_again: bool,
    /// The assignment with which the next background commit begins, and the next one that machines wait for.
    commit_from: u64,
    wishes_from: u64,
    incarnation: u16,
    /// To leave the group, and join it again.
    rejoin_wanted: bool,
    rejoin_at: Option<Instant>,
    /// The group has assigned this consumer its partitions, and has not started another rebalance.
    joined: bool,
    stop: Option<Instant>,
    fatal: Option<Error>,
    /// Health shows a refusal; records that arrive disprove it.
    refused: bool,
    /// By assignment: the history and the offset.
    commits_wanted: HashMap<u64, (u32, i64)>,
    repeats: Repeats,
    /// The routes as last sent to the tasks.
    sent: Option<Arc<RouteTable>>,
    /// When to ask whether brokers are back, if all were unreachable.
    ask_at: Instant,
    questions: Questions,
    coverage: Coverage,
    /// Where the group is exactly once.
    transacting: Option<Transacting>,
}

impl Poller {
    /// The body of the polling thread.
    pub(super) fn run(group: &Arc<Group>, handle: &PollerHandle, commands: Receiver<ToPoller>) {
        let transactor = group.env.exactly_once.is_some();
        let transactor = transactor.then(|| transactor::Owner::start(group, handle));
        match transactor.transpose() {
            Ok(owner) => {
                let transactor = owner.as_ref().map(|owner| owner.handle.clone());
                Self::run_with(group, handle, commands, transactor.as_ref());
                if let Some(owner) = owner {
                    owner.end();
                }
            }
            Err(error) => group.fail(error),
        }
    }

    fn run_with(
        group: &Arc<Group>,
        handle: &PollerHandle,
        commands: Receiver<ToPoller>,
        transactor: Option<&TransactorHandle>,
    ) {
        let mut commands = commands;
        let mut backoff = REBUILD_MIN;
        let mut met = HashMap::new();
        loop {
            let started = Instant::now();
            let error = match Self::start(group, handle, commands, transactor.cloned()) {
                Ok(mut poller) => {
                    poller.starting = Starting::new(met);
                    let error = poller.serve();
                    (commands, met) = poller.end();
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
            group.env.meter.rebuilt();
            if error.is_final() && group.is_refused() {
                // It is reported; a retry shows whether it is over.
                if stop_wanted(group, &commands, REFUSED) {
                    return;
                }
                continue;
            }
            tracing::error!(group = &*group.env.wire_group, %error, ?backoff, "consumer lost, rebuilding it");
            // Whoever gets the report finds it in `health`.
            group.set_problem(Some(error.clone()));
            group.tell_all(&error);
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
        transactor: Option<TransactorHandle>,
    ) -> Result<Self, (Error, Receiver<ToPoller>)> {
        group.env.reporter.asked();
        let context = PollerContext {
            reporter: Arc::clone(&group.env.reporter),
            statistics: group.env.meter.statistics(),
            heard: Mutex::default(),
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
            inquiry: Inquiry::new(consumer.client()),
            supply: group.env.reporter.supply(consumer.client()),
            consumer,
            queue,
            assigned: Partitions::default(),
            departed: false,
            starting: Starting::default(),
            subscribed: Vec::new(),
            subscribed_at: Instant::now(),
            is_given: false,
            next_commit: Instant::now() + group.env.commit.interval(),
            commit_sent: None,
            commit_again: false,
            commit_from: 0,
            wishes_from: 0,
            incarnation: 0,
            rejoin_wanted: false,
            rejoin_at: None,
            joined: false,
            stop: None,
            fatal: None,
            refused: false,
            commits_wanted: HashMap::new(),
            repeats: Repeats::default(),
            sent: None,
            ask_at: Instant::now(),
            questions: Questions::default(),
            coverage: Coverage::default(),
            transacting: transactor.map(Transacting::new),
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
            if std::mem::take(&mut self.departed)
                && (self.assigned.iter()).any(|a| a.words.is_closed() && !a.is_aborted)
            {
                // Tasks that were asked to end are no longer in the list.
                self.fatal = Some(Error::new(
                    ErrorKind::Fatal,
                    "consume: the task of a partition ended by itself",
                ));
            }
            if self.fatal.is_some() {
                self.lose_all();
                return self.fatal.take();
            }
            if std::mem::take(&mut self.rejoin_wanted) {
                self.rejoin();
                continue;
            }
            let now = Instant::now();
            if let Some(error) = self.unheard(now) {
                self.drain_all(self.group.env.drain_timeout());
                // A stop that came meanwhile is the end.
                return self.stop.is_none().then_some(error);
            }
            if now >= self.next_commit {
                if self.transacting.is_some() {
                    self.commit_transaction();
                } else {
                    // A refused commit is reported, and retried at the next interval.
                    let _ = self.commit_watermarks(KafkaCommit::Async);
                }
                self.next_commit = now + self.group.env.commit.interval();
            }
            if self.rejoin_at.is_some_and(|at| now >= at) {
                if self.has_left() {
                    self.rejoin_at = None;
                    self.subscribe();
                } else {
                    self.rejoin_at = Some(now + LEFT);
                }
            }
            self.start_aborted();
            self.ask(now);
            self.tell_ready();
            self.ask_again(now);
            self.follow_up(now);
            match self.backpressure(now) {
                Some(wait) => match self.commands.recv_timeout(wait) {
                    Ok(command) => self.command(command),
                    Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
                },
                None => self.read(),
            }
        }
    }

    /// A partition of a recreated topic that librdkafka does not read: it considers the new leaders
    /// outdated while their epochs are below those it remembers of the old topic. A new consumer
    /// remembers none.
    fn unheard(&self, now: Instant) -> Option<Error> {
        if self.starting.remade.is_empty() {
            return None;
        }
        let is_silent = |assigned: &&Assigned| {
            let since = assigned.unheard.filter(|_| !assigned.is_full());
            since.is_some_and(|since| now.saturating_duration_since(since) >= UNREAD)
        };
        let (topic, partition) = &self.assigned.iter().find(is_silent)?.name;
        let text = format!(
            "consume {topic}/{partition}: its topic was recreated, and the partition is not read, because \
             the old leader epochs are remembered; a new consumer forgets them"
        );
        Some(Error::new(ErrorKind::Broker, text).with_retriable(true))
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Assign(partitions) => self.assign(&partitions),
            Event::Revoke(partitions) => self.revoke(&partitions),
            Event::Committed(error, offsets) => self.committed(error, &offsets),
            Event::End(name, offset) => self.read_to(&name, offset),
            Event::OutOfRange(name, cut) => self.interrupt(&name, cut),
            Event::Unreadable(name, code, reason) => self.unreadable(&name, code, &reason),
            Event::Answer(token, answer) => self.answered(token, answer),
            Event::Error {
                code,
                reason,
                topic,
                fatal,
            } => self.error(code, &reason, topic.as_deref(), fatal),
        }
    }

    fn error(&mut self, code: Code, reason: &str, topic: Option<&str>, fatal: bool) {
        if self.group.env.groupless.is_some() && code == Code::GroupAuthorizationFailed {
            // librdkafka looks for a coordinator all the same; it is not used.
            return;
        }
        if let Some(error) = self.group.env.reporter.no_token(reason) {
            // It is in `health` as long as it lasts.
            if self.repeats.is_new(code, reason, Instant::now()) {
                self.group.tell_all(&error);
            }
            return;
        }
        if let Some(error) = self.refused(code, reason, topic) {
            if fatal {
                self.fatal = Some(error);
            }
            return;
        }
        let (kind, _) = classify(code);
        let of_connection = matches!(kind, ErrorKind::Unreachable | ErrorKind::Authentication);
        let error = if of_connection && !fatal && !reason.is_empty() {
            let reporter = &self.group.env.reporter;
            reporter.error(&KafkaError::Global(code), reason)
        } else if reason.is_empty() {
            from_code("consume", code)
        } else {
            from_code(format!("consume: {reason}"), code)
        };
        if fatal {
            self.fatal = Some(error);
            return;
        }
        let (_, text) = split(reason);
        if !of_connection || self.repeats.is_new(code, text, Instant::now()) {
            self.tell_error(error);
        }
    }

    /// Connection errors that librdkafka only logged.
    fn tell_heard(&mut self) {
        let heard = std::mem::take(&mut *self.consumer.context().heard.lock());
        for error in heard {
            let text = error.to_string();
            if self
                .repeats
                .is_new(Code::BrokerTransportFailure, &text, Instant::now())
            {
                self.tell_error(error);
            }
        }
    }

    fn tell_error(&mut self, error: Error) {
        tracing::debug!(group = &*self.group.env.wire_group, %error, "consumer error");
        if matches!(
            error.kind(),
            ErrorKind::UnknownTopic
                | ErrorKind::Unauthorized
                | ErrorKind::Authentication
                | ErrorKind::Unsupported
        ) {
            // A missing topic stays missing although others flow: its assignment clears it.
            self.refused = error.kind() != ErrorKind::UnknownTopic;
            self.group.set_problem(Some(error.clone()));
        }
        self.group.tell_all(&error);
    }

    fn command(&mut self, command: ToPoller) {
        match command {
            ToPoller::Commit {
                number,
                history,
                up_to,
            } => self.wish(number, history, up_to),
            ToPoller::Pause(number) => self.assigned.set_machine_full(number, true),
            ToPoller::Resume(number) => self.assigned.set_machine_full(number, false),
            ToPoller::Room => self.flush(),
            ToPoller::Drained(number) => {
                if let Some(assigned) = self.assigned.numbered(number) {
                    assigned.ended = true;
                    self.departed = true;
                }
            }
            ToPoller::LookAgain => self.group.look_again(),
            ToPoller::RoutesChanged => {
                self.send_routes();
                self.subscribe();
            }
            ToPoller::StopGroup { told, error } => self.group.stop_by_policy(&told, &error),
            ToPoller::Rejoin => self.rejoin_wanted = true,
            ToPoller::Transacted(number) => self.transacted(number),
            ToPoller::Told(offsets) => self.committed_in_transaction(&offsets),
            ToPoller::Again(numbers) => self.aborted(&numbers),
            ToPoller::Stop(time) => {
                // Another one may leave less time, and never more.
                let at = deadline::after(time);
                self.stop = Some(self.stop.map_or(at, |before| before.min(at)));
            }
        }
    }

    /// Leaves the group, even as a static member, and joins it again. Without a subscription librdkafka sends no
    /// heartbeats, so the handlers finish before.
    fn rejoin(&mut self) {
        if self.rejoin_at.is_some() {
            return;
        }
        self.drain_all(self.group.env.drain_timeout());
        if self.stop.is_some() {
            return;
        }
        self.consumer.unsubscribe();
        self.subscribed.clear();
        self.joined = false;
        self.rejoin_at = Some(Instant::now() + REJOIN);
    }

    /// An idle consumer is not notified of brokers that are back, so it asks.
    fn ask_again(&mut self, now: Instant) {
        let reporter = &self.group.env.reporter;
        if now < self.ask_at || !reporter.is_cut_off() {
            return;
        }
        self.ask_at = now + ASK_EACH;
        let topic = self.subscribed.first().map(String::as_str);
        if self.consumer.fetch_metadata(topic, ASKING).is_ok() {
            reporter.accepted();
        }
    }

    /// Reports whether everything assigned to this member is read, from committed starts.
    fn tell_ready(&mut self) {
        let is_settled = self.rejoin_at.is_none()
            && self.starting.is_idle()
            && self.starting.has_met(&self.subscribed)
            && self.assigned.have_started();
        let is_given = self.is_given || self.has_the_same();
        // Asking is a round trip inside librdkafka.
        self.is_given |= is_given && self.joined;
        let is_ready = |topic: &&String| is_given || self.starting.is_absent(topic);
        let ready = self.subscribed.iter().filter(is_ready);
        let ready: Vec<_> = ready.filter(|_| is_settled).collect();
        self.group.set_ready(&ready);
    }

    /// With KIP-848, a member is not notified that it has no partitions, or the same as before.
    fn has_the_same(&self) -> bool {
        let wait = if self.joined { HEARTBEATS } else { UNHEARD };
        self.group.env.broker_assigns()
            && self.subscribed_at.elapsed() >= wait
            && events::membership(self.consumer.client()).generation > 0
    }

    fn send_routes(&mut self) {
        let table = self.group.table();
        // Several changes are handled as one.
        if self
            .sent
            .as_ref()
            .is_some_and(|sent| Arc::ptr_eq(sent, &table))
        {
            return;
        }
        self.sent = Some(Arc::clone(&table));
        for assigned in self.assigned.iter() {
            // A task that has ended needs no routes.
            let _ = assigned.words.send(ToPartition::Routes(Arc::clone(&table)));
        }
    }

    /// Subscribes to the topics of the routes, if they have changed.
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
        self.group.leave_topics_but(&topics);
        if self.group.env.groupless.is_some() {
            self.look_at(topics);
            return;
        }
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        match self.consumer.subscribe(&names) {
            Ok(()) => {
                self.subscribed = topics;
                self.subscribed_at = Instant::now();
                self.is_given = false;
            }
            Err(error) => self.fatal = Some(from_kafka("subscribe", error)),
        }
    }
}

/// Waits before a new consumer is created; `true` if the group is stopped meanwhile.
fn stop_wanted(group: &Group, commands: &Receiver<ToPoller>, wait: Duration) -> bool {
    let deadline = Instant::now() + wait;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match commands.recv_timeout(left) {
            Ok(ToPoller::Stop(_)) | Err(RecvTimeoutError::Disconnected) => return true,
            Ok(ToPoller::StopGroup { told, error }) => group.stop_by_policy(&told, &error),
            // The partitions of these requests are gone; routes are read when the consumer starts.
            Ok(_) => {}
            Err(RecvTimeoutError::Timeout) => return false,
        }
    }
}
