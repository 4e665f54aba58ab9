//! What becomes of each block of code.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use eventstream::BrokerConfig;
use harness::{Block, Certificates, pages_for_readers};

use crate::markdown::Page;
use crate::{guide, report, root};

/// Rust that is compiled and not run, by a text in it.
const COMPILED: [(&str, &str, &str); 4] = [
    (
        "configuration.md",
        "apply_file(\"eventstream.toml\")",
        "reads the reader's file",
    ),
    (
        "exactly-once.md",
        ".exactly_once()",
        "needs a cluster with transactions",
    ),
    ("getting-started.md", "ctrl_c()", "runs until Ctrl-C"),
    ("pulling.md", "events.next()", "runs until the process ends"),
];
/// Text that nobody types and no program reads.
const SHOWN: [(&str, &str, &str); 2] = [
    (
        "builds.md",
        "needs the feature",
        "what a build without TLS says, which has a test of its own",
    ),
    ("retries.md", "handler returns Err", "a diagram"),
];

#[test]
fn every_block_is_compiled_read_typed_or_shown_for_a_reason() {
    let mut counts = BTreeMap::<_, usize>::new();
    let mut reasons = BTreeSet::new();
    let mut pages = 0;
    for path in pages_for_readers().expect("the pages") {
        pages += 1;
        let name = path
            .strip_prefix(root())
            .unwrap_or(&path)
            .display()
            .to_string();
        let blocks = Block::of(&path).expect("a page");
        let all = Page::read(&path).blocks;
        let seen: Vec<_> = blocks.iter().map(Block::information).collect();
        assert_eq!(
            seen, all,
            "{name}: blocks that are not fenced at the start of a line"
        );
        for block in blocks {
            let told = format!("{name}:{}", block.line);
            let what = fate(&path, &block, &mut reasons)
                .unwrap_or_else(|why| panic!("{told}: {why}\n{}", block.code));
            *counts.entry((block.language, what)).or_default() += 1;
        }
    }
    let total: usize = counts.values().sum();
    report(&format!("{total} blocks of code on {pages} pages"));
    for ((language, what), count) in &counts {
        report(&format!("  {count} of {language}: {what}"));
    }
    let known = COMPILED.iter().chain(&SHOWN);
    for (page, text, why) in known {
        report(&format!("  {page}, `{text}`: {why}"));
        assert!(
            reasons.contains(&(*page, *text)),
            "{page} has no block with `{text}` any more"
        );
    }
    assert!(total >= 70, "{total} blocks");
}

/// What a test does with a block, and here all that needs neither rustdoc nor a broker.
fn fate(
    path: &Path,
    block: &Block,
    reasons: &mut BTreeSet<(&'static str, &'static str)>,
) -> Result<&'static str, String> {
    let is_guide = path.starts_with(guide());
    let below = path.strip_prefix(root()).unwrap_or(path);
    let source = match path.strip_prefix(guide()) {
        Ok(page) => page.display().to_string(),
        Err(_) => format!("../../{}", below.display()),
    };
    let is_compiled = include_str!("../../lib.rs").contains(&format!("\"{source}\";"));
    let attributes: Vec<_> = block.attributes.iter().map(String::as_str).collect();
    let mut reason = |table: &[(&'static str, &'static str, &'static str)]| {
        let fits =
            |(page, text, _): &&(_, &str, _)| path.ends_with(page) && block.code.contains(text);
        let found = table.iter().find(fits).ok_or("no reason is known")?;
        reasons.insert((found.0, found.1));
        Ok::<_, String>(())
    };
    match (&*block.language, &*attributes) {
        ("rust", []) if path == root().join("README.md") => {
            Ok("compiled and run where another page has them")
        }
        ("rust", []) if is_compiled => Ok("compiled and run, as doctests"),
        ("rust", ["no_run"]) if is_compiled => reason(&COMPILED).map(|()| "compiled, as doctests"),
        ("toml", []) if block.code.contains("[dependencies]") => {
            manifest(&block.code).map(|()| "compared with the crates")
        }
        ("toml", []) => {
            let read = BrokerConfig::from_toml(&with_files(&block.code))
                .and_then(|config| config.validate());
            read.map_err(|error| error.to_string())?;
            Ok("read as configuration")
        }
        ("sh", []) if block.code.starts_with("EVENTSTREAM_") => {
            let vars = with_files(&block.code);
            let vars = vars
                .lines()
                .map(|line| line.split_once('=').ok_or("no variable"));
            let vars: Result<Vec<_>, _> = vars.collect();
            let vars = vars?
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()));
            // What they contradict or lack, the file that they are applied over may have.
            let read = BrokerConfig::from_vars(vars).map(drop);
            read.map_err(|error| error.to_string())?;
            Ok("read as configuration")
        }
        ("console" | "sh", []) => Ok("typed, by a test of the tool"),
        ("text", []) if is_guide => reason(&SHOWN).map(|()| "shown"),
        (language, attributes) => Err(format!("what is {language:?} {attributes:?}?")),
    }
}

/// The files exist that a page says to have.
fn with_files(text: &str) -> String {
    static FOLDER: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("secret"), "secret\n").expect("a file");
        Certificates::generate(folder.path()).expect("certificates");
        folder
    });
    let mut text = text.to_owned();
    let files = [
        ("/run/secrets/kafka", "secret"),
        ("/run/secrets/rewards", "secret"),
        ("/etc/kafka/ca.pem", "ca.pem"),
    ];
    for (shown, file) in files {
        let file = FOLDER.path().join(file).display().to_string();
        text = text.replace(shown, &file);
    }
    text
}

/// A manifest names our crates by their version and by features that they have.
fn manifest(text: &str) -> Result<(), String> {
    let manifest: toml::Table = text.parse().map_err(|error| format!("{error}"))?;
    let ours =
        fs::read_to_string(root().join("eventstream/Cargo.toml")).map_err(|e| e.to_string())?;
    let ours: toml::Table = ours.parse().map_err(|error| format!("{error}"))?;
    let mut named = 0;
    for table in ["dependencies", "dev-dependencies"] {
        let Some(entry) = manifest
            .get(table)
            .and_then(|table| table.get("eventstream"))
        else {
            continue;
        };
        let version = entry
            .get("version")
            .and_then(toml::Value::as_str)
            .unwrap_or_default();
        if !env!("CARGO_PKG_VERSION").starts_with(version) {
            return Err(format!("version {version}"));
        }
        let features = entry
            .get("features")
            .and_then(toml::Value::as_array)
            .ok_or("no features")?;
        for feature in features {
            let feature = feature.as_str().unwrap_or_default();
            ours["features"]
                .get(feature)
                .ok_or(format!("no feature {feature}"))?;
        }
        named += 1;
    }
    if named == 0 {
        Err("it does not name the library".to_owned())
    } else {
        Ok(())
    }
}
