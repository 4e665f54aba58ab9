//! `dlq show`: complete dead letters.

use eventstream::DeadLetterOrigin;
use eventstream::dead_letters::Letter;
use serde::Serialize;
use serde_json::Value;

use super::selection::{Place, Selection, place};
use crate::commands::record::{Format, time_json};
use crate::connection::Connection;
use crate::escape;
use crate::exit::{self, Exit};
use crate::output::{self, Lines};
use crate::signals::Interrupt;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    selection: Selection,
    /// Its position in the dead-letter topic, as for --at
    #[arg(value_name = "PARTITION@OFFSET", value_parser = place)]
    place: Option<Place>,
    /// At most this many
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    /// Include those replayed, parked or edited; PARTITION@OFFSET always does
    #[arg(long)]
    all: bool,
    /// json, one line each; pretty, indented; payload, only the payload; table, one row each
    /// [default: pretty on a terminal, else json]
    #[arg(long, value_name = "FORMAT", hide_possible_values = true)]
    output: Option<Format>,
}

pub(crate) const EXAMPLES: &str = "\
Each JSON line is that of `subscribe` plus dead_letter: reason, error, attempts, topic, partition, offset, timestamp,
group, event_name and replays, from the record's headers. They are null if another program wrote the record.

Examples:
  eventstream dlq show --topic player 3@17
  eventstream dlq show --topic player --reason undecodable --limit 3
  eventstream dlq show --topic player --error 'no player <n>' --limit 100 --output json | jq .event.payload";

pub(super) async fn run(
    args: &Args,
    connection: &Connection,
    interrupt: &Interrupt,
) -> anyhow::Result<Exit> {
    let client = connection.client()?;
    let letters = args.selection.of(&client, args.place.as_ref())?;
    let mut letters = letters.timeout(connection.patience());
    if args.all || args.place.is_some() {
        letters = letters.all();
    }
    let format = args.output.unwrap_or_else(Format::usual);
    let lines = Lines::start(Some(args.limit))?;
    let print = async {
        let mut found = letters.letters().await?;
        let mut shown = 0;
        while shown < args.limit
            && let Some(letter) = found.next().await
        {
            if lines.send(text(format, &letter?)).await.is_err() {
                break;
            }
            shown += 1;
        }
        Ok::<_, eventstream::Error>(shown)
    };
    let Some(shown) = interrupt.or(print).await else {
        return Ok(Exit::Interrupted);
    };
    let shown = shown?;
    lines.finish().await?;
    if shown == 0 {
        output::say(&format!("no such dead letter in {}", letters.topic()));
    }
    Ok(Exit::Done)
}

fn text(format: Format, letter: &Letter) -> Vec<u8> {
    let mut text = format.record(letter.context(), &letter.record());
    match format {
        Format::Json => {
            // Before the closing brace.
            text.truncate(text.len().saturating_sub("}\n".len()));
            text.extend_from_slice(format!(",\"dead_letter\":{}}}\n", members(letter)).as_bytes());
        }
        Format::Pretty => {
            let mut told = story(letter);
            told.append(&mut text);
            text = told;
        }
        Format::Payload | Format::Table => {}
    }
    text
}

/// The values of the headers, in the documented order.
#[derive(Serialize)]
struct Members<'a> {
    reason: Option<&'static str>,
    error: Option<&'a str>,
    attempts: Option<u32>,
    topic: Option<&'a str>,
    partition: Option<i32>,
    offset: Option<i64>,
    timestamp: Value,
    group: Option<&'a str>,
    event_name: Option<&'a str>,
    replays: u32,
}

fn members(letter: &Letter) -> String {
    let origin = letter.origin();
    let members = Members {
        reason: origin.map(|origin| origin.reason().as_str()),
        error: origin.map(DeadLetterOrigin::error),
        attempts: origin.map(DeadLetterOrigin::attempts),
        topic: origin.map(DeadLetterOrigin::topic),
        partition: origin.map(DeadLetterOrigin::partition),
        offset: origin.map(DeadLetterOrigin::offset),
        timestamp: time_json(origin.and_then(DeadLetterOrigin::timestamp)),
        group: origin.map(DeadLetterOrigin::group),
        event_name: origin.and_then(DeadLetterOrigin::event_name),
        replays: letter.replays(),
    };
    serde_json::to_string(&members).expect("plain data")
}

/// What happened to it, printed ahead of the record.
fn story(letter: &Letter) -> Vec<u8> {
    let mut out = Vec::new();
    let Some(origin) = letter.origin() else {
        let read = DeadLetterOrigin::read(letter.context().headers());
        let why = read.err().map_or_else(
            || "has no headers about its origin".to_owned(),
            |error| exit::chain(&error),
        );
        escape::push_text(&why, &mut out);
        out.push(b'\n');
        return out;
    };
    let attempts = match origin.attempts() {
        1 => "1 attempt".to_owned(),
        n => format!("{n} attempts"),
    };
    let replays = letter.replays();
    let title = format!("{} after {attempts}, replays: {replays}", origin.reason());
    let (topic, partition, offset) = (origin.topic(), origin.partition(), origin.offset());
    let from = format!("{topic}/{partition}@{offset}");
    let trace = letter.event().ok().map(|event| event.trace_id().to_owned());
    for (what, text) in [
        ("", Some(title)),
        ("from   ", Some(from)),
        ("group  ", Some(origin.group().to_owned())),
        ("event  ", origin.event_name().map(str::to_owned)),
        ("trace  ", trace.filter(|trace| !trace.is_empty())),
        (
            "error  ",
            Some(origin.error().to_owned()).filter(|error| !error.is_empty()),
        ),
    ] {
        if let Some(text) = text {
            out.extend_from_slice(what.as_bytes());
            escape::push_text(&text, &mut out);
            out.push(b'\n');
        }
    }
    out
}
