//! Judges the history of a fault run.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser;
use eventstream_checker::{Report, SETTLE, check};

/// Judges the history of a fault run. Exits with 0 without an anomaly, with 1 if there is one, and
/// with 2 if the history cannot be read.
#[derive(Parser)]
#[command(name = "eventstream-checker")]
struct Arguments {
    /// Directory with the files `*.ndjson` of the run.
    directory: PathBuf,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
    /// Write a page that shows the run.
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,
    /// How long after its end a fault explains a record handled twice.
    #[arg(long, value_name = "SECONDS", default_value_t = SETTLE.as_secs())]
    settle: u64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(report) if report.anomalies.total() == 0 => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Result<Report> {
    let report = check(&arguments.directory, Duration::from_secs(arguments.settle))?;
    if let Some(page) = &arguments.page {
        std::fs::write(page, report.page())
            .with_context(|| format!("writing {}", page.display()))?;
    }
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{report}");
    }
    Ok(report)
}
