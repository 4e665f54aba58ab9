//! Copying and deleting groups and their offsets.

use eventstream::{Client, ConsumerGroup, GroupId, GroupOffset, Topic};
use serde_json::json;

use super::{Common, Named, Output};
use crate::ask::{Answer, Consent, declined};
use crate::exit::Exit;
use crate::output;
use crate::signals::Interrupt;
use crate::table::{listed, row};

#[derive(clap::Args)]
pub(crate) struct CopyArgs {
    #[command(flatten)]
    named: Named,
    /// The new group, named in the same way
    #[arg(value_name = "NEW")]
    new: GroupId,
    #[command(flatten)]
    consent: Consent,
    #[command(flatten)]
    common: Common,
}

#[derive(clap::Args)]
pub(crate) struct DeleteArgs {
    #[command(flatten)]
    named: Named,
    #[command(flatten)]
    consent: Consent,
    #[command(flatten)]
    common: Common,
}

#[derive(clap::Args)]
pub(crate) struct DeleteOffsetsArgs {
    #[command(flatten)]
    named: Named,
    /// Topic whose offsets to delete, without the prefix
    #[arg(long, value_name = "TOPIC")]
    topic: Topic,
    #[command(flatten)]
    consent: Consent,
    #[command(flatten)]
    common: Common,
}

pub(crate) const COPY_EXAMPLES: &str = "\
For a service that is deployed beside its old version with a new group: the new group starts where the old one
is now. The old group may have members; the new one must have neither members nor committed offsets.
Each JSON line is a partition: topic, partition, offset.

Examples:
  eventstream group copy rewards rewards-green
  eventstream group copy rewards rewards-green --yes --output json
  eventstream group copy --exact connect-player-sink connect-player-sink-2 --dry-run";

pub(crate) const DELETE_EXAMPLES: &str = "\
The group must have no members. Its next member starts where its subscription says. The offsets to delete are
shown first, in JSON one line for each partition: topic, partition, offset.

Examples:
  eventstream group delete rewards
  eventstream group delete --exact connect-player-sink --yes";

pub(crate) const DELETE_OFFSETS_EXAMPLES: &str = "\
The group must have no members. In this topic, its next member starts where its subscription says. The offsets
to delete are shown first, in JSON one line for each partition: topic, partition, offset.

Examples:
  eventstream group delete-offsets rewards --topic player
  eventstream group delete-offsets rewards --topic player --yes";

pub(super) async fn copy(
    args: &CopyArgs,
    client: &Client,
    interrupt: &Interrupt,
) -> anyhow::Result<Exit> {
    args.consent.check()?;
    let groups = args.common.groups(client);
    let from = args.named.of(&groups)?;
    let to = args.named.other(&args.new, &groups)?;
    let Some(plan) = interrupt.or(from.plan_copy(&to)).await else {
        return Ok(Exit::Interrupted);
    };
    let plan = plan?;
    show(plan.offsets(), args.common.output)?;
    let question = format!(
        "Copy these offsets of group {} to {}?",
        from.name(),
        to.name()
    );
    if let Some(exit) = left(args.consent, &question, interrupt).await? {
        return Ok(exit);
    }
    plan.apply().await?;
    let count = plan.offsets().len();
    output::say(&format!("copied the offsets of {count} partitions"));
    Ok(Exit::Done)
}

pub(super) async fn delete(
    args: &DeleteArgs,
    client: &Client,
    interrupt: &Interrupt,
) -> anyhow::Result<Exit> {
    args.consent.check()?;
    let group = args.named.of(&args.common.groups(client))?;
    let Some(()) = without_members(&group, interrupt).await? else {
        return Ok(Exit::Interrupted);
    };
    show(&group.offsets().await?, args.common.output)?;
    let question = format!("Delete group {} and its offsets?", group.name());
    if let Some(exit) = left(args.consent, &question, interrupt).await? {
        return Ok(exit);
    }
    group.delete().await?;
    output::say(&format!("deleted group {}", group.name()));
    Ok(Exit::Done)
}

pub(super) async fn delete_offsets(
    args: &DeleteOffsetsArgs,
    client: &Client,
    interrupt: &Interrupt,
) -> anyhow::Result<Exit> {
    args.consent.check()?;
    let group = args.named.of(&args.common.groups(client))?;
    let Some(()) = without_members(&group, interrupt).await? else {
        return Ok(Exit::Interrupted);
    };
    show(
        &group.offsets_in(args.topic.as_str()).await?,
        args.common.output,
    )?;
    let question = format!(
        "Delete the offsets of group {} in {}?",
        group.name(),
        args.topic
    );
    if let Some(exit) = left(args.consent, &question, interrupt).await? {
        return Ok(exit);
    }
    let gone = group.delete_offsets(args.topic.as_str()).await?;
    output::say(&format!("deleted the offsets of {} partitions", gone.len()));
    Ok(Exit::Done)
}

/// Fails if the group has members. `None` if a signal arrives first.
async fn without_members(
    group: &ConsumerGroup,
    interrupt: &Interrupt,
) -> eventstream::Result<Option<()>> {
    match interrupt.or(group.describe()).await {
        Some(found) => found?.check_empty().map(Some),
        None => Ok(None),
    }
}

/// How the command ends, unless it is to continue.
async fn left(
    consent: Consent,
    question: &str,
    interrupt: &Interrupt,
) -> anyhow::Result<Option<Exit>> {
    Ok(match consent.ask(question, interrupt).await? {
        Answer::Go => None,
        Answer::Interrupted => Some(Exit::Interrupted),
        Answer::Leave if consent.is_dry_run() => Some(Exit::Done),
        Answer::Leave => Some(declined()),
    })
}

fn show(offsets: &[GroupOffset], output: Output) -> std::io::Result<()> {
    let mut text = String::new();
    if output == Output::Json {
        for one in offsets {
            let line =
                json!({"topic": one.topic, "partition": one.partition, "offset": one.offset});
            text += &format!("{line}\n");
        }
    } else {
        let mut rows = vec![row(["topic", "partition", "offset"])];
        rows.extend(offsets.iter().map(|one| {
            row([
                &*one.topic,
                &one.partition.to_string(),
                &one.offset.to_string(),
            ])
        }));
        text = listed(&rows);
    }
    output::print(&text)
}
