//! `metadata`: brokers, topics and partitions, as a table or as JSON.

use std::time::Duration;

use eventstream::{
    Error, GroupId, Metadata, MetadataQuery, PartitionMetadata, Topic, TopicMetadata,
};
use serde_json::{Value, json};

use crate::connection::{Connection, seconds};
use crate::exit::{self, Exit};
use crate::output;
use crate::signals::Interrupt;
use crate::table::{aligned, row, shown};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// One topic, without the prefix [default: all]
    #[arg(long, value_name = "TOPIC")]
    topic: Option<Topic>,
    /// Group whose committed offsets and lag to show, without the prefix
    #[arg(long, value_name = "GROUP")]
    group: Option<GroupId>,
    /// The same for a group given by its full name on the broker
    #[arg(long, value_name = "GROUP", conflicts_with = "group")]
    exact_group: Option<GroupId>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// How long to wait for an answer
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    timeout: Duration,
}

pub(crate) const EXAMPLES: &str = "\
Topics and groups are shown by their names on the broker. There, a --group starts with the prefix and a dot;
without a prefix, with the dot alone (`.rewards`), as in the Go SDK. --exact-group takes the full name.
`low` is the first offset that is kept, `high` the offset of the next record. Lag is counted from the committed
offset, or from `low` if the group has none. Unknown values are `-` (null in JSON).
The exit code is 1 if a topic or partition has an error, which is printed to standard error, or if the brokers do
not know the group.

Examples:
  eventstream metadata
  eventstream metadata --topic player --group rewards
  eventstream metadata --topic player --exact-group connect-player-sink
  eventstream metadata --brokers kafka-1:9093 --oauth-token-endpoint https://login.example.com/oauth2/token --oauth-client-id inventory --oauth-client-secret-file secret --oauth-scope kafka
  eventstream metadata --brokers b-1.example.kafka.eu-west-1.amazonaws.com:9098 --aws-msk-region eu-west-1
  eventstream metadata --json --topic player | jq '.topics[0].partitions | map(.high - .low) | add'";

pub(crate) async fn run(
    args: &Args,
    connection: &Connection,
    interrupt: &Interrupt,
) -> anyhow::Result<Exit> {
    let client = connection.client()?;
    let asked = client.query_metadata(query(args), args.timeout);
    let Some(metadata) = interrupt.or(asked).await else {
        return Ok(Exit::Interrupted);
    };
    let metadata = metadata?;
    if args.json {
        output::print(&format!("{}\n", as_json(&metadata)))?;
    } else {
        output::print(&as_table(&metadata))?;
    }
    let problems = problems(&metadata);
    for problem in &problems {
        output::say(&format!("error: {problem}"));
    }
    client.shutdown(Duration::from_secs(1)).await;
    Ok(if problems.is_empty() {
        Exit::Done
    } else {
        Exit::Failed
    })
}

fn query(args: &Args) -> MetadataQuery {
    let mut query = MetadataQuery::new().watermarks();
    if let Some(topic) = &args.topic {
        query = query.topic(topic.as_str());
    }
    if let Some(group) = &args.group {
        query = query.group(group.as_str());
    }
    if let Some(group) = &args.exact_group {
        query = query.exact_group(group.as_str());
    }
    query
}

/// The errors, one line for each cause: partitions of a topic with the same error share a line.
fn problems(metadata: &Metadata) -> Vec<String> {
    let mut problems = Vec::new();
    for topic in &metadata.topics {
        problems.extend(topic.error.as_ref().map(|error| exit::chain(error)));
        let wrong = topic.partitions.iter().filter_map(|p| p.error.as_ref());
        let mut causes: Vec<(String, &Error, usize)> = Vec::new();
        for error in wrong {
            let cause = without_numbers(&exit::chain(error));
            match causes.iter_mut().find(|(known, _, _)| *known == cause) {
                Some((_, _, count)) => *count += 1,
                None => causes.push((cause, error, 1)),
            }
        }
        problems.extend(causes.into_iter().map(|(_, error, count)| match count {
            1 => exit::chain(error),
            n => format!(
                "{}; {} more partitions have the same error",
                exit::chain(error),
                n - 1
            ),
        }));
    }
    if let Some(group) = metadata.group.as_ref().filter(|group| !group.is_known) {
        let name = &group.name;
        problems.push(format!(
            "group {name} is not known to the brokers: it has no members and no committed offsets"
        ));
    }
    problems
}

fn without_numbers(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii_digit()).collect()
}

fn as_json(metadata: &Metadata) -> Value {
    let with_group = metadata.group.is_some();
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
    let mut json = json!({"brokers": brokers, "topics": topics});
    if let Some(group) = &metadata.group {
        json["group"] = json!({"name": group.name, "known": group.is_known});
    }
    json
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
    if let Some(error) = &partition.error {
        json["error"] = error_json(error);
    }
    if with_group {
        json["committed"] = partition.committed.into();
        json["lag"] = partition.lag().into();
    }
    json
}

fn as_table(metadata: &Metadata) -> String {
    let group = metadata.group.as_ref().map(|group| group.name.as_str());
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
    let count = |p: &PartitionMetadata| Some(p.high? - p.low?);
    let records = total(topic, "records", count);
    *text += &format!(": {} partitions, {records}", topic.partitions.len());
    if let Some(group) = group {
        *text += &format!(
            ", group {group}: {}",
            total(topic, "lag", PartitionMetadata::lag)
        );
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
            &shown(partition.low),
            &shown(partition.high),
        ]);
        if group.is_some() {
            cells.extend(row([&*shown(partition.committed), &shown(partition.lag())]));
        }
        rows.push(cells);
    }
    text.push('\n');
    *text += &aligned(&rows);
}

/// A sum over the partitions, and how many are not in it.
fn total(
    topic: &TopicMetadata,
    what: &str,
    of: impl Fn(&PartitionMetadata) -> Option<i64>,
) -> String {
    let known: Vec<_> = topic.partitions.iter().filter_map(of).collect();
    let sum: i64 = known.iter().sum();
    let text = match what {
        "lag" => format!("lag {sum}"),
        _ => format!("{sum} {what}"),
    };
    match topic.partitions.len() - known.len() {
        0 => text,
        n => format!("{text} ({n} partitions not known)"),
    }
}

fn joined(ids: &[i32]) -> String {
    let ids: Vec<_> = ids.iter().map(ToString::to_string).collect();
    ids.join(",")
}
