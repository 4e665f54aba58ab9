use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::admission::Left;
use super::causes::Causes;
use super::connecting::Connecting;
use super::instance::Instance;
use super::{Inner, ProducerOptions};
use crate::error::{Error, ErrorKind, Result};
use crate::guard;
use crate::kafka::context::Reporter;
use crate::kafka::native::{Report, Throttled};
use crate::observe::metrics::{OnStatistics, StoredMeter};
use crate::observe::trace;
use crate::publish::Undelivered;
use crate::publish::receipt::Stored;

/// The callback for events that failed after they were accepted.
pub(crate) type OnError = Arc<dyn Fn(Undelivered) + Send + Sync>;

/// How long the delivery thread sleeps in librdkafka when nothing happens. It is woken for
/// everything that matters; this bounds what a missed wake-up could cost.
pub(super) const IDLE: Duration = Duration::from_secs(1);

/// The same while it waits for a purge, which a publisher in the middle of its call may outrun.
const PURGING: Duration = Duration::from_millis(20);

/// An instance that is lost within this time after its creation is replaced no sooner: whatever kills each new one at
/// once, such as a missing right, must not cause a storm of new clients. It doubles with each instance lost before
/// anything was stored.
const LIFETIME: Duration = Duration::from_secs(1);
const LIFETIME_MAX: Duration = Duration::from_secs(30);

/// The number of reports whose room is released together.
const TOGETHER: usize = 256;

/// Events without an outcome for this long are late, and then the brokers' responses are of
/// interest.
const LATE: Duration = Duration::from_secs(1);
/// How long to listen, which is more than librdkafka waits between two attempts. Then there is a pause, as each
/// request costs a few log lines.
const LISTENING: Duration = Duration::from_millis(1200);
const DEAF: Duration = Duration::from_secs(10);
/// How often to check that.
const LOOK_LATE: Duration = Duration::from_millis(500);

pub(super) const TELLING: &str = "reporting an outcome panicked in a waker or a log subscriber";
const LOGGING: &str = "logging a line of librdkafka panicked in a log subscriber";

/// What reports give back: room, and wake-ups for outcomes. For many reports together, the room first: if publishers
/// were woken one by one, they would return for one place at a time, and librdkafka would send as many requests.
#[derive(Default)]
struct Told {
    left: Left,
    wakers: Vec<Waker>,
    /// Events that had an outcome before their report, which is still to come.
    late: usize,
}

/// librdkafka's callbacks of a producer, on the delivery thread, which no called code may end.
pub(crate) struct DeliveryContext {
    client: Arc<str>,
    reporter: Arc<Reporter>,
    statistics: OnStatistics,
    causes: Arc<Causes>,
    /// Whether the debug log is for the user.
    passes_on: bool,
}

impl DeliveryContext {
    pub(super) fn new(options: &ProducerOptions, causes: Arc<Causes>, passes_on: bool) -> Self {
        Self {
            client: Arc::clone(&options.name),
            reporter: Arc::clone(&options.reporter),
            statistics: options.meter.producer_statistics(),
            causes,
            passes_on,
        }
    }
}

impl ClientContext for DeliveryContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        let is_debug = matches!(level, RDKafkaLogLevel::Debug);
        if is_debug {
            self.causes.line(facility, message, Instant::now());
        }
        // A fatal error is reported where the instance is given up, with its meaning.
        if (self.passes_on || !is_debug) && facility != "FATAL" {
            guarded(&self.client, LOGGING, || {
                self.reporter.log(level, facility, message);
            });
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() != Some(Code::Fatal) {
            guarded(&self.client, LOGGING, || {
                self.reporter.error(&error, reason);
            });
        }
    }

    fn stats_raw(&self, json: &[u8]) {
        guarded(&self.client, "reading statistics panicked", || {
            (self.statistics)(json);
        });
    }
}

impl Throttled for DeliveryContext {
    fn throttled(&self, broker: &str, wait: Duration) {
        self.causes.quota(broker, wait, Instant::now());
    }
}

/// Runs code that may call foreign code: a panicking waker or log subscriber must not end the thread.
fn guarded(client: &str, panicked: &'static str, tell: impl FnOnce()) {
    if guard::guarded(tell).is_none() {
        // The subscriber may be what panicked.
        guard::tracing::error!(client, "{panicked}");
    }
}

/// Starts the thread that serves an instance's delivery reports.
pub(super) fn spawn(inner: Arc<Inner>, instance: Arc<Instance>) -> Result<()> {
    std::thread::Builder::new()
        .name("eventstream-delivery".to_owned())
        .spawn(move || run(&inner, instance))
        .map(drop)
        .map_err(|e| {
            Error::new(ErrorKind::Config, "start the delivery thread")
                .with_retriable(true)
                .with_source(e)
        })
}

fn run(inner: &Arc<Inner>, first: Arc<Instance>) {
    /// However the thread ends, those who wait for its end are notified.
    struct Ending<'a>(&'a Inner);
    impl Drop for Ending<'_> {
        fn drop(&mut self) {
            self.0.admission.close();
            self.0.current.clear();
            self.0.ended.send_replace(true);
            self.0.replaced.send_replace(());
            for waker in self.0.alarms.end() {
                self.0.guarded(TELLING, || waker.wake());
            }
        }
    }
    let _ending = Ending(inner);
    let mut told = Told::default();
    let mut lifetime = LIFETIME;
    let mut next = Some(first);
    while let Some(instance) = next {
        let stored = inner.counters.stored_so_far();
        next = match serve(inner, &instance, &mut told) {
            Ended::Stopped => None,
            Ended::Abandoned => {
                fail_all(inner, &instance, &mut told);
                None
            }
            Ended::Lost => {
                if inner.counters.stored_so_far() > stored {
                    lifetime = LIFETIME;
                }
                retire(inner, &instance, &mut told);
                let due = if inner.standing.code().is_some() {
                    Instant::now() + lifetime
                } else {
                    instance.born + lifetime
                };
                lifetime = (lifetime * 2).min(LIFETIME_MAX);
                rebuild(inner, due)
            }
        };
        // It ends here, on this thread, since destroying a librdkafka client may block: its topics
        // are gone with `clear`, or go with it.
        inner.current.clear();
        if let Some(next) = &next {
            inner.current.set(next);
            inner.replaced.send_replace(());
        }
        drop(instance);
    }
}

enum Ended {
    Stopped,
    Abandoned,
    Lost,
}

fn serve(inner: &Inner, instance: &Instance, told: &mut Told) -> Ended {
    let mut meter = inner.options.meter.stored();
    let mut purges = Purges::default();
    let mut ears = Ears::default();
    let mut connecting = Connecting::new(instance);
    loop {
        let wait = connecting.wait(inner, instance, inner.wait(instance));
        inner.serve_once(instance, wait, told, &mut meter);
        told.late += inner.expire(&mut told.left);
        inner.give_back(told);
        inner.note_answer(instance);
        if inner.is_abandoned() {
            return Ended::Abandoned;
        }
        if instance.native.fatal_error().is_some() {
            return Ended::Lost;
        }
        let now = Instant::now();
        inner.look_around(now);
        ears.turn(inner, instance, now);
        if inner.is_purging() {
            purges.purge(instance);
        }
        if inner.is_finished() && instance.native.outstanding() == 0 {
            return Ended::Stopped;
        }
    }
}

/// When to read the brokers' responses to each request.
#[derive(Default)]
struct Ears {
    open: bool,
    next: Option<Instant>,
}

impl Ears {
    fn turn(&mut self, inner: &Inner, instance: &Instance, now: Instant) {
        if self.next.is_some_and(|next| now < next) {
            return;
        }
        let late = !self.open && inner.admission.oldest(now) >= LATE;
        if self.open || late {
            instance.listen(late);
        }
        let pause = match (self.open, late) {
            (true, _) => DEAF,
            (false, true) => LISTENING,
            (false, false) => LOOK_LATE,
        };
        self.open = late;
        self.next = Some(now + pause);
    }
}

/// Takes a lost instance away from publishers and fails its events. None of them is in the next
/// one, so order within a key holds among later events.
fn retire(inner: &Inner, lost: &Instance, told: &mut Told) {
    let (code, reason) = lost
        .native
        .fatal_error()
        .unwrap_or((Code::Fatal, String::new()));
    let client = &*inner.options.name;
    let outstanding = lost.native.outstanding();
    let known = inner
        .refusal(code)
        .map(|error| inner.standing.set(code, error));
    if known.is_none() {
        inner.guarded(LOGGING, || {
            tracing::error!(
                client,
                ?code,
                reason,
                outstanding,
                "the producer cannot continue and is replaced; its events are reported as failed"
            );
        });
    }
    fail_all(inner, lost, told);
    // Afterwards the error names a topic.
    if let (Some(known), Some(problem)) = (known, inner.standing.problem()) {
        let error = problem.error();
        let refused = "the brokers do not allow this client to publish anything; the next publish tries again";
        inner.guarded(LOGGING, || {
            if known {
                tracing::debug!(client, %error, reason, outstanding, "{refused}");
            } else {
                tracing::error!(client, %error, reason, outstanding, "{refused}");
            }
        });
    }
}

/// Takes an instance away from publishers and fails what it holds. What a publisher has not passed on yet is not waited
/// for: its future may not be polled any more.
fn fail_all(inner: &Inner, instance: &Instance, told: &mut Told) {
    inner.current.clear();
    let mut meter = inner.options.meter.stored();
    let mut purges = Purges::default();
    while instance.native.outstanding() > 0 {
        purges.purge(instance);
        inner.serve_once(instance, PURGING, told, &mut meter);
        inner.look_around(Instant::now());
    }
}

/// Not for each event served: with librdkafka's debug log, a purge adds more than one line to the queue, and the
/// reports behind them would never be reached.
#[derive(Default)]
struct Purges {
    next: Option<Instant>,
}

impl Purges {
    fn purge(&mut self, instance: &Instance) {
        let now = Instant::now();
        if self.next.is_none_or(|next| now >= next) && instance.native.outstanding() > 0 {
            instance.native.purge();
            self.next = Some(now + PURGING);
        }
    }
}

/// A new instance, not before `due`; `None` if the client ends before one is needed.
fn rebuild(inner: &Inner, mut due: Instant) -> Option<Arc<Instance>> {
    const LOOK: Duration = Duration::from_millis(20);
    loop {
        if inner.is_finished() || inner.is_abandoned() {
            return None;
        }
        let now = Instant::now();
        inner.look_around(now);
        if now < due {
            std::thread::sleep(LOOK);
            continue;
        }
        inner.standing.expire();
        if inner.standing.code().is_some() && !inner.standing.wait(IDLE) {
            continue;
        }
        match Instance::new(&inner.options, &inner.causes) {
            Ok(instance) => {
                inner.counters.rebuilt();
                inner.options.meter.rebuilt();
                return Some(Arc::new(instance));
            }
            // Creating a client fails for lack of threads or memory; waiting events are not lost.
            Err(error) => {
                let client = &*inner.options.name;
                inner.guarded(LOGGING, || {
                    tracing::error!(client, %error, "cannot create a new producer; retrying");
                });
                due = Instant::now() + LIFETIME;
            }
        }
    }
}

/// librdkafka counts milliseconds; rounding down would spin through the last one.
pub(super) fn round_up(wait: Duration) -> Duration {
    Duration::from_millis(u64::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(u64::MAX))
}

impl Inner {
    /// How long librdkafka may sleep.
    fn wait(&self, instance: &Instance) -> Duration {
        if self.is_purging() && instance.native.outstanding() > 0 {
            return PURGING;
        }
        let timed = self.timed.lock().next_deadline();
        let next = timed.into_iter().chain(self.alarms.next()).min();
        next.map_or(IDLE, |at| {
            at.saturating_duration_since(Instant::now()).min(IDLE)
        })
    }

    /// Handles what is due: waiters, and unreported failures.
    fn look_around(&self, now: Instant) {
        for waker in self.alarms.due(now) {
            self.guarded(TELLING, || waker.wake());
        }
        self.guarded(LOGGING, || self.gathered.look(now));
    }

    /// The shutdown deadline has passed.
    pub(super) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::SeqCst)
    }

    /// Whether to fail everything in librdkafka: the brokers refuse this client and have never accepted it, or the
    /// client ends and all events have an outcome.
    pub(super) fn is_purging(&self) -> bool {
        self.options.reporter.refused().is_some()
            || (self.stopping.load(Ordering::SeqCst) && self.admission.pending() == 0)
    }

    /// Notices that a broker accepts this client, which a producer is not notified of.
    fn note_answer(&self, instance: &Instance) {
        let reporter = &self.options.reporter;
        if !reporter.was_accepted() && instance.native.has_metadata() {
            reporter.accepted();
        }
    }

    /// Nothing is in flight, and nothing more will come.
    fn is_finished(&self) -> bool {
        self.stopping.load(Ordering::SeqCst) && self.admission.in_flight().0 == 0
    }

    /// Serves one event of librdkafka, which may hold many reports.
    fn serve_once(
        &self,
        instance: &Instance,
        wait: Duration,
        told: &mut Told,
        meter: &mut StoredMeter,
    ) {
        let mut answered = false;
        let client = instance.native.client();
        instance.queue.serve(client, round_up(wait), &mut |report| {
            told.left.room(&report.slot);
            if report.error.is_none() && !answered {
                answered = true;
                self.options.reporter.accepted();
                self.standing.clear();
            }
            // Only this thread completes slots. Each outcome counts once.
            if told.late > 0 && report.slot.is_done() {
                told.late -= 1;
            } else {
                told.left.outcome(&report.slot);
                self.guarded(TELLING, || self.reported(&report, meter, &mut told.wakers));
            }
            if told.left.len() >= TOGETHER {
                self.give_back(told);
            }
        });
        self.give_back(told);
    }

    fn give_back(&self, told: &mut Told) {
        let for_room = if told.left.is_empty() {
            Vec::new()
        } else {
            self.admission.release_all(&mut told.left)
        };
        for waker in for_room.into_iter().chain(told.wakers.drain(..)) {
            self.guarded(TELLING, || waker.wake());
        }
    }

    pub(super) fn guarded(&self, panicked: &'static str, tell: impl FnOnce()) {
        guarded(&self.options.name, panicked, tell);
    }

    /// One delivery report: the outcome goes to the receipt, whose waker is called later; a failure also goes to the
    /// callback.
    fn reported(&self, report: &Report<'_>, meter: &mut StoredMeter, wakers: &mut Vec<Waker>) {
        let topic = report.topic;
        let Some(code) = report.error else {
            let bytes = report.size();
            self.counters.stored(bytes);
            meter.stored(topic.key(), || topic.name(), report.partition, bytes);
            if let Some(witness) = &self.options.witness {
                witness.stored(topic.name(), report.partition, report.offset);
            }
            wakers.extend(report.slot.store(Stored {
                partition: report.partition,
                offset: report.offset,
                timestamp_ms: report.timestamp_ms,
            }));
            self.end_span(&report.slot, |span| {
                trace::stored(span, report.partition, report.offset);
            });
            return;
        };
        self.fail(report, code);
    }
}
