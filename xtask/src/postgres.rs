//! PostgreSQL for the tests of the outbox and the inbox.

use std::process::Command;

use anyhow::{Context as _, Result, bail};
use harness::Postgres;
use rustix::process::getuid;

use crate::step::run_logged;

const REMEDY: &str = "install PostgreSQL 12 or newer so that `initdb`, `postgres` and `psql` are in PATH or under \
    /usr/lib/postgresql (Debian: `apt-get install postgresql`)";

/// Installs Debian's package if the machine has no PostgreSQL.
pub(crate) fn install() -> Result<()> {
    if Postgres::programs().is_ok() {
        return Ok(());
    }
    if !getuid().is_root() {
        bail!("there is no PostgreSQL, and only root can install it: {REMEDY}");
    }
    apt(&["update"]).context(REMEDY)?;
    apt(&["install", "--yes", "--no-install-recommends", "postgresql"]).context(REMEDY)?;
    Postgres::programs().map(drop)
}

fn apt(arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    command
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive");
    run_logged("apt postgresql", &mut command)
}
