//! `copy`: copies the records of one topic to another, unchanged.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use eventstream::{
    Batch, BatchResult, Client, Context, Error, GroupId, MetadataQuery, PublishRaw, RawRecord,
    Retry, StartOffset, Subscribe, Topic,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::commands::subscribe::{Bounds, start, watermarks};
use crate::connection::Connection;
use crate::exit::{Exit, Usage};
use crate::output;
use crate::progress::Progress;
use crate::signals::Interrupt;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Topic to read, without the prefix
    #[arg(long, value_name = "TOPIC")]
    topic: Topic,
    /// Topic to write, without the prefix
    #[arg(long, value_name = "TOPIC")]
    to: Topic,
    /// Brokers of the topic to write, with a --group of the copy to them; other connection options stay the same
    /// [default: --brokers]
    #[arg(long, value_name = "HOST:PORT,...")]
    to_brokers: Option<String>,
    /// Group that keeps the copy's progress, without the prefix; one for each target
    /// [default: copy-TOPIC-TO; required with --to-brokers]
    #[arg(long, value_name = "GROUP")]
    group: Option<GroupId>,
    /// Where to start if the group has no committed offset: tail, head, an offset, or an
    /// RFC 3339 time
    #[arg(long, value_name = "WHERE", default_value = "head", allow_hyphen_values = true, value_parser = start)]
    from: StartOffset,
    /// Stop where the topic ended when the copy started
    #[arg(long)]
    until_end: bool,
    /// Keep each record's partition, whatever its key
    #[arg(long)]
    keep_partitions: bool,
    /// Write each record exactly once, in transactions with the group's offsets; within one cluster
    #[arg(long, conflicts_with = "to_brokers")]
    exactly_once: bool,
    /// At most this many records per second
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
}

pub(crate) const EXAMPLES: &str = "\
Key, value, headers and timestamp are copied byte for byte, whatever the value is. Order within a partition,
and so within a key, is kept. Progress is stored as the group's offsets, so a copy that is started again resumes
where it stopped. Each record is written at least once: after a kill, records in flight (up to 1,000 of each
partition) and those written in the last second may be written again.

With --exactly-once, the writes and offsets of each second are one transaction, so a reader of committed transactions
(isolation.level=read_committed) sees each record once, even if the copy is killed and started again, or runs in several
processes. It requires the rights to write and describe transactional ids that start with the group's name.

With --until-end, the copy is done once the group has committed the ends that the partitions had when it started,
whichever process read up to them; an outage is waited out. Without it, the copy runs until it is interrupted, and then
exits with code 0.

Examples:
  eventstream copy --topic player --to player-v2 --until-end
  eventstream copy --topic player --to player-v2 --until-end --exactly-once
  eventstream copy --topic player --to player --to-brokers kafka-b:9092 --group player-to-b --keep-partitions
  eventstream copy --topic player --to player-sample --from 2026-01-31T08:00:00Z --rate 500 --group sampling";

const STOP: Duration = Duration::from_secs(30);
/// The maximum number of records in flight for each partition.
const BATCH: usize = 1000;
const GATHERED: Duration = Duration::from_millis(20);
/// How often the committed offsets are read once this process has read to the ends.
const ASK_AGAIN: Duration = Duration::from_millis(300);
/// Before that, they are read in one round of so many: each request has its own connection.
const SELDOM: u32 = 10;

/// Where a partition ended when the copy started.
struct End {
    at: i64,
    /// What the group had committed of an earlier topic of this name, or of records that were lost.
    outdated: Option<i64>,
}

impl End {
    fn is_reached(&mut self, committed: Option<i64>) -> bool {
        // Once it has moved, whatever comes is of this topic.
        self.outdated = self.outdated.filter(|_| committed == self.outdated);
        committed >= Some(self.at) && self.outdated.is_none()
    }
}

struct Copying {
    to: Client,
    topic: Topic,
    keep_partitions: bool,
    rate: Option<Rate>,
    progress: Progress,
    /// What this process has left to read.
    bounds: Bounds,
    /// Exactly once: the progress in each partition, as records handled again count once.
    come: Mutex<BTreeMap<i32, i64>>,
    fatal: Mutex<Option<Error>>,
    ended: CancellationToken,
}

pub(crate) async fn run(
    args: &Args,
    connection: &Connection,
    interrupt: &Interrupt,
) -> anyhow::Result<Exit> {
    if args.topic == args.to && args.to_brokers.is_none() {
        let text = format!(
            "--to {}: must differ from --topic, unless --to-brokers is given",
            args.to
        );
        return Err(Usage(text).into());
    }
    let group = match (&args.group, &args.to_brokers) {
        (Some(group), _) => group.as_str().to_owned(),
        (None, None) => format!("copy-{}-{}", args.topic, args.to),
        (None, Some(brokers)) => {
            let text = format!(
                "--group: required with --to-brokers {brokers}, as it keeps the progress of the copy to these brokers"
            );
            return Err(Usage(text).into());
        }
    };
    let from = connection.client()?;
    if args.exactly_once && from.embedded_broker().is_some() {
        let text =
            "--exactly-once: needs a Kafka cluster; the embedded broker keeps no transactions";
        return Err(Usage(text.to_owned()).into());
    }
    let to = match &args.to_brokers {
        Some(brokers) => connection.clone().at(brokers).client()?,
        None => from.clone(),
    };
    let patience = connection.patience();
    let Some(bounds) = interrupt.or(ends(args, &from, &group, patience)).await else {
        return Ok(Exit::Interrupted);
    };
    let (ends, total) = bounds?;
    let at = |ends: &BTreeMap<_, End>| ends.iter().map(|(id, end)| (*id, end.at)).collect();
    let bounds = ends.as_ref().map(at);
    let copying = Arc::new(Copying {
        to: to.clone(),
        topic: args.to.clone(),
        keep_partitions: args.keep_partitions,
        rate: args.rate.map(Rate::new),
        progress: Progress::new(total, false),
        bounds: bounds.map_or_else(Bounds::default, Bounds::at),
        come: Mutex::default(),
        fatal: Mutex::new(None),
        ended: CancellationToken::new(),
    });
    let told = Arc::clone(&copying);
    let subscribe = Subscribe::new(args.topic.as_str())
        .group_id(group.clone())
        .offset(args.from.clone())
        .retry(Retry::forever())
        .on_error(move |error| told.hear(&error))
        .state(Arc::clone(&copying));
    let subscribe = if args.exactly_once {
        subscribe.exactly_once().on_any(stage)
    } else {
        subscribe.on_any_batch(Batch::up_to(BATCH).within(GATHERED), write)
    };
    let started = std::time::Instant::now();
    let subscription = from.register(subscribe).await?;
    let exit = tokio::select! {
        biased;
        () = interrupt.asked() => Ok(Exit::Interrupted),
        () = copying.ended.cancelled() => Ok(Exit::Failed),
        done = copying.committed(&from, &args.topic, &group, ends) => done.map(|()| Exit::Done),
    };
    let stopped = subscription.stop(STOP).await;
    from.shutdown(STOP).await;
    to.shutdown(STOP).await;
    // A bar that has ended is full.
    let copied = copying.progress.position();
    copying.progress.end();
    let rate = copied as f64 / started.elapsed().as_secs_f64().max(0.001);
    output::say(&format!("copied {copied} records, {rate:.0}/s"));
    let fatal = copying
        .fatal
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    if let Some(error) = fatal {
        return Err(error.into());
    }
    let exit = exit?;
    stopped?;
    Ok(if exit == Exit::Interrupted && !args.until_end {
        Exit::Done
    } else {
        exit
    })
}

/// The ends to reach, and the number of records before them.
async fn ends(
    args: &Args,
    client: &Client,
    group: &str,
    patience: Duration,
) -> anyhow::Result<(Option<BTreeMap<i32, End>>, Option<u64>)> {
    let mut query = MetadataQuery::new().topic(args.topic.as_str()).watermarks();
    if let StartOffset::Time(time) = args.from {
        query = query.at(time);
    }
    let found = client.query_metadata(query.group(group), patience).await?;
    let Some(topic) = found.topics.into_iter().next() else {
        return Err(Usage("--stream: must be kafka or embedded for a copy".to_owned()).into());
    };
    if let Some(error) = topic.error {
        return Err(error.into());
    }
    if !args.until_end {
        return Ok((None, None));
    }
    let has_come = topic.partitions.iter().any(|p| p.committed.is_some());
    let mut open = BTreeMap::new();
    let mut total = 0;
    for partition in topic.partitions {
        let (low, end) = watermarks(&partition)?;
        let start = match (partition.committed, &args.from) {
            (Some(committed), _) => committed,
            // A group with commits elsewhere in the topic reads a partition that is new to it from its head.
            (None, _) if has_come => low,
            (None, StartOffset::Tail) => end,
            (None, StartOffset::At(offset)) => *offset,
            (None, StartOffset::Time(_)) => partition.at_time.unwrap_or(end),
            (None, _) => low,
        };
        let start = if (low..=end).contains(&start) {
            start
        } else {
            low
        };
        if start < end {
            let outdated = partition.committed.filter(|committed| *committed > end);
            open.insert(partition.id, End { at: end, outdated });
            total += u64::try_from(end - start).unwrap_or(0);
        }
    }
    Ok((Some(open), Some(total)))
}

/// Stages a record for the transaction.
async fn stage(
    context: Context,
    record: RawRecord,
    eventstream::State(copying): eventstream::State<Arc<Copying>>,
) -> eventstream::Result<()> {
    if let Some(rate) = &copying.rate {
        rate.wait().await;
    }
    let staged = context.publish_raw(copying.copy_of(&context, &record));
    drop(staged.inspect_err(|error| copying.hear(error))?);
    copying.come_to(&context);
    copying.bounds.seen(&context);
    Ok(())
}

/// Writes all records and waits for all of them, so that later ones of the partition follow them.
async fn write(
    records: Vec<(Context, RawRecord)>,
    eventstream::State(copying): eventstream::State<Arc<Copying>>,
) -> BatchResult {
    let mut result = BatchResult::handled();
    let mut receipts = Vec::with_capacity(records.len());
    for (context, record) in &records {
        if let Some(rate) = &copying.rate {
            rate.wait().await;
        }
        let copy = copying.copy_of(context, record);
        receipts.push(copying.to.publish_raw(&copy).await);
    }
    // A record behind a failed one is written again too, or it would precede it.
    let mut failed = false;
    for (position, receipt) in receipts.into_iter().enumerate() {
        let written = match receipt {
            Ok(receipt) => receipt.await.map(drop),
            Err(error) => Err(error),
        };
        match written {
            Ok(()) if !failed => {
                copying.progress.inc();
                copying.bounds.seen(&records[position].0);
            }
            Ok(()) => result.fail(position, "an earlier record was not written"),
            Err(error) => {
                failed = true;
                copying.hear(&error);
                result.fail(position, error);
            }
        }
    }
    result
}

impl Copying {
    fn copy_of(&self, context: &Context, record: &RawRecord) -> PublishRaw {
        let copy = PublishRaw::copy(self.topic.as_str(), context, record);
        if self.keep_partitions {
            copy.partition(context.partition())
        } else {
            copy
        }
    }

    /// Counts a record, unless it was counted before.
    fn come_to(&self, context: &Context) {
        let mut come = self.come.lock().unwrap_or_else(PoisonError::into_inner);
        let come = come.entry(context.partition()).or_insert(-1);
        if context.offset() > *come {
            *come = context.offset();
            self.progress.inc();
        }
    }

    /// A permanent error ends the copy; anything else is retried.
    fn hear(&self, error: &Error) {
        if error.is_final() || (!error.is_retriable() && is_about_the_record(error)) {
            let mut fatal = self.fatal.lock().unwrap_or_else(PoisonError::into_inner);
            fatal.get_or_insert_with(|| error.clone());
            self.ended.cancel();
        } else {
            self.progress.say(&crate::exit::chain(error));
        }
    }

    /// Completes once the group has committed the ends, whichever of its members read up to them. Past transaction
    /// markers and compacted records at an end, its offsets move without a record. Exactly once, a transaction may be
    /// aborted until then.
    async fn committed(
        &self,
        client: &Client,
        topic: &Topic,
        group: &str,
        ends: Option<BTreeMap<i32, End>>,
    ) -> anyhow::Result<()> {
        let Some(mut ends) = ends else {
            return std::future::pending().await;
        };
        for round in 0.. {
            if self.bounds.is_over() || round % SELDOM == 0 {
                let query = MetadataQuery::new().topic(topic.as_str()).watermarks();
                match client.query_metadata(query.group(group), STOP).await {
                    Ok(found) => {
                        let partitions = found.topics.iter().flat_map(|topic| &topic.partitions);
                        let mut left = ends.len();
                        for partition in partitions {
                            let Some(end) = ends.get_mut(&partition.id) else {
                                continue;
                            };
                            if let Some(high) = partition.high.filter(|high| *high < end.at) {
                                anyhow::bail!(
                                    "partition {} of {topic} ended at offset {} when the copy started and ends at {high} \
                                     now: the topic was recreated or truncated; start the copy again",
                                    partition.id,
                                    end.at
                                );
                            }
                            left -= usize::from(end.is_reached(partition.committed));
                        }
                        if left == 0 {
                            break;
                        }
                    }
                    Err(error) if error.is_final() => return Err(error.into()),
                    // An outage, which the subscription reports.
                    Err(_) => {}
                }
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
        Ok(())
    }
}

/// Too large for the topic, or for a partition that does not exist: retries cannot help.
fn is_about_the_record(error: &Error) -> bool {
    matches!(
        error.kind(),
        eventstream::ErrorKind::TooLarge | eventstream::ErrorKind::UnknownTopic
    )
}

/// A rate limit without bursts.
struct Rate {
    each: Duration,
    next: Mutex<Instant>,
}

impl Rate {
    fn new(rate: u32) -> Self {
        Self {
            each: Duration::from_secs(1) / rate,
            next: Mutex::new(Instant::now()),
        }
    }

    async fn wait(&self) {
        let at = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let at = (*next).max(Instant::now());
            *next = at + self.each;
            at
        };
        tokio::time::sleep_until(at).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_reached_when_it_is_committed_of_this_topic() {
        let end = |outdated| End { at: 10, outdated };
        for (committed, is_reached) in [(None, false), (Some(9), false), (Some(10), true)] {
            assert_eq!(end(None).is_reached(committed), is_reached, "{committed:?}");
        }
        // Committed of a topic that had more records.
        let mut end = end(Some(25));
        assert!(!end.is_reached(Some(25)));
        assert!(!end.is_reached(Some(0)));
        assert!(end.is_reached(Some(10)));
        assert!(end.is_reached(Some(25)), "there are more by now");
    }
}
