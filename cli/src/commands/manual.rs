//! `manual`: the manual pages, for whoever packages the tool.

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::CommandFactory;

use crate::cli::Cli;
use crate::exit::Exit;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The folder; created if missing
    directory: PathBuf,
}

pub(crate) const EXAMPLES: &str = "\
Writes eventstream.1 and a page for each command, such as eventstream-group-seek.1.

Examples:
  eventstream manual ~/.local/share/man/man1
  eventstream manual target/man && man -l target/man/eventstream-publish.1";

pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let written = fs::create_dir_all(&args.directory)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), &args.directory));
    written.with_context(|| format!("writing to {}", args.directory.display()))?;
    Ok(Exit::Done)
}
