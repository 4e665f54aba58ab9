//! `metadata`: what the cluster says of itself, for people or as JSON.

use std::time::Duration;

use eventstream::{Error, GroupId, Metadata, PartitionMetadata, Topic, TopicMetadata};
use serde_json::{Value, json};

use crate::connection::{Connection, seconds};
use crate::exit::{self, Exit};
use crate::output;
use crate::signals::Interrupt;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// One topic, without the prefix [default: all]
    #[arg(long, value_name = "TOPIC")]
    topic: Option<Topic>,
    /// A group, without the prefix: show its committed offsets and its lag
    #[arg(long, value_name = "GROUP")]
    group: Option<GroupId>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// How long to wait for an answer
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    timeout: Duration,
}

pub(crate) const EXAMPLES: &str = "\
Topics are shown as on the broker, with their prefix. `low` is the first offset that is kept, `high`
the one that the next record gets. Lag counts from the committed offset, or from `low` where the
group has none. Exit code 1 when something is wrong with a topic that is shown.

Examples:
  eventstream metadata
  eventstream metadata --topic player --group rewards
  eventstream metadata --json --topic player | jq '.topics[0].partitions | map(.high - .low) | add'";

pub(crate) async fn run(
    args: &Args,
    connection: &Connection,
    interrupt: &Interrupt,
) -> anyhow::Result<Exit> {
    let client = connection.client()?;
    let topic = args.topic.as_ref().map(Topic::as_str);
    let group = args.group.as_ref().map(GroupId::as_str);
    let asked = client.group_metadata(topic, group, args.timeout);
    let Some(metadata) = interrupt.or(asked).await else {
        return Ok(Exit::Interrupted);
    };
    let metadata = metadata?;
    if args.json {
        output::print(&format!("{}\n", as_json(&metadata, group.is_some())))?;
    } else {
        output::print(&as_table(&metadata, group))?;
    }
    let mut end = Exit::Done;
    for topic in &metadata.topics {
        if let Some(error) = &topic.error {
            output::say(&format!("error: {}", exit::chain(error)));
            end = Exit::Failed;
        }
    }
    client.shutdown(Duration::from_secs(1)).await;
    Ok(end)
}

fn as_json(metadata: &Metadata, with_group: bool) -> Value {
    let brokers: Vec<_> = metadata
        .brokers
        .iter()
        .map(|broker| json!({"id": broker.id, "host": broker.host, "port": broker.port}))
        .collect();
    let topics: Vec<_> = metadata
        .topics
        .iter()
        .map(|topic| {
            let partitions = topic.partitions.iter();
            json!({
                "name": topic.name,
                "error": topic.error.as_ref().map(error_json),
                "partitions": partitions
                    .map(|partition| partition_json(partition, with_group))
                    .collect::<Vec<_>>(),
            })
        })
        .collect();
    json!({"brokers": brokers, "topics": topics})
}

fn error_json(error: &Error) -> Value {
    json!({"kind": error.kind().as_str(), "message": exit::chain(error)})
}

fn partition_json(partition: &PartitionMetadata, with_group: bool) -> Value {
    let mut json = json!({
        "id": partition.id,
        "leader": partition.leader,
        "replicas": partition.replicas,
        "in_sync": partition.in_sync,
        "low": partition.low,
        "high": partition.high,
    });
    if with_group {
        json["committed"] = partition.committed.into();
        json["lag"] = partition.lag().into();
    }
    json
}

fn as_table(metadata: &Metadata, group: Option<&str>) -> String {
    let mut text = String::from("broker  address\n");
    for broker in &metadata.brokers {
        text += &format!("{:>6}  {}:{}\n", broker.id, broker.host, broker.port);
    }
    for topic in &metadata.topics {
        topic_table(topic, group, &mut text);
    }
    text
}

fn topic_table(topic: &TopicMetadata, group: Option<&str>, text: &mut String) {
    *text += &format!("\ntopic {}", topic.name);
    if topic.error.is_some() {
        *text += ": cannot be read\n";
        return;
    }
    let records: i64 = topic.partitions.iter().map(|p| p.high - p.low).sum();
    *text += &format!(": {} partitions, {records} records", topic.partitions.len());
    if let Some(group) = group {
        let lag: i64 = topic.partitions.iter().map(PartitionMetadata::lag).sum();
        *text += &format!(", group {group}: lag {lag}");
    }
    let mut rows = vec![row([
        "partition",
        "leader",
        "replicas",
        "in sync",
        "low",
        "high",
    ])];
    if group.is_some() {
        rows[0].extend(row(["committed", "lag"]));
    }
    for partition in &topic.partitions {
        let mut cells = row([
            &*partition.id.to_string(),
            &shown(partition.leader),
            &joined(&partition.replicas),
            &joined(&partition.in_sync),
            &partition.low.to_string(),
            &partition.high.to_string(),
        ]);
        if group.is_some() {
            cells.extend(row([
                &*shown(partition.committed),
                &partition.lag().to_string(),
            ]));
        }
        rows.push(cells);
    }
    text.push('\n');
    *text += &aligned(&rows);
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

fn shown<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

fn joined(ids: &[i32]) -> String {
    let ids: Vec<_> = ids.iter().map(ToString::to_string).collect();
    ids.join(",")
}

/// Rows of one length as columns, aligned to the right.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<_> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        for (cell, width) in row.iter().zip(&widths) {
            text += &format!("  {cell:>width$}");
        }
        text.push('\n');
    }
    text
}
