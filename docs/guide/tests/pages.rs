//! The pages: complete, linked, and of code that is compiled.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

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
/// What stands in a fenced block. Rust is compiled, whatever comes behind a comma but `ignore`.
const LANGUAGES: [&str; 7] = ["rust", "toml", "console", "sh", "text", "json", ""];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn guide() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// What the tests want of a page.
#[derive(Default)]
struct Page {
    text: String,
    anchors: BTreeSet<String>,
    links: Vec<String>,
    /// The language and what follows it, and the code.
    blocks: Vec<(String, String)>,
}

impl Page {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let mut page = Self::default();
        let (mut heading, mut code) = (None::<String>, None::<(String, String)>);
        for event in Parser::new_ext(&text, Options::ENABLE_TABLES) {
            match event {
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => {
                    page.anchor(&heading.take().unwrap_or_default());
                }
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    page.links.push(dest_url.into_string());
                }
                Event::Start(Tag::CodeBlock(kind)) => {
                    let language = match kind {
                        CodeBlockKind::Fenced(language) => language.into_string(),
                        CodeBlockKind::Indented => String::new(),
                    };
                    code = Some((language, String::new()));
                }
                Event::End(TagEnd::CodeBlock) => page.blocks.extend(code.take()),
                Event::Text(text) | Event::Code(text) => {
                    if let Some((_, code)) = &mut code {
                        code.push_str(&text);
                    } else if let Some(heading) = &mut heading {
                        heading.push_str(&text);
                    }
                }
                _ => {}
            }
        }
        page.text = text;
        page
    }

    /// The name of a heading's place, as GitHub and mdBook make it.
    fn anchor(&mut self, heading: &str) {
        let kept = heading.chars().filter_map(|c| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c.to_ascii_lowercase()),
            _ => None,
        });
        let name: String = kept.collect();
        assert!(self.anchors.insert(name.clone()), "twice on a page: {name}");
    }
}

/// Every page of the guide, by the name of its file.
fn pages() -> BTreeMap<String, Page> {
    let entries = fs::read_dir(guide()).expect("the guide");
    let paths = entries.map(|entry| entry.expect("an entry").path());
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
    let library = include_str!("../lib.rs");
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
    let mut checked = 0;
    for (path, page) in &pages {
        for link in &page.links {
            let told = format!("{}: {link}", path.display());
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if let Some(file) = file.strip_prefix(REPOSITORY) {
                root().join(file)
            } else if file.contains("://") {
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
            }
            checked += 1;
        }
    }
    assert!(checked > 90, "{checked} links");
}

#[test]
fn every_block_says_what_it_is_and_no_rust_is_ignored() {
    let mut compiled = 0;
    for (name, page) in pages() {
        for (language, code) in &page.blocks {
            let mut words = language.split(',');
            let first = words.next().unwrap_or_default();
            assert!(LANGUAGES.contains(&first), "{name}: {language}:\n{code}");
            assert!(!words.any(|word| word == "ignore"), "{name}:\n{code}");
            compiled += usize::from(first == "rust");
        }
    }
    assert!(compiled >= 40, "{compiled} blocks");
}

/// The README's code has no room for what surrounds it, so it is that of the guide, which is compiled.
#[test]
fn the_readme_s_rust_stands_in_the_guide() {
    let mut guide = Vec::new();
    for page in pages().into_values() {
        let rust = page
            .blocks
            .into_iter()
            .filter(|(l, _)| l.starts_with("rust"));
        guide.extend(rust.map(|(_, code)| bare(&code)));
    }
    let readme = Page::read(&root().join("README.md"));
    let mut parts = 0;
    for (_, code) in readme.blocks.iter().filter(|(l, _)| l == "rust") {
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

/// Code without comments, hidden lines, spaces, and the commas that only stand at the end of a line.
fn bare(code: &str) -> String {
    let lines = code.lines().filter(|line| {
        let line = line.trim_start();
        line != "#" && !line.starts_with("# ")
    });
    let shown = lines.map(|line| match line.split_once("//") {
        Some((before, _)) if !before.ends_with(':') => before,
        _ => line,
    });
    let text: String = shown.collect();
    let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    text.replace(",}", "}").replace(",)", ")")
}
