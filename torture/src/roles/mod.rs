//! The processes of a run, each a hidden subcommand of this program.

mod behaviour;
pub(crate) mod lane;
pub(crate) mod life;
pub(crate) mod member;
pub(crate) mod publisher;
mod sample;
mod workers;

use std::path::PathBuf;

use clap::Args;

/// Common options of every process.
#[derive(Args, Clone)]
pub(crate) struct Common {
    /// Its name in the history
    #[arg(long)]
    pub(crate) name: String,
    /// The brokers, through the proxy
    #[arg(long)]
    pub(crate) brokers: String,
    /// The folder of the history
    #[arg(long)]
    pub(crate) history: PathBuf,
}

impl Common {
    fn brokers(&self) -> impl Iterator<Item = &str> {
        self.brokers.split(',')
    }
}
