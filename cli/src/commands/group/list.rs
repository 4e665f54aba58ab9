use eventstream::Client;
use serde_json::json;

use super::{Common, Output};
use crate::exit::Exit;
use crate::output;
use crate::signals::Interrupt;
use crate::table::{listed, row};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    common: Common,
}

pub(crate) const EXAMPLES: &str = "\
Lists all consumer groups that this client may describe, whatever their prefix, by their names on the broker.
Each JSON line is a group: group, state (empty, stable, rebalancing, dead, unknown), protocol (classic, consumer,
unknown) and members (their number).

Examples:
  eventstream group list
  eventstream group list --output json | jq -r 'select(.state == \"empty\").group'";

pub(super) async fn run(
    args: &Args,
    client: &Client,
    interrupt: &Interrupt,
) -> anyhow::Result<Exit> {
    let groups = args.common.groups(client);
    let Some(found) = interrupt.or(groups.list()).await else {
        return Ok(Exit::Interrupted);
    };
    let found = found?;
    let mut text = String::new();
    if args.common.output == Output::Json {
        for group in &found {
            let line = json!({
                "group": group.name,
                "state": group.state.as_str(),
                "protocol": group.protocol.as_str(),
                "members": group.members,
            });
            text += &format!("{line}\n");
        }
    } else {
        let mut rows = vec![row(["group", "state", "protocol", "members"])];
        rows.extend(found.iter().map(|group| {
            row([
                &*group.name,
                group.state.as_str(),
                group.protocol.as_str(),
                &group.members.to_string(),
            ])
        }));
        text = listed(&rows);
    }
    output::print(&text)?;
    Ok(Exit::Done)
}
