//! When a subscription is over.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use eventstream::{Client, ErrorKind, MetadataQuery, Problem, Subscription, Topic};
use tokio_util::sync::CancellationToken;

use super::problems::Problems;
use super::select::{Bounds, QUIET};
use crate::output;
use crate::signals::Interrupt;

/// Why it is over.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// All lines are written, or nobody reads them any more.
    Written,
    Idle,
    /// The selection was read to its end.
    Reached,
    Interrupted,
}

/// What has come, and when.
#[derive(Default)]
pub(super) struct Activity {
    lines: AtomicU64,
    waiting: AtomicU64,
    latest: Mutex<Option<Instant>>,
}

impl Activity {
    /// A line is on its way to whoever reads it, for as long as this is kept.
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

    /// Lets the silence count from now on.
    pub(super) fn start(&self) {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn latest(&self) -> Option<Instant> {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A handler may be cancelled while it waits, so it is the end of this that counts.
pub(super) struct Waiting<'a>(&'a Activity);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether the topic exists. A broker that lets nobody in, or that nobody can reach, is told now
/// and not after an endless silence; and so is what has to be waited for.
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
            "without a leader, and read once they have one: partitions {ids} of {topic}"
        ));
    }
    Ok(true)
}

/// What is looked at.
pub(super) struct Watch<'a> {
    pub(super) client: &'a Client,
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

impl Watch<'_> {
    pub(super) async fn until_end(self) -> anyhow::Result<End> {
        let ended = self.subscription.ended();
        tokio::pin!(ended);
        let mut assigned = false;
        let mut seen = (0, 0);
        loop {
            tokio::select! {
                () = self.written.cancelled() => return Ok(End::Written),
                () = self.interrupt.asked() => return Ok(End::Interrupted),
                () = self.problems.ended().cancelled() => {}
                () = &mut ended => {}
                () = tokio::time::sleep(TICK) => {}
            }
            let health = self.subscription.health();
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
            if self.bounds.is_over() {
                return Ok(End::Reached);
            }
            // Records that are passed over count: there is more to come.
            let now = (self.activity.lines(), self.client.reader_stats().records);
            let starts = health.assigned && !assigned;
            if starts || now != seen || self.activity.is_waiting() {
                self.activity.start();
            }
            seen = now;
            assigned |= health.assigned;
            let silent = self.activity.latest().map(|latest| latest.elapsed());
            if let (Some(left), Some(silent)) = (self.bounds.left(), silent)
                && silent >= QUIET
            {
                output::say(&format!(
                    "ended after {}s without a record; the ends of partitions {left:?} have none of their own",
                    QUIET.as_secs()
                ));
                return Ok(End::Reached);
            }
            if let (Some(idle), Some(silent)) = (self.idle, silent)
                && silent >= idle
            {
                return Ok(End::Idle);
            }
        }
    }
}
