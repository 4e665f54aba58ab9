//! `eventstream`: publish, consume, inspect and measure events over Kafka, from a shell.
//!
//! A thin user of the library: each command is a module of `commands`, and does nothing that a
//! program could not do with the same few calls.

#![allow(
    clippy::doc_markdown,
    reason = "comments on arguments are help texts, which know no Markdown"
)]

mod ask;
mod cli;
mod commands;
mod connection;
mod escape;
mod exit;
mod json_text;
mod logging;
mod ndjson;
mod output;
mod progress;
mod signals;
mod table;
mod time;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    logging::start(cli.connection.log_mode());
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return exit::report(&anyhow::Error::new(error).context("start the runtime")),
    };
    let result = runtime.block_on(async {
        let interrupt = signals::Interrupt::listen()?;
        commands::run(cli, &interrupt).await
    });
    // A read of the terminal or a request to a broker may still block a thread; it is not waited for.
    runtime.shutdown_background();
    match result {
        Ok(exit) => exit.code(),
        Err(error) => exit::report(&error),
    }
}
