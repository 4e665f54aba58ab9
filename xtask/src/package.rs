//! The packages that are published: that they are complete, and say what they are.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use harness::workspace;
use serde_json::Value;

use crate::step::{Steps, cargo, stdout};

/// What a package must have in addition to its sources.
const FILES: [&str; 3] = ["Cargo.toml", "LICENSE", "README.md"];
/// What its manifest must say.
const FIELDS: [&str; 8] = [
    "categories",
    "description",
    "keywords",
    "license",
    "readme",
    "repository",
    "rust_version",
    "version",
];
/// How sources name other files.
const INCLUDES: [&str; 3] = ["include_str!(", "include_bytes!(", "#[path = "];

/// A package that is published, and the files in it.
struct Package {
    name: String,
    manifest: Value,
    folder: PathBuf,
    files: BTreeSet<PathBuf>,
}

/// Shows what each package holds, and checks it.
pub(crate) fn run() -> Result<()> {
    for package in published()? {
        let bytes: u64 = (package.files.iter())
            .filter_map(|file| Some(fs::metadata(package.folder.join(file)).ok()?.len()))
            .sum();
        let (name, count) = (&package.name, package.files.len());
        println!("{name}: {count} files, {} KiB", bytes / 1024);
        for file in &package.files {
            println!("    {}", file.display());
        }
    }
    check(&mut Steps::default())
}

/// Checks the packages, and makes them.
pub(crate) fn check(steps: &mut Steps) -> Result<()> {
    let packages = steps.take("contents of the packages", || {
        let packages = published()?;
        ensure!(!packages.is_empty(), "nothing is published");
        let faults: Vec<_> = packages.iter().flat_map(Package::faults).collect();
        ensure!(faults.is_empty(), "{}", faults.join("\n"));
        Ok(packages)
    })?;
    // To compile them, cargo would compile librdkafka once more; the check above has found every file they name.
    let mut make = cargo(&["package", "--quiet", "--no-verify", "--allow-dirty"]);
    for package in &packages {
        make.args(["--package", &package.name]);
    }
    steps.command("packages", &mut make)
}

fn published() -> Result<Vec<Package>> {
    let metadata = stdout(&mut cargo(&[
        "metadata",
        "--no-deps",
        "--format-version",
        "1",
    ]))?;
    let mut metadata: Value = serde_json::from_str(&metadata)?;
    let packages = metadata["packages"].take();
    let packages = packages.as_array().context("no packages")?;
    let is_published = |package: &&Value| package["publish"].is_null();
    packages
        .iter()
        .filter(is_published)
        .map(Package::of)
        .collect()
}

impl Package {
    fn of(manifest: &Value) -> Result<Self> {
        let text = |field: &str| manifest[field].as_str().context("no text");
        let name = text("name")?.to_owned();
        let list = stdout(&mut cargo(&[
            "package",
            "--list",
            "--allow-dirty",
            "--package",
            &name,
        ]))?;
        let folder = Path::new(text("manifest_path")?).parent();
        Ok(Self {
            name,
            manifest: manifest.clone(),
            folder: folder.context("a manifest is in a folder")?.to_owned(),
            files: list.lines().map(PathBuf::from).collect(),
        })
    }

    fn faults(&self) -> Vec<String> {
        let mut faults = self.fields();
        faults.extend(self.dependencies());
        faults.extend(self.contents());
        faults.extend(self.includes());
        let name = |fault| format!("{}: {fault}", self.name);
        faults.into_iter().map(name).collect()
    }

    fn fields(&self) -> Vec<String> {
        let is_empty = |field: &&str| match &self.manifest[*field] {
            Value::String(text) => text.is_empty(),
            Value::Array(values) => values.is_empty(),
            _ => true,
        };
        let missing = FIELDS.into_iter().filter(is_empty);
        missing
            .map(|field| format!("its Cargo.toml has no {field}"))
            .collect()
    }

    /// What users compile is found by version. A path to a crate that is not published is for tests alone, which stay in
    /// the repository.
    fn dependencies(&self) -> Vec<String> {
        let dependencies = self.manifest["dependencies"].as_array();
        let without = dependencies.into_iter().flatten().filter(|dependency| {
            let is_for_tests = dependency["kind"] == "dev" && dependency["path"].is_string();
            dependency["req"] == "*" && !is_for_tests
        });
        without
            .map(|dependency| format!("its dependency {} has no version", dependency["name"]))
            .collect()
    }

    fn contents(&self) -> Vec<String> {
        let missing = FILES
            .into_iter()
            .filter(|file| !self.files.contains(Path::new(file)));
        let mut faults: Vec<_> = missing.map(|file| format!("{file} is not in it")).collect();
        let tests = self.files.iter().filter(|file| file.starts_with("tests"));
        faults.extend(tests.map(|file| {
            format!(
                "{} is in it, but not what it is tested with",
                file.display()
            )
        }));
        let licence = |folder: &Path| fs::read(folder.join("LICENSE")).ok();
        if licence(&self.folder) != licence(workspace()) {
            faults.push("LICENSE is not the workspace's".to_owned());
        }
        faults
    }

    /// Files that its sources name and that are not in it.
    fn includes(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let is_rust = |file: &&PathBuf| file.extension().is_some_and(|end| end == "rs");
        for file in self.files.iter().filter(is_rust) {
            let text = fs::read_to_string(self.folder.join(file)).unwrap_or_default();
            let rests = INCLUDES.iter().flat_map(|start| text.split(start).skip(1));
            for rest in rests {
                // The name, or what makes one.
                let name = rest
                    .strip_prefix('"')
                    .and_then(|rest| rest.split('"').next());
                let included = name.and_then(|name| beside(file, name));
                if included.is_none_or(|included| !self.files.contains(&included)) {
                    let what = name.unwrap_or(rest.lines().next().unwrap_or_default());
                    faults.push(format!(
                        "{} names {what}, which is not in it",
                        file.display()
                    ));
                }
            }
        }
        faults
    }
}

/// The path of what `file` names, from the package's folder; `None` outside of it.
fn beside(file: &Path, name: &str) -> Option<PathBuf> {
    let mut path = file.parent()?.to_owned();
    for part in Path::new(name).components() {
        match part {
            Component::ParentDir => {
                if !path.pop() {
                    return None;
                }
            }
            Component::CurDir => {}
            Component::Normal(part) => path.push(part),
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(path)
}
