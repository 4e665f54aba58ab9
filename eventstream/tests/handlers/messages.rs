//! What the compiler says of a handler that is none.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Compiles a file against this build of the library, and gives what the compiler says.
fn compile(name: &str) -> String {
    let binary = std::env::current_exe().unwrap();
    let libraries = binary.parent().unwrap();
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let output = Command::new(option_env!("RUSTC").unwrap_or("rustc"))
        .args([
            "--edition",
            "2024",
            "--crate-type",
            "bin",
            "--emit",
            "metadata",
        ])
        .arg(format!("{}/tests/ui/{name}.rs", env!("CARGO_MANIFEST_DIR")))
        .arg("-L")
        .arg(format!("dependency={}", libraries.display()))
        .arg("--extern")
        .arg(format!("eventstream={}", library(libraries).display()))
        .arg("-o")
        .arg(scratch.join(format!("{name}.rmeta")))
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.success(), name == "sound", "{said}");
    said
}

/// The library as this test was built with: the newest.
fn library(folder: &Path) -> PathBuf {
    let files = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path());
    let ours = files.filter(|path| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.starts_with("libeventstream-") && name.ends_with(".rlib")
    });
    let changed = |path: &PathBuf| path.metadata().unwrap().modified().unwrap();
    ours.max_by_key(changed).unwrap()
}

#[test]
fn the_compiler_says_what_is_wrong_with_a_handler() {
    assert_eq!(compile("sound"), "");
    let handler = "is no handler for a subscription with state `()`";
    for (name, words) in [
        (
            "no_argument",
            [handler, "arguments that implement `FromRecord<()>`"],
        ),
        (
            "missing_state",
            [handler, "`State<T>` needs `.state(..)` before the handler"],
        ),
        (
            "wrong_result",
            [handler, "it returns `()` or `Result<(), E>` where `E: Into"],
        ),
        (
            "not_async",
            [handler, "a handler is an async function or closure"],
        ),
        (
            "untyped",
            [
                "`fn(Event)",
                "expected function signature `fn(Payload<_>) -> _`",
            ],
        ),
    ] {
        let said = compile(name);
        let has_all = words.iter().all(|words| said.contains(words));
        assert!(has_all, "{name}:\n{said}");
        assert!(!said.contains("Blocking"), "of no help here: {said}");
    }
}

#[test]
fn the_derive_says_what_is_missing_or_unknown() {
    for (name, words) in [
        ("event_without_topic", "`topic = \"..\"` is missing"),
        (
            "event_option",
            "expected `topic`, `name`, `version` or `key`",
        ),
    ] {
        let said = compile(name);
        assert!(said.contains(words), "{name}:\n{said}");
    }
}
