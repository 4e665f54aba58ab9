//! `dlq park`: moves dead letters out of the way, with a reason.

use eventstream::dead_letters::Replay;

use super::confirm::Consent;
use super::plan::{Format, Work};
use super::selection::Selection;
use crate::connection::Connection;
use crate::exit::Exit;
use crate::signals::Interrupt;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    selection: Selection,
    /// Why; kept in the header eventstream-dead-letter-parked
    #[arg(long, value_name = "TEXT")]
    because: String,
    /// At most this many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    #[command(flatten)]
    consent: Consent,
    /// The summary as text or json
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    output: Format,
}

pub(crate) const EXAMPLES: &str = "\
They are copied unchanged to the parking topic (player-parked), and are no longer listed or replayed. The summary has
the same form as that of `replay`.

Examples:
  eventstream dlq park --topic player --name levelUp --because 'season is over'
  eventstream dlq park --topic player --error 'no player <n>' --because 'players were deleted' --dry-run";

pub(super) async fn run(
    args: &Args,
    connection: &Connection,
    interrupt: &Interrupt,
) -> anyhow::Result<Exit> {
    args.consent.check()?;
    let mut replay = Replay::park(&args.because);
    if let Some(limit) = args.limit {
        replay = replay.limit(limit);
    }
    let work = Work {
        word: "park",
        replay,
        rate: None,
        follow: None,
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
