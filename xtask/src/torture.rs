//! Builds and starts the torture run.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use harness::{DEFAULT_VERSION, Jars, workspace};

use crate::step::cargo;

const PACKAGE: &str = "eventstream-torture";
/// Builds the library so that protections can be disabled at run time; see its `delivery/sabotage.rs`.
const SABOTAGE: &str = "EVENTSTREAM_BUILD_SABOTAGE";

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    Jars::fetch(DEFAULT_VERSION)?;
    let without = arguments
        .iter()
        .any(|argument| argument == "--without" || argument.starts_with("--without="));
    let status = build(without).status().context("starting cargo")?;
    ensure!(status.success(), "the torture run does not build");
    let program = workspace().join("target").join("release").join(PACKAGE);
    let status = Command::new(program)
        .arg("run")
        .args(arguments)
        .status()
        .context("starting the run")?;
    ensure!(status.success(), "the torture run failed: {status}");
    Ok(())
}

fn build(without: bool) -> Command {
    let mut build = cargo(&["build", "--release", "--quiet", "--package", PACKAGE]);
    if without {
        build.env(SABOTAGE, "yes");
    } else {
        build.env_remove(SABOTAGE);
    }
    build
}
