//! `dlq`: lists, shows, replays, parks and edits dead letters.

use clap::Subcommand;

use crate::connection::Connection;
use crate::exit::Exit;
use crate::signals::Interrupt;

mod confirm;
mod edit;
mod list;
mod park;
mod plan;
mod replay;
mod selection;
mod show;
mod table;

#[derive(Subcommand)]
pub(crate) enum Dlq {
    /// List what is wrong, since when and how often: one line per cause
    #[command(after_help = list::EXAMPLES)]
    List(list::Args),
    /// Show complete dead letters
    #[command(after_help = show::EXAMPLES)]
    Show(show::Args),
    /// Publish dead letters to their source topic again
    #[command(after_help = replay::EXAMPLES)]
    Replay(replay::Args),
    /// Park dead letters, with a reason
    #[command(after_help = park::EXAMPLES)]
    Park(park::Args),
    /// Publish an edited copy of one dead letter
    #[command(after_help = edit::EXAMPLES)]
    Edit(edit::Args),
}

pub(crate) const EXAMPLES: &str = "\
--topic is the source topic; its dead-letter topic is read without joining a group. Dead letters that were replayed,
parked or edited are recorded in a topic of their own (player-dlq-replayed) and skipped from then on.

Examples:
  eventstream dlq list --topic player
  eventstream dlq show --topic player --reason exhausted --limit 5
  eventstream dlq replay --topic player --error 'connection refused' --rate 500 --follow 60
  eventstream dlq park --topic player --name levelUp --because 'season is over'
  eventstream dlq edit --topic player 3@17";

pub(crate) async fn run(
    dlq: Dlq,
    connection: &Connection,
    interrupt: &Interrupt,
) -> anyhow::Result<Exit> {
    match dlq {
        Dlq::List(args) => list::run(&args, connection, interrupt).await,
        Dlq::Show(args) => show::run(&args, connection, interrupt).await,
        Dlq::Replay(args) => replay::run(&args, connection, interrupt).await,
        Dlq::Park(args) => park::run(&args, connection, interrupt).await,
        Dlq::Edit(args) => edit::run(&args, connection, interrupt).await,
    }
}
