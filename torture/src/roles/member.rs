//! A member of a group: writes each event that its handler is given before the handler returns.

use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering as Atomic};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use checker::history::{self, Outcome, Sample, Writer};
use clap::Args;
use eventstream::{
    Backend, Backoff, BrokerConfig, Client, Concurrency, Context, Event, Exhausted, Metrics,
    Publish, Retry, StartOffset, Subscribe,
};
use prometheus::core::Collector as _;
use prometheus::proto::MetricFamily;
use tokio::signal::unix::{SignalKind, signal};

use super::behaviour::{Act, act};
use super::workers::Workers;
use super::{Common, sample};
use crate::control::Moods;
use crate::layout::{self, GroupPlan, PREFIX};

/// How long a member may take to stop.
pub(crate) const STOP: Duration = Duration::from_secs(30);
/// As short as an impatient service would set it: a killed member's partitions stall for this long.
const SESSION: Duration = Duration::from_secs(6);
const DRAIN: Duration = Duration::from_secs(10);
const SAMPLE: Duration = Duration::from_secs(1);
/// A panic that the default hook need not print.
const WANTED: &str = "as the run wants it";

#[derive(Args)]
pub(crate) struct MemberArgs {
    #[command(flatten)]
    common: Common,
    #[arg(long)]
    group: String,
    /// Its place in the group; a member that takes the place of another has the same
    #[arg(long)]
    slot: usize,
}

pub(super) struct Member {
    name: String,
    pub(super) plan: &'static GroupPlan,
    history: Writer,
    pub(super) moods: Moods,
    handled: AtomicU64,
    metrics: Metrics,
}

/// Runs until SIGTERM, then leaves its group cleanly.
pub(crate) async fn run(args: MemberArgs) -> Result<()> {
    let plan = layout::group(&args.group).context("no such group")?;
    let common = args.common;
    be_quiet_about_wanted_panics();
    // Before the history starts: whoever sees that may stop the process cleanly.
    let mut terminated = signal(SignalKind::terminate())?;
    let member = Arc::new(Member {
        history: Writer::create(&common.history, &common.name)?,
        moods: Moods::follow(&common.history),
        name: common.name.clone(),
        plan,
        handled: AtomicU64::new(0),
        metrics: Metrics::new(),
    });
    let client = Client::builder(Backend::Kafka)
        .prefix(PREFIX)
        .brokers(common.brokers())
        .config(config(plan))
        .metrics(&member.metrics)
        .build()?;
    member.note(history::Event::Joined(history::Joined {
        member: &member.name,
        group: plan.name,
        topics: plan.topics().collect(),
        order: match plan.concurrency {
            Concurrency::PerKey(_) => history::Order::Key,
            _ => history::Order::Partition,
        },
        output: plan.copies_to,
    }));
    let mut workers = Workers::start(&client, &member, args.slot).await?;
    let mut second = tokio::time::interval(SAMPLE);
    loop {
        tokio::select! {
            _ = terminated.recv() => break,
            _ = second.tick() => member.sample(&client),
            changed = workers.change() => changed?,
        }
    }
    let clean = workers.stop().await;
    let undelivered = client.shutdown(STOP).await;
    member.note(history::Event::Left(history::Left {
        member: &member.name,
        clean,
    }));
    member.history.ended()?;
    if !undelivered.is_empty() {
        bail!("{} dead letters had no outcome", undelivered.len());
    }
    Ok(())
}

fn config(plan: &GroupPlan) -> BrokerConfig {
    let config = BrokerConfig::new()
        .assignment(plan.assignment)
        .client_id(plan.name)
        .statistics_interval(SAMPLE);
    // With the new protocol, the broker decides.
    if plan.assignment == eventstream::Assignment::Consumer {
        config
    } else {
        config.session_timeout(SESSION)
    }
}

/// A registration for these names of a topic.
pub(super) fn subscribe(
    member: &Arc<Member>,
    slot: usize,
    topic: &'static str,
    names: &[&'static str],
) -> Subscribe {
    let plan = member.plan;
    let backoff = Backoff::default()
        .initial(Duration::from_millis(20))
        .max(Duration::from_millis(500));
    let retry = match plan.attempts {
        Some(attempts) => Retry::attempts(attempts).then(Exhausted::DeadLetter),
        None => Retry::forever(),
    };
    let mut subscribe = Subscribe::new(topic)
        .group_id(plan.name)
        .offset(StartOffset::Head)
        .concurrency(plan.concurrency)
        .drain_timeout(DRAIN)
        .retry(retry.backoff(backoff))
        .dead_letters(plan.attempts.is_some())
        .on_error(|error| eprintln!("{error}"));
    if plan.is_static {
        subscribe = subscribe.group_instance_id(format!("{}-{slot}", plan.name));
    }
    if plan.copies_to.is_some() {
        subscribe = subscribe.exactly_once();
    }
    for name in names {
        let member = Arc::clone(member);
        subscribe = subscribe.on(*name, move |context, event| {
            let member = Arc::clone(&member);
            async move { member.handle(topic, context, event).await }
        });
    }
    subscribe
}

impl Member {
    async fn handle(
        &self,
        topic: &'static str,
        context: Context,
        event: Event,
    ) -> Result<(), String> {
        let id: u64 = event.id().parse().map_err(|_| "not of this run")?;
        let key = event.key().and_then(|key| key.parse().ok());
        self.note(history::Event::Handle(history::Handle {
            member: &self.name,
            topic,
            partition: context.partition(),
            offset: context.offset(),
            id,
            key,
            attempt: context.attempt(),
        }));
        // Before it can fail: what a failed attempt has published must not be seen.
        if let Some(to) = self.plan.copies_to {
            let copy = copy(&context, &event, topic, to);
            drop(context.publish(copy).await.map_err(|it| it.to_string())?);
        }
        let act = act(id, context.attempt(), self.plan, &self.moods);
        if let Act::SucceedAfter(time) = act {
            tokio::time::sleep(time).await;
        }
        let outcome = match act {
            Act::Succeed | Act::SucceedAfter(_) => Outcome::Ok,
            Act::Fail => Outcome::Error,
            Act::Panic => Outcome::Panic,
        };
        self.handled.fetch_add(1, Atomic::Relaxed);
        self.note(history::Event::Handled(history::Handled {
            member: &self.name,
            topic,
            partition: context.partition(),
            offset: context.offset(),
            outcome,
        }));
        match outcome {
            Outcome::Ok => Ok(()),
            Outcome::Error => Err(WANTED.to_owned()),
            Outcome::Panic => panic!("{WANTED}"),
        }
    }

    /// A member that cannot write its history proves nothing.
    fn note(&self, event: history::Event<'_>) {
        if let Err(error) = self.history.write(event) {
            eprintln!("writing the history: {error}");
            std::process::abort();
        }
    }

    fn sample(&self, client: &Client) {
        self.note(history::Event::Sample(Sample {
            handled: self.handled.load(Atomic::Relaxed),
            in_flight: client.reader_stats().buffered as u64,
            lag: self.lag(),
            ..sample::of_this_process()
        }));
    }

    /// What is not done of the member's partitions, up to their ends as last reported by librdkafka.
    fn lag(&self) -> u64 {
        let families = self.metrics.collect();
        let lags = families
            .iter()
            .filter(|it| it.name().ends_with("_reader_lag"));
        let gauges = lags.flat_map(MetricFamily::get_metric);
        gauges
            .map(|metric| metric.get_gauge().get_value() as u64)
            .sum()
    }
}

fn copy(context: &Context, event: &Event, topic: &str, to: &str) -> Publish {
    let id = layout::copy_id(topic, context.partition(), context.offset());
    let copy = Publish::new(to, "copied").id(id);
    match event.key() {
        Some(key) => copy.key(key),
        None => copy,
    }
}

fn be_quiet_about_wanted_panics() {
    let described = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let wanted = info.payload().downcast_ref::<String>();
        if wanted.is_none_or(|text| text != WANTED) {
            described(info);
        }
    }));
}
