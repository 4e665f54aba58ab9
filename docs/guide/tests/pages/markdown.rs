//! A page, as rustdoc and mdBook read it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use pulldown_cmark::{BrokenLink, CodeBlockKind, Event, LinkType, Options, Parser, Tag, TagEnd};

/// What the tests want of a page.
#[derive(Default)]
pub(crate) struct Page {
    pub(crate) anchors: BTreeSet<String>,
    pub(crate) links: Vec<String>,
    /// The language and what follows it.
    pub(crate) blocks: Vec<String>,
}

impl Page {
    pub(crate) fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let mut page = Self::default();
        let (mut heading, mut is_code) = (None::<String>, false);
        let broken = |link: BrokenLink<'_>| {
            let is_text = matches!(link.link_type, LinkType::Shortcut);
            assert!(
                is_text,
                "{}: no such link: {}",
                path.display(),
                link.reference
            );
            None
        };
        let options = Options::ENABLE_TABLES;
        for event in Parser::new_with_broken_link_callback(&text, options, Some(broken)) {
            match event {
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => {
                    page.anchor(&heading.take().unwrap_or_default());
                }
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    page.links.push(dest_url.into_string());
                }
                Event::Start(Tag::CodeBlock(kind)) => {
                    page.blocks.push(match kind {
                        CodeBlockKind::Fenced(language) => language.into_string(),
                        CodeBlockKind::Indented => String::new(),
                    });
                    is_code = true;
                }
                Event::End(TagEnd::CodeBlock) => is_code = false,
                Event::Text(text) | Event::Code(text) if !is_code => {
                    if let Some(heading) = &mut heading {
                        heading.push_str(&text);
                    }
                }
                Event::Html(html) | Event::InlineHtml(html) => {
                    let hides = html.contains("href") || html.contains("src=");
                    assert!(!hides, "{}: a link in HTML: {html}", path.display());
                }
                _ => {}
            }
        }
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
