//! The pages for readers, as the tests of the guide and of the tool see them: blocks of code, and lines to type.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::paths::workspace;

/// A fenced block of code.
#[derive(Debug, Clone)]
pub struct Block {
    /// What comes after the fence, up to the first comma.
    pub language: String,
    /// What comes after that.
    pub attributes: Vec<String>,
    /// Its lines.
    pub code: String,
    /// The line of its fence, from 1.
    pub line: usize,
}

/// A line that a page says to type.
#[derive(Debug, Clone)]
pub struct Typed {
    /// The line, joined with those that continue it.
    pub text: String,
    /// What the page shows as printed by it.
    pub printed: Vec<String>,
    /// Where it stands, from 1. 0 for code within text.
    pub line: usize,
}

/// The pages whose blocks are compiled and whose lines are run: the README, those of the published crates, the guide.
///
/// # Errors
/// The guide's folder cannot be read.
pub fn pages_for_readers() -> Result<Vec<PathBuf>> {
    let root = workspace();
    let folder = root.join("docs/guide/src");
    let entries = fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
    let guide: Result<Vec<_>, _> = entries.map(|entry| entry.map(|e| e.path())).collect();
    let mut guide = guide?;
    guide.retain(|path| path.extension().is_some_and(|end| end == "md"));
    guide.sort();
    let readmes = [
        "README.md",
        "cli/README.md",
        "derive/README.md",
        "eventstream/README.md",
    ];
    let readmes = readmes
        .into_iter()
        .chain(["inbox/README.md", "outbox/README.md"]);
    Ok(readmes.map(|name| root.join(name)).chain(guide).collect())
}

impl Block {
    /// Every fenced block of a page.
    ///
    /// # Errors
    /// The page cannot be read.
    pub fn of(page: &Path) -> Result<Vec<Self>> {
        Ok(split(&read(page)?).0)
    }

    /// What comes after the fence, as a whole.
    #[must_use]
    pub fn information(&self) -> String {
        let words = [&self.language].into_iter().chain(&self.attributes);
        words.map(String::as_str).collect::<Vec<_>>().join(",")
    }

    /// The lines to type: of a console those after `$`, of a script all.
    #[must_use]
    pub fn typed(&self) -> Vec<Typed> {
        let mut lines: Vec<Typed> = Vec::new();
        let mut goes_on = false;
        for (at, line) in self.code.lines().enumerate() {
            let prompt = line.strip_prefix("$ ");
            let shown = prompt.unwrap_or(line);
            match lines.last_mut() {
                Some(last) if goes_on => {
                    if last.text.ends_with('\\') {
                        last.text.pop();
                    }
                    last.text.push_str(line);
                }
                Some(last) if prompt.is_none() && self.language == "console" => {
                    last.printed.push(line.to_owned());
                    continue;
                }
                _ => lines.push(Typed {
                    text: shown.to_owned(),
                    printed: Vec::new(),
                    line: self.line + at + 1,
                }),
            }
            goes_on = line.ends_with(['|', '\\']);
        }
        lines
    }
}

impl Typed {
    /// Everything that a page says to type: the lines of its consoles and scripts, and calls of the tool within text.
    ///
    /// # Errors
    /// The page cannot be read.
    pub fn of(page: &Path) -> Result<Vec<Self>> {
        let (blocks, text) = split(&read(page)?);
        let blocks = blocks.into_iter();
        let blocks = blocks.filter(|block| ["console", "sh"].contains(&&*block.language));
        let mut lines: Vec<_> = blocks.flat_map(|block| block.typed()).collect();
        let codes = text.split('`').skip(1).step_by(2);
        let codes = codes.filter(|code| code.contains("eventstream "));
        lines.extend(codes.map(|code| Self {
            text: code.replace("\\|", "|").replace('\n', " "),
            printed: Vec::new(),
            line: 0,
        }));
        Ok(lines)
    }
}

fn read(page: &Path) -> Result<String> {
    fs::read_to_string(page).with_context(|| page.display().to_string())
}

/// The fenced blocks of a page, and the rest.
fn split(page: &str) -> (Vec<Block>, String) {
    let (mut blocks, mut text) = (Vec::new(), String::new());
    let mut open: Option<Block> = None;
    for (at, line) in page.lines().enumerate() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(information), None) => {
                let mut words = information.split(',').map(str::to_owned);
                open = Some(Block {
                    language: words.next().unwrap_or_default(),
                    attributes: words.collect(),
                    code: String::new(),
                    line: at + 1,
                });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => {
                block.code.push_str(line);
                block.code.push('\n');
            }
            (None, None) => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    (blocks, text)
}
