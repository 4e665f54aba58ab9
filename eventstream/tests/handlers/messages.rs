//! The compiler's messages for code that is not a valid handler.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Compiles a file against this build of the library, and returns the compiler's messages.
fn compile(name: &str) -> String {
    let (compiles, said) = compile_with(library(), name);
    assert_eq!(compiles, name == "sound", "{said}");
    said
}

fn compile_with(library: &Path, name: &str) -> (bool, String) {
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
        .arg(format!(
            "dependency={}",
            library.parent().unwrap().display()
        ))
        .arg("--extern")
        .arg(format!("eventstream={}", library.display()))
        .arg("-o")
        .arg(scratch.join(format!("{name}.rmeta")))
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    (output.status.success(), said)
}

/// The newest build of the library that has the features of this test. The folder may contain
/// others, some without them or by another compiler.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let binary = std::env::current_exe().unwrap();
        let files = std::fs::read_dir(binary.parent().unwrap()).unwrap();
        let mut builds: Vec<PathBuf> = files
            .map(|file| file.unwrap().path())
            .filter(|path| {
                let name = path.file_name().unwrap().to_string_lossy();
                name.starts_with("libeventstream-") && name.ends_with(".rlib")
            })
            .collect();
        builds.sort_by_key(|path| path.metadata().unwrap().modified().unwrap());
        let mut newest_said = None;
        for build in builds.into_iter().rev() {
            let (compiles, said) = compile_with(&build, "sound");
            if compiles {
                return build;
            }
            newest_said.get_or_insert(said);
        }
        panic!("no build of the library compiles `sound.rs`: {newest_said:?}")
    })
}

#[test]
fn the_compiler_says_what_is_wrong_with_a_handler() {
    assert_eq!(compile("sound"), "");
    let handler = "is not a handler for a subscription with state `()`";
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
fn the_compiler_says_what_is_wrong_with_a_layer() {
    let said = compile("layer");
    let words = "`&str` is not a layer for handlers";
    assert!(said.contains(words), "{said}");
}

#[test]
fn the_compiler_says_that_a_pulled_event_wants_an_answer() {
    let said = compile("unanswered");
    let words = "an event that is dropped without an answer is retried";
    assert!(said.contains(words), "{said}");
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
