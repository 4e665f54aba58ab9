//! The processes of the lives of topics: a publisher that knows which incarnation of its topic it publishes to, and
//! members that write what they handle, what is reported to them, and when they are ready.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering as Atomic};
use std::time::Duration;

use anyhow::Result;
use checker::history::{self, Outcome, Writer};
use clap::{Args, ValueEnum};
use eventstream::{
    Backend, BrokerConfig, Client, CommitPolicy, Context, Error, ErrorKind, Event, Publish,
    SaslMechanism, Security, StartOffset, Subscribe,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use super::Common;
use crate::layout::PREFIX;

const EVENT: &str = "lived";
const SESSION: Duration = Duration::from_secs(6);
const STOP: Duration = Duration::from_secs(30);
const KEYS: u64 = 24;
/// Events are reported as failed while their topic is away, not after a minute.
const TIMEOUT: Duration = Duration::from_secs(15);

#[derive(Args)]
pub(crate) struct LifeMemberArgs {
    #[command(flatten)]
    common: Common,
    #[arg(long)]
    topic: String,
    #[arg(long)]
    group: String,
    /// Begin at the tail
    #[arg(long)]
    tail: bool,
    /// Between commits, in milliseconds
    #[arg(long, default_value_t = 1_000)]
    commit_ms: u64,
    /// Die as by SIGKILL in the middle of an event: the first one, or the first of a recreated topic
    #[arg(long)]
    dies_of: Option<Death>,
    /// Who it is to a broker that asks
    #[arg(long)]
    user: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Death {
    First,
    Anew,
}

#[derive(Args)]
pub(crate) struct LifePublisherArgs {
    #[command(flatten)]
    common: Common,
    #[arg(long)]
    topic: String,
    /// The number of the first event
    #[arg(long)]
    first: u64,
    /// How many; else until SIGTERM
    #[arg(long)]
    count: Option<u64>,
    /// Between events, in milliseconds
    #[arg(long)]
    pace_ms: u64,
    /// Who it is to a broker that asks
    #[arg(long)]
    user: Option<String>,
}

/// With the password that the harness gives a user.
fn identified(config: BrokerConfig, user: Option<&str>) -> BrokerConfig {
    match user {
        Some(user) => {
            let security = Security::sasl(SaslMechanism::Plain, user, format!("{user}-secret"));
            config.security(security.sasl_without_tls(true))
        }
        None => config,
    }
}

/// Tells the publishers to a topic, and those that its next incarnation concerns, which one is
/// current.
pub(crate) fn tell_incarnation(history: &Path, topic: &str, incarnation: u64) -> Result<()> {
    let fresh = history.join(format!("{topic}.incarnation.new"));
    fs::write(&fresh, incarnation.to_string())?;
    fs::rename(&fresh, path(history, topic))?;
    Ok(())
}

fn incarnation(history: &Path, topic: &str) -> u64 {
    // It does not exist before the topic is recreated.
    let text = fs::read_to_string(path(history, topic)).unwrap_or_default();
    text.trim().parse().unwrap_or_default()
}

fn path(history: &Path, topic: &str) -> PathBuf {
    history.join(format!("{topic}.incarnation"))
}

/// A process that cannot write its history proves nothing.
fn note(history: &Writer, event: history::Event<'_>) {
    if let Err(error) = history.write(event) {
        eprintln!("writing the history: {error}");
        std::process::abort();
    }
}

/// Runs until SIGTERM, or until it dies.
pub(crate) async fn member(args: LifeMemberArgs) -> Result<()> {
    let mut terminated = signal(SignalKind::terminate())?;
    let history = Arc::new(Writer::create(&args.common.history, &args.common.name)?);
    let name = args.common.name.as_str();
    let config = BrokerConfig::new()
        .session_timeout(SESSION)
        .commit(CommitPolicy::Interval(Duration::from_millis(
            args.commit_ms,
        )));
    let client = Client::builder(Backend::Kafka)
        .prefix(PREFIX)
        .brokers(args.common.brokers())
        .config(identified(config, args.user.as_deref()))
        .build()?;
    note(
        &history,
        history::Event::Joined(history::Joined {
            member: name,
            group: &args.group,
            topics: vec![&args.topic],
            order: history::Order::Partition,
            output: None,
        }),
    );
    let subscription = client.register(subscribe(&args, &history)).await?;
    let ready = async {
        subscription.ready().await?;
        let tail = args.tail;
        note(
            &history,
            history::Event::Ready(history::Ready { member: name, tail }),
        );
        std::future::pending::<Result<()>>().await
    };
    tokio::select! {
        _ = terminated.recv() => {}
        ended = ready => ended?,
    }
    let clean = subscription.stop(STOP).await.is_ok();
    client.shutdown(STOP).await;
    let member = name;
    note(
        &history,
        history::Event::Left(history::Left { member, clean }),
    );
    history.ended()?;
    Ok(())
}

fn subscribe(args: &LifeMemberArgs, history: &Arc<Writer>) -> Subscribe {
    let start = if args.tail {
        StartOffset::Tail
    } else {
        StartOffset::Head
    };
    let (name, topic): (Arc<str>, Arc<str>) =
        (args.common.name.as_str().into(), args.topic.as_str().into());
    let (told, teller) = (Arc::clone(history), Arc::clone(&name));
    let (history, dies_of) = (Arc::clone(history), args.dies_of);
    // An event of an earlier incarnation may arrive too: events in flight are stored in the new
    // topic.
    let present = incarnation(&args.common.history, &args.topic);
    Subscribe::new(args.topic.as_str())
        .group_id(args.group.as_str())
        .offset(start)
        .on_error(move |error| tell(&told, &teller, &error))
        .on(EVENT, move |context: Context, event: Event| {
            let (name, topic) = (Arc::clone(&name), Arc::clone(&topic));
            let history = Arc::clone(&history);
            async move {
                let id = event.id().parse().map_err(|_| "not of this run")?;
                note(
                    &history,
                    history::Event::Handle(history::Handle {
                        member: &name,
                        topic: &topic,
                        partition: context.partition(),
                        offset: context.offset(),
                        id,
                        key: None,
                        attempt: context.attempt(),
                    }),
                );
                let of: u64 = event.session_id().parse().unwrap_or_default();
                let dies = dies_of.is_some_and(|death| match death {
                    Death::First => true,
                    Death::Anew => present < of,
                });
                if dies {
                    std::process::abort();
                }
                note(
                    &history,
                    history::Event::Handled(history::Handled {
                        member: &name,
                        topic: &topic,
                        partition: context.partition(),
                        offset: context.offset(),
                        outcome: Outcome::Ok,
                    }),
                );
                Ok::<_, &str>(())
            }
        })
}

/// Writes what the group skips. The error has it only as text.
fn tell(history: &Writer, member: &str, error: &Error) {
    eprintln!("{error}");
    if error.kind() != ErrorKind::OffsetReset {
        return;
    }
    let text = error.to_string();
    let Some((topic, partition, range)) = told(&text) else {
        eprintln!("not understood");
        return;
    };
    note(
        history,
        history::Event::Told(history::Told {
            member,
            topic,
            partition,
            from: range.map(|(from, _)| from),
            to: range.map(|(_, to)| to),
        }),
    );
}

/// Topic, partition, and the range, if known.
type Told<'a> = (&'a str, i32, Option<(i64, i64)>);

/// Topic, partition, and what is skipped, if it is a range.
fn told(text: &str) -> Option<Told<'_>> {
    let at = text.find(&format!("{PREFIX}."))?;
    let (place, rest) = text[at + PREFIX.len() + 1..].split_once(": ")?;
    let (topic, partition) = place.rsplit_once('/')?;
    let range = rest.strip_prefix("offsets ").and_then(|rest| {
        let (range, _) = rest.split_once(" were deleted")?;
        let (from, last) = range.split_once(" to ")?;
        Some((from.parse().ok()?, last.parse::<i64>().ok()? + 1))
    });
    Some((topic, partition.parse().ok()?, range))
}

/// Publishes until SIGTERM, or this many events, and waits for every outcome.
pub(crate) async fn publisher(args: LifePublisherArgs) -> Result<()> {
    let mut terminated = signal(SignalKind::terminate())?;
    let common = &args.common;
    let history = Arc::new(Writer::create(&common.history, &common.name)?);
    let config = BrokerConfig::new().publish_timeout(TIMEOUT);
    let client = Client::builder(Backend::Kafka)
        .prefix(PREFIX)
        .brokers(common.brokers())
        .config(identified(config, args.user.as_deref()))
        .build()?;
    let next = AtomicU64::new(0);
    let mut receipts = JoinSet::new();
    let mut pace = tokio::time::interval(Duration::from_millis(args.pace_ms));
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    while args.count != Some(next.load(Atomic::Relaxed)) {
        tokio::select! {
            _ = terminated.recv() => break,
            _ = pace.tick() => {}
        }
        while receipts.try_join_next().is_some() {}
        let number = next.fetch_add(1, Atomic::Relaxed);
        let id = args.first + number;
        let of = incarnation(&common.history, &args.topic);
        note(
            &history,
            history::Event::Publish(history::Publish {
                id,
                topic: &format!("{}#{of}", args.topic),
                key: None,
                seq: number,
            }),
        );
        let event = Publish::new(args.topic.as_str(), EVENT)
            .id(id.to_string())
            .session_id(of.to_string())
            .key((number % KEYS).to_string());
        match client.publish(event).await {
            Ok(receipt) => {
                let history = Arc::clone(&history);
                note(&history, history::Event::Accepted(history::Accepted { id }));
                receipts.spawn(async move {
                    let outcome = match receipt.await {
                        Ok(delivery) => history::Event::Stored(history::Stored {
                            id,
                            partition: delivery.partition(),
                            offset: delivery.offset(),
                        }),
                        Err(error) => history::Event::Failed(history::Failed {
                            id,
                            kind: error.kind().as_str(),
                            reason: error.to_string().into(),
                        }),
                    };
                    note(&history, outcome);
                });
            }
            Err(error) => note(
                &history,
                history::Event::Refused(history::Refused {
                    id,
                    reason: error.to_string().into(),
                }),
            ),
        }
    }
    // Whatever is pending fails with the shutdown.
    client.flush(STOP).await.ok();
    client.shutdown(STOP).await;
    while receipts.join_next().await.is_some() {}
    history.ended()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_error_says_is_read() {
        let deleted = "torture.trimmed/3: offsets 7 to 9 were deleted before this group read them";
        assert_eq!(told(deleted), Some(("trimmed", 3, Some((7, 10)))));
        let anew =
            "torture.reborn/0: the topic was deleted and recreated; it is read from its head";
        assert_eq!(told(anew), Some(("reborn", 0, None)));
        assert_eq!(told("no place"), None);
    }
}
