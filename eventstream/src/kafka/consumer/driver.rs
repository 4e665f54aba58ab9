//! Passes inputs to one partition's machine and carries out its actions, as a task on the runtime.
//!
//! Handlers run here (per partition, serial) or on tasks of their own (per key); dead letters are
//! written and awaited here. The machine decides; this only executes.

mod calls;
mod failures;
mod intake;
mod pulls;
mod staged;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering as Atomic;
use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::task::task_tracker::TaskTrackerToken;

use self::calls::{Ended, Running, Waiting, next_permit};
use self::failures::Letter;
use self::pulls::Pulls;
use self::staged::Staged;
use super::group::GroupEnv;
use super::routes::{Route, RouteTable, TopicRoutes};
use super::transactor::TransactorHandle;
use super::words::{Failing, PollerHandle, Read, Shared, ToPartition, ToPoller};
use crate::delivery::{Action, Input, Partition, PartitionConfig, Plan, RouteId, Ticket, Time};
use crate::error::Error;
use crate::observe::cadence::Cadence;
use crate::observe::metrics::{Tally, TopicMeter};
use crate::observe::trace::Mark;
use crate::record::Record;
use crate::witness::PartitionWitness;

/// What a task needs.
pub(super) struct DriverOptions {
    pub(super) env: Arc<GroupEnv>,
    pub(super) shared: Arc<Shared>,
    pub(super) table: Arc<RouteTable>,
    pub(super) poller: PollerHandle,
    pub(super) words: mpsc::UnboundedReceiver<ToPartition>,
    pub(super) inbox: mpsc::Receiver<Read>,
    /// The number of this assignment.
    pub(super) number: u64,
    /// Where the group is exactly once.
    pub(super) transactor: Option<TransactorHandle>,
    pub(super) config: PartitionConfig,
}

struct Attached {
    route: Arc<Route>,
    /// Counts this partition among those that still have work of the registration.
    _working: TaskTrackerToken,
    paused: bool,
    closing: bool,
    /// Its time to close is over.
    abandoned: bool,
    /// How many of its records nobody handled since the last report.
    unhandled: usize,
}

/// The last failure of a record in a route.
struct LastError {
    ticket: Ticket,
    route: Option<RouteId>,
    error: Error,
    mark: Mark,
    offset: i64,
    attempts: u32,
    since: Instant,
    /// It is called again.
    again: bool,
}

pub(super) struct Driver {
    env: Arc<GroupEnv>,
    shared: Arc<Shared>,
    poller: PollerHandle,
    words: mpsc::UnboundedReceiver<ToPartition>,
    inbox: mpsc::Receiver<Read>,
    /// Records that were taken from the inbox, and are not with the machine yet.
    coming: std::vec::IntoIter<Record>,
    number: u64,
    machine: Partition<Arc<Record>>,
    topic: TopicRoutes,
    /// Every route known to the machine.
    routes: Vec<Attached>,
    /// Handlers of this partition, one after another.
    running: FuturesUnordered<Running>,
    /// Calls that wait for their registration's only permit, and so have not started.
    waiting: Vec<Waiting>,
    /// Calls whose event waits to be pulled, and so have not started.
    pulls: Pulls,
    /// Handlers on tasks of their own.
    spawned: JoinSet<Ended>,
    letters: FuturesUnordered<Pin<Box<dyn Future<Output = Letter> + Send>>>,
    /// The last error of each record that an action may have to name.
    errors: Vec<LastError>,
    /// The failing record may have changed since health last saw it.
    errors_changed: bool,
    /// When to log failures.
    failures_told: Cadence,
    /// The plan of the last name, as events of one name usually come in runs.
    last_plan: Option<(Box<str>, Plan)>,
    /// Whether keys matter to any route.
    by_key: bool,
    /// Whether any route takes batches, for which arrival times matter.
    has_batches: bool,
    /// Records from the polling thread since progress was last published.
    taken: usize,
    tally: Tally,
    meter: TopicMeter,
    witness: Option<Box<dyn PartitionWitness>>,
    origin: Instant,
    state: State,
    catch_up_until: Option<Instant>,
    /// Exactly once: what is published with records.
    staged: Option<Staged>,
    /// How long cancelled handlers may take to notice.
    grace: Duration,
    /// Last: everything above is gone when this is dropped.
    _departure: Departure,
}

/// Notifies the polling thread that the task has ended, even if its runtime ends it.
struct Departure {
    poller: PollerHandle,
    number: u64,
}

impl Drop for Departure {
    fn drop(&mut self) {
        self.poller.send(ToPoller::Drained(self.number));
    }
}

/// The record that has been failing for longest.
fn failing(errors: &[LastError]) -> Option<Failing> {
    let again = errors.iter().filter(|last| last.again);
    again.min_by_key(|last| last.since).map(|last| Failing {
        offset: last.offset,
        attempts: last.attempts,
        since: last.since,
        error: last.error.clone(),
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Active,
    Draining,
    Lost,
}

/// How many actions are carried out before other tasks of the runtime get a turn.
const TURN: usize = 256;
/// The error of handlers that were cancelled because the time to finish is over.
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
            transactor,
            config,
        } = options;
        let staged = transactor.map(|transactor| Staged::new(transactor, shared.start));
        let grace = env.drain_timeout();
        let wire_topic = env.wire_topic(&shared.source.topic);
        let meter = env.meter.topic(&wire_topic);
        let witness = env.witness.as_ref().map(|witness| {
            let partition = shared.source.partition;
            witness.assigned(&env.wire_group, &wire_topic, partition, shared.start)
        });
        let departure = Departure {
            poller: poller.clone(),
            number,
        };
        let mut driver = Self {
            env,
            shared,
            poller,
            words,
            inbox,
            coming: Vec::new().into_iter(),
            number,
            machine: Partition::new(config),
            topic: TopicRoutes::default(),
            routes: Vec::new(),
            running: FuturesUnordered::new(),
            waiting: Vec::new(),
            pulls: Pulls::new(),
            spawned: JoinSet::new(),
            letters: FuturesUnordered::new(),
            errors: Vec::new(),
            errors_changed: false,
            failures_told: Cadence::new(Duration::from_secs(1), Duration::from_secs(60)),
            last_plan: None,
            by_key: false,
            has_batches: false,
            taken: 0,
            tally: Tally::default(),
            meter,
            witness,
            origin: Instant::now(),
            state: State::Active,
            catch_up_until: None,
            staged,
            grace,
            _departure: departure,
        };
        driver.attach(&table);
        driver
    }

    /// Runs until the partition is given up.
    #[expect(
        clippy::manual_async_fn,
        reason = "an `async fn` would take room for the driver twice, in each of thousands of tasks"
    )]
    pub(super) fn run(mut self) -> impl Future<Output = ()> + Send {
        async move { self.serve().await }
    }

    async fn serve(&mut self) {
        loop {
            let mut turn = 0;
            while turn < TURN {
                match self.machine.poll() {
                    Some(action) => {
                        if self.act(action).await {
                            self.finish().await;
                            return;
                        }
                        turn += 1;
                    }
                    None if self.admit_some() => {}
                    None => break,
                }
            }
            self.publish_progress();
            if turn == TURN {
                while let Ok(word) = self.words.try_recv() {
                    self.heard(word);
                }
                if self.wants_more()
                    && let Ok(read) = self.inbox.try_recv()
                {
                    self.take(read);
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

    /// Waits for one event and passes it to the machine.
    async fn wait(&mut self) {
        let deadline = self
            .machine
            .poll_timeout()
            .map(|at| self.origin + Duration::from_nanos(at.as_nanos()));
        let wants_more = self.wants_more();
        // No branch takes precedence: a stream of records would starve those that are done.
        tokio::select! {
            word = self.words.recv() => match word {
                Some(word) => self.heard(word),
                // The poller ended without a message: it panicked. Nothing may be committed.
                None => self.lose(),
            },
            Some(read) = self.inbox.recv(), if wants_more => self.take(read),
            Some(ended) = self.running.next(), if !self.running.is_empty() => self.ended(ended),
            at = next_permit(&mut self.waiting), if !self.waiting.is_empty() => self.permitted(at),
            number = self.pulls.next_taken() => self.pulled(number),
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
            () = sleep_until(self.catch_up_until), if self.catch_up_until.is_some() => {
                self.catch_up_until = None;
                self.machine.handle(Input::StopCatchingUp);
                self.withdraw(|_| true);
            }
        }
    }

    fn now(&self) -> Time {
        let nanos = self.origin.elapsed().as_nanos();
        Time::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    fn heard(&mut self, word: ToPartition) {
        match word {
            ToPartition::Routes(table) => self.attach(&table),
            ToPartition::Committed { history, up_to, ok } => {
                let now = self.now();
                self.machine.handle(Input::Committed {
                    history,
                    up_to,
                    ok,
                    now,
                });
            }
            ToPartition::Left { records, bytes } => {
                self.machine.handle(Input::Left { records, bytes });
            }
            ToPartition::Revoke { catch_up } => {
                self.state = State::Draining;
                self.catch_up_until = Some(Instant::now() + catch_up);
                self.withdraw(|_| true);
                let until = self.now().after(catch_up);
                self.machine.handle(Input::Revoke { until });
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
        self.withdraw(|_| true);
        self.machine.handle(Input::Lost);
    }

    /// Carries out one action; `true` if the partition is given up.
    async fn act(&mut self, action: Action<Arc<Record>>) -> bool {
        match action {
            Action::Run {
                ticket,
                route,
                attempt,
                body,
                ..
            } => self.start(ticket, route, attempt, body).await,
            Action::RunBatch { route, records } => self.start_batch(route, records),
            Action::DeadLetter(failure) => self.dead_letter(failure),
            Action::Release { ticket } => self.release(ticket),
            Action::Commit { history, up_to } => self.poller.send(ToPoller::Commit {
                number: self.number,
                history,
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
                    self.failure_error(&failure, "the group stops here, according to its policy");
                let told = self.tell(failure.route, &error);
                self.poller.send(ToPoller::StopGroup { told, error });
            }
            Action::Rejoin(failure) => {
                let error = self.failure_error(&failure, "leaving the group to rejoin");
                self.tell(failure.route, &error);
                self.poller.send(ToPoller::Rejoin);
            }
            Action::Orphaned { route } => self.abandon(route),
            Action::RouteDrained { route } => {
                self.tell_unhandled();
                self.routes.retain(|r| r.route.id != route);
                self.errors.retain(|last| last.route != Some(route));
                self.last_plan = None;
            }
            // The partition's token was cancelled when it was lost.
            Action::Cancel { .. } => {}
            Action::Drained => return true,
        }
        false
    }

    fn publish_progress(&mut self) {
        self.hand_over();
        let moved = self.machine.watermark().is_some_and(|watermark| {
            self.shared.watermark.swap(watermark, Atomic::AcqRel) != watermark
        });
        let buffered = self.machine.buffered();
        let mut progress = self.shared.progress.lock();
        // A partition that was idle was not stuck all that time.
        if moved || buffered == 0 || progress.buffered == 0 {
            progress.since = Instant::now();
        }
        if std::mem::take(&mut self.errors_changed) {
            progress.failing = failing(&self.errors);
        }
        let watermark = self.machine.watermark();
        progress
            .blocked
            .take_if(|(offset, _)| watermark > Some(*offset));
        let was_busy = progress.buffered > 0 || self.taken > 0;
        progress.buffered = buffered;
        drop(progress);
        let taken = std::mem::take(&mut self.taken);
        self.shared.on_the_way.fetch_sub(taken, Atomic::AcqRel);
        if was_busy && buffered == 0 {
            self.env.quiet.notify_waiters();
        }
        if let Some(witness) = &mut self.witness {
            witness.progress(watermark.unwrap_or(self.shared.start), buffered);
        }
        self.tell_unhandled();
        self.tell_tally();
    }

    fn tell_tally(&mut self) {
        self.env.counters.add(&self.tally);
        self.meter.add(&mut self.tally);
    }

    /// The end: handlers still running after a loss get a moment to notice, then they are dropped.
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
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_has_room_for_its_driver_once() {
        fn size_of<F>(_: fn(Driver) -> F) -> usize {
            std::mem::size_of::<F>()
        }
        let (task, driver) = (size_of(Driver::run), std::mem::size_of::<Driver>());
        assert!(
            task < 2 * driver,
            "{task} bytes, {driver} of them the driver"
        );
    }
}
