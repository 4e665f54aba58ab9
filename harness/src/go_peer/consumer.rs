//! A consumer in Go, as a separate process: a group member to share partitions with.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{ChildStdout, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;
use serde::Deserialize;
use tempfile::NamedTempFile;

use super::property_arguments;
use crate::guard::Guarded;

const CLOSE: Duration = Duration::from_secs(30);

/// Options of a Go consumer that is not started yet.
#[derive(Clone, Debug)]
pub struct PeerConsume {
    program: PathBuf,
    arguments: Vec<String>,
}

impl PeerConsume {
    pub(super) fn new(program: PathBuf, bootstrap: &str, topic: &str, group: &str) -> Self {
        let arguments = [
            "consume", "-brokers", bootstrap, "-topic", topic, "-group", group,
        ];
        Self {
            program,
            arguments: arguments.map(str::to_owned).to_vec(),
        }
    }

    /// Exits after this many records.
    #[must_use]
    pub fn count(self, records: u64) -> Self {
        self.option("-count", records.to_string())
    }

    /// Exits after this long without a record, including the time to join the group.
    #[must_use]
    pub fn idle(self, time: Duration) -> Self {
        self.option("-idle", time.as_secs_f64().to_string())
    }

    /// Starts at the tail if the group has no offset; without this, at the head.
    #[must_use]
    pub fn from_latest(self) -> Self {
        self.option("-from", "latest".to_owned())
    }

    /// Spends this long on each record before its offset may be committed.
    #[must_use]
    pub fn delay(self, time: Duration) -> Self {
        self.option("-delay", time.as_secs_f64().to_string())
    }

    /// A property of librdkafka, over the peer's own.
    #[must_use]
    pub fn property(mut self, name: &str, value: &str) -> Self {
        self.arguments.extend(property_arguments(&[(name, value)]));
        self
    }

    /// Starts the process.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(self) -> Result<PeerConsumer> {
        let complaints = NamedTempFile::new()?;
        let stderr = File::options().append(true).open(complaints.path())?;
        let mut process =
            Guarded::spawn(&self.program, &self.arguments, None, Stdio::piped(), stderr)?;
        let stdout = process
            .take_stdout()
            .context("the Go peer has no standard output")?;
        let (sender, lines) = channel();
        let reader = thread::spawn(move || forward(stdout, &sender));
        Ok(PeerConsumer {
            process,
            lines,
            reader: Some(reader),
            assignment: Vec::new(),
            complaints,
        })
    }

    fn option(mut self, name: &str, value: String) -> Self {
        self.arguments.extend([name.to_owned(), value]);
        self
    }
}

/// A record as the Go consumer got it. Bytes that are not UTF-8 arrive as U+FFFD.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct PeerRecord {
    /// The partition.
    pub partition: i32,
    /// The place in the partition.
    pub offset: i64,
    /// The key; `None` is null or empty.
    pub key: Option<String>,
    /// The value; `None` is null or empty.
    pub value: Option<String>,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// The headers in their order.
    pub headers: Vec<PeerHeader>,
    /// When its handling began, in nanoseconds since 1970.
    pub begun: u64,
    /// When its handling ended.
    pub ended: u64,
}

/// A header as the Go consumer got it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct PeerHeader {
    /// The name.
    pub key: String,
    /// The value; `None` is null or empty.
    pub value: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Record(PeerRecord),
    Rebalance {
        #[serde(default)]
        assigned: Vec<i32>,
        #[serde(default)]
        revoked: Vec<i32>,
    },
}

/// A running Go consumer. Dropping it kills it, so that the group learns of it by the session timeout.
#[derive(Debug)]
pub struct PeerConsumer {
    process: Guarded,
    lines: Receiver<String>,
    reader: Option<JoinHandle<()>>,
    assignment: Vec<i32>,
    complaints: NamedTempFile,
}

impl PeerConsumer {
    /// Its partitions, as far as its output was read by the methods below.
    #[must_use]
    pub fn assignment(&self) -> &[i32] {
        &self.assignment
    }

    /// Waits until it has exactly this many partitions. Records that arrive before are returned, in order.
    ///
    /// # Errors
    /// It has not `within` the time given, or it ended.
    pub fn wait_for_partitions(
        &mut self,
        count: usize,
        within: Duration,
    ) -> Result<Vec<PeerRecord>> {
        let deadline = Instant::now() + within;
        let mut records = Vec::new();
        while self.assignment.len() != count {
            match self.line(deadline)? {
                Some(Line::Record(record)) => records.push(record),
                Some(Line::Rebalance { .. }) => {}
                None => bail!(
                    "the Go peer has partitions {:?}, not {count}: {}",
                    self.assignment,
                    self.complaint()
                ),
            }
        }
        Ok(records)
    }

    /// The next record; `None` when it ended, or when none came `within` the time given.
    ///
    /// # Errors
    /// It wrote a line that cannot be read.
    pub fn next_record(&mut self, within: Duration) -> Result<Option<PeerRecord>> {
        let deadline = Instant::now() + within;
        loop {
            match self.line(deadline)? {
                Some(Line::Record(record)) => return Ok(Some(record)),
                Some(Line::Rebalance { .. }) => {}
                None => return Ok(None),
            }
        }
    }

    /// All records until it exits, as set by [`PeerConsume::count`] or [`PeerConsume::idle`].
    ///
    /// # Errors
    /// It is still there `within` the time given, or it failed.
    pub fn finish(mut self, within: Duration) -> Result<Vec<PeerRecord>> {
        let deadline = Instant::now() + within;
        let mut records = Vec::new();
        while let Some(record) =
            self.next_record(deadline.saturating_duration_since(Instant::now()))?
        {
            records.push(record);
        }
        self.end(deadline.saturating_duration_since(Instant::now()))?;
        Ok(records)
    }

    /// Stops it cleanly: it commits, leaves the group and returns the records not read yet.
    ///
    /// # Errors
    /// It does not end within 30 s, or it failed.
    pub fn stop(mut self) -> Result<Vec<PeerRecord>> {
        self.process.signal(Signal::TERM)?;
        let mut records = Vec::new();
        while let Some(record) = self.next_record(CLOSE)? {
            records.push(record);
        }
        self.end(CLOSE)?;
        Ok(records)
    }

    /// Sends it a signal, such as `Signal::STOP`.
    ///
    /// # Errors
    /// The operating system refuses.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    fn end(&mut self, within: Duration) -> Result<()> {
        let status =
            crate::eventually("the Go peer to end", within, || self.process.exit_status())?;
        if !status.success() {
            bail!("the Go peer failed with {status}: {}", self.complaint());
        }
        Ok(())
    }

    fn line(&mut self, deadline: Instant) -> Result<Option<Line>> {
        let text = match self
            .lines
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            Ok(text) => text,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Ok(None),
        };
        let line =
            serde_json::from_str(&text).with_context(|| format!("the Go peer wrote {text:?}"))?;
        if let Line::Rebalance { assigned, revoked } = &line {
            self.assignment
                .retain(|partition| !revoked.contains(partition));
            self.assignment.extend(assigned);
        }
        Ok(Some(line))
    }

    fn complaint(&self) -> String {
        fs::read_to_string(self.complaints.path()).unwrap_or_default()
    }
}

impl Drop for PeerConsumer {
    fn drop(&mut self) {
        // The process first, or the reader would wait for its output forever.
        self.process.kill();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

fn forward(stdout: ChildStdout, lines: &Sender<String>) {
    for line in BufReader::new(stdout).lines() {
        let Ok(line) = line else { return };
        if lines.send(line).is_err() {
            return;
        }
    }
}
