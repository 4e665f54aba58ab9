//! The library, through its public API.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use eventstream::{Client, Receipt};
use futures_util::StreamExt as _;
use tokio::runtime::Runtime;

use crate::event;
use crate::measure::{Figures, Span, quantile};
use crate::observed::Observed;
use crate::scenario::{Run, WARM_UP};

struct Ours<'a> {
    client: Client,
    observed: Observed,
    run: &'a Run,
    key: String,
}

impl<'a> Ours<'a> {
    fn new(run: &'a Run) -> Result<Self> {
        let observed = Observed::new(run.observing)?;
        Ok(Self {
            client: observed.client(run).build()?,
            observed,
            run,
            key: String::new(),
        })
    }

    async fn publish(&mut self, n: u64) -> Result<Receipt> {
        let event = event::of_run(self.run, n, &mut self.key);
        Ok(self.client.publish(event).await?)
    }

    /// Publishes everything and awaits the receipts.
    async fn everything(mut self) -> Result<Figures> {
        let run = self.run;
        let mut receipts = Vec::with_capacity(usize::try_from(run.events)?);
        let span = Span::begin();
        for n in 0..run.events {
            receipts.push(self.publish(n).await?);
        }
        for receipt in receipts {
            receipt.await?;
        }
        self.observed.flush()?;
        let figures = span.end(run.events);
        self.finish(figures).await
    }

    async fn finish(self, figures: Figures) -> Result<Figures> {
        let left = self.client.shutdown(Duration::from_secs(10)).await;
        ensure!(left.is_empty(), "{} events were not delivered", left.len());
        ensure!(self.client.writer_stats().failed == 0, "events failed");
        Ok(figures)
    }
}

/// A service's runtime, as `#[tokio::main]` creates it.
fn runtime() -> Result<Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?)
}

pub(crate) fn all(run: &Run) -> Result<Figures> {
    runtime()?.block_on(async {
        let mut ours = Ours::new(run)?;
        ours.publish(0).await?.await?;
        ours.everything().await
    })
}

pub(crate) fn fresh(run: &Run) -> Result<Figures> {
    runtime()?.block_on(async { Ours::new(run)?.everything().await })
}

pub(crate) fn one_in_flight(run: &Run) -> Result<Figures> {
    runtime()?.block_on(async {
        let mut ours = Ours::new(run)?;
        for n in 0..WARM_UP {
            ours.publish(n).await?.await?;
        }
        let mut latencies = Vec::new();
        let span = Span::begin();
        for n in 0..run.events {
            let start = Instant::now();
            ours.publish(n).await?.await?;
            latencies.push(start.elapsed());
        }
        let mut figures = span.end(run.events);
        latencies.sort_unstable();
        figures.p50 = quantile(&latencies, 0.5);
        figures.p99 = quantile(&latencies, 0.99);
        ours.finish(figures).await
    })
}

pub(crate) fn some_in_flight(run: &Run, in_flight: u64) -> Result<Figures> {
    runtime()?.block_on(async {
        let mut ours = Ours::new(run)?;
        ours.publish(0).await?.await?;
        let client = &ours.client;
        let span = Span::begin();
        let mut outcomes = futures_util::stream::iter(0..run.events)
            .map(|n| {
                let event = event::of_run(run, n, &mut String::new());
                client.publish_sync(event)
            })
            .buffer_unordered(usize::try_from(in_flight)?);
        while let Some(outcome) = outcomes.next().await {
            outcome?;
        }
        drop(outcomes);
        let figures = span.end(run.events);
        ours.finish(figures).await
    })
}
