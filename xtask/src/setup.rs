//! What the checks and tests need in addition to Rust and a C compiler.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};
use harness::{DEFAULT_VERSION, GoPeer, Jars, OLDER_VERSION, OLDEST_VERSION, workspace};

use crate::postgres;
use crate::promtool;
use crate::step::{Steps, cargo, run_logged};

const DENY_VERSION: &str = "0.20.2";

pub(crate) fn run() -> Result<()> {
    let mut steps = Steps::default();
    take(&mut steps)?;
    println!("{}", steps.summary());
    Ok(())
}

/// Everything; steps already done take a moment.
pub(crate) fn take(steps: &mut Steps) -> Result<()> {
    steps.take("rustfmt and clippy", components)?;
    for version in [DEFAULT_VERSION, OLDER_VERSION, OLDEST_VERSION] {
        steps.take(&format!("apache kafka {version}"), || Jars::fetch(version))?;
    }
    steps.take("go peer", GoPeer::build)?;
    steps.take("promtool", promtool::install)?;
    steps.take("postgresql", postgres::install)?;
    steps.take("cargo-deny", install_deny)
}

/// The program that checks licences and sources: inside the workspace, so that nobody's own tools change.
pub(crate) fn deny() -> PathBuf {
    deny_root().join("bin").join("cargo-deny")
}

pub(crate) fn components() -> Result<()> {
    let missing: Vec<_> = [("fmt", "rustfmt"), ("clippy", "clippy")]
        .into_iter()
        .filter(|(subcommand, _)| !succeeds(&mut cargo(&[subcommand, "--version"])))
        .map(|(_, component)| component)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" ");
    if !succeeds(Command::new("rustup").arg("--version")) {
        bail!("missing: {names}; without rustup, take them from where Rust came from");
    }
    run_logged(
        "rustup",
        Command::new("rustup")
            .args(["component", "add"])
            .args(&missing),
    )
}

/// The version is in the path, so that another one is installed separately.
fn deny_root() -> PathBuf {
    workspace()
        .join(".tools")
        .join(format!("cargo-deny-{DENY_VERSION}"))
}

fn install_deny() -> Result<()> {
    if deny().exists() {
        return Ok(());
    }
    // Unoptimised, it builds in half the time, and it runs for less than a second.
    let mut install = cargo(&[
        "install",
        "--locked",
        "--debug",
        "cargo-deny",
        "--version",
        DENY_VERSION,
        "--root",
    ]);
    install.arg(deny_root()).env("CARGO_PROFILE_DEV_DEBUG", "0");
    run_logged("cargo-deny", &mut install)
}

/// Whether a command can be started and succeeds.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    let quiet = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}
