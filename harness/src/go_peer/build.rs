//! Builds the Go program, once for each state of its sources.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::toolchain;
use crate::paths::{home, workspace};

/// The path of the program for the current sources, whether built or not: their hash is in its
/// name.
pub(super) fn program() -> Result<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(sources())?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    files.sort();
    let mut hasher = DefaultHasher::new();
    for file in files {
        file.file_name().hash(&mut hasher);
        fs::read(&file)
            .with_context(|| format!("reading {}", file.display()))?
            .hash(&mut hasher);
    }
    Ok(home()
        .join("bin")
        .join(format!("go-peer-{:016x}", hasher.finish())))
}

pub(super) fn build(program: &Path) -> Result<()> {
    let folder = program.parent().context("a program is in a folder")?;
    fs::create_dir_all(folder)?;
    for stale in fs::read_dir(folder)? {
        fs::remove_file(stale?.path())?;
    }
    // The name that `find` looks for exists only once the program is complete.
    let unfinished = folder.join("unfinished");
    let output = Command::new(toolchain::go()?)
        .args(["build", "-o"])
        .arg(&unfinished)
        .arg(".")
        .current_dir(sources())
        // The Go module includes librdkafka as a static library, which only cgo can link.
        .env("CGO_ENABLED", "1")
        .stdin(Stdio::null())
        .output()
        .context("running go build")?;
    if !output.status.success() {
        bail!(
            "go build failed with {}:\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    fs::rename(unfinished, program).context("naming the Go peer")
}

fn sources() -> PathBuf {
    workspace().join("harness").join("go-peer")
}
