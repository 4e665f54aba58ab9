//! The guide's page about the configuration is made from the options themselves, and its examples are read.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use crate::config::broker::BrokerConfig;
use crate::config::commit::GoKeys;
use crate::config::env::{OTHERS, PREFIX};
use crate::config::properties::REFUSED;
use crate::config::security::Security;
use crate::config::value::Value;

const BEGIN: &str =
    "<!-- From the options themselves: see eventstream/src/config/tests/reference.rs. -->\n";
/// Set, it makes the page anew.
const WRITE: &str = "EVENTSTREAM_WRITE_GUIDE";

fn pages() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/guide/src")
}

#[test]
fn the_guide_has_every_option_as_it_is() {
    let path = pages().join("configuration.md");
    let page = fs::read_to_string(&path).expect("the page");
    let (head, generated) = page.split_once(BEGIN).expect("the mark");
    for key in ["brokers", "base_config"]
        .into_iter()
        .chain(Security::SECRET_FILES.iter().copied())
        .chain(GoKeys::NAMES.iter().copied())
    {
        assert!(head.contains(&format!("`{key}`")), "no word of {key}");
    }
    for variable in OTHERS {
        assert!(
            head.contains(&format!("`{PREFIX}{variable}`")),
            "no word of {variable}"
        );
    }
    let builder = include_str!("../../subscribe/mod.rs");
    let methods = builder.split("\n    pub fn ").skip(1);
    let names = methods.filter_map(|method| method.split(['(', '<']).next());
    for name in names.filter(|name| !["new", "to"].contains(name)) {
        assert!(head.contains(&format!("`{name}`")), "no word of {name}");
    }
    let expected = reference();
    if std::env::var_os(WRITE).is_some() {
        fs::write(&path, format!("{head}{BEGIN}{expected}")).expect("written");
    } else {
        assert!(
            generated == expected,
            "the options have changed: {WRITE}=1 with this test makes the page anew"
        );
    }
}

fn reference() -> String {
    // A list is no option's value, and the refusal says what is.
    let list = Value::List(Vec::new());
    let mut out = "\n## Options\n".to_owned();
    for (name, docs) in BrokerConfig::DOCS {
        if *name != "security" {
            option(
                name,
                docs,
                BrokerConfig::default().set(name, &list),
                &mut out,
            );
        }
    }
    out += "\n## Security options\n\nIn TOML they stand in the table `[security]`.\n";
    for (name, docs) in Security::DOCS {
        option(name, docs, Security::default().set(name, &list), &mut out);
    }
    out += "\n## Properties that are refused\n\n| property of librdkafka | instead |\n|---|---|\n";
    for (property, instead) in REFUSED {
        let all = if property.ends_with('.') { "*" } else { "" };
        writeln!(out, "| `{property}{all}` | {instead} |").expect("text");
    }
    out
}

fn option(name: &str, docs: &[&str], refused: Option<Result<(), String>>, out: &mut String) {
    let allowed = refused.expect("an option").expect_err("no list");
    let variable = format!("{PREFIX}{}", name.to_ascii_uppercase());
    let text = prose(docs);
    write!(
        out,
        "\n### `{name}`\n\n`{variable}`: {allowed}.\n\n{text}\n"
    )
    .expect("text");
}

/// The documentation as Markdown outside rustdoc: links to items are their text.
fn prose(docs: &[&str]) -> String {
    let text = docs.join("\n");
    let mut out = String::new();
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once('[') {
        out += before;
        let (inner, after) = after.split_once(']').expect("a bracket that closes");
        out += inner;
        rest = match after.strip_prefix('(') {
            Some(target) => target.split_once(')').expect("a target").1,
            None => after,
        };
    }
    out += rest;
    let lines = out.split('\n').map(str::trim);
    lines.collect::<Vec<_>>().join("\n")
}

/// Each fenced block of this language in the guide.
fn blocks(language: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(pages()).expect("the guide") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|end| end != "md") {
            continue;
        }
        let page = fs::read_to_string(path).expect("a page");
        let fences = page.split("\n```").skip(1).step_by(2);
        let code = fences.filter_map(|fence| fence.strip_prefix(&format!("{language}\n")));
        found.extend(code.map(str::to_owned));
    }
    found
}

#[test]
fn the_guide_s_files_and_variables_are_read() {
    let (mut files, mut variables) = (0, 0);
    // The files with secrets are not on this machine.
    let is_readable = |error: crate::Error, block: &str| {
        let mut faults = error.faults().iter();
        let of_file = faults.all(|fault| fault.field.to_lowercase().ends_with("_file"));
        assert!(of_file && !error.faults().is_empty(), "{error}\n{block}");
    };
    for block in blocks("toml") {
        if block.contains("dependencies]") {
            continue;
        }
        files += 1;
        if let Err(error) = BrokerConfig::from_toml(&block) {
            is_readable(error, &block);
        }
    }
    for block in blocks("sh") {
        let vars = block.lines().filter(|line| line.starts_with(PREFIX));
        let vars = vars.filter_map(|line| line.split_once('='));
        let vars: Vec<_> = vars.map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        for (name, _) in &vars {
            let key = name[PREFIX.len()..].to_lowercase();
            let known = [BrokerConfig::NAMES, Security::NAMES, GoKeys::NAMES].concat();
            assert!(
                known.contains(&key.as_str())
                    || key.starts_with("base_config_")
                    || ["brokers", "sasl_password_file"].contains(&key.as_str()),
                "{name}"
            );
        }
        variables += vars.len();
        if let Err(error) = BrokerConfig::from_vars(vars) {
            is_readable(error, &block);
        }
    }
    assert!(
        files >= 3 && variables >= 5,
        "{files} files, {variables} variables"
    );
}
