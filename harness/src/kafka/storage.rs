//! Preparing the data folders, as `kafka-storage.sh format` does.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::node::{Node, logging_option};
use super::secured::Credentials;
use crate::jars::Jars;

/// Any 16 bytes in base64 would do; a constant makes the logs of two runs comparable.
const CLUSTER_ID: &str = "ZXZlbnRzdHJlYW0tdGVzdA";

/// Formats the folders of all nodes in parallel.
pub(crate) fn format_all(
    jars: &Jars,
    nodes: &[Node],
    credentials: Option<&Credentials>,
) -> Result<()> {
    let mut running = Vec::with_capacity(nodes.len());
    for node in nodes {
        let properties = node.properties();
        let folder = properties.parent().unwrap_or(Path::new("."));
        let mut command = Command::new("java");
        command
            .args(["-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"])
            .arg(logging_option(jars, folder))
            .args(["-cp", &jars.class_path(), "kafka.tools.StorageTool"])
            .args(["format", "-t", CLUSTER_ID, "-c"])
            .arg(&properties);
        if let Some(credentials) = credentials {
            command.args(credentials.format_arguments());
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        running.push((node, child.context("starting java")?));
    }
    for (node, child) in running {
        let output = child.wait_with_output()?;
        if !output.status.success() {
            let out = String::from_utf8_lossy(&output.stdout);
            let err = String::from_utf8_lossy(&output.stderr);
            bail!(
                "formatting {} failed with {}:\n{out}{err}",
                node.data().display(),
                output.status
            );
        }
    }
    Ok(())
}
