use std::collections::HashMap;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use eventstream::{Client, Error, GroupDescription, GroupPartition, Progress};
use serde_json::json;

use super::{Common, Named, Output};
use crate::connection::seconds;
use crate::exit::{Exit, chain};
use crate::output;
use crate::signals::Interrupt;
use crate::table::{aligned, listed, row, shown};
use crate::time::shown_age;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    named: Named,
    /// Refresh until interrupted, in place on a terminal
    #[arg(long)]
    watch: bool,
    /// With --watch: how long to wait between refreshes
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds, requires = "watch")]
    interval: Duration,
    #[command(flatten)]
    common: Common,
}

pub(crate) const EXAMPLES: &str = "\
Shows the partitions that have a committed offset or are assigned to a member. `lag` counts offsets, including gaps
without records. `behind` is the age of the next record to handle, by its timestamp and this machine's clock. Unknown
values are `-` (null in JSON). With --watch, `commit` says whether the committed offset is moving, stuck (and for how
long) although there is lag, or idle.

Each JSON line is a partition: topic, partition, committed, end, lag, lag_seconds and member (the id of the member
that it is assigned to).

The exit code is 1 if the brokers do not know the group, or if a partition has an error.

Examples:
  eventstream group show rewards
  eventstream group show rewards --watch --interval 5
  eventstream group show rewards --output json | jq -s 'map(.lag) | add'";

pub(super) async fn run(
    args: &Args,
    client: &Client,
    interrupt: &Interrupt,
) -> anyhow::Result<Exit> {
    let group = args.named.of(&args.common.groups(client))?;
    let Some(first) = interrupt.or(group.describe()).await else {
        return Ok(Exit::Interrupted);
    };
    let mut now = first?;
    if !args.watch {
        output::print(&text_of(args, &now, None))?;
        return Ok(problems(&now));
    }
    let mut watch = Watch::default();
    let mut trouble: Option<Error> = None;
    loop {
        let text = text_of(args, &now, Some(&watch));
        watch.draw(&text, trouble.as_ref())?;
        if interrupt
            .or(tokio::time::sleep(args.interval))
            .await
            .is_none()
        {
            return Ok(Exit::Done);
        }
        match interrupt.or(group.describe()).await {
            None => return Ok(Exit::Done),
            Some(Ok(next)) => {
                watch.take(&now, &next);
                (now, trouble) = (next, None);
            }
            // The last table stays, with the error below it.
            Some(Err(error)) if error.is_retriable() => trouble = Some(error),
            Some(Err(error)) => return Err(error.into()),
        }
    }
}

/// What can only be seen by comparing two descriptions.
#[derive(Default)]
struct Watch {
    progress: HashMap<(String, i32), Progress>,
    since: HashMap<(String, i32), Instant>,
    is_drawn: bool,
}

impl Watch {
    fn take(&mut self, before: &GroupDescription, now: &GroupDescription) {
        for partition in &now.partitions {
            let name = (partition.topic.clone(), partition.partition);
            let Some(progress) = partition.progress_since(before) else {
                self.progress.remove(&name);
                continue;
            };
            if self.progress.insert(name.clone(), progress) != Some(progress) {
                self.since.insert(name, Instant::now());
            }
        }
    }

    fn commit(&self, partition: &GroupPartition) -> String {
        let name = (partition.topic.clone(), partition.partition);
        match (self.progress.get(&name), self.since.get(&name)) {
            (Some(Progress::Stuck), Some(since)) => {
                format!("stuck {}", shown_age(since.elapsed()))
            }
            (Some(progress), _) => progress.as_str().to_owned(),
            (None, _) => "-".to_owned(),
        }
    }

    /// Overwrites the previous table on a terminal, and appends elsewhere.
    fn draw(&mut self, text: &str, trouble: Option<&Error>) -> io::Result<()> {
        let mut text = text.to_owned();
        if let Some(error) = trouble {
            let mut said = Vec::new();
            crate::escape::push_text(&chain(error), &mut said);
            text += &format!("\nout of date: {}\n", String::from_utf8_lossy(&said));
        }
        if io::stdout().is_terminal() {
            // Clears each line to its end, and everything below the last one.
            let clear = if self.is_drawn { "" } else { "\x1b[2J" };
            let lines = text.replace('\n', "\x1b[K\r\n");
            text = format!("{clear}\x1b[H{lines}\x1b[J");
        } else if self.is_drawn && !text.starts_with('{') {
            text.insert(0, '\n');
        }
        self.is_drawn = true;
        output::print(&text)
    }
}

fn problems(group: &GroupDescription) -> Exit {
    let errors = group.partitions.iter().filter_map(|p| p.error.as_ref());
    let mut exit = Exit::Done;
    for error in errors {
        output::say(&format!("error: {}", chain(error)));
        exit = Exit::Failed;
    }
    exit
}

fn text_of(args: &Args, group: &GroupDescription, watch: Option<&Watch>) -> String {
    match args.common.output {
        Output::Json => as_json(group),
        Output::Table => as_table(group, watch),
    }
}

fn as_json(group: &GroupDescription) -> String {
    let lines = group.partitions.iter().map(|partition| {
        let line = json!({
            "topic": partition.topic,
            "partition": partition.partition,
            "committed": partition.committed,
            "end": partition.end,
            "lag": partition.lag(),
            "lag_seconds": partition.lag_time.map(|lag| (lag.as_secs_f64() * 1000.0).round() / 1000.0),
            "member": partition.member,
        });
        format!("{line}\n")
    });
    lines.collect()
}

fn as_table(group: &GroupDescription, watch: Option<&Watch>) -> String {
    let lags: Vec<_> = group.partitions.iter().map(GroupPartition::lag).collect();
    let lag: i64 = lags.iter().flatten().sum();
    let unknown = lags.iter().filter(|lag| lag.is_none()).count();
    let mut text = format!(
        "group {}: {}, protocol {}{}, members {}, lag {lag}",
        group.name,
        group.state.as_str(),
        group.protocol.as_str(),
        match &*group.assignor {
            "" => String::new(),
            assignor => format!(" ({assignor})"),
        },
        group.members.len(),
    );
    if unknown > 0 {
        text += &format!(" ({unknown} partitions not known)");
    }
    text.push('\n');
    if !group.members.is_empty() {
        let mut rows = vec![row(["client", "host", "partitions", "instance", "member"])];
        rows.extend(group.members.iter().map(|member| {
            row([
                &*member.client_id,
                &member.host,
                &member.partition_count().to_string(),
                &shown(member.instance_id.as_ref()),
                &member.id,
            ])
        }));
        text.push('\n');
        text += &listed(&rows);
    }
    if group.partitions.is_empty() {
        return text;
    }
    let mut head = row(["partition", "committed", "end", "lag", "behind"]);
    head.extend(watch.map(|_| "commit".to_owned()));
    head.push("member".to_owned());
    let mut of_topic: Option<&str> = None;
    let mut rows = Vec::new();
    for partition in &group.partitions {
        if of_topic != Some(&partition.topic) {
            text += &aligned(&rows);
            text += &format!("\ntopic {}\n", partition.topic);
            rows = vec![head.clone()];
            of_topic = Some(&partition.topic);
        }
        let mut cells = row([
            &*partition.partition.to_string(),
            &shown(partition.committed),
            &shown(partition.end),
            &shown(partition.lag()),
            &shown(partition.lag_time.map(shown_age)),
        ]);
        cells.extend(watch.map(|watch| watch.commit(partition)));
        cells.push(client_of(group, partition));
        rows.push(cells);
    }
    text + &aligned(&rows)
}

/// The name of the client that a partition is assigned to: shorter than the member's id.
fn client_of(group: &GroupDescription, partition: &GroupPartition) -> String {
    let Some(id) = &partition.member else {
        return "-".to_owned();
    };
    let mut members = group.members.iter();
    let member = members.find(|member| member.id == *id);
    member.map_or_else(|| id.clone(), |m| format!("{}@{}", m.client_id, m.host))
}
