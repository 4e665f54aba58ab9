//! The format of a history: what is written can be read back.
#![allow(clippy::unwrap_used, reason = "a failing step fails the test")]

use std::borrow::Cow;
use std::io::Write as _;

use eventstream_checker::history::{
    Accepted, Entry, Event, Failed, FileReader, Handle, Publish, Tail, Writer, files,
};

fn directory(name: &str) -> std::path::PathBuf {
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}

#[test]
fn reads_what_it_writes() {
    let directory = directory("reads_what_it_writes");
    let publish = Publish {
        id: 7,
        topic: "orders",
        key: Some(3),
        seq: 1,
    };
    let handle = Handle {
        member: "g1-m1#0",
        topic: "orders",
        partition: 0,
        offset: 9,
        id: 7,
        key: None,
        attempt: 1,
    };
    let failed = Failed {
        id: 7,
        kind: "timeout",
        reason: Cow::Borrowed("a \"quoted\"\nreason"),
    };
    let events = [
        Event::Publish(publish),
        Event::Accepted(Accepted { id: 7 }),
        Event::Failed(failed),
        Event::Handle(handle),
    ];
    let writer = Writer::create(&directory, "p1#0").unwrap();
    for event in &events {
        writer.write(event.clone()).unwrap();
    }

    let mut reader = FileReader::open(&files(&directory).unwrap()[0]).unwrap();
    assert!(reader.advance().unwrap());
    assert!(matches!(reader.entry().unwrap().event, Event::Process(p) if p.name == "p1#0"));
    let mut last = 0;
    for event in events {
        assert!(reader.advance().unwrap());
        let entry = reader.entry().unwrap();
        assert_eq!(entry.event, event);
        assert!(entry.at >= last);
        last = entry.at;
    }
    assert!(!reader.advance().unwrap());
    assert_eq!(reader.tail(), Tail::Whole);
}

#[test]
fn a_line_is_short_and_readable() {
    let event = Event::Accepted(Accepted { id: 7 });
    let line = serde_json::to_string(&Entry { at: 12, event }).unwrap();
    assert_eq!(line, r#"{"at":12,"accepted":{"id":7}}"#);
}

#[test]
fn the_readme_shows_each_line() {
    let readme = include_str!("../README.md");
    let lines = readme.lines().filter(|line| line.starts_with("{\"at\""));
    let mut kinds = std::collections::HashSet::new();
    for line in lines {
        let entry: Entry<'_> = serde_json::from_str(line).unwrap();
        assert_eq!(serde_json::to_string(&entry).unwrap(), line);
        kinds.insert(std::mem::discriminant(&entry.event));
    }
    assert_eq!(kinds.len(), 23);
}

#[test]
fn tolerates_a_line_cut_short() {
    let directory = directory("tolerates_a_line_cut_short");
    let mut file = std::fs::File::create(directory.join("p.ndjson")).unwrap();
    file.write_all(b"{\"at\":1,\"accepted\":{\"id\":7}}\n{\"at\":2,\"acc")
        .unwrap();

    let mut reader = FileReader::open(&directory.join("p.ndjson")).unwrap();
    assert!(reader.advance().unwrap());
    assert!(!reader.advance().unwrap());
    assert_eq!(reader.tail(), Tail::Truncated);
}

#[test]
fn names_the_line_it_cannot_read() {
    let directory = directory("names_the_line_it_cannot_read");
    std::fs::write(
        directory.join("p.ndjson"),
        "{\"at\":1,\"accepted\":{\"id\":7}}\nnonsense\n",
    )
    .unwrap();

    let mut reader = FileReader::open(&directory.join("p.ndjson")).unwrap();
    assert!(reader.advance().unwrap() && reader.entry().is_ok());
    assert!(reader.advance().unwrap());
    assert!(
        reader
            .entry()
            .unwrap_err()
            .to_string()
            .contains("p.ndjson:2:")
    );
}
