//! The torture run: publishers and group members on three brokers, faults drawn from a seed, and a history of everything
//! for the checker to judge. `cargo xtask torture` builds and starts it.
//!
//! | module | what |
//! |---|---|
//! | `layout` | topics and groups |
//! | `roles` | the processes: members, publishers, probes |
//! | `run` | the process that starts and torments the others, observes them, and has them judged |
//! | `control` | how handlers are told to misbehave |
//! | `protection` | what can be switched off, to show that the checker sees |

mod control;
mod layout;
mod protection;
mod roles;
mod run;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::roles::lane::LaneArgs;
use crate::roles::life::{LifeMemberArgs, LifePublisherArgs};
use crate::roles::member::MemberArgs;
use crate::roles::publisher::PublisherArgs;
use crate::run::RunArgs;

#[derive(Parser)]
#[command(about = "Nothing lost and order kept, under faults")]
struct Arguments {
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand)]
enum Role {
    /// Run brokers, publishers and members under faults, and judge the history
    Run(RunArgs),
    #[command(hide = true)]
    Member(MemberArgs),
    #[command(hide = true)]
    Publisher(PublisherArgs),
    #[command(hide = true)]
    Lane(LaneArgs),
    #[command(hide = true)]
    LifeMember(LifeMemberArgs),
    #[command(hide = true)]
    LifePublisher(LifePublisherArgs),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().role {
        Role::Run(args) => run::run(args),
        Role::Member(args) => on_runtime(roles::member::run(args)),
        Role::Publisher(args) => on_runtime(roles::publisher::run(args)),
        Role::Lane(args) => on_runtime(roles::lane::run(args)),
        Role::LifeMember(args) => on_runtime(roles::life::member(args)),
        Role::LifePublisher(args) => on_runtime(roles::life::publisher(args)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn on_runtime(role: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(role)
}
