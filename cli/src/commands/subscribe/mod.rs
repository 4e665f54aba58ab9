//! `subscribe`: prints events, one line each.

use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use eventstream::{
    Backend, Concurrency, Context, EventName, GroupId, RawRecord, Retry, StartOffset, Subscribe,
    Topic,
};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::commands::record::{Format, table};
use crate::connection::{Connection, seconds};
use crate::exit::{Exit, Usage};
use crate::output::{Lines, NotWritten};
use crate::signals::Interrupt;

mod bounds;
mod expression;
mod last;
mod problems;
mod select;
mod watch;

pub(crate) use bounds::{Bounds, watermarks};
use last::Last;
use problems::Problems;
pub(crate) use select::start;
use select::{Range, Select};

use watch::{Activity, End, Watch};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Topic to read, without the prefix
    #[arg(long, value_name = "TOPIC")]
    topic: Topic,
    /// Group whose members share the partitions, without the prefix [default: none:
    /// all partitions are read, and nothing is committed]
    #[arg(long, value_name = "GROUP")]
    group: Option<GroupId>,
    /// The same for a group given by its full name on the broker
    #[arg(long, value_name = "GROUP", conflicts_with = "group")]
    exact_group: Option<GroupId>,
    /// Only events with this name; repeatable
    #[arg(long = "name", value_name = "NAME")]
    names: Vec<EventName>,
    /// Where to start if the group has no committed offset: tail, head, an offset, or an
    /// RFC 3339 time [default: tail; with an --until that has passed, head]
    #[arg(long, value_name = "WHERE", allow_hyphen_values = true, value_parser = start)]
    from: Option<StartOffset>,
    /// Exit after this many lines
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Exit after this long without a record, counted from the first assignment
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    idle: Option<Duration>,
    /// Which events are handled in order
    #[arg(long, value_name = "ORDER", default_value = "partition")]
    ordering: Order,
    /// Maximum number of events handled at the same time [default with --ordering key: 16 in
    /// each partition]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    concurrency: Option<u32>,
    /// Dead-letter records that cannot be decoded
    #[arg(long, conflicts_with_all = ["since", "until", "last", "partitions", "key", "grep", "condition", "fields"])]
    dead_letter: bool,
    /// json, one line each; pretty, indented; payload, only the payload; table, one row each
    /// [default: pretty on a terminal, or table with --fields, else json]
    #[arg(long, value_name = "FORMAT", hide_possible_values = true)]
    output: Option<Format>,
    #[command(flatten)]
    select: Select,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Order {
    /// Events of a partition
    Partition,
    /// Events of a key
    Key,
    /// All events
    Serial,
}

pub(crate) const EXAMPLES: &str = "\
Each JSON line has topic, partition, offset, key, timestamp, headers (pairs of name and value), and event, the
envelope as on the wire. An audit log has audit_log instead of event. A record that is not an envelope has error
and value (base64; null for a tombstone) instead, and dead_letter if it was dead-lettered. A key or header that is
not UTF-8 is {\"base64\":\"..\"}. Records that are not envelopes have no name, so --name hides them. An event counts
as handled, and its offset may be committed, once its line is written.

On the broker, a --group starts with the prefix and a dot; without a prefix, with the dot alone (`.rewards`), as in
the Go SDK. --exact-group takes the full name.

--since, --until, --last and --partition read without a group. With --until and --last, the command exits with code 0
at the ends of the partitions; with an --until to come, at the ends that they have then. If an end has no record
(compacted, or a transaction marker), it counts as reached after 10 s without a record, unless brokers are out of
reach. With a group, records that --key, --grep, --where and --name filter out count as handled.

--where compares fields with `=`, `!=`, `<`, `<=`, `>`, `>=`, and `~` (contains). A name alone matches if the field
exists and is neither null nor false. `&&`, `||`, `!` and parentheses combine conditions. Values with spaces or
symbols need quotes ('..' or \"..\"); quoted values are text. Fields are named as in --fields: topic, partition,
offset, key, timestamp, headers and header.NAME are the record's; all others are the event's (`userId` or `user_id`),
with dots for nested ones: payload.level, payload.items.0.id. A missing field is null. An array matches if one of its
elements does. Text is compared as text, so RFC 3339 times in UTC compare correctly.

The exit code is 0 after --count lines, and without --count after --idle or an interrupt. With --count, it is 1 if
--idle passes first and 130 after an interrupt. A permanent error (rejected credentials, a missing permission, an
incompatible group) ends the command with 1; a temporary one is reported once and waited out. Records that are not
shown count for --idle too.

Examples:
  eventstream subscribe --topic player
  eventstream subscribe --topic player --from head --count 10 --output json | jq .event.payload
  eventstream subscribe --topic player --group rewards --name levelUp --name questDone
  eventstream subscribe --topic player --exact-group connect-player-sink --count 1
  eventstream subscribe --topic player --from 2026-01-31T08:00:00Z --idle 5 --output payload
  eventstream subscribe --topic player --since 2h --until 1h --where 'name=levelUp && payload.level>3'
  eventstream subscribe --topic player --last 20 --fields timestamp,key,name,payload.level --output table
  eventstream subscribe --topic player --from head --partition 3 --grep sword --idle 5
  eventstream subscribe --topic player --group rewards --ordering key --concurrency 32 --dead-letter";

/// How long a subscription may take to stop: to finish its lines, commit and leave the group.
const STOP: Duration = Duration::from_secs(10);
/// How long to wait at the end for the reader of the lines.
const GRACE: Duration = Duration::from_secs(2);

pub(crate) async fn run(
    args: Args,
    connection: &Connection,
    interrupt: &Interrupt,
) -> anyhow::Result<Exit> {
    let format = format(&args)?;
    let client = connection.client()?;
    let asked = args.select.range(
        &client,
        &args.topic,
        args.from.as_ref(),
        connection.patience(),
    );
    let Some(range) = interrupt.or(asked).await else {
        return Ok(end_of(&args, End::Interrupted, 0));
    };
    let Range {
        mut from,
        bounds,
        last,
    } = range?;
    if format == Format::Table {
        // Printed ahead of the lines, which are counted.
        let head = table::head(&table::columns(&args.select.fields));
        crate::output::print(&String::from_utf8_lossy(&head))?;
    }
    let lines = Lines::start(args.count)?;
    let activity = Arc::new(Activity::default());
    let printer = Arc::new(Printer {
        lines: lines.clone(),
        activity: Arc::clone(&activity),
        format,
        at_once: at_once(&args)?.map(Semaphore::new),
        // A read that ends by itself also needs the records with other names, to know how far it is, so
        // the printer filters by name, not the handlers.
        names: match bounds.has_end() {
            true => args.names.clone(),
            false => Vec::new(),
        },
        select: args.select.clone(),
        bounds,
        last,
        given_up: CancellationToken::new(),
    });
    let asked = watch::reach(&client, &args.topic, connection.patience());
    let Some(found) = interrupt.or(asked).await else {
        return Ok(end_of(&args, End::Interrupted, 0));
    };
    let delivers = matches!(connection.stream()?, Backend::Kafka | Backend::Embedded);
    if !found? || !delivers {
        // There will be no assignment for the idle time to start at.
        activity.start();
    }
    let ended = lines.ended().clone();
    let problems = Arc::new(Problems::default());
    let (end, subscription) = loop {
        let subscribe = subscribe(&args, from, &printer, &problems);
        let subscription = client.register(subscribe).await?;
        let watch = Watch {
            client: &client,
            topic: &args.topic,
            select: &args.select,
            patience: connection.patience(),
            subscription: &subscription,
            activity: &activity,
            bounds: &printer.bounds,
            problems: &problems,
            written: &ended,
            idle: args.idle,
            interrupt,
        };
        let end = watch.until_end().await;
        let last = printer.last.as_ref().filter(|last| last.lacks_some());
        let Some(last) = last.filter(|_| matches!(end, Ok(End::Reached))) else {
            break (end, subscription);
        };
        // First, as its records are not to be taken for those of the next one.
        subscription.stop(STOP).await?;
        from = last.further_back(&printer.bounds);
    };
    if let (Ok(_), Some(last)) = (&end, &printer.last) {
        for line in last.take() {
            // The reader is gone.
            if printer.print(line).await.is_err() {
                break;
            }
        }
    }
    let given_up = printer.given_up.clone();
    let patience = tokio::spawn(async move {
        tokio::time::sleep(GRACE).await;
        given_up.cancel();
    });
    let stopped = subscription.stop(STOP).await;
    client.shutdown(STOP).await;
    patience.abort();
    // Lines that a stalled reader leaves unwritten are not acknowledged either.
    let written = tokio::time::timeout(GRACE, lines.finish()).await;
    let written = written.unwrap_or(Ok(()));
    problems.say_repeated();
    let end = end?;
    written?;
    stopped?;
    Ok(end_of(&args, end, activity.lines()))
}

/// The exit code; prints a message if events are missing.
fn end_of(args: &Args, end: End, came: u64) -> Exit {
    let Some(count) = args.count else {
        return Exit::Done;
    };
    if came >= count {
        return Exit::Done;
    }
    crate::output::say(&format!("{came} of {count} events received"));
    match end {
        End::Interrupted => Exit::Interrupted,
        End::Idle | End::Written | End::Reached => Exit::Failed,
    }
}

/// How records are printed. Fields are columns or members of an object.
fn format(args: &Args) -> anyhow::Result<Format> {
    let has_fields = !args.select.fields.is_empty();
    match args.output {
        Some(Format::Pretty | Format::Payload) if has_fields => {
            Err(Usage("--fields: needs --output json or table".to_owned()).into())
        }
        Some(format) => Ok(format),
        None if has_fields && Format::usual() == Format::Pretty => Ok(Format::Table),
        None => Ok(Format::usual()),
    }
}

/// The limit on concurrent handlers, unless the ordering sets it.
fn at_once(args: &Args) -> anyhow::Result<Option<usize>> {
    match (args.ordering, args.concurrency) {
        (Order::Serial, Some(n)) if n > 1 => Err(Usage(format!(
            "--concurrency {n}: must be 1 with --ordering serial"
        ))
        .into()),
        (Order::Partition, Some(n)) => Ok(Some(n as usize)),
        _ => Ok(None),
    }
}

fn subscribe(
    args: &Args,
    from: StartOffset,
    printer: &Arc<Printer>,
    problems: &Arc<Problems>,
) -> Subscribe {
    let problems = Arc::clone(problems);
    let keys = args.concurrency.unwrap_or(16) as usize;
    let mut subscribe = Subscribe::new(args.topic.as_str())
        .offset(from)
        .concurrency(match args.ordering {
            Order::Partition => Concurrency::PerPartition,
            Order::Key => Concurrency::PerKey(keys),
            Order::Serial => Concurrency::Serial,
        })
        .dead_letters(args.dead_letter)
        // A line that could not be written is not the event's fault, so it is never dead-lettered.
        .retry(Retry::forever())
        .on_error(move |error| problems.hear(&error));
    if let Some(group) = &args.group {
        subscribe = subscribe.group_id(group.as_str());
    }
    if let Some(group) = &args.exact_group {
        subscribe = subscribe.exact_group_id(group.as_str());
    }
    let letters = Arc::clone(printer);
    if args.dead_letter {
        subscribe = subscribe.on_dead_letter(move |letter| {
            let printer = Arc::clone(&letters);
            // The record is done; lines are queued in the order of the dead letters.
            tokio::spawn(async move {
                let text = printer.format.dead_letter(&letter);
                if printer.print(text).await.is_err() {
                    let (context, place) = (letter.context(), letter.delivery());
                    crate::output::say(&format!(
                        "{}/{}@{} was dead-lettered to {}/{}@{}, but its line was not written",
                        context.topic(),
                        context.partition(),
                        context.offset(),
                        place.topic(),
                        place.partition(),
                        place.offset()
                    ));
                }
            });
        });
    }
    if args.names.is_empty() && args.dead_letter {
        // A handler of events leaves other records to be dead-lettered.
        let printer = Arc::clone(printer);
        return subscribe.on_any(move |context: Context, event: eventstream::Event| {
            let printer = Arc::clone(&printer);
            async move {
                let text = printer.format.event(&context, &event);
                printer.print(text).await
            }
        });
    }
    let handler = |printer: Arc<Printer>| {
        move |context: Context, record: RawRecord| {
            let printer = Arc::clone(&printer);
            async move { printer.record(&context, &record).await }
        }
    };
    if args.names.is_empty() || !printer.names.is_empty() {
        return subscribe.on_any(handler(Arc::clone(printer)));
    }
    let mut names: Vec<_> = args.names.iter().collect();
    names.sort();
    names.dedup();
    for name in names {
        subscribe = subscribe.on(name.as_str(), handler(Arc::clone(printer)));
    }
    subscribe
}

/// What a handler needs.
struct Printer {
    lines: Lines,
    activity: Arc<Activity>,
    format: Format,
    at_once: Option<Semaphore>,
    /// The names to filter by; empty if none was given, or if the handlers filter.
    names: Vec<EventName>,
    select: Select,
    bounds: Bounds,
    /// The lines that `--last` keeps until the end.
    last: Option<Last>,
    /// Cancelled when a stalled reader is no longer waited for.
    given_up: CancellationToken,
}

impl Printer {
    /// Prints a record if it is selected.
    async fn record(&self, context: &Context, record: &RawRecord) -> Result<(), NotWritten> {
        let is_shown = self.select.wants(context, record) && self.is_named(record);
        let text = match is_shown {
            true => self.text(context, record),
            false => Vec::new(),
        };
        if let Some(last) = &self.last {
            last.keep(context, text);
        } else if is_shown {
            self.print(text).await?;
        }
        self.bounds.seen(context);
        Ok(())
    }

    fn text(&self, context: &Context, record: &RawRecord) -> Vec<u8> {
        let fields = &self.select.fields;
        if fields.is_empty() {
            return self.format.record(context, record);
        }
        let event = record.decode().ok();
        match self.format {
            Format::Table => table::line(fields, context, event.as_ref()),
            _ => table::object(fields, context, event.as_ref()),
        }
    }

    /// Whether the record has one of the names.
    fn is_named(&self, record: &RawRecord) -> bool {
        if self.names.is_empty() {
            return true;
        }
        let event = record.decode();
        event.is_ok_and(|event| self.names.iter().any(|name| name.as_str() == event.name()))
    }

    /// Returns once the line is written; only then does its event count as handled.
    async fn print(&self, text: Vec<u8>) -> Result<(), NotWritten> {
        let _permit = match &self.at_once {
            Some(semaphore) => semaphore.acquire().await.ok(),
            None => None,
        };
        let _waiting = self.activity.waiting();
        tokio::select! {
            written = self.lines.write(text) => written?,
            () = self.given_up.cancelled() => return Err(NotWritten),
        }
        self.activity.line();
        Ok(())
    }
}
