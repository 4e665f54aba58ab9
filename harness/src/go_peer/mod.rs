//! A Go program that speaks the same envelopes: `encoding/json` and confluent-kafka-go.

mod build;
mod consumer;
mod toolchain;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

pub use self::consumer::{PeerConsume, PeerConsumer, PeerHeader, PeerRecord};

/// The Go program, built.
#[derive(Clone, Debug)]
pub struct GoPeer {
    program: PathBuf,
}

/// A line of the peer's answer: its content, or the peer's own error.
#[derive(Deserialize)]
#[serde(untagged)]
enum Placed {
    Failed { error: String },
    Stored { partition: i32, offset: i64 },
}

impl GoPeer {
    /// The program that an earlier [`GoPeer::build`] has built from the current sources.
    ///
    /// # Errors
    /// There is none; the message names the command that builds it.
    pub fn find() -> Result<Self> {
        let program = build::program()?;
        if !program.exists() {
            bail!("the Go peer is not built: run `cargo xtask setup`");
        }
        Ok(Self { program })
    }

    /// Builds the program, unless it is up to date; downloads Go if the machine has none.
    ///
    /// # Errors
    /// Go is missing and cannot be fetched, a C compiler is missing, or the build fails; the message has the remedy or
    /// the compiler's words.
    pub fn build() -> Result<Self> {
        let program = build::program()?;
        if !program.exists() {
            build::build(&program)?;
        }
        Ok(Self { program })
    }

    /// The Go consumer's result for each envelope: the event marshalled again, or Go's error text.
    ///
    /// # Errors
    /// An envelope holds a line break, or the program fails.
    pub fn decode<E: AsRef<[u8]>>(&self, envelopes: &[E]) -> Result<Vec<Result<String, String>>> {
        let mut input = Vec::new();
        for envelope in envelopes {
            let envelope = envelope.as_ref();
            ensure!(
                !envelope.contains(&b'\n'),
                "an envelope for the Go peer must be one line"
            );
            input.extend_from_slice(envelope);
            input.push(b'\n');
        }
        self.convert("decode", &input, envelopes.len())
    }

    /// The envelopes that a Go publisher writes for events given by their wire fields, such as `{"name":"x"}`. It adds
    /// id, timestamps and version where they are absent.
    ///
    /// # Errors
    /// The program fails, or refuses an event.
    pub fn encode(&self, events: &[Value]) -> Result<Vec<String>> {
        let lines = self.convert("encode", &ndjson(events), events.len())?;
        lines
            .into_iter()
            .map(|line| line.map_err(|error| anyhow::anyhow!(error)))
            .collect()
    }

    /// Publishes records, each a key and a value (`None` is null), and returns where each was stored. `properties` are
    /// librdkafka's, over the peer's own.
    ///
    /// # Errors
    /// The program fails, or one of the records was not stored.
    pub fn produce(
        &self,
        bootstrap: &str,
        topic: &str,
        records: &[(Option<&str>, Option<&str>)],
        properties: &[(&str, &str)],
    ) -> Result<Vec<(i32, i64)>> {
        let lines: Vec<_> = records
            .iter()
            .map(|(key, value)| json!({ "key": key, "value": value }))
            .collect();
        let mut arguments = vec!["produce".to_owned()];
        arguments.extend(["-brokers", bootstrap, "-topic", topic].map(str::to_owned));
        arguments.extend(property_arguments(properties));
        let output = self.run(&arguments, &ndjson(&lines))?;
        let placed = output
            .lines()
            .map(|line| match serde_json::from_str(line)? {
                Placed::Stored { partition, offset } => Ok((partition, offset)),
                Placed::Failed { error } => bail!("the Go peer could not store a record: {error}"),
            });
        placed.collect()
    }

    /// A builder for a consumer of a topic in a group.
    #[must_use]
    pub fn consume(&self, bootstrap: &str, topic: &str, group: &str) -> PeerConsume {
        PeerConsume::new(self.program.clone(), bootstrap, topic, group)
    }

    fn convert(
        &self,
        mode: &str,
        input: &[u8],
        expected: usize,
    ) -> Result<Vec<Result<String, String>>> {
        let output = self.run(&[mode.to_owned()], input)?;
        let lines: Vec<_> = output.lines().map(answer).collect();
        ensure!(
            lines.len() == expected,
            "the Go peer answered {} lines to {expected}",
            lines.len()
        );
        Ok(lines)
    }

    fn run(&self, arguments: &[String], input: &[u8]) -> Result<String> {
        // This needs no guard: the program exits at the end of its input, which our own exit closes.
        let mut child = Command::new(&self.program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("starting the Go peer")?;
        let mut stdin = child
            .stdin
            .take()
            .context("the Go peer has no standard input")?;
        // From another thread, or both sides could wait for the other to read.
        let (output, written) = thread::scope(|scope| {
            let writer = scope.spawn(move || stdin.write_all(input));
            (child.wait_with_output(), writer.join())
        });
        let output = output?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "the Go peer failed with {}:\n{complaint}",
            output.status
        );
        ensure!(
            matches!(written, Ok(Ok(()))),
            "the Go peer did not read all of its input:\n{complaint}"
        );
        Ok(String::from_utf8(output.stdout)?)
    }
}

/// An event has an `error` key only among others; the peer's failure has nothing else.
fn answer(line: &str) -> Result<String, String> {
    match serde_json::from_str::<Value>(line) {
        Ok(Value::Object(fields)) if fields.len() == 1 => match fields.get("error") {
            Some(Value::String(error)) => Err(error.clone()),
            _ => Ok(line.to_owned()),
        },
        _ => Ok(line.to_owned()),
    }
}

fn ndjson(values: &[Value]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| format!("{value}\n").into_bytes())
        .collect()
}

fn property_arguments(properties: &[(&str, &str)]) -> Vec<String> {
    properties
        .iter()
        .flat_map(|(name, value)| ["-config".to_owned(), format!("{name}={value}")])
        .collect()
}
