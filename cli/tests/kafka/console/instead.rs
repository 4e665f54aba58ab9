//! What a test types instead of lines that it cannot type as they stand.

use Instead::{Briefly, Nothing, With};

/// What a test does with a line that it cannot run as it stands, and why it cannot.
pub(crate) enum Instead {
    /// The line with each first text replaced by the second. `$B` is the test's brokers.
    With(&'static [(&'static str, &'static str)]),
    /// The line, until it has printed its first line.
    Briefly,
    /// Nothing.
    Nothing,
}

/// By the line, or its beginning before ` ...`. One that no page needs any more fails the test.
pub(crate) const INSTEAD: [(&str, Instead, &str); 18] = [
    (
        "EVENTSTREAM_BROKERS=127.0.0.1:36479 cargo run",
        Nothing,
        "the reader's own package: the page's blocks are its files, and are compiled",
    ),
    (
        "cargo run --release -- demo",
        With(&[("cargo run --release --", "eventstream")]),
        "the tool is built already",
    ),
    ("cargo xtask test", Nothing, "runs this test"),
    ("cargo install ...", Nothing, "compiles everything anew"),
    (
        "export EVENTSTREAM_BROKERS ...",
        Nothing,
        "names the page's broker; the test has its own",
    ),
    (
        "EVENTSTREAM_...",
        Nothing,
        "variables: a test of the guide reads them as configuration",
    ),
    (
        "kafka-acls ...",
        Nothing,
        "needs a broker that checks rights: the other test here",
    ),
    (
        "eventstream broker ...",
        Briefly,
        "runs until it is interrupted",
    ),
    (
        "eventstream subscribe --topic player --since 2h --where ...",
        With(&[("2h --where", "2h --idle 2 --where")]),
        "waits for more until it is interrupted",
    ),
    (
        "eventstream group show rewards --watch",
        // In the foreground it sends one signal; otherwise two, and the second one ends the tool at once.
        With(&[(
            "eventstream",
            "timeout --foreground --preserve-status --signal INT 3 eventstream",
        )]),
        "runs until it is interrupted",
    ),
    (
        "eventstream group seek rewards --topic player --to head",
        With(&[("head", "head --yes")]),
        "asks a person",
    ),
    (
        "eventstream group copy ...",
        With(&[(" copy", " copy --yes")]),
        "asks a person",
    ),
    (
        "eventstream dlq replay ...",
        With(&[(" replay", " replay --yes"), ("--follow 60", "--follow 2")]),
        "asks a person, then watches for a minute",
    ),
    (
        "eventstream dlq park ...",
        With(&[(" park", " park --yes")]),
        "asks a person",
    ),
    (
        "eventstream copy --topic player --to player --to-brokers ...",
        With(&[
            ("--to player", "--to player-b --until-end"),
            ("b:9092", "$B"),
        ]),
        "goes on for ever, and there is no second cluster",
    ),
    (
        "eventstream bench publish ...",
        With(&[("1000000", "20000")]),
        "takes a minute",
    ),
    (
        "eventstream bench consume ...",
        With(&[("1000000", "20000")]),
        "reads what the one above publishes",
    ),
    (
        "eventstream group seek rewards --topic player --to 2h",
        With(&[("2h", "2h --yes")]),
        "asks a person",
    ),
];

pub(crate) fn is_for(key: &str, line: &str) -> bool {
    match key.strip_suffix("...") {
        Some(start) => line.starts_with(start.trim_end()),
        None => line == key,
    }
}

/// What to type for a line, if anything.
pub(crate) fn for_a_test(line: &str, instead: Option<&Instead>) -> Option<String> {
    match instead {
        Some(Nothing) => None,
        Some(With(replacements)) => {
            let mut text = line.to_owned();
            for (from, to) in *replacements {
                text = text.replacen(from, to, 1);
            }
            assert_ne!(text, line, "nothing of it is replaced");
            Some(text)
        }
        Some(Briefly) | None => Some(line.to_owned()),
    }
}
