//! Steps: named, timed, and quiet unless they fail.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use harness::workspace;

const TAIL_LINES: usize = 60;

/// The steps so far and what they took.
#[derive(Default)]
pub(crate) struct Steps {
    taken: Vec<(String, Duration)>,
}

impl Steps {
    /// Takes a step and prints its name and time.
    pub(crate) fn take<T>(&mut self, name: &str, step: impl FnOnce() -> Result<T>) -> Result<T> {
        print!("{name:<44}");
        // Visible while the step runs, which may take minutes.
        std::io::stdout().flush()?;
        let started = Instant::now();
        let outcome = step();
        let time = started.elapsed();
        let word = if outcome.is_ok() { "ok" } else { "FAILED" };
        println!("{word:<6} {:>7.1} s", time.as_secs_f64());
        self.taken.push((name.to_owned(), time));
        outcome.with_context(|| format!("the step `{name}` failed"))
    }

    /// Runs a command as a step; its output goes to a file, the end of which is shown if it fails.
    pub(crate) fn command(&mut self, name: &str, command: &mut Command) -> Result<()> {
        self.take(name, || run_logged(name, command))
    }

    /// One line for all steps.
    pub(crate) fn summary(&self) -> String {
        let total: Duration = self.taken.iter().map(|(_, time)| *time).sum();
        let longest = self.taken.iter().max_by_key(|(_, time)| *time);
        let longest = longest.map_or_else(String::new, |(name, time)| {
            format!("; the longest: {name}, {:.0} s", time.as_secs_f64())
        });
        format!(
            "{} steps passed in {:.0} s{longest}",
            self.taken.len(),
            total.as_secs_f64()
        )
    }
}

/// Runs a command with its output in `target/xtask/<name>.log`.
pub(crate) fn run_logged(name: &str, command: &mut Command) -> Result<()> {
    let path = log_path(name)?;
    let log = File::create(&path).with_context(|| format!("creating {}", path.display()))?;
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    let status = command
        .status()
        .with_context(|| format!("starting {:?}", command.get_program()))?;
    if status.success() {
        return Ok(());
    }
    let text = fs::read(&path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    let tail = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n");
    bail!("{status}; the end of {}:\n{tail}", path.display());
}

/// The cargo that runs this program, without what it told this program about its package: build scripts that look at
/// it, as that of `ring` does, would run again, and what depends on them would be compiled again, each time.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(workspace());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_MANIFEST_") || text.starts_with("CARGO_PKG_") {
            command.env_remove(name);
        }
    }
    command
}

/// What a command prints; what it says beside that is shown.
pub(crate) fn stdout(command: &mut Command) -> Result<String> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("starting {:?}", command.get_program()))?;
    ensure!(output.status.success(), "{command:?} failed");
    Ok(String::from_utf8(output.stdout)?)
}

fn log_path(name: &str) -> Result<PathBuf> {
    let folder = workspace().join("target").join("xtask");
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let name: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    Ok(folder.join(format!("{name}.log")))
}
