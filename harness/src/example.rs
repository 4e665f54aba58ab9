use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::guard::Guarded;

/// Runs an example that cargo has built beside the tests, and returns what it printed.
///
/// # Errors
/// It is not built, or it fails; the message has what it printed.
pub fn run_example(name: &str, environment: &[(&str, &str)]) -> Result<String> {
    let output = Command::new(built(name)?)
        .envs(environment.iter().copied())
        .output()?;
    let printed = String::from_utf8(output.stdout)?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{name}:\n{printed}{errors}");
    Ok(printed)
}

/// Starts an example that cargo has built beside the tests. Its standard output is piped; its errors are the test's.
///
/// # Errors
/// It is not built, or it cannot be started.
pub fn start_example(
    name: &str,
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> Result<Guarded> {
    let variables = environment
        .iter()
        .map(|(name, value)| format!("{name}={value}"));
    let program = built(name)?.display().to_string();
    let words = variables
        .chain([program])
        .chain(arguments.iter().map(|&argument| argument.to_owned()));
    let words: Vec<_> = words.collect();
    let errors = File::options().append(true).open("/dev/stderr")?;
    Guarded::spawn(Path::new("env"), &words, None, Stdio::piped(), errors)
}

fn built(name: &str) -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let beside = test.parent().context("the test is in no folder")?;
    let built = beside.with_file_name("examples").join(name);
    ensure!(
        built.is_file(),
        "build it first: cargo build --workspace --examples"
    );
    Ok(built)
}
