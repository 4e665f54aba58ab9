//! Prometheus's own tool, which checks the alert rules and runs their cases.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use harness::workspace;

use crate::setup::succeeds;
use crate::step::{Steps, run_logged};

const NAME: &str = "promtool";
const REMEDY: &str = "there is no promtool in PATH, and Debian's could not be fetched: \
    install Prometheus so that `promtool --version` works";

pub(crate) fn run() -> Result<()> {
    let mut steps = Steps::default();
    steps.take(NAME, install)?;
    check(&mut steps)
}

/// Downloads the tool if the machine has none.
pub(crate) fn install() -> Result<()> {
    if in_path() || fetched().exists() {
        return Ok(());
    }
    fetch().context(REMEDY)
}

/// Checks the rules, then runs their cases.
pub(crate) fn check(steps: &mut Steps) -> Result<()> {
    let folder = workspace().join("observability");
    let mut rules = tool();
    rules
        .args(["check", "rules"])
        .arg(folder.join("prometheus-alerts.yaml"));
    steps.command("alert rules", &mut rules)?;
    let mut cases = tool();
    cases.args(["test", "rules"]).args(cases_in(&folder)?);
    steps.command("cases of the alert rules", &mut cases)
}

fn cases_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder.join("tests"))? {
        files.push(entry?.path());
    }
    files.retain(|path| path.extension() == Some(OsStr::new("yaml")));
    ensure!(!files.is_empty(), "there are no cases");
    files.sort();
    Ok(files)
}

fn tool() -> Command {
    if in_path() {
        Command::new(NAME)
    } else {
        Command::new(fetched())
    }
}

fn in_path() -> bool {
    succeeds(Command::new(NAME).arg("--version"))
}

fn fetched() -> PathBuf {
    workspace().join(".tools").join(NAME)
}

/// From Debian's package, which is unpacked but not installed: that takes seconds, needs no root and starts no
/// server. Building the tool would compile a client for each cloud in which Prometheus discovers targets.
fn fetch() -> Result<()> {
    let tools = workspace().join(".tools");
    fs::create_dir_all(&tools)?;
    let folder = tempfile::tempdir_in(&tools)?;
    // The machine's lists may be missing or outdated; our own lists need no root.
    if download(folder.path(), None).is_err() {
        let lists = folder.path().join("apt");
        fs::create_dir_all(lists.join("lists").join("partial"))?;
        run_logged("apt update", apt(Some(&lists)).arg("update"))?;
        download(folder.path(), Some(&lists))?;
    }
    let package = fs::read_dir(folder.path())?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|path| path.extension() == Some(OsStr::new("deb")))
        .context("apt-get has left no package")?;
    let unpacked = folder.path().join("unpacked");
    let mut unpack = Command::new("dpkg-deb");
    run_logged(
        "dpkg-deb",
        unpack.arg("--extract").arg(package).arg(&unpacked),
    )?;
    let tool = unpacked.join("usr").join("bin").join(NAME);
    ensure!(
        succeeds(Command::new(&tool).arg("--version")),
        "Debian's promtool does not run here"
    );
    // The name that is looked for exists only once the tool has run.
    fs::rename(tool, fetched()).context("naming promtool")
}

fn download(folder: &Path, lists: Option<&Path>) -> Result<()> {
    let mut command = apt(lists);
    command.args(["download", "prometheus"]).current_dir(folder);
    run_logged("apt download", &mut command)
}

fn apt(lists: Option<&Path>) -> Command {
    let mut command = Command::new("apt-get");
    // Run as root, it would otherwise become a user that may not write to the workspace.
    command.args(["-o", "APT::Sandbox::User=root"]);
    if let Some(lists) = lists {
        for (setting, path) in [("Dir::State", lists), ("Dir::Cache", lists)] {
            command
                .arg("-o")
                .arg(format!("{setting}={}", path.display()));
        }
        command.args(["-o", "Dir::State::status=/var/lib/dpkg/status"]);
    }
    command
}
