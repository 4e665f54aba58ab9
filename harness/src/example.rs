use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// Runs an example that cargo has built beside the tests, and returns what it printed.
///
/// # Errors
/// It is not built, or it fails; the message has what it printed.
pub fn run_example(name: &str, environment: &[(&str, &str)]) -> Result<String> {
    let test = std::env::current_exe()?;
    let beside = test.parent().context("the test is in no folder")?;
    let built = beside.with_file_name("examples").join(name);
    ensure!(
        built.is_file(),
        "build it first: cargo build --workspace --examples"
    );
    let output = Command::new(built)
        .envs(environment.iter().copied())
        .output()?;
    let printed = String::from_utf8(output.stdout)?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{name}:\n{printed}{errors}");
    Ok(printed)
}
