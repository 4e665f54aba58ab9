//! When a subscription is over.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use eventstream::{Client, ErrorKind, Subscription, Topic};
use tokio_util::sync::CancellationToken;

use crate::output;
use crate::signals::Interrupt;

/// Why it is over.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// All lines are written, or nobody reads them any more.
    Written,
    Idle,
    Interrupted,
}

/// What has come, and when.
#[derive(Default)]
pub(super) struct Activity {
    lines: AtomicU64,
    latest: Mutex<Option<Instant>>,
}

impl Activity {
    pub(super) fn line(&self) {
        self.lines.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn lines(&self) -> u64 {
        self.lines.load(Ordering::Relaxed)
    }

    /// Lets the silence count from now on.
    pub(super) fn start(&self) {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn latest(&self) -> Option<Instant> {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the topic exists. A broker that lets nobody in, or that nobody can reach, is told now
/// and not after an endless silence.
pub(super) async fn reach(
    client: &Client,
    topic: &Topic,
    patience: Duration,
) -> anyhow::Result<bool> {
    let metadata = client.metadata(Some(topic.as_str()), patience).await?;
    let error = metadata
        .topics
        .into_iter()
        .find_map(|topic| topic.error)
        .filter(|error| error.kind() == ErrorKind::UnknownTopic);
    if error.is_some() {
        output::say(&format!("topic {topic} does not exist yet; waiting for it"));
    }
    Ok(error.is_none())
}

const TICK: Duration = Duration::from_millis(20);

pub(super) async fn until_end(
    subscription: &Subscription,
    activity: &Activity,
    written: &CancellationToken,
    idle: Option<Duration>,
    interrupt: &Interrupt,
) -> anyhow::Result<End> {
    let ended = subscription.ended();
    let mut assigned = false;
    let mut seen = 0;
    loop {
        tokio::select! {
            () = written.cancelled() => return Ok(End::Written),
            () = interrupt.asked() => return Ok(End::Interrupted),
            () = ended.cancelled() => {}
            () = tokio::time::sleep(TICK) => {}
        }
        let health = subscription.health();
        let fatal = health
            .problems
            .iter()
            .find(|error| error.kind() == ErrorKind::Authentication || ended.is_cancelled());
        if let Some(error) = fatal {
            return Err(error.clone().into());
        }
        if ended.is_cancelled() {
            anyhow::bail!("the subscription has ended");
        }
        let lines = activity.lines();
        if lines > seen || (health.assigned && !assigned) {
            activity.start();
        }
        seen = lines;
        assigned |= health.assigned;
        let silent = activity.latest().map(|latest| latest.elapsed());
        if let (Some(idle), Some(silent)) = (idle, silent)
            && silent >= idle
        {
            return Ok(End::Idle);
        }
    }
}
