//! Everything that must hold before a change is done.

use std::path::Path;
use std::{env, fs, thread};

use anyhow::{Context as _, Result, ensure};
use harness::workspace;

use crate::builds;
use crate::package;
use crate::promtool;
use crate::setup;
use crate::step::{Steps, cargo};

/// The folders of the packages whose integration tests `--quick` runs; their names are theirs alone.
const QUICK_PACKAGES: [&str; 2] = ["eventstream", "cli"];
/// Integration tests whose name starts like this need a real cluster or the Go peer.
const NEEDS_KAFKA: &str = "kafka";
/// How many tests of a binary run at once.
const THREADS: &str = "RUST_TEST_THREADS";

pub(crate) fn run(quick: bool) -> Result<()> {
    let mut steps = Steps::default();
    if quick {
        steps.take("rustfmt and clippy", setup::components)?;
    } else {
        setup::take(&mut steps)?;
    }
    steps.command("format", &mut cargo(&["fmt", "--all", "--check"]))?;
    let clippy = [
        "clippy",
        "--release",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ];
    steps.command("lints", &mut cargo(&clippy))?;
    // As for users that request no feature; the workspace requests all.
    let mut alone = cargo(&["clippy", "--release", "--lib", "--package", "eventstream"]);
    steps.command(
        "lints without features",
        alone.args(["--", "-D", "warnings"]),
    )?;
    let mut documentation = cargo(&["doc", "--release", "--workspace", "--no-deps"]);
    steps.command(
        "documentation",
        documentation.env("RUSTDOCFLAGS", "-D warnings"),
    )?;
    package::check(&mut steps)?;
    if !quick {
        let checks = [
            "--log-level",
            "error",
            "check",
            "licenses",
            "bans",
            "sources",
        ];
        let mut deny = std::process::Command::new(setup::deny());
        steps.command(
            "licences and sources",
            deny.args(checks).current_dir(workspace()),
        )?;
        promtool::check(&mut steps)?;
        steps.take("a build without TLS", builds::light)?;
    }
    let tests = if quick {
        quick_tests()?
    } else {
        vec!["--workspace".to_owned()]
    };
    let arguments = |last: &[&str]| {
        let mut command = cargo(&["test", "--release", "--no-fail-fast"]);
        command.args(&tests).args(last);
        command
    };
    steps.command("build of the tests", &mut arguments(&["--no-run"]))?;
    if quick {
        // Cargo does not run these together with named targets.
        let mut examples = cargo(&["test", "--release", "--doc", "--workspace"]);
        steps.command("examples in the documentation", &mut examples)?;
    }
    // Before the tests, so that the last lines are cargo's own summary of them.
    println!("{}; now the tests", steps.summary());
    let mut tests = arguments(&[]);
    if env::var_os(THREADS).is_none() {
        tests.env(THREADS, threads()?.to_string());
    }
    let status = tests.status().context("starting cargo")?;
    ensure!(status.success(), "tests failed");
    Ok(())
}

/// Most tests wait for a broker most of the time, so there are three for each processor.
fn threads() -> Result<usize> {
    let processors = thread::available_parallelism().context("counting the processors")?;
    Ok(3 * processors.get())
}

/// Chosen by their names in the whole workspace, as packages alone have fewer features, with which all of it would be
/// built once more.
fn quick_tests() -> Result<Vec<String>> {
    let mut arguments = ["--workspace", "--lib", "--bins", "--examples"]
        .map(str::to_owned)
        .to_vec();
    for package in QUICK_PACKAGES {
        for name in integration_tests(&workspace().join(package).join("tests"))? {
            if !name.starts_with(NEEDS_KAFKA) {
                arguments.extend(["--test".to_owned(), name]);
            }
        }
    }
    Ok(arguments)
}

/// The targets that cargo finds in a folder of tests: files, and folders with a `main.rs`.
fn integration_tests(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    if !folder.exists() {
        return Ok(names);
    }
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let is_target = path.extension().is_some_and(|extension| extension == "rs")
            || path.join("main.rs").exists();
        if let Some(name) = path
            .file_stem()
            .and_then(|name| name.to_str())
            .filter(|_| is_target)
        {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}
