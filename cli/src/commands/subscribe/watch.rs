//! When a subscription ends.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use eventstream::{Client, Error, ErrorKind, MetadataQuery, Problem, Subscription, Topic};
use tokio_util::sync::CancellationToken;

use super::bounds::{Bounds, ends};
use super::problems::Problems;
use super::select::Select;
use crate::output;
use crate::signals::Interrupt;

/// Why it ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// All lines are written, or the reader is gone.
    Written,
    Idle,
    /// The selection was read to its end.
    Reached,
    Interrupted,
}

/// What has been read, and when.
#[derive(Default)]
pub(super) struct Activity {
    lines: AtomicU64,
    waiting: AtomicU64,
    latest: Mutex<Option<Instant>>,
}

impl Activity {
    /// Counts a line as being written until this is dropped.
    pub(super) fn waiting(&self) -> Waiting<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(self)
    }

    pub(super) fn line(&self) {
        self.lines.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn lines(&self) -> u64 {
        self.lines.load(Ordering::Relaxed)
    }

    fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Restarts the idle time.
    pub(super) fn start(&self) {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn latest(&self) -> Option<Instant> {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A guard, as a handler may be cancelled while it waits.
pub(super) struct Waiting<'a>(&'a Activity);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether the topic exists. Brokers that refuse this client or are unreachable are reported now,
/// as is anything that must be waited for; otherwise the command would wait in silence.
pub(super) async fn reach(
    client: &Client,
    topic: &Topic,
    patience: Duration,
) -> anyhow::Result<bool> {
    let query = MetadataQuery::new().topic(topic.as_str());
    let metadata = client.query_metadata(query, patience).await?;
    let Some(found) = metadata.topics.into_iter().next() else {
        // This stream has no topics.
        return Ok(true);
    };
    match found.error {
        Some(error) if error.kind() == ErrorKind::UnknownTopic => {
            output::say(&format!("topic {topic} does not exist yet; waiting for it"));
            return Ok(false);
        }
        Some(error) if error.is_final() => return Err(error.into()),
        _ => {}
    }
    let leaderless = found.partitions.iter().filter(|p| p.leader.is_none());
    let leaderless: Vec<_> = leaderless.map(|p| p.id.to_string()).collect();
    if !leaderless.is_empty() {
        let ids = leaderless.join(", ");
        output::say(&format!(
            "partitions without a leader, not read until they have one: {ids} of {topic}"
        ));
    }
    Ok(true)
}

/// What decides when the subscription ends.
pub(super) struct Watch<'a> {
    pub(super) client: &'a Client,
    pub(super) topic: &'a Topic,
    pub(super) select: &'a Select,
    pub(super) patience: Duration,
    pub(super) subscription: &'a Subscription,
    pub(super) activity: &'a Activity,
    pub(super) bounds: &'a Bounds,
    pub(super) problems: &'a Problems,
    /// No more lines are written.
    pub(super) written: &'a CancellationToken,
    pub(super) idle: Option<Duration>,
    pub(super) interrupt: &'a Interrupt,
}

const TICK: Duration = Duration::from_millis(20);
/// A partition's end may have no record: it was compacted away, or is a transaction marker. After this
/// long without a record, the end counts as reached, if the leaders answered half-way: then what there is
/// would have come.
const QUIET: Duration = Duration::from_secs(10);
const HALF: Duration = Duration::from_secs(5);

impl Watch<'_> {
    pub(super) async fn until_end(self) -> anyhow::Result<End> {
        let ended = self.subscription.ended();
        tokio::pin!(ended);
        let mut assigned = false;
        let mut seen = (0, 0);
        // When a record could not have come.
        let mut troubled = Instant::now();
        let mut answered = None;
        loop {
            tokio::select! {
                () = self.written.cancelled() => return Ok(End::Written),
                () = self.interrupt.asked() => return Ok(End::Interrupted),
                () = self.problems.ended().cancelled() => {}
                () = &mut ended => {}
                () = tokio::time::sleep(TICK) => {}
            }
            let health = self.subscription.health();
            if !health.connected || !health.problems.is_empty() {
                troubled = Instant::now();
            }
            let mut problems = health.problems.into_iter();
            let fatal =
                problems.find(|problem| problem.error().is_final() || self.subscription.is_ended());
            let fatal = fatal.map(Problem::into_error);
            if let Some(error) = self.problems.fatal().or(fatal) {
                return Err(error.into());
            }
            if self.subscription.is_ended() {
                anyhow::bail!("the subscription has ended");
            }
            if self.bounds.is_due() {
                match self.interrupt.or(self.find_ends()).await {
                    Some(found) => found?,
                    None => return Ok(End::Interrupted),
                }
            }
            if self.bounds.is_over() {
                return Ok(End::Reached);
            }
            // Records that are filtered out count too, as more may follow.
            let now = (self.activity.lines(), self.client.reader_stats().records);
            let starts = health.assigned && !assigned;
            if starts || now != seen || self.activity.is_waiting() {
                self.activity.start();
            }
            seen = now;
            assigned |= health.assigned;
            let silent = self.activity.latest().map(|latest| latest.elapsed());
            let quiet = silent.map(|silent| silent.min(troubled.elapsed()));
            if let (Some(left), Some(quiet)) = (self.bounds.left(), quiet)
                && quiet >= HALF
            {
                let since = answered.map(|answered: Instant| answered.elapsed());
                match since.filter(|since| *since < quiet) {
                    Some(since) if since >= QUIET - HALF => {
                        output::say(&format!(
                            "no record for {} s: partitions {left:?} count as read, since their last offsets have no records",
                            QUIET.as_secs()
                        ));
                        return Ok(End::Reached);
                    }
                    Some(_) => {}
                    None => match self.interrupt.or(self.do_answer(&left)).await {
                        Some(true) => answered = Some(Instant::now()),
                        Some(false) => troubled = Instant::now(),
                        None => return Ok(End::Interrupted),
                    },
                }
            }
            if let (Some(idle), Some(silent)) = (self.idle, silent)
                && silent >= idle
            {
                return Ok(End::Idle);
            }
        }
    }

    /// Finds out where to end, now that the time has come; an outage is waited for.
    async fn find_ends(&self) -> anyhow::Result<()> {
        let wanted = |partition| self.select.chooses(partition);
        match ends(self.client, self.topic, self.patience, wanted).await {
            Ok(ends) => self.bounds.end_at(ends),
            Err(error) if is_final(&error) => return Err(error),
            Err(_) => {}
        }
        Ok(())
    }

    /// Whether the leaders of these partitions answer.
    async fn do_answer(&self, left: &[i32]) -> bool {
        let wanted = |partition| left.contains(&partition);
        let ends = ends(self.client, self.topic, HALF, wanted).await;
        ends.is_ok_and(|ends| ends.len() == left.len())
    }
}

fn is_final(error: &anyhow::Error) -> bool {
    error.downcast_ref().is_some_and(Error::is_final)
}
