//! The pages: complete, linked, and of code that is compiled.

mod blocks;
mod markdown;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use harness::{Block, pages_for_readers, workspace};

use markdown::Page;

/// Where pages of the guide link to what is outside of it: the book has only its own pages.
const REPOSITORY: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/blob/main/");
const OUTSIDE: [&str; 13] = [
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "RELEASING.md",
    "SECURITY.md",
    "cli/README.md",
    "derive/README.md",
    "eventstream/README.md",
    "inbox/README.md",
    "outbox/README.md",
    "checker/README.md",
    "observability/README.md",
];
/// Where links lead that no test follows.
const ELSEWHERE: [&str; 2] = ["https://keepachangelog.com/", "https://semver.org/"];

fn root() -> PathBuf {
    workspace().to_owned()
}

fn guide() -> PathBuf {
    root().join("docs/guide/src")
}

/// Every page of the guide, by the name of its file.
fn pages() -> BTreeMap<String, Page> {
    let entries = fs::read_dir(guide()).expect("the guide");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let paths = paths.filter(|path| path.extension().is_some_and(|end| end == "md"));
    paths
        .map(|path| {
            let name = path.file_name().expect("a file").to_string_lossy();
            (name.into_owned(), Page::read(&path))
        })
        .collect()
}

#[test]
fn every_page_is_in_the_summary_and_its_code_is_compiled() {
    let pages = pages();
    let mut files: BTreeSet<&str> = pages.keys().map(String::as_str).collect();
    files.remove("SUMMARY.md");
    let summary = &pages["SUMMARY.md"].links;
    let listed: BTreeSet<&str> = summary.iter().map(String::as_str).collect();
    assert_eq!(listed, files, "the summary");
    assert_eq!(listed.len(), summary.len(), "twice in the summary");
    let library = include_str!("../../lib.rs");
    let modules = library.split("= \"").skip(1);
    let modules = modules.filter_map(|rest| rest.split('"').next());
    let modules: BTreeSet<&str> = modules.filter(|file| file.ends_with(".md")).collect();
    assert_eq!(modules, files, "the modules of lib.rs");
}

#[test]
fn every_link_leads_somewhere() {
    let guide = guide().canonicalize().expect("the guide");
    let outside = OUTSIDE.iter().map(|name| root().join(name));
    let inside = pages().into_keys().map(|name| guide.join(name));
    let paths: Vec<_> = inside.chain(outside).collect();
    let pages: BTreeMap<_, _> = paths
        .iter()
        .map(|path| (path.canonicalize().expect("a page"), Page::read(path)))
        .collect();
    let (mut checked, mut anchors, mut elsewhere) = (0, 0, 0);
    for (path, page) in &pages {
        for link in &page.links {
            let told = format!("{}: {link}", path.display());
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if let Some(file) = file.strip_prefix(REPOSITORY) {
                root().join(file)
            } else if file == env!("CARGO_PKG_REPOSITORY") {
                root()
            } else if file.contains("://") {
                let known = ELSEWHERE.iter().any(|start| file.starts_with(start));
                assert!(
                    known,
                    "{told}: no test can follow it; if it is right, add it to ELSEWHERE"
                );
                elsewhere += 1;
                continue;
            } else if file.is_empty() {
                path.clone()
            } else {
                path.parent().expect("a folder").join(file)
            };
            let target = target.canonicalize();
            let target = target.unwrap_or_else(|error| panic!("{told}: {error}"));
            assert!(
                !path.starts_with(&guide) || link.contains("://") || target.starts_with(&guide),
                "{told}: not in the book: link to {REPOSITORY}"
            );
            if !anchor.is_empty() {
                let found = pages.get(&target).map(|page| page.anchors.contains(anchor));
                assert_eq!(found, Some(true), "{told}: no such heading");
                anchors += 1;
            }
            checked += 1;
        }
    }
    report(&format!(
        "{checked} links checked, {anchors} of them with their heading; {elsewhere} lead elsewhere and are not followed"
    ));
    assert!(checked > 90, "{checked} links");
}

/// Past the capture of a test's output, so that the test command has it.
fn report(line: &str) {
    writeln!(std::io::stderr(), "pages: {line}").expect("standard error");
}

/// The README's code has no room for what surrounds it, so it is that of other pages, which are compiled.
#[test]
fn the_readme_s_rust_stands_in_a_compiled_page() {
    let rust = |path: &Path| {
        let blocks = Block::of(path).expect("a page").into_iter();
        blocks
            .filter(|block| block.language == "rust")
            .map(|block| block.code)
    };
    let compiled = pages_for_readers().expect("the pages").into_iter();
    let compiled = compiled.filter(|path| *path != root().join("README.md"));
    let guide: Vec<_> = compiled
        .flat_map(|path| rust(&path))
        .map(|code| bare(&code))
        .collect();
    let mut parts = 0;
    for code in rust(&root().join("README.md")) {
        for part in code.split("\n\n") {
            let wanted = bare(part);
            assert!(
                guide.iter().any(|block| block.contains(&wanted)),
                "no page has this as compiled code:\n{part}"
            );
            parts += 1;
        }
    }
    assert!(parts >= 7, "{parts} parts");
}

/// What the reader of that page has in `src/lib.rs` in the end; the page's other blocks are compiled with it.
#[test]
fn the_first_package_is_the_one_that_is_compiled() {
    let page = guide().join("getting-started.md");
    let blocks = Block::of(&page).expect("a page").into_iter();
    let shown = blocks
        .filter(|block| block.language == "rust")
        .map(|block| shown(&block.code));
    let shown: Vec<_> = shown.filter(|code| !code.contains("#[tokio::")).collect();
    assert_eq!(shown.join("\n"), include_str!("../../greeter.rs"));
}

/// Code without the lines that a page hides.
fn shown(code: &str) -> String {
    let lines = code.split_inclusive('\n');
    let is_shown = |line: &&str| line.trim() != "#" && !line.trim_start().starts_with("# ");
    lines.filter(is_shown).collect()
}

/// Code without comments, hidden lines, spaces, and the commas that only stand at the end of a line.
fn bare(code: &str) -> String {
    let code = shown(code);
    let lines = code.lines().map(|line| match line.split_once("//") {
        Some((before, _)) if !before.ends_with(':') => before,
        _ => line,
    });
    let text: String = lines.collect();
    let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    text.replace(",}", "}").replace(",)", ")")
}
