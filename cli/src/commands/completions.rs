//! `completions`: a shell's completion script.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::Cli;
use crate::exit::Exit;
use crate::output;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

pub(crate) const EXAMPLES: &str = "\
Examples:
  eventstream completions bash > ~/.local/share/bash-completion/completions/eventstream
  eventstream completions zsh > ~/.zfunc/_eventstream
  eventstream completions fish > ~/.config/fish/completions/eventstream.fish";

pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    // clap_complete panics where it cannot write, so it writes to memory.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "eventstream", &mut script);
    output::print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}
