use eventstream::{Client, Seek, SeekMove, SeekPlan, SeekTo, Topic};
use serde_json::json;

use super::{Common, Named, Output};
use crate::ask::{Answer, Consent, declined};
use crate::exit::{Exit, in_options};
use crate::output;
use crate::signals::Interrupt;
use crate::table::{aligned, row, shown};
use crate::time::{age, time};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    named: Named,
    /// Topic whose offsets to move, without the prefix
    #[arg(long, value_name = "TOPIC")]
    topic: Topic,
    /// head, tail, an offset, an RFC 3339 time, an age such as 2h, or +N or -N records from the
    /// committed offset
    #[arg(long, value_name = "WHERE", allow_hyphen_values = true, value_parser = destination)]
    to: SeekTo,
    /// Only this partition; repeatable [default: all]
    #[arg(long = "partition", value_name = "P", value_parser = clap::value_parser!(i32).range(0..))]
    partitions: Vec<i32>,
    #[command(flatten)]
    consent: Consent,
    #[command(flatten)]
    common: Common,
}

pub(crate) const EXAMPLES: &str = "\
Shows what would move, and asks for confirmation. `skipped` counts the offsets that the group will never handle,
`again` those that it will handle a second time. Targets are limited to what the topic still holds. The group must
have no members: if it has any, they are listed, nothing is moved, and the exit code is 1. The next member resumes
exactly at the new offsets.

Each JSON line is a partition: topic, partition, from (null if nothing is committed), to, skipped and read_again.

Examples:
  eventstream group seek rewards --topic player --to head
  eventstream group seek rewards --topic player --to 2026-01-31T08:00:00Z --dry-run
  eventstream group seek rewards --topic player --to 2h --yes
  eventstream group seek rewards --topic player --to -100 --partition 3 --yes
  eventstream group seek rewards --topic player --to 4711 --partition 0 --output json --yes";

pub(super) async fn run(
    args: &Args,
    client: &Client,
    interrupt: &Interrupt,
) -> anyhow::Result<Exit> {
    args.consent.check()?;
    let group = args.named.of(&args.common.groups(client))?;
    let mut seek = Seek::new(args.topic.as_str(), args.to);
    for partition in &args.partitions {
        seek = seek.partition(*partition);
    }
    let Some(plan) = interrupt.or(group.plan_seek(&seek)).await else {
        return Ok(Exit::Interrupted);
    };
    let plan = plan.map_err(in_options)?;
    output::print(&match args.common.output {
        Output::Json => as_json(&plan),
        Output::Table => as_table(group.name(), &plan),
    })?;
    if !plan.without_offset().is_empty() {
        let ids: Vec<_> = plan.without_offset().iter().map(i32::to_string).collect();
        output::say(&format!(
            "partitions without a committed offset, not moved and read from their head: {}",
            ids.join(", ")
        ));
    }
    plan.check_empty()?;
    let question = format!("Move group {} in {}?", group.name(), plan.topic());
    match args.consent.ask(&question, interrupt).await? {
        Answer::Interrupted => return Ok(Exit::Interrupted),
        Answer::Leave if args.consent.is_dry_run() => return Ok(Exit::Done),
        Answer::Leave => return Ok(declined()),
        Answer::Go => {}
    }
    // Not interruptible: it is a single request.
    plan.apply().await?;
    output::say(&format!("moved {} partitions", plan.moves().len()));
    Ok(Exit::Done)
}

fn as_json(plan: &SeekPlan) -> String {
    let lines = plan.moves().iter().map(|one| {
        let line = json!({
            "topic": plan.topic(),
            "partition": one.partition,
            "from": one.from,
            "to": one.to,
            "skipped": one.skipped(),
            "read_again": one.read_again(),
        });
        format!("{line}\n")
    });
    lines.collect()
}

fn as_table(group: &str, plan: &SeekPlan) -> String {
    let sum = |of: fn(&SeekMove) -> u64| plan.moves().iter().map(of).sum::<u64>();
    let mut rows = vec![row([
        "partition",
        "from",
        "to",
        "skipped",
        "again",
        "head",
        "tail",
    ])];
    rows.extend(plan.moves().iter().map(|one| {
        row([
            &*one.partition.to_string(),
            &shown(one.from),
            &one.to.to_string(),
            &one.skipped().to_string(),
            &one.read_again().to_string(),
            &one.low.to_string(),
            &one.end.to_string(),
        ])
    }));
    format!(
        "group {group} in {}: {} skipped, {} read again\n{}",
        plan.topic(),
        sum(SeekMove::skipped),
        sum(SeekMove::read_again),
        aligned(&rows)
    )
}

/// clap's parser for a destination.
fn destination(text: &str) -> Result<SeekTo, String> {
    let number = |text: &str| text.parse::<i64>().ok();
    let found = match text {
        "head" => Some(SeekTo::Head),
        "tail" => Some(SeekTo::Tail),
        _ if text.starts_with(['+', '-']) => number(text).map(SeekTo::By),
        _ => number(text)
            .map(SeekTo::Offset)
            .or_else(|| time(text).map(SeekTo::Time))
            .or_else(|| age(text).map(SeekTo::Age)),
    };
    found.ok_or_else(|| {
        "must be head, tail, an offset from 0, +N, -N, a time such as 2026-01-31T08:00:00Z, or an age such as 2h"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_destination_is_a_word_a_number_a_time_or_an_age() {
        for (text, to) in [
            ("head", SeekTo::Head),
            ("tail", SeekTo::Tail),
            ("0", SeekTo::Offset(0)),
            ("+5", SeekTo::By(5)),
            ("-12", SeekTo::By(-12)),
            ("1d12h", SeekTo::Age(Duration::from_secs(129_600))),
            ("1970-01-01T00:00:00Z", SeekTo::Time(std::time::UNIX_EPOCH)),
        ] {
            assert_eq!(destination(text), Ok(to));
        }
        for text in ["", "middle", "+", "-x", "+2h", "99999999999999999999"] {
            assert!(destination(text).unwrap_err().contains("+N"), "{text}");
        }
    }
}
