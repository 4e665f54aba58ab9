//! The chores of this workspace, as `cargo xtask <chore>`.

mod builds;
mod kafka;
mod package;
mod postgres;
mod promtool;
mod setup;
mod step;
mod test;
mod torture;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The chores of this workspace", version)]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Fetch and build what the tests need: Apache Kafka, PostgreSQL, the Go peer, promtool, cargo-deny
    Setup,
    /// Check and test everything; installs what is missing first
    Test {
        /// Only what needs no real Kafka and no Go: for the minutes between two edits
        #[arg(long)]
        quick: bool,
    },
    /// Check the alert rules and run their cases
    Alerts,
    /// Build programs with few and with many features from nothing, and print what each costs
    Builds(builds::Builds),
    /// List what the published packages hold, check that they are complete, and make them in target/package
    Package,
    /// Run publishers and groups on three brokers under drawn faults, and judge the history; `--help` lists its options
    #[command(disable_help_flag = true)]
    Torture {
        /// `--minutes`, `--seed`, `--without` and more
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Run the same without faults for an hour, and fail unless memory, threads, open files and lag stay as they were
    #[command(disable_help_flag = true)]
    Soak {
        /// As of `torture`; those a soak is about are `--minutes`, `--rate` and `--scratch`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Run Apache Kafka
    #[command(subcommand)]
    Kafka(KafkaChore),
}

#[derive(Subcommand)]
enum KafkaChore {
    /// Start a cluster and run it until Ctrl-C; the first line on stdout is its address
    Up(kafka::Up),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().chore {
        Chore::Setup => setup::run(),
        Chore::Test { quick } => test::run(quick),
        Chore::Alerts => promtool::run(),
        Chore::Builds(builds) => builds.run(),
        Chore::Package => package::run(),
        Chore::Torture { arguments } => torture::run(&arguments),
        Chore::Soak { mut arguments } => {
            arguments.push("--soak".to_owned());
            torture::run(&arguments)
        }
        Chore::Kafka(KafkaChore::Up(up)) => up.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
