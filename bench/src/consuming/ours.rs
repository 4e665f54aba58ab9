//! The library, through its public API.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use eventstream::{Client, Concurrency, Context, Event, StartOffset, Subscribe};

use crate::consuming::{Count, HANDLERS, WORK};
use crate::measure::Figures;
use crate::scenario::Run;

pub(crate) fn all(run: &Run) -> Result<Figures> {
    consume(run, |subscribe, count| {
        subscribe.on_any(move |_: Context, event: Event| {
            std::hint::black_box(&event);
            count.add();
            std::future::ready(anyhow::Ok(()))
        })
    })
}

/// Handlers in parallel by key, on one partition.
pub(crate) fn keys(run: &Run) -> Result<Figures> {
    consume(run, |subscribe, count| {
        subscribe
            .concurrency(Concurrency::PerKey(usize::try_from(HANDLERS).unwrap_or(1)))
            .on_any(move |_: Context, _: Event| {
                let count = Arc::clone(&count);
                async move {
                    async_io::Timer::after(WORK).await;
                    count.add();
                    anyhow::Ok(())
                }
            })
    })
}

fn consume(run: &Run, handler: impl FnOnce(Subscribe, Arc<Count>) -> Subscribe) -> Result<Figures> {
    let runtime = tokio::runtime::Runtime::new()?;
    let client = Client::kafka(run.brokers.split(',')).build()?;
    let count = Arc::new(Count::new(run.events));
    // Without a group id it is a fresh one.
    let subscribe = Subscribe::new(run.topic.as_str()).offset(StartOffset::Head);
    runtime.block_on(async {
        let subscription = client
            .register(handler(subscribe, Arc::clone(&count)))
            .await?;
        let waiting = tokio::task::spawn_blocking(move || count.wait());
        let figures = waiting.await??;
        subscription.stop(Duration::from_secs(10)).await;
        let left = client.shutdown(Duration::from_secs(10)).await;
        ensure!(left.is_empty());
        Ok(figures)
    })
}
