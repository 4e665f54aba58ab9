//! Programs with few and with many features, each built from nothing: what a dependency on the crates costs.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use harness::workspace;

use crate::step::{cargo, run_logged, stdout};

/// A program and what it depends on.
struct Build {
    name: &'static str,
    /// Of `eventstream`, beside none by default; `None` for a program without it.
    features: Option<&'static [&'static str]>,
    program: &'static str,
    /// More dependencies, as lines of a manifest.
    dependencies: &'static str,
}

const PUBLISH: &str = include_str!("../builds/publish.rs");
const TOKIO: &str = "tokio = { version = \"1\", features = [\"macros\", \"rt\"] }\n";

const BUILDS: &[Build] = &[
    Build {
        name: "light",
        features: Some(&[]),
        program: PUBLISH,
        dependencies: TOKIO,
    },
    Build {
        name: "codecs",
        features: Some(&["gzip", "zstd"]),
        program: PUBLISH,
        dependencies: TOKIO,
    },
    Build {
        name: "system-tls",
        features: Some(&["gzip", "tls", "zstd"]),
        program: PUBLISH,
        dependencies: TOKIO,
    },
    Build {
        name: "default",
        features: Some(&["gzip", "tls-vendored", "zstd"]),
        program: PUBLISH,
        dependencies: TOKIO,
    },
    Build {
        name: "service",
        features: Some(&[
            "derive",
            "gzip",
            "metrics",
            "oidc",
            "opentelemetry",
            "tls-vendored",
            "tower",
            "zstd",
        ]),
        program: PUBLISH,
        dependencies: TOKIO,
    },
    Build {
        name: "rdkafka",
        features: None,
        program: include_str!("../builds/bare.rs"),
        dependencies: "rdkafka = { version = \"0.39\", default-features = false, features = [\"libz-static\", \
            \"ssl-vendored\", \"zstd\"] }\n",
    },
];

/// What is built and run by the test command.
const LIGHT: &str = "light";

#[derive(Args)]
pub(crate) struct Builds {
    /// Only this program; may be given more than once
    #[arg(long)]
    only: Vec<String>,
}

impl Builds {
    /// Builds each program from nothing and prints a table of them.
    pub(crate) fn run(self) -> Result<()> {
        for name in &self.only {
            let names: Vec<_> = BUILDS.iter().map(|build| build.name).collect();
            ensure!(
                names.contains(&name.as_str()),
                "--only {name}: one of {}",
                names.join(", ")
            );
        }
        println!("| program | features | crates | seconds | MB |");
        println!("|---|---|---|---|---|");
        for build in BUILDS {
            if !self.only.is_empty() && !self.only.iter().any(|name| name == build.name) {
                continue;
            }
            let folder = build.write()?;
            let target = folder.join("target");
            if target.exists() {
                fs::remove_dir_all(&target).context("removing an earlier build")?;
            }
            build.fetch(&folder)?;
            let time = build.compile(&folder, &[])?;
            build.check(&folder)?;
            let crates = build.crates(&folder)?;
            let bytes = fs::metadata(program(&folder))?.len();
            println!(
                "| `{}` | {} | {crates} | {:.0} | {:.1} |",
                build.name,
                build.features.unwrap_or_default().join(", "),
                time.as_secs_f64(),
                bytes as f64 / 1e6
            );
        }
        Ok(())
    }
}

/// Builds the program with the fewest features, if it has changed, and runs it.
pub(crate) fn light() -> Result<()> {
    let build = BUILDS.iter().find(|build| build.name == LIGHT);
    let build = build.context("there is a light build")?;
    let folder = build.write()?;
    // Not measured here, so it is not optimised either.
    build.compile(&folder, &[("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0")])?;
    build.check(&folder)
}

impl Build {
    /// Writes its package.
    fn write(&self) -> Result<PathBuf> {
        let folder = workspace().join("target").join("builds").join(self.name);
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        let library = self.features.map(|features| {
            let path = workspace().join("eventstream");
            format!(
                "eventstream = {{ path = {path:?}, default-features = false, features = {features:?} }}\n"
            )
        });
        let manifest = format!(
            "[package]\nname = \"sample\"\nedition = \"2024\"\npublish = false\n\n\
             [[bin]]\nname = \"sample\"\npath = \"main.rs\"\n\n\
             [dependencies]\n{}{}\n[profile.release]\nstrip = true\n\n[workspace]\n",
            library.unwrap_or_default(),
            self.dependencies
        );
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            // What is unchanged keeps its time, and is not built again.
            if fs::read_to_string(&path).ok().as_deref() != Some(text) {
                fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
            }
            anyhow::Ok(())
        };
        write("Cargo.toml", &manifest)?;
        write("main.rs", self.program)?;
        // The same versions; cargo removes from it what is not needed.
        let lock = workspace().join("Cargo.lock");
        fs::copy(lock, folder.join("Cargo.lock")).context("copying Cargo.lock")?;
        Ok(folder)
    }

    /// Downloads what it needs: the network is not what is timed.
    fn fetch(&self, folder: &Path) -> Result<()> {
        let name = format!("fetch {}", self.name);
        run_logged(&name, cargo(&["fetch"]).current_dir(folder))
    }

    fn compile(&self, folder: &Path, variables: &[(&str, &str)]) -> Result<Duration> {
        let begin = Instant::now();
        let name = format!("build {}", self.name);
        let mut build = cargo(&["build", "--release"]);
        // With few features, less may be used.
        build.env("RUSTFLAGS", "-D warnings").current_dir(folder);
        build.envs(variables.iter().copied());
        run_logged(&name, &mut build)?;
        Ok(begin.elapsed())
    }

    fn check(&self, folder: &Path) -> Result<()> {
        let mut run = Command::new(program(folder));
        run.args(self.features.unwrap_or_default());
        run_logged(&format!("run {}", self.name), &mut run)
    }

    /// How many crates it consists of, without itself.
    fn crates(&self, folder: &Path) -> Result<usize> {
        let mut tree = cargo(&["tree", "--edges", "normal,build", "--prefix", "none"]);
        let text = stdout(tree.current_dir(folder))?;
        let lines = text.lines().map(|line| line.trim_end_matches(" (*)"));
        let crates: BTreeSet<_> = lines.filter(|line| !line.is_empty()).collect();
        Ok(crates.len() - 1)
    }
}

fn program(folder: &Path) -> PathBuf {
    folder.join("target").join("release").join("sample")
}
