//! Consuming a topic from its head, with a handler that counts decoded events; and handlers that
//! take time, in parallel by key.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::event;
use crate::measure::{Figures, Span};
use crate::observed::Observed;
use crate::scenario::Run;

pub(crate) mod copying;
pub(crate) mod floor;
pub(crate) mod ours;

/// Handlers that run concurrently in [`Scenario::Keys`](crate::scenario::Scenario::Keys).
pub(crate) const HANDLERS: u32 = 64;
/// How long each of them takes.
pub(crate) const WORK: Duration = Duration::from_millis(5);

/// How long a run may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Publishes the events that the runs read.
pub(crate) fn fill(run: &Run) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        // Traced if their handling is, so that there are traces to continue.
        let observed = Observed::new(run.observing.upstream())?;
        let client = observed.client(run).build()?;
        let mut key = String::new();
        for n in 0..run.events {
            drop(client.publish(event::of_run(run, n, &mut key)).await?);
        }
        let left = client.shutdown(PATIENCE).await;
        ensure!(left.is_empty() && client.writer_stats().failed == 0);
        Ok(())
    })
}

/// Counts events; the span starts with the first and ends with the last.
pub(crate) struct Count {
    wanted: u64,
    handled: AtomicU64,
    span: Mutex<(Option<Span>, Option<Figures>)>,
    done: Condvar,
}

impl Count {
    pub(crate) fn new(wanted: u64) -> Self {
        Self {
            wanted,
            handled: AtomicU64::new(0),
            span: Mutex::default(),
            done: Condvar::new(),
        }
    }

    pub(crate) fn add(&self) {
        let now = self.handled.fetch_add(1, Ordering::Relaxed) + 1;
        if now != 1 && now != self.wanted {
            return;
        }
        let mut span = self.span.lock().unwrap_or_else(PoisonError::into_inner);
        if now == 1 {
            span.0 = Some(Span::begin());
        } else {
            span.1 = span.0.take().map(|span| span.end(self.wanted));
            self.done.notify_all();
        }
    }

    /// The figures, once the last event is counted.
    pub(crate) fn wait(&self) -> Result<Figures> {
        let span = self.span.lock().unwrap_or_else(PoisonError::into_inner);
        let (span, _) = self
            .done
            .wait_timeout_while(span, PATIENCE, |span| span.1.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        let handled = self.handled.load(Ordering::Relaxed);
        span.1
            .ok_or_else(|| anyhow::anyhow!("{handled} of {} events came", self.wanted))
    }
}
