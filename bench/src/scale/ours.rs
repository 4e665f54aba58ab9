//! The library: one client with all groups.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use eventstream::{BrokerConfig, Client, Context, Event, StartOffset, Subscribe, Subscription};
use futures_util::future::try_join_all;

use super::arrivals::Arrivals;
use super::figures::Figures;
use super::{PATIENCE, Registering, Run};
use crate::measure::cpu;

pub(super) fn run(run: &Run) -> Result<Figures> {
    let runtime = tokio::runtime::Runtime::new()?;
    let client = Client::kafka([run.brokers.as_str()])
        .config(BrokerConfig::new().fetch_wait(Duration::from_millis(run.fetch_wait)))
        .build()?;
    let arrivals = Arc::new(Arrivals::new(run.size));
    let mut figures = Figures::begin()?;

    let (before, start) = (cpu(), Instant::now());
    let subscriptions = runtime.block_on(async {
        let subscriptions = register(run, &client, &arrivals).await?;
        figures.registered = start.elapsed().as_secs_f64();
        let ready = subscriptions.iter().map(Subscription::ready);
        tokio::time::timeout(PATIENCE, try_join_all(ready)).await??;
        anyhow::Ok(subscriptions)
    })?;
    figures.assigned = start.elapsed().as_secs_f64();
    arrivals.publish_and_wait(run)?;
    figures.read = start.elapsed().as_secs_f64();
    figures.read_cpu = (cpu() - before).as_secs_f64();

    figures.rest(run.rest)?;
    let start = Instant::now();
    let arrived = arrivals.publish_and_wait(run);
    figures.rebalances = client.reader_stats().rebalances;
    arrived.with_context(|| format!("after {} rebalances", figures.rebalances))?;
    figures.arrived = start.elapsed().as_secs_f64();

    let start = Instant::now();
    let left = runtime.block_on(client.shutdown(PATIENCE));
    figures.stopped = start.elapsed().as_secs_f64();
    ensure!(left.is_empty() && subscriptions.iter().all(Subscription::is_ended));
    arrivals.check()?;
    Ok(figures)
}

async fn register(
    run: &Run,
    client: &Client,
    arrivals: &Arc<Arrivals>,
) -> Result<Vec<Subscription>> {
    let one = |topic: usize, group: usize| {
        let arrivals = Arc::clone(arrivals);
        let subscribe = Subscribe::new(run.topic(topic))
            .group_id(run.group(group))
            .offset(StartOffset::Tail)
            .on_any(move |_: Context, event: Event| {
                std::hint::black_box(&event);
                arrivals.note(group, topic);
                std::future::ready(anyhow::Ok(()))
            });
        client.register(subscribe)
    };
    let groups = 0..run.size.groups;
    let of_topic = |topic| groups.clone().map(move |group| (topic, group));
    let all = (0..run.size.topics).flat_map(of_topic);
    let mut subscriptions = Vec::new();
    match run.registering {
        Registering::Together => {
            let all = all.map(|(topic, group)| one(topic, group));
            subscriptions = try_join_all(all).await?;
        }
        Registering::InTurn => {
            for (topic, group) in all {
                subscriptions.push(one(topic, group).await?);
            }
        }
        Registering::Settled => {
            for topic in 0..run.size.topics {
                let of_topic = groups.clone().map(|group| one(topic, group));
                let new = try_join_all(of_topic).await?;
                let ready = new.iter().map(Subscription::ready);
                tokio::time::timeout(PATIENCE, try_join_all(ready)).await??;
                subscriptions.extend(new);
            }
        }
    }
    Ok(subscriptions)
}
