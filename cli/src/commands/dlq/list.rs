//! `dlq list`: the causes of dead letters.

use clap::ValueEnum;
use eventstream::DeadLetterReason;
use eventstream::dead_letters::{By, Cause};
use serde_json::Value;

use super::selection::Selection;
use super::table::{self, Look};
use crate::commands::record::{bytes_json, time_json};
use crate::connection::Connection;
use crate::exit::Exit;
use crate::output;
use crate::signals::Interrupt;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    selection: Selection,
    /// Group by this only [default: reason, event name, error and group]
    #[arg(long, value_name = "WHAT", value_enum)]
    by: Option<Together>,
    /// Include those replayed, parked or edited
    #[arg(long)]
    all: bool,
    /// table, for people, or json, one line each
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    output: Format,
}

#[derive(Clone, Copy, ValueEnum)]
enum Together {
    Reason,
    Name,
    Error,
    Group,
    Key,
    Hour,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
}

pub(crate) const EXAMPLES: &str = "\
The most frequent cause comes first. Parts of an error that vary between records are shown as <id>, <n>, <addr>, <time>,
or … between quotes; --error accepts the text as shown. Ages are those of the records, which keep the timestamps of
their originals. Each JSON line has reason, name, error, group, count, oldest and newest. With --by, it has only the
field asked for (key and hour too) instead of the first four. Unknown values are null.

Examples:
  eventstream dlq list --topic player
  eventstream dlq list --topic player --since 2h --by error
  eventstream dlq list --topic player --group rewards --output json | jq -s 'map(.count) | add'";

pub(super) async fn run(
    args: &Args,
    connection: &Connection,
    interrupt: &Interrupt,
) -> anyhow::Result<Exit> {
    let client = connection.client()?;
    let mut letters = args
        .selection
        .of(&client, None)?
        .timeout(connection.patience());
    if args.all {
        letters = letters.all();
    }
    let by = args.by.map_or(By::Cause, By::from);
    let Some(causes) = interrupt.or(letters.causes_by(by)).await else {
        return Ok(Exit::Interrupted);
    };
    let causes = causes?;
    match args.output {
        Format::Json => {
            let lines = causes
                .list()
                .iter()
                .map(|cause| format!("{}\n", line(cause, by)));
            output::print(&lines.collect::<String>())?;
            if causes.others() > 0 {
                let (others, listed) = (causes.others(), causes.list().len());
                output::say(&format!(
                    "not listed: {} dead letters, of causes beyond the first {}",
                    table::grouped(others),
                    table::grouped(listed as u64)
                ));
            }
        }
        Format::Table if causes.count() > 0 => {
            output::print(&table::table(&causes, by, Look::of(&std::io::stdout())))?;
        }
        Format::Table => {}
    }
    let (count, kinds) = (table::grouped(causes.count()), causes.list().len());
    output::say(&match (by, kinds) {
        (_, 0) => format!("no dead letters in {}", letters.topic()),
        (By::Cause, 1) => format!("{count} dead letters, one cause"),
        (By::Cause, _) => format!("{count} dead letters, {kinds} causes"),
        _ => format!("{count} dead letters"),
    });
    Ok(Exit::Done)
}

impl From<Together> for By {
    fn from(together: Together) -> Self {
        match together {
            Together::Reason => Self::Reason,
            Together::Name => Self::Name,
            Together::Error => Self::Error,
            Together::Group => Self::Group,
            Together::Key => Self::Key,
            Together::Hour => Self::Hour,
        }
    }
}

/// A cause as JSON, its fields in the documented order.
fn line(cause: &Cause, by: By) -> String {
    let all = by == By::Cause;
    let reason = cause.reason().map(DeadLetterReason::as_str);
    let known = cause.reason().is_some() || !cause.error().is_empty();
    let error = known.then(|| cause.error());
    let members: [(&str, bool, Value); 9] = [
        ("reason", all || by == By::Reason, reason.into()),
        ("name", all || by == By::Name, cause.name().into()),
        ("error", all || by == By::Error, error.into()),
        ("group", all || by == By::Group, cause.group().into()),
        ("key", by == By::Key, bytes_json(cause.key())),
        ("hour", by == By::Hour, time_json(cause.hour())),
        ("count", true, cause.count().into()),
        ("oldest", true, time_json(cause.oldest())),
        ("newest", true, time_json(cause.newest())),
    ];
    let members = members.into_iter().filter(|(_, wanted, _)| *wanted);
    let members: Vec<_> = members
        .map(|(name, _, value)| format!("\"{name}\":{value}"))
        .collect();
    format!("{{{}}}", members.join(","))
}
