//! The commands, one module each.

pub(crate) mod audit;
pub(crate) mod bench;
pub(crate) mod broker;
pub(crate) mod completions;
pub(crate) mod copy;
pub(crate) mod demo;
pub(crate) mod dlq;
pub(crate) mod doctor;
pub(crate) mod group;
pub(crate) mod manual;
pub(crate) mod metadata;
pub(crate) mod publish;
mod record;
pub(crate) mod subscribe;

use crate::cli::{Cli, Command};
use crate::exit::Exit;
use crate::signals::Interrupt;

pub(crate) async fn run(cli: Cli, interrupt: &Interrupt) -> anyhow::Result<Exit> {
    let Cli {
        connection,
        command,
    } = cli;
    match command {
        Command::Demo => demo::run(interrupt).await,
        Command::Publish(args) => publish::run(args, &connection, interrupt).await,
        Command::Subscribe(args) => subscribe::run(*args, &connection, interrupt).await,
        Command::Audit(args) => audit::run(*args, &connection, interrupt).await,
        Command::Metadata(args) => metadata::run(&args, &connection, interrupt).await,
        Command::Dlq(dlq) => dlq::run(*dlq, &connection, interrupt).await,
        Command::Copy(args) => copy::run(&args, &connection, interrupt).await,
        Command::Group(group) => group::run(group, &connection, interrupt).await,
        Command::Doctor(args) => doctor::run(args, &connection, interrupt).await,
        Command::Bench(bench) => bench::run(bench, &connection, interrupt).await,
        Command::Broker(args) => broker::run(&args, interrupt).await,
        Command::Completions(args) => completions::run(&args),
        Command::Manual(args) => manual::run(&args),
    }
}
