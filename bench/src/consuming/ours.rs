//! The library, through its public API.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use eventstream::{Batch, Concurrency, Context, Event, Payload, StartOffset, State, Subscribe};

use crate::consuming::{Count, HANDLERS, WORK};
use crate::event::{NAME, Read};
use crate::measure::Figures;
use crate::observed::Observed;
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

/// One event at a time, for comparison.
pub(crate) fn one_by_one(run: &Run) -> Result<Figures> {
    async fn handle(event: Event, State(count): State<Arc<Count>>) {
        std::hint::black_box(&event);
        count.add();
    }
    consume(run, |subscribe, count| {
        subscribe.state(count).on(NAME, handle)
    })
}

/// Up to 500 events at a time.
pub(crate) fn batches(run: &Run) -> Result<Figures> {
    async fn handle(events: Vec<Event>, State(count): State<Arc<Count>>) {
        for event in events {
            std::hint::black_box(&event);
            count.add();
        }
    }
    let batch = Batch::up_to(500).within(Duration::from_millis(100));
    consume(run, |subscribe, count| {
        subscribe.state(count).on_batch(NAME, batch, handle)
    })
}

/// The payload as an argument.
pub(crate) fn payload(run: &Run) -> Result<Figures> {
    async fn handle(Payload(read): Payload<Read>, State(count): State<Arc<Count>>) {
        std::hint::black_box(read.weight());
        count.add();
    }
    consume(run, |subscribe, count| {
        subscribe.state(count).on(NAME, handle)
    })
}

/// The handler decodes the payload.
pub(crate) fn decode(run: &Run) -> Result<Figures> {
    async fn handle(event: Event, State(count): State<Arc<Count>>) -> eventstream::Result<()> {
        let read: Read = event.payload().decode()?;
        std::hint::black_box(read.weight());
        count.add();
        Ok(())
    }
    consume(run, |subscribe, count| {
        subscribe.state(count).on(NAME, handle)
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

fn consume<S: Send + Sync + 'static>(
    run: &Run,
    handler: impl FnOnce(Subscribe, Arc<Count>) -> Subscribe<S>,
) -> Result<Figures> {
    let runtime = tokio::runtime::Runtime::new()?;
    let observed = Observed::new(run.observing)?;
    let client = observed.client(run).build()?;
    let count = Arc::new(Count::new(run.events));
    // Without a group id, a new group is used.
    let subscribe = Subscribe::new(run.topic.as_str()).offset(StartOffset::Head);
    runtime.block_on(async {
        let subscription = client
            .register(handler(subscribe, Arc::clone(&count)))
            .await?;
        let waiting = tokio::task::spawn_blocking(move || count.wait());
        let figures = waiting.await??;
        subscription.stop(Duration::from_secs(10)).await?;
        let left = client.shutdown(Duration::from_secs(10)).await;
        ensure!(left.is_empty());
        observed.flush()?;
        Ok(figures)
    })
}
