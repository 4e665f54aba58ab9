//! `group`: consumer groups, their progress, and changing it.

use std::time::Duration;

use clap::{Subcommand, ValueEnum};
use eventstream::{Client, ConsumerGroup, Error, GroupId, Groups};

use crate::connection::{Connection, seconds};
use crate::exit::Exit;
use crate::signals::Interrupt;

mod change;
mod list;
mod seek;
mod show;

pub(crate) const EXAMPLES: &str = "\
On the broker, a group's name starts with the prefix and a dot; without a prefix, with the dot alone (`.rewards`),
as in the Go SDK. With --exact, groups are given by their names on the broker, as `group list` shows them.

Examples:
  eventstream group list
  eventstream group show rewards --watch
  eventstream group show --exact connect-player-sink --output json
  eventstream group seek rewards --topic player --to 2h --dry-run
  eventstream group copy rewards rewards-green --yes
  eventstream group delete-offsets rewards --topic player
  eventstream group delete rewards --yes";

#[derive(Subcommand)]
pub(crate) enum Group {
    /// List the groups of the cluster
    #[command(after_help = list::EXAMPLES)]
    List(list::Args),
    /// Show a group's members and progress
    #[command(after_help = show::EXAMPLES)]
    Show(show::Args),
    /// Move a group's committed offsets
    #[command(after_help = seek::EXAMPLES)]
    Seek(seek::Args),
    /// Copy a group's committed offsets to a new group
    #[command(after_help = change::COPY_EXAMPLES)]
    Copy(change::CopyArgs),
    /// Delete a group and its committed offsets
    #[command(after_help = change::DELETE_EXAMPLES)]
    Delete(change::DeleteArgs),
    /// Delete a group's committed offsets in a topic
    #[command(after_help = change::DELETE_OFFSETS_EXAMPLES)]
    DeleteOffsets(change::DeleteOffsetsArgs),
}

/// Options of every group command.
#[derive(clap::Args, Clone, Copy)]
pub(crate) struct Common {
    /// table, for people, or json, one line each
    #[arg(
        long,
        value_name = "FORMAT",
        default_value = "table",
        hide_possible_values = true
    )]
    output: Output,
    /// How long to wait for the brokers
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    timeout: Duration,
}

/// How a group is named.
#[derive(clap::Args, Clone)]
pub(crate) struct Named {
    /// The group, without the prefix
    #[arg(value_name = "GROUP")]
    group: GroupId,
    /// Use full group names, without adding the prefix
    #[arg(long)]
    exact: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    Table,
    Json,
}

impl Common {
    fn groups(self, client: &Client) -> Groups {
        client.groups().timeout(self.timeout)
    }
}

impl Named {
    fn of(&self, groups: &Groups) -> Result<ConsumerGroup, Error> {
        self.other(&self.group, groups)
    }

    /// Another group, named in the same way.
    fn other(&self, name: &GroupId, groups: &Groups) -> Result<ConsumerGroup, Error> {
        if self.exact {
            groups.exact_group(name.as_str())
        } else {
            groups.group(name.as_str())
        }
    }
}

pub(crate) async fn run(
    group: Group,
    connection: &Connection,
    interrupt: &Interrupt,
) -> anyhow::Result<Exit> {
    let client = connection.client()?;
    let exit = match group {
        Group::List(args) => list::run(&args, &client, interrupt).await,
        Group::Show(args) => show::run(&args, &client, interrupt).await,
        Group::Seek(args) => seek::run(&args, &client, interrupt).await,
        Group::Copy(args) => change::copy(&args, &client, interrupt).await,
        Group::Delete(args) => change::delete(&args, &client, interrupt).await,
        Group::DeleteOffsets(args) => change::delete_offsets(&args, &client, interrupt).await,
    };
    client.shutdown(Duration::from_secs(1)).await;
    exit
}
