//! `publish`: NDJSON in, receipts out.

use std::path::PathBuf;

use eventstream::{Client, ErrorKind, Topic};
use tokio::sync::mpsc;

use crate::connection::Connection;
use crate::exit::Exit;
use crate::ndjson::{self, BadLine, Defaults};
use crate::output::{EventLines, Lines};
use crate::progress::Progress;
use crate::signals::Interrupt;

mod input;
mod outcomes;
mod pump;

pub(crate) use input::{Line, Source};
pub(crate) use outcomes::Outcome;
pub(crate) use pump::{Next, Pump};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Topic to publish to, without the prefix
    #[arg(long, value_name = "TOPIC", value_parser = topic)]
    topic: Topic,
    /// Event name for lines that have none
    #[arg(long, value_name = "NAME")]
    name: Option<eventstream::EventName>,
    /// Namespace for lines that have none
    #[arg(long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// Key for lines that have none [default: the event's id]
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Treat each line as the payload of an event
    #[arg(long)]
    payload_only: bool,
    /// Print one JSON line for each event: where it is stored, or why not
    #[arg(long)]
    receipts: bool,
    /// Stop at the first bad line; earlier lines are still delivered
    #[arg(long)]
    strict: bool,
    /// NDJSON file, or - [default: standard input]
    file: Option<PathBuf>,
}

pub(crate) const EXAMPLES: &str = "\
Each line is an event: a JSON object with the envelope's fields, spelled as on the wire (id, name,
namespace, parentNamespace, unionNamespace, sourceNamespace, clientId, traceId, spanContext, userId,
sessionId, timestamp, timestampUnixNano, version, event_id, event_type, event_level, service,
client_ids, target_user_ids, target_namespace, privacy, topic, additional_fields, payload), and key,
the record's key. Fields that a line leaves out (or has as null or \"\") come from the options, then from the
defaults: a new id, the current time, version 1. Any other field is an error that names it. A line's `topic` is
a field of the envelope; the event goes to --topic. The additional fields of a consumed event that was serialized
again are accepted: `Key` is the key if there is no `key`; `Partition` and `Offset` are ignored.

Blank lines are skipped. A bad line is reported with its number, and the others are published. Refused credentials or
a missing right on the topic end the command. The exit code is 0 only if every line is stored. It is 1 if the reader of
the receipts (or, with --stream stdout, of the events) closes the pipe early; the summary says how many lines were read.
After an interrupt, no more lines are read, and accepted events are waited for until they are stored or have failed; a
second interrupt ends the wait with the summary.

Examples:
  eventstream publish --topic player --name levelUp --payload-only payloads.ndjson
  eventstream publish --topic player --receipts < events.ndjson > receipts.ndjson
  eventstream publish --topic player --stream stdout --name levelUp events.ndjson
  echo '{\"name\":\"levelUp\",\"key\":\"player-7\",\"payload\":{\"level\":7}}' | eventstream publish --topic player
  eventstream subscribe --topic player --from head --idle 5 --output json | jq -c '.event + {key}' | eventstream publish --topic copy";

/// The maximum number of accepted events whose outcome is not printed yet.
pub(crate) const WINDOW: usize = 20_000;

pub(crate) async fn run(
    args: Args,
    connection: &Connection,
    interrupt: &Interrupt,
) -> anyhow::Result<Exit> {
    let events = EventLines::default();
    let client = connection.client_on(&events)?;
    let source = Source::open(args.file.as_deref())?;
    let progress = Progress::new(source.guess(), args.receipts);
    let lines = args.receipts.then(|| Lines::start(None)).transpose()?;
    let work = Work {
        client: &client,
        defaults: Defaults {
            topic: args.topic.as_str().to_owned(),
            name: args.name.map(|name| name.as_str().to_owned()),
            namespace: args.namespace,
            key: args.key,
            payload_only: args.payload_only,
        },
        strict: args.strict,
    };
    let input = source.read()?;
    let pump = Pump {
        client: &client,
        patience: connection.patience(),
        progress: &progress,
        interrupt,
        events_closed: events.closed(),
    };
    let publish = async |line, outcomes: &_| work.line(line, outcomes, interrupt).await;
    pump.run(input, lines, publish).await
}

/// clap's parser for a topic to publish to: those of Kafka's topic names that are valid event names.
fn topic(text: &str) -> Result<Topic, String> {
    const ALLOWED: &str = "must be runs of A-Z a-z 0-9 joined by single _ . or -";
    let topic = Topic::new(text).map_err(|error| error.to_string())?;
    match eventstream::EventName::new(text) {
        Ok(_) => Ok(topic),
        Err(_) => Err(ALLOWED.to_owned()),
    }
}

struct Work<'a> {
    client: &'a Client,
    defaults: Defaults,
    strict: bool,
}

impl Work<'_> {
    /// Publishes one line. Its outcome goes to `outcomes`.
    async fn line(
        &self,
        line: Line,
        outcomes: &mpsc::Sender<Outcome>,
        interrupt: &Interrupt,
    ) -> Next {
        let number = line.number;
        let parsed = match ndjson::parse(&line.text, &self.defaults) {
            Ok(parsed) => parsed,
            Err(bad) => return self.bad(number, bad, outcomes).await,
        };
        // If this is dropped while it waits for room, nothing is published.
        match interrupt.or(self.client.publish(parsed.event)).await {
            Some(Ok(receipt)) => {
                Outcome::accepted(number, receipt, parsed.key)
                    .tell(outcomes)
                    .await;
                Next::Go
            }
            Some(Err(error)) if is_bad_line(error.kind()) => {
                self.bad(number, BadLine::refused(&error), outcomes).await
            }
            Some(Err(error)) => {
                Outcome::failed(number, &error).tell(outcomes).await;
                Next::Go
            }
            None => {
                Outcome::bad(number, interrupted()).tell(outcomes).await;
                Next::Stop
            }
        }
    }

    async fn bad(&self, number: u64, bad: BadLine, outcomes: &mpsc::Sender<Outcome>) -> Next {
        Outcome::bad(number, bad).tell(outcomes).await;
        if self.strict { Next::Stop } else { Next::Go }
    }
}

/// Whether the line is at fault, so that no broker would accept it.
pub(crate) fn is_bad_line(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Validation | ErrorKind::Encode | ErrorKind::TooLarge
    )
}

/// The outcome of a line that was read but not yet accepted when the signal arrived.
pub(crate) fn interrupted() -> BadLine {
    BadLine {
        kind: ErrorKind::Closed.as_str(),
        message: "interrupted before it was accepted".to_owned(),
    }
}
