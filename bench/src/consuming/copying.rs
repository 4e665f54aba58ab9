//! Handlers that publish what they read to another topic.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use eventstream::{
    BrokerConfig, CommitPolicy, Concurrency, Context, Event, Publish, StartOffset, Subscribe,
};
use tokio::sync::Semaphore;

use crate::consuming::{Count, HANDLERS, WORK};
use crate::measure::Figures;
use crate::observed::Observed;
use crate::scenario::Run;

/// How often transactions are committed.
const COMMIT: Duration = Duration::from_millis(100);
/// Copies that wait for their acknowledgement at once, without transactions.
const AT_ONCE: usize = 1_000;

pub(crate) fn at_least_once(run: &Run) -> Result<Figures> {
    copying(run, |subscribe, target, done| {
        let subscribe = subscribe.concurrency(Concurrency::PerKey(AT_ONCE));
        subscribe.on_any(move |cx: Context, event: Event| {
            let (copy, done) = (copy(&event, &target), done.clone());
            async move {
                // The offset may advance once the copy is stored.
                cx.publish(copy).await?.await?;
                done.add();
                anyhow::Ok(())
            }
        })
    })
}

pub(crate) fn exactly_once(run: &Run) -> Result<Figures> {
    in_transactions(run, AT_ONCE, None)
}

/// Handlers that take time, in parallel by key, on one partition.
pub(crate) fn keys(run: &Run) -> Result<Figures> {
    in_transactions(run, usize::try_from(HANDLERS)?, Some(WORK))
}

fn in_transactions(run: &Run, at_once: usize, work: Option<Duration>) -> Result<Figures> {
    copying(run, |subscribe, target, done| {
        let subscribe = subscribe.concurrency(Concurrency::PerKey(at_once));
        subscribe
            .exactly_once()
            .on_any(move |cx: Context, event: Event| {
                let (copy, done) = (copy(&event, &target), done.clone());
                async move {
                    if let Some(work) = work {
                        async_io::Timer::after(work).await;
                    }
                    drop(cx.publish(copy).await?);
                    done.add();
                    anyhow::Ok(())
                }
            })
    })
}

fn copy(event: &Event, target: &str) -> Publish {
    Publish::from(event).topic(target)
}

/// Events that are handled.
#[derive(Clone)]
struct Done {
    count: Arc<Count>,
    handled: Arc<Semaphore>,
}

impl Done {
    fn add(&self) {
        self.count.add();
        self.handled.add_permits(1);
    }
}

/// From the first event until all are committed.
fn copying<S: Send + Sync + 'static>(
    run: &Run,
    handler: impl FnOnce(Subscribe, String, Done) -> Subscribe<S>,
) -> Result<Figures> {
    let runtime = tokio::runtime::Runtime::new()?;
    let config = BrokerConfig::new().commit(CommitPolicy::Interval(COMMIT));
    let observed = Observed::new(run.observing)?;
    let client = observed.client(run).config(config).build()?;
    let target = harness::unique_topic("copies");
    harness::Admin::new(&run.brokers)?.create_topic(&target, 4, 1, &[])?;
    let done = Done {
        // The end of the subscription is counted too.
        count: Arc::new(Count::new(run.events + 1)),
        handled: Arc::new(Semaphore::new(0)),
    };
    let subscribe = Subscribe::new(run.topic.as_str())
        .group_id(&target)
        .offset(StartOffset::Head);
    runtime.block_on(async {
        let subscription = client
            .register(handler(subscribe, target, done.clone()))
            .await?;
        let all = u32::try_from(run.events).context("more events than can be counted")?;
        done.handled.acquire_many(all).await?.forget();
        subscription.stop(Duration::from_secs(10)).await?;
        done.count.add();
        let figures = done.count.wait()?;
        let left = client.shutdown(Duration::from_secs(10)).await;
        ensure!(left.is_empty());
        observed.flush()?;
        Ok(figures)
    })
}
