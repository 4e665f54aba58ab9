//! `dlq replay`: publishes dead letters to their source topic.

use std::time::Duration;

use eventstream::Topic;
use eventstream::dead_letters::Replay;

use super::confirm::Consent;
use super::plan::{Format, Work};
use super::selection::Selection;
use crate::connection::{Connection, seconds};
use crate::exit::Exit;
use crate::signals::Interrupt;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    selection: Selection,
    /// Another topic to publish to, without the prefix; required if records came from another topic
    #[arg(long, value_name = "TOPIC")]
    to: Option<Topic>,
    /// At most this many per second
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// At most this many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Park records that were replayed this often and dead-lettered again
    #[arg(long, value_name = "N", default_value_t = 3)]
    max_replays: u32,
    /// Afterwards, watch this long for records dead-lettered again and for the groups' progress
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    follow: Option<Duration>,
    #[command(flatten)]
    consent: Consent,
    /// The summary as text or json
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    output: Format,
}

pub(crate) const EXAMPLES: &str = "\
Each record is published with the key, value, headers and timestamp it had before it was dead-lettered, in order within
a key, plus the header eventstream-dead-letter-replays. What will be done is shown first, and must be confirmed unless
--yes is given. A replayed event follows newer ones of its key. It keeps its timestamp, so a topic whose retention is
shorter than its age soon deletes it.

Progress is recorded (in player-dlq-replayed), so the same command continues where an earlier run stopped, however it
ended. If a run is killed, at most the 500 records in flight are repeated.

--output json ends with {\"selected\":10,\"replayed\":8,\"parked\":1,\"already_replayed\":1,\"failed\":0}, and with --follow
also dead_lettered_again. The exit code is 1 if something failed or was not confirmed, and 130 after an interrupt,
which stops cleanly.

Examples:
  eventstream dlq replay --topic player --dry-run
  eventstream dlq replay --topic player --reason exhausted --since 2h --rate 500
  eventstream dlq replay --topic player --at 3@100..199 --yes --follow 60 --output json
  eventstream dlq replay --topic player --name levelUp --to playerRepair --limit 10";

pub(super) async fn run(
    args: &Args,
    connection: &Connection,
    interrupt: &Interrupt,
) -> anyhow::Result<Exit> {
    args.consent.check()?;
    let mut replay = Replay::new().max_replays(args.max_replays);
    if let Some(to) = &args.to {
        replay = replay.to(to.as_str());
    }
    if let Some(rate) = args.rate {
        replay = replay.rate(rate);
    }
    if let Some(limit) = args.limit {
        replay = replay.limit(limit);
    }
    let work = Work {
        word: "replay",
        replay,
        rate: args.rate,
        follow: args.follow,
        consent: args.consent,
        output: args.output,
    };
    let client = connection.client()?;
    let letters = args
        .selection
        .of(&client, None)?
        .timeout(connection.patience());
    work.run(&client, &letters, interrupt).await
}
