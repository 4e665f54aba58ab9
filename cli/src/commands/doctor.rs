//! `doctor`: one line for each check of a deployment.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use clap::ValueEnum;
use eventstream::{Backend, CheckStatus, Doctor, Finding, GroupId, Report, Topic};

use crate::connection::{Connection, seconds};
use crate::exit::{Exit, Usage};
use crate::output;
use crate::signals::Interrupt;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Topic to check as its publisher, or with --group as its consumer; without the prefix, repeatable
    #[arg(long = "topic", value_name = "TOPIC")]
    topics: Vec<Topic>,
    /// Group whose state, offsets, lag and dead letters in the topics to check; without the prefix
    #[arg(long, value_name = "GROUP")]
    group: Option<GroupId>,
    /// Publish eleven events named doctorCanary to this topic and read them back
    #[arg(long, value_name = "TOPIC")]
    publish_to: Option<Topic>,
    /// The time limit of the group's handlers
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    handler_timeout: Option<Duration>,
    /// The drain timeout of the group's subscriptions [default: 20]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    drain_timeout: Option<Duration>,
    /// The group's subscriptions start at the head if the group is new
    #[arg(long)]
    from_head: bool,
    /// What to print
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
}

#[derive(Clone, Copy, Default, ValueEnum)]
enum Format {
    #[default]
    Text,
    Json,
    Prometheus,
}

pub(crate) const EXAMPLES: &str = "\
One line for each check: verdict, id, finding and remedy. docs/guide/src/doctor.md explains each id. A check that
could not run is not_run, says why, and does not affect the exit code.
Exit codes: 0 all well, 1 a warning, 2 a failure. A run takes at most 10 s.
In Prometheus format, each check is a series of eventstream_doctor_status: 0 ok, 1 warning, 2 failure, 3 not run.

Examples:
  eventstream doctor
  eventstream doctor --topic player --group rewards
  eventstream doctor --topic player --publish-to canary --output json
  eventstream doctor --topic player --group rewards --output prometheus > doctor.prom";

pub(crate) async fn run(
    args: Args,
    connection: &Connection,
    interrupt: &Interrupt,
) -> anyhow::Result<Exit> {
    let stream = connection.stream()?;
    if !matches!(stream, Backend::Kafka | Backend::Embedded) {
        let text =
            format!("--stream {stream}: must be kafka or embedded, as others have no brokers");
        return Err(Usage(text).into());
    }
    let mut doctor = Doctor::new(connection.builder()?).starts_at_tail(!args.from_head);
    for topic in &args.topics {
        doctor = doctor.topic(topic.as_str());
    }
    if let Some(group) = &args.group {
        doctor = doctor.group(group.as_str());
    }
    if let Some(topic) = &args.publish_to {
        doctor = doctor.publish_to(topic.as_str());
    }
    if let Some(timeout) = args.handler_timeout {
        doctor = doctor.handler_timeout(timeout);
    }
    if let Some(timeout) = args.drain_timeout {
        doctor = doctor.drain_timeout(timeout);
    }
    let Some(report) = interrupt.or(doctor.run()).await else {
        return Ok(Exit::Interrupted);
    };
    let report = report?;
    output::print(&match args.output {
        Format::Text => as_text(&report, io::stdout().is_terminal()),
        Format::Json => as_json(&report)?,
        Format::Prometheus => as_prometheus(&report),
    })?;
    Ok(match report.status() {
        CheckStatus::Failure => Exit::Critical,
        CheckStatus::Warning => Exit::Failed,
        _ => Exit::Done,
    })
}

fn as_text(report: &Report, colours: bool) -> String {
    let lines = report.findings.iter().map(|finding| line(finding, colours));
    lines.collect()
}

fn line(finding: &Finding, colours: bool) -> String {
    let status = finding.status.as_str();
    let colour = match finding.status {
        CheckStatus::Ok => "32",
        CheckStatus::Warning => "33",
        CheckStatus::Failure => "31",
        _ => "2",
    };
    let status = match colours {
        true => format!("\x1b[{colour}m{status:<7}\x1b[0m"),
        false => format!("{status:<7}"),
    };
    let mut text = Vec::new();
    crate::escape::push_text(&finding.found, &mut text);
    if !finding.remedy.is_empty() {
        text.extend(b" -> ");
        crate::escape::push_text(&finding.remedy, &mut text);
    }
    let text = String::from_utf8_lossy(&text);
    format!("{status}  {:<25}  {text}\n", finding.check)
}

fn as_json(report: &Report) -> anyhow::Result<String> {
    let mut text = String::new();
    for finding in &report.findings {
        text += &serde_json::to_string(finding)?;
        text.push('\n');
    }
    Ok(text)
}

fn as_prometheus(report: &Report) -> String {
    let mut text = String::from(
        "# HELP eventstream_doctor_status Verdict of a check: 0 ok, 1 warning, 2 failure, 3 not run.\n\
         # TYPE eventstream_doctor_status gauge\n",
    );
    for finding in &report.findings {
        let value = match finding.status {
            CheckStatus::Ok => 0,
            CheckStatus::Warning => 1,
            CheckStatus::Failure => 2,
            _ => 3,
        };
        let check = finding.check;
        text += &format!("eventstream_doctor_status{{check=\"{check}\"}} {value}\n");
    }
    text
}
