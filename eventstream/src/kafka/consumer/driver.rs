//! Carries inputs into one partition's machine and its actions out: a task on the runtime.
//!
//! Handlers run here (per partition, serial) or on tasks of their own (per key); dead letters are
//! written and awaited here. The machine decides; this only carries.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering as Atomic};
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::Instrument;

use super::group::GroupEnv;
use super::letters::{self, Cause};
use super::poller::{PollerHandle, ToPoller};
use super::routes::{Route, RouteTable, TopicRoutes};
use crate::dead_letter::DeadLetter;
use crate::delivery::{
    Action, Failure, Input, Ordering, Outcome, Partition, PartitionConfig, Plan, Reason, RouteId,
    Ticket, Time,
};
use crate::error::{Error, ErrorKind};
use crate::handler::{self, BoxError, Context, Handler, RawRecord, Record, Source};
use crate::metrics::{Tally, TopicMeter, reason};
use crate::receipt::Delivery;
use crate::trace::{self, Mark};

/// What a partition's task is told, in order and ahead of the records: never more than a few words
/// are on their way, so they need no bound and nobody waits to say them.
pub(super) enum ToPartition {
    Routes(Arc<RouteTable>),
    Committed {
        up_to: i64,
        ok: bool,
    },
    /// Taken away, or the consumer stops: finish what runs, then say so.
    Revoke,
    /// Taken away already, or the time to finish is over.
    Lost,
}

/// What the poller and a partition's task both see.
pub(super) struct Shared {
    pub(super) source: Arc<Source>,
    /// The offset that may be committed; negative: none.
    pub(super) watermark: AtomicI64,
    /// Where the reading started; negative: librdkafka had to find it out.
    pub(super) start: i64,
    /// The last committed offset; negative: not known.
    pub(super) committed: AtomicI64,
    /// Fetching is paused.
    pub(super) paused: AtomicBool,
    /// The inbox was full, and the poller waits to hear of room.
    pub(super) starved: AtomicBool,
    pub(super) progress: Mutex<Progress>,
}

/// Whether a partition gets on.
pub(super) struct Progress {
    /// When the watermark last moved, or there was nothing to do.
    pub(super) since: Instant,
    pub(super) buffered: usize,
    /// The last failure of the record that holds the partition back.
    pub(super) last_failure: Option<Error>,
    /// A dead letter that cannot be written.
    pub(super) blocked: Option<Error>,
}

impl Shared {
    pub(super) fn new(source: Arc<Source>, start: i64) -> Self {
        Self {
            source,
            start,
            committed: AtomicI64::new(-1),
            paused: AtomicBool::new(false),
            watermark: AtomicI64::new(-1),
            starved: AtomicBool::new(false),
            progress: Mutex::new(Progress {
                since: Instant::now(),
                buffered: 0,
                last_failure: None,
                blocked: None,
            }),
        }
    }

    pub(super) fn watermark(&self) -> Option<i64> {
        let watermark = self.watermark.load(Atomic::Acquire);
        (watermark >= 0).then_some(watermark)
    }
}

/// What a task is made with.
pub(super) struct DriverOptions {
    pub(super) env: Arc<GroupEnv>,
    pub(super) shared: Arc<Shared>,
    pub(super) table: Arc<RouteTable>,
    pub(super) poller: PollerHandle,
    pub(super) words: mpsc::UnboundedReceiver<ToPartition>,
    pub(super) inbox: mpsc::Receiver<Vec<Record>>,
    /// The number of this assignment.
    pub(super) number: u64,
    pub(super) config: PartitionConfig,
}

type Running = Pin<Box<dyn Future<Output = Ended> + Send>>;

/// How a handler's call ended.
struct Ended {
    ticket: Ticket,
    route: RouteId,
    result: Result<(), Unhandled>,
    /// How long it took, where that is measured.
    took: Option<Duration>,
    mark: Mark,
}

enum Unhandled {
    Failed(Error),
    Panicked(Error),
    Rejected(Error),
}

impl Unhandled {
    fn error(&self) -> &Error {
        let (Self::Failed(error) | Self::Panicked(error) | Self::Rejected(error)) = self;
        error
    }
}

struct Letter {
    failure: Failure<Arc<Record>>,
    result: Result<Delivery, Error>,
}

struct Attached {
    route: Arc<Route>,
    /// Counts this partition among those that still work for the registration.
    _working: TaskTrackerToken,
    paused: bool,
    closing: bool,
}

/// The last failure of a record in a route.
struct LastError {
    ticket: Ticket,
    route: Option<RouteId>,
    error: Error,
    mark: Mark,
}

pub(super) struct Driver {
    env: Arc<GroupEnv>,
    shared: Arc<Shared>,
    poller: PollerHandle,
    words: mpsc::UnboundedReceiver<ToPartition>,
    inbox: mpsc::Receiver<Vec<Record>>,
    number: u64,
    machine: Partition<Arc<Record>>,
    topic: TopicRoutes,
    /// Every route that the machine knows.
    routes: Vec<Attached>,
    /// Handlers of this partition, in line.
    running: FuturesUnordered<Running>,
    /// Handlers on tasks of their own.
    spawned: JoinSet<Ended>,
    letters: FuturesUnordered<Pin<Box<dyn Future<Output = Letter> + Send>>>,
    /// The last error of each record that a machine's action may have to name.
    errors: Vec<LastError>,
    /// Reused for each call, as long as the last handler has let go of it.
    rejection: Arc<Mutex<Option<String>>>,
    /// The plan of the last name, since runs of one name are the normal case.
    last_plan: Option<(Box<str>, Plan)>,
    tally: Tally,
    meter: TopicMeter,
    origin: Instant,
    state: State,
    /// How long handlers that were cancelled may take to notice.
    grace: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Active,
    Draining,
    Lost,
}

/// How many actions are carried out before other tasks of the runtime get a turn.
const TURN: usize = 256;
/// What handlers get that were cancelled because the time to finish is over.
const LAST_MOMENT: Duration = Duration::from_secs(1);

impl Driver {
    pub(super) fn new(options: DriverOptions) -> Self {
        let DriverOptions {
            env,
            shared,
            table,
            poller,
            words,
            inbox,
            number,
            config,
        } = options;
        let grace = env.drain_timeout();
        let meter = env.meter.topic(&env.wire_topic(&shared.source.topic));
        let mut driver = Self {
            env,
            shared,
            poller,
            words,
            inbox,
            number,
            machine: Partition::new(config),
            topic: TopicRoutes::default(),
            routes: Vec::new(),
            running: FuturesUnordered::new(),
            spawned: JoinSet::new(),
            letters: FuturesUnordered::new(),
            errors: Vec::new(),
            rejection: Arc::default(),
            last_plan: None,
            tally: Tally::default(),
            meter,
            origin: Instant::now(),
            state: State::Active,
            grace,
        };
        driver.attach(&table);
        driver
    }

    /// Runs until the partition is given up.
    pub(super) async fn run(mut self) {
        loop {
            let mut turn = 0;
            while let Some(action) = self.machine.poll() {
                if self.act(action).await {
                    self.finish().await;
                    return;
                }
                turn += 1;
                if turn == TURN {
                    break;
                }
            }
            self.publish_progress();
            if turn == TURN {
                while let Ok(word) = self.words.try_recv() {
                    self.heard(word);
                }
                if self.wants_records()
                    && let Ok(records) = self.inbox.try_recv()
                {
                    self.take(records);
                }
                tokio::task::yield_now().await;
                continue;
            }
            if self.state == State::Lost {
                self.finish().await;
                return;
            }
            self.wait().await;
        }
    }

    /// Waits for one thing to happen and tells the machine.
    async fn wait(&mut self) {
        let deadline = self
            .machine
            .poll_timeout()
            .map(|at| self.origin + Duration::from_nanos(at.as_nanos()));
        let wants_records = self.wants_records();
        // No branch has the first turn: records that keep coming would starve those that are done.
        tokio::select! {
            word = self.words.recv() => match word {
                Some(word) => self.heard(word),
                // The poller is gone without a word: it panicked. Nothing may be committed.
                None => self.lose(),
            },
            Some(records) = self.inbox.recv(), if wants_records => self.take(records),
            Some(ended) = self.running.next(), if !self.running.is_empty() => self.ended(ended),
            Some(joined) = self.spawned.join_next(), if !self.spawned.is_empty() => {
                // A panic of the handler is caught inside; tasks are aborted only at the end.
                if let Ok(ended) = joined {
                    self.ended(ended);
                }
            }
            Some(letter) = self.letters.next(), if !self.letters.is_empty() => self.lettered(letter),
            () = sleep_until(deadline), if deadline.is_some() => {
                self.machine.handle(Input::Tick(self.now()));
            }
        }
    }

    fn now(&self) -> Time {
        let nanos = self.origin.elapsed().as_nanos();
        Time::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// While a topic has no handler here, its records are left where they are: they must not be
    /// acknowledged, for another member, or the next registration, may be there for them.
    fn wants_records(&self) -> bool {
        self.state == State::Active && !self.topic.routes.is_empty()
    }

    fn take(&mut self, records: Vec<Record>) {
        for record in records {
            self.record(record);
        }
        if self.shared.starved.swap(false, Atomic::AcqRel) {
            self.poller.send(ToPoller::Room);
        }
    }

    fn heard(&mut self, word: ToPartition) {
        match word {
            ToPartition::Routes(table) => self.attach(&table),
            ToPartition::Committed { up_to, ok } => {
                let now = self.now();
                self.machine.handle(Input::Committed { up_to, ok, now });
            }
            ToPartition::Revoke => {
                self.state = State::Draining;
                self.machine.handle(Input::Revoke);
            }
            ToPartition::Lost => self.lose(),
        }
    }

    fn lose(&mut self) {
        if self.state == State::Draining {
            // The handlers have had their time.
            self.grace = LAST_MOMENT;
        }
        self.state = State::Lost;
        self.shared.source.lost.cancel();
        self.machine.handle(Input::Lost);
    }

    fn record(&mut self, mut record: Record) {
        let partition = record.source.partition;
        let plan = if self.topic.needs_decoding() {
            match handler::decode(&record) {
                Ok(event) => {
                    let plan = self.plan(event.name(), partition);
                    record.event = Some(event);
                    plan
                }
                Err(error) => {
                    self.tally.undecodable += 1;
                    let plan = self.topic.plan_undecodable(partition);
                    if matches!(plan, Plan::Undecodable) {
                        self.tell(None, &self.context_of(&record, "decode", &error));
                    }
                    plan
                }
            }
        } else {
            self.topic.plan_any(partition)
        };
        if matches!(plan, Plan::Unmatched) {
            self.tally.unmatched += 1;
        }
        self.machine.handle(Input::Record {
            offset: record.offset,
            key: record.key().filter(|key| !key.is_empty()).map(hash),
            size: record.size(),
            body: Arc::new(record),
            plan,
        });
    }

    fn plan(&mut self, name: &str, partition: i32) -> Plan {
        if let Some((last, plan)) = &self.last_plan
            && **last == *name
        {
            return plan.clone();
        }
        let plan = self.topic.plan(name, partition);
        self.last_plan = Some((name.into(), plan.clone()));
        plan
    }

    /// Carries out one action; `true` when the partition is given up.
    async fn act(&mut self, action: Action<Arc<Record>>) -> bool {
        match action {
            Action::Run {
                ticket,
                route,
                attempt,
                body,
                ..
            } => self.start(ticket, route, attempt, body).await,
            Action::DeadLetter(failure) => self.dead_letter(failure),
            Action::Commit { up_to } => self.poller.send(ToPoller::Commit {
                number: self.number,
                up_to,
            }),
            Action::Pause => {
                self.tally.pauses += 1;
                self.poller.send(ToPoller::Pause(self.number));
            }
            Action::Resume => self.poller.send(ToPoller::Resume(self.number)),
            Action::Skipped(failure) => self.skipped(&failure),
            Action::StopSubscription(failure) => {
                let error =
                    self.failure_error(&failure, "the subscription stops, as its policy says");
                let registration = self.registration_of(failure.route);
                self.tell(failure.route, &error);
                self.poller.send(ToPoller::StopSubscription {
                    registration,
                    error,
                });
            }
            Action::Rejoin(failure) => {
                let error = self.failure_error(&failure, "leaving the group to join again");
                self.tell(failure.route, &error);
                self.poller.send(ToPoller::Rejoin);
            }
            Action::RouteDrained { route } => self.routes.retain(|r| r.route.id != route),
            // The partition's token was cancelled when it was lost.
            Action::Cancel { .. } => {}
            Action::Drained => return true,
        }
        false
    }

    async fn start(&mut self, ticket: Ticket, id: RouteId, attempt: u32, record: Arc<Record>) {
        let Some(attached) = self.routes.iter().find(|r| r.route.id == id) else {
            return;
        };
        let route = &attached.route;
        if Arc::get_mut(&mut self.rejection).is_none_or(|r| r.get_mut().is_some()) {
            self.rejection = Arc::default();
        }
        let rejection = Arc::clone(&self.rejection);
        let context = Context {
            record: Arc::clone(&record),
            attempt,
            rejection: Arc::clone(&rejection),
        };
        let mut before = None;
        if attempt > 1 {
            self.tally.retries += 1;
            before = self.find_mark(ticket, Some(id));
        }
        let ordering = route.options.ordering;
        let route = Arc::clone(route);
        let timed = self.meter.is_on();
        let mut running: Running = Box::pin(async move {
            let _permit = match &route.registration.serial {
                // The semaphore is never closed, so there always is a permit.
                Some(serial) => serial.acquire().await.ok(),
                None => None,
            };
            let span = trace::handle(&route.registration.labels, &record, attempt, &before);
            let started = timed.then(Instant::now);
            let call = span.in_scope(|| invoke(&route, context, record));
            let mut handling = std::pin::pin!(finished(call).instrument(span));
            let result = settle(handling.as_mut().await, &rejection);
            let span = handling.span();
            let took = started.map(|started| started.elapsed());
            let mark = match &result {
                Ok(()) => None,
                Err(unhandled) => {
                    trace::fail(span, unhandled.error());
                    trace::mark(span)
                }
            };
            Ended {
                ticket,
                route: id,
                result,
                took,
                mark,
            }
        });
        if let Ordering::PerKey(_) = ordering {
            self.spawned.spawn(running);
            return;
        }
        // Most handlers are done at once; then nothing has to be queued and woken.
        let first = std::future::poll_fn(|cx| Poll::Ready(running.as_mut().poll(cx))).await;
        match first {
            Poll::Ready(ended) => self.ended(ended),
            Poll::Pending => self.running.push(running),
        }
    }

    fn ended(&mut self, ended: Ended) {
        let Ended {
            ticket,
            route,
            result,
            took,
            mark,
        } = ended;
        if let Some(took) = took {
            self.meter.took(took);
        }
        let result = match result {
            Ok(()) => {
                self.tally.handled += 1;
                self.forget_error(ticket, Some(route));
                if let Some(guard) = self.flood_guard(route) {
                    guard.lock().done();
                }
                Outcome::Handled
            }
            Err(unhandled) => {
                let (count, error, rejected) = match unhandled {
                    Unhandled::Failed(error) => (&mut self.tally.failed, error, false),
                    Unhandled::Panicked(error) => (&mut self.tally.panicked, error, false),
                    Unhandled::Rejected(error) => (&mut self.tally.rejected, error, true),
                };
                *count += 1;
                tracing::debug!(
                    topic = %self.shared.source.topic,
                    partition = self.shared.source.partition,
                    %error,
                    "handler failed"
                );
                self.shared.progress.lock().last_failure = Some(error.clone());
                self.forget_error(ticket, Some(route));
                self.errors.push(LastError {
                    ticket,
                    route: Some(route),
                    error,
                    mark,
                });
                if rejected {
                    Outcome::Rejected
                } else {
                    Outcome::Failed { now: self.now() }
                }
            }
        };
        self.machine.handle(Input::Outcome {
            ticket,
            route,
            result,
        });
    }

    fn dead_letter(&mut self, failure: Failure<Arc<Record>>) {
        let producer = Arc::clone(&self.env.producer);
        let cause = Cause {
            error: self
                .find_error(&failure)
                .map_or_else(String::new, |error| with_sources(&error)),
            group: Arc::clone(&self.env.wire_group),
            suffix: Arc::clone(&self.env.dead_letter_suffix),
            labels: Arc::clone(&self.env.labels),
            last: self.find_mark(failure.ticket, failure.route),
        };
        self.letters.push(Box::pin(async move {
            let result = letters::write(&producer, &failure, &cause).await;
            Letter { failure, result }
        }));
    }

    fn lettered(&mut self, letter: Letter) {
        let Letter { failure, result } = letter;
        let stored = result.is_ok();
        match result {
            Ok(delivery) => {
                self.tally.dead_letters[reason(letters::word(failure.reason))] += 1;
                self.tell_dead_letter(&failure, delivery);
                self.shared.progress.lock().blocked = None;
                self.forget_error(failure.ticket, failure.route);
                self.watch_flood(failure.route);
            }
            Err(error) => {
                self.tally.letter_failures += 1;
                let error = Error::new(
                    error.kind(),
                    format!(
                        "dead letter of {}/{} offset {}: it cannot be written, so the offset does \
                         not move; tried again with backoff",
                        self.shared.source.topic, self.shared.source.partition, failure.offset
                    ),
                )
                .with_source(error);
                tracing::warn!(%error, "dead letter failed");
                self.tell(failure.route, &error);
                self.shared.progress.lock().blocked = Some(error);
            }
        }
        let now = self.now();
        self.machine.handle(Input::DeadLettered {
            ticket: failure.ticket,
            route: failure.route,
            stored,
            now,
        });
    }

    /// Tells of a dead letter to whom it belongs: to the route's registration, or to all.
    fn tell_dead_letter(&self, failure: &Failure<Arc<Record>>, delivery: Delivery) {
        let mut told = Vec::new();
        for attached in &self.routes {
            let registration = &attached.route.registration;
            let concerned = failure.route.is_none_or(|id| attached.route.id == id);
            if concerned
                && registration.on_dead_letter.is_some()
                && !told.contains(&registration.id)
            {
                told.push(registration.id);
                let error = self.find_error(failure);
                registration.tell_dead_letter(&DeadLetter::new(
                    &failure.body,
                    failure.attempts,
                    letters::word(failure.reason),
                    error.map_or_else(String::new, |error| with_sources(&error)),
                    delivery.clone(),
                ));
            }
        }
    }

    /// Pauses a registration whose dead letters come too fast.
    fn watch_flood(&self, route: Option<RouteId>) {
        let tripped: Vec<_> = self
            .routes
            .iter()
            .filter(|r| route.is_none_or(|id| r.route.id == id))
            .map(|r| &r.route.registration)
            .filter(|r| r.flood.as_ref().is_some_and(|g| g.lock().dead_lettered()))
            .collect();
        for registration in tripped {
            let error = Error::new(
                ErrorKind::Handler,
                "dead letters come too fast: the subscription is paused until `resume`",
            );
            tracing::error!(topic = %self.shared.source.topic, "{error}");
            registration.tell(&error);
            let mut state = registration.state.lock();
            state.paused = true;
            state.problem = Some(error);
            drop(state);
            self.poller.send(ToPoller::RoutesChanged);
        }
    }

    fn flood_guard(&self, route: RouteId) -> Option<&Mutex<crate::delivery::FloodGuard>> {
        self.routes
            .iter()
            .find(|r| r.route.id == route)
            .and_then(|r| r.route.registration.flood.as_ref())
    }

    fn skipped(&mut self, failure: &Failure<Arc<Record>>) {
        self.tally.skipped[reason(letters::word(failure.reason))] += 1;
        if failure.reason == Reason::Unmatched {
            // Acknowledged by the policy, and counted when it came.
            return;
        }
        if failure.reason != Reason::Undecodable {
            let error = self.failure_error(failure, "passed over, as the policy says");
            self.tell(failure.route, &error);
        }
        self.forget_error(failure.ticket, failure.route);
    }

    fn failure_error(&self, failure: &Failure<Arc<Record>>, what: &str) -> Error {
        let error = Error::new(
            ErrorKind::Handler,
            format!(
                "{}/{} offset {}, {} after {} attempts: {what}",
                self.shared.source.topic,
                self.shared.source.partition,
                failure.offset,
                letters::word(failure.reason),
                failure.attempts,
            ),
        );
        match self.find_error(failure) {
            Some(cause) => error.with_source(cause),
            None => error,
        }
    }

    fn context_of(&self, record: &Record, doing: &str, error: &Error) -> Error {
        Error::new(
            ErrorKind::Decode,
            format!(
                "{doing} {}/{} offset {}",
                record.source.topic, record.source.partition, record.offset
            ),
        )
        .with_source(error.clone())
    }

    fn registration_of(&self, route: Option<RouteId>) -> Option<u32> {
        let route = route?;
        self.routes
            .iter()
            .find(|r| r.route.id == route)
            .map(|r| r.route.registration.id)
    }

    /// Tells an error to the registration of a route, or to all of this topic.
    fn tell(&self, route: Option<RouteId>, error: &Error) {
        if self.env.log_errors {
            tracing::warn!(group = &*self.env.wire_group, %error, "subscription");
        }
        let mut told = Vec::new();
        for attached in &self.routes {
            let registration = &attached.route.registration;
            if route.is_none_or(|id| attached.route.id == id) && !told.contains(&registration.id) {
                told.push(registration.id);
                registration.tell(error);
            }
        }
    }

    fn find_mark(&self, ticket: Ticket, route: Option<RouteId>) -> Mark {
        let mut errors = self.errors.iter();
        errors
            .find(|last| last.ticket == ticket && last.route == route)
            .and_then(|last| Mark::clone(&last.mark))
    }

    fn forget_error(&mut self, ticket: Ticket, route: Option<RouteId>) {
        if !self.errors.is_empty() {
            self.errors
                .retain(|last| !(last.ticket == ticket && last.route == route));
        }
    }

    fn find_error(&self, failure: &Failure<Arc<Record>>) -> Option<Error> {
        if failure.reason == Reason::Undecodable {
            return handler::decode(&failure.body).err();
        }
        self.errors
            .iter()
            .find(|last| last.ticket == failure.ticket && last.route == failure.route)
            .map(|last| last.error.clone())
    }

    /// Brings the machine's routes in line with a new table.
    fn attach(&mut self, table: &Arc<RouteTable>) {
        self.topic = table
            .topics
            .get(&self.shared.source.topic)
            .cloned()
            .unwrap_or_default();
        self.last_plan = None;
        for attached in &mut self.routes {
            let gone = self.topic.routes.iter().all(|r| r.id != attached.route.id);
            if gone && !attached.closing {
                attached.closing = true;
                self.machine.close_route(attached.route.id);
            }
        }
        for route in &self.topic.routes {
            let paused = route.registration.is_paused();
            let known = self.routes.iter_mut().find(|r| r.route.id == route.id);
            let attached = match known {
                Some(attached) => attached,
                None => {
                    self.machine.add_route(route.id, route.options);
                    self.routes.push(Attached {
                        route: Arc::clone(route),
                        _working: route.registration.working.token(),
                        paused: false,
                        closing: false,
                    });
                    let Some(last) = self.routes.last_mut() else {
                        continue;
                    };
                    last
                }
            };
            if attached.paused != paused {
                attached.paused = paused;
                if paused {
                    self.machine.pause_route(route.id);
                } else {
                    self.machine.resume_route(route.id);
                }
            }
        }
    }

    fn publish_progress(&mut self) {
        let moved = self.machine.watermark().is_some_and(|watermark| {
            self.shared.watermark.swap(watermark, Atomic::AcqRel) != watermark
        });
        let buffered = self.machine.buffered();
        let mut progress = self.shared.progress.lock();
        // A partition that was idle has not been stuck all that time.
        if moved || buffered == 0 || progress.buffered == 0 {
            progress.since = Instant::now();
        }
        if moved || buffered == 0 {
            progress.last_failure = None;
        }
        progress.buffered = buffered;
        drop(progress);
        self.tell_tally();
    }

    fn tell_tally(&mut self) {
        self.env.counters.add(&self.tally);
        self.meter.add(&mut self.tally);
    }

    /// The end: what still runs after a loss gets a moment to notice, then it is dropped.
    async fn finish(&mut self) {
        if self.state == State::Lost {
            self.shared.watermark.store(-1, Atomic::Release);
        }
        self.publish_progress();
        let grace = tokio::time::sleep(self.grace);
        tokio::pin!(grace);
        while !self.running.is_empty() || !self.spawned.is_empty() {
            tokio::select! {
                _ = self.running.next(), if !self.running.is_empty() => {}
                _ = self.spawned.join_next(), if !self.spawned.is_empty() => {}
                () = &mut grace => break,
            }
        }
        self.spawned.shutdown().await;
        self.tell_tally();
        self.poller.send(ToPoller::Drained(self.number));
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

type Call = Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>>;

/// Calls a handler, which may panic already here.
fn invoke(route: &Route, context: Context, record: Arc<Record>) -> Result<Call, String> {
    let name = record.event.as_ref().map(crate::event::Event::name);
    let Some(handler) = route.handlers.pick(name) else {
        return Err("the route has no handler for the event".to_owned());
    };
    let call = AssertUnwindSafe(|| match handler {
        Handler::Event(f) => match record.event.clone() {
            Some(event) => f(context, event),
            // A route was given an event without one: only if a table changed from raw handlers
            // to event handlers while the record was on its way.
            None => match handler::decode(&record) {
                Ok(event) => f(context, event),
                Err(error) => Box::pin(std::future::ready(Err(error.into()))),
            },
        },
        Handler::Raw(f) => f(context, RawRecord::new(record)),
    });
    std::panic::catch_unwind(call).map_err(|panic| panic_text(&*panic))
}

async fn finished(call: Result<Call, String>) -> Result<Result<(), BoxError>, String> {
    AssertUnwindSafe(call?)
        .catch_unwind()
        .await
        .map_err(|panic| panic_text(&*panic))
}

fn settle(
    result: Result<Result<(), BoxError>, String>,
    rejection: &Mutex<Option<String>>,
) -> Result<(), Unhandled> {
    let rejected = rejection.lock().take();
    match (result, rejected) {
        (_, Some(reason)) => Err(Unhandled::Rejected(Error::new(ErrorKind::Handler, reason))),
        (Ok(Ok(())), None) => Ok(()),
        (Ok(Err(error)), None) => Err(Unhandled::Failed(
            Error::new(ErrorKind::Handler, "the handler returned an error").with_source(error),
        )),
        (Err(panic), None) => Err(Unhandled::Panicked(Error::new(
            ErrorKind::Handler,
            format!("the handler panicked: {panic}"),
        ))),
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|s| (*s).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}

/// An error with its causes, for a header that has to stand alone.
fn with_sources(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// FNV-1a: short keys, no adversary inside one partition's lanes that a collision would help; two
/// keys that collide share a lane, which keeps the order of both.
fn hash(key: &[u8]) -> u64 {
    key.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
