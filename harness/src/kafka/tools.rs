//! Requests that librdkafka does not support, through Kafka's own command-line tools.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::Kafka;
use crate::wait::eventually;

const MOVE: Duration = Duration::from_secs(30);

impl Kafka {
    /// Runs a main class of Kafka's jars and returns what it prints. It costs about a second of JVM start.
    ///
    /// # Errors
    /// The tool fails; the message has its output.
    pub fn tool(&self, class: &str, arguments: &[&str]) -> Result<String> {
        let output = Command::new("java")
            .args([
                "-Xmx256m",
                "-XX:TieredStopAtLevel=1",
                "-XX:+UseSerialGC",
                "-cp",
            ])
            .arg(self.jars.class_path())
            .arg(class)
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .context("starting java")?;
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            bail!(
                "{class} failed with {}:\n{stdout}{}",
                output.status,
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(stdout)
    }

    /// Makes `node` the leader of a partition that it holds a replica of. Returns when the cluster says so.
    ///
    /// # Errors
    /// The node has no replica of it, or the tools fail.
    pub fn move_leader(&self, topic: &str, partition: i32, node: i32) -> Result<()> {
        let admin = self.admin()?;
        let mut replicas = admin.replicas(topic, partition)?;
        let Some(place) = replicas.iter().position(|replica| *replica == node) else {
            bail!("node {node} has no replica of {topic} {partition}: {replicas:?}");
        };
        // The preferred leader is the first in the list; the election then makes it the leader.
        replicas.swap(0, place);
        let plan = tempfile::NamedTempFile::new()?;
        let entry =
            serde_json::json!({ "topic": topic, "partition": partition, "replicas": replicas });
        serde_json::to_writer(
            &plan,
            &serde_json::json!({ "version": 1, "partitions": [entry] }),
        )?;
        let plan = plan.path().display().to_string();
        let bootstrap = self.bootstrap();
        self.tool(
            "org.apache.kafka.tools.reassign.ReassignPartitionsCommand",
            &[
                "--bootstrap-server",
                &bootstrap,
                "--reassignment-json-file",
                &plan,
                "--execute",
            ],
        )?;
        let partition_text = partition.to_string();
        let election = [
            "--bootstrap-server",
            &bootstrap,
            "--election-type",
            "preferred",
            "--topic",
            topic,
            "--partition",
            &partition_text,
        ];
        self.tool("org.apache.kafka.tools.LeaderElectionCommand", &election)?;
        eventually(
            &format!("node {node} to lead {topic} {partition}"),
            MOVE,
            || Ok((admin.leader(topic, partition)? == Some(node)).then_some(())),
        )
    }
}
