//! Signals, broken pipes and absent brokers.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::{Broker, SOON, end, end_within, numbered, run, signal, tool};

#[test]
fn sigterm_amid_publishing_delivers_what_was_accepted_and_tells_all_of_it() {
    let broker = Broker::start(&["t:1"]);
    let mut child = broker.spawn(&["publish", "--topic", "t", "--name", "n", "--receipts"]);
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    // Lines are written for as long as they are read.
    let writer = std::thread::spawn(move || while stdin.write_all(b"{}\n{}\n{}\n").is_ok() {});
    let mut first = String::new();
    stdout.read_line(&mut first).unwrap();
    signal(&child, Signal::SIGTERM);
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    let ended = end(child);
    writer.join().unwrap();
    assert_eq!(ended.code, 130, "{}", ended.err);
    let lines: Vec<Value> = first
        .lines()
        .chain(rest.lines())
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let stored = lines.iter().filter(|line| line["offset"].is_i64()).count();
    assert!(
        ended.err.contains(&format!("{stored} stored")),
        "{}",
        ended.err
    );
    assert!(
        lines
            .iter()
            .enumerate()
            .all(|(i, line)| line["line"] == i + 1)
    );
    // The broker has exactly what the receipts say.
    assert_eq!(broker.read("t", stored).len(), stored);
    let metadata = broker
        .run(&["metadata", "--topic", "t", "--json"], "")
        .expect(0)
        .lines();
    assert_eq!(metadata[0]["topics"][0]["partitions"][0]["high"], stored);
}

#[test]
fn an_interrupt_ends_a_subscription_in_order() {
    let broker = Broker::start(&["t:1"]);
    broker.publish("t", &numbered(3));
    for (more, code) in [(&[][..], 0), (&["--count", "9"][..], 130)] {
        let args = ["subscribe", "--topic", "t", "--from", "head"];
        let mut child = broker.spawn(&[&args[..], more].concat());
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        for _ in 0..3 {
            stdout.read_line(&mut String::new()).unwrap();
        }
        signal(&child, Signal::SIGINT);
        let ended = end(child);
        assert_eq!(ended.code, code, "{}", ended.err);
    }
}

#[test]
fn a_reader_that_does_not_read_does_not_hold_up_the_end() {
    let broker = Broker::start(&["t:1"]);
    broker.publish("t", &numbered(5000));
    let mut child = broker.spawn(&[
        "subscribe",
        "--topic",
        "t",
        "--from",
        "head",
        "--group",
        "g",
    ]);
    let stdout = child.stdout.take().unwrap();
    // By then its pipe is full.
    std::thread::sleep(Duration::from_secs(2));
    let started = Instant::now();
    signal(&child, Signal::SIGINT);
    assert_eq!(end(child).code, 0);
    assert!(
        started.elapsed() < Duration::from_secs(8),
        "{:?}",
        started.elapsed()
    );
    let written = BufReader::new(stdout)
        .lines()
        .filter(|line| line.as_ref().is_ok_and(|line| line.ends_with('}')));
    let written = written.count() as u64;
    let metadata = broker.run(&["metadata", "--topic", "t", "--group", "g", "--json"], "");
    let partition = &metadata.expect(0).lines()[0]["topics"][0]["partitions"][0];
    let committed = partition["committed"].as_u64().unwrap_or(0);
    assert!(
        committed <= written,
        "{committed} committed, {written} written"
    );
}

#[test]
fn a_subscription_that_cannot_leave_its_group_in_time_fails() {
    let broker = Broker::start(&["t:1"]);
    broker.publish("t", &numbered(3));
    let args = ["subscribe", "--topic", "t", "--from", "head"];
    let mut child = broker.spawn(&[&args[..], &["--group", "g"]].concat());
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    for _ in 0..3 {
        stdout.read_line(&mut String::new()).unwrap();
    }
    broker.signal(Signal::SIGSTOP);
    signal(&child, Signal::SIGINT);
    // It waits for the group, and then for all that the client still has.
    let ended = end_within(child, 2 * SOON);
    broker.signal(Signal::SIGCONT);
    assert_eq!(ended.code, 1, "{}", ended.err);
    assert!(ended.err.contains("error: stop: "), "{}", ended.err);
}

#[test]
fn a_broken_pipe_is_a_quiet_end() {
    let broker = Broker::start(&["t:1"]);
    broker.publish("t", &numbered(10_000));
    let commands: &[(&[&str], &str)] = &[
        (&["subscribe", "--topic", "t", "--from", "head"], ""),
        (&["metadata"], ""),
        (&["completions", "bash"], ""),
        (&["--help"], ""),
        (&["demo"], ""),
    ];
    for (args, line) in commands {
        let mut child = broker.spawn(args);
        drop(child.stdout.take());
        let mut stdin = child.stdin.take().unwrap();
        let line = (*line).to_owned();
        std::thread::spawn(
            move || while !line.is_empty() && stdin.write_all(line.as_bytes()).is_ok() {},
        );
        let ended = end(child);
        assert_eq!(ended.code, 0, "{args:?}: {}", ended.err);
        assert!(!ended.err.contains("error"), "{args:?}: {}", ended.err);
    }
}

/// Unread input is not stored: a reader of the lines may have wanted only one, but a reader of the
/// exit code must learn that not all were published.
#[test]
fn publishing_is_not_done_when_nobody_reads_its_lines() {
    let broker = Broker::start(&["t:1"]);
    for stdout in [&["--receipts"][..], &["--stream", "stdout"]] {
        let args = ["publish", "--topic", "t", "--name", "n"];
        let mut child = broker.spawn(&[&args[..], stdout].concat());
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut stdin = child.stdin.take().unwrap();
        let writer = std::thread::spawn(move || while stdin.write_all(b"{}\n").is_ok() {});
        out.read_line(&mut String::new()).unwrap();
        drop(out);
        let ended = end(child);
        writer.join().unwrap();
        assert_eq!(ended.code, 1, "{stdout:?}: {}", ended.err);
        assert!(ended.err.contains(" read, "), "{}", ended.err);
        assert!(ended.err.contains("was closed"), "{}", ended.err);
        assert!(!ended.err.contains("panic"), "{}", ended.err);
        assert!(ended.err.lines().count() < 5, "{}", ended.err);
    }
}

#[test]
fn a_full_disk_is_an_error() {
    let Ok(full) = std::fs::File::options().write(true).open("/dev/full") else {
        // Not on this system.
        return;
    };
    let broker = Broker::start(&["t:1"]);
    broker.publish("t", &numbered(3));
    let mut command = broker.tool(&[
        "subscribe",
        "--topic",
        "t",
        "--from",
        "head",
        "--count",
        "3",
    ]);
    let child = command.stdout(full).stderr(Stdio::piped()).spawn().unwrap();
    let ended = end(child);
    assert_eq!(ended.code, 1, "{}", ended.err);
    assert!(ended.err.contains("No space left"), "{}", ended.err);
}

#[test]
fn a_broker_that_is_not_there_is_told_after_the_publish_timeout() {
    let nowhere = [
        "--brokers",
        "127.0.0.1:1",
        "--publish-timeout",
        "1",
        "--log",
        "off",
    ];
    for command in [
        &["publish", "--topic", "t", "--name", "n"][..],
        &["subscribe", "--topic", "t"],
        &["metadata", "--timeout", "1"],
        &["bench", "latency", "--events", "1"],
    ] {
        let started = Instant::now();
        let ended = run(&[command, &nowhere].concat(), "{}\n").expect(1);
        assert!(started.elapsed() < SOON / 2, "{command:?}");
        assert!(!ended.err.is_empty(), "{command:?}");
        assert_eq!(ended.out, "", "{command:?}");
    }
}

#[test]
fn an_error_says_what_to_do_and_once() {
    let nowhere = ["--brokers", "127.0.0.1:1", "--log", "off"];
    let args = [&["metadata", "--timeout", "1"], &nowhere[..]].concat();
    let told = run(&args, "").expect(1).err;
    assert!(told.contains("; check that the brokers run"), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
    let told = run(&["metadata", "--config", "/no/such"], "").expect(2).err;
    assert!(!told.contains("correct the fields"), "{told}");
}

#[test]
fn a_signal_says_what_is_waited_for_and_a_second_one_ends_with_the_summary() {
    let mut command = tool(&[
        "publish",
        "--topic",
        "t",
        "--name",
        "n",
        "--receipts",
        "--brokers",
        "127.0.0.1:1",
    ]);
    command.args(["--log", "off"]);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(b"{}\n").unwrap();
    std::thread::sleep(Duration::from_millis(500));
    let started = Instant::now();
    signal(&child, Signal::SIGINT);
    let mut err = BufReader::new(child.stderr.take().unwrap());
    let mut waiting = String::new();
    err.read_line(&mut waiting).unwrap();
    assert!(waiting.contains("1 event"), "{waiting}");
    assert!(waiting.contains("127.0.0.1:1"), "{waiting}");
    assert!(
        child.try_wait().unwrap().is_none(),
        "the accepted event is still on its way"
    );
    signal(&child, Signal::SIGINT);
    let ended = end(child);
    assert_eq!(ended.code, 130);
    let mut rest = String::new();
    err.read_to_string(&mut rest).unwrap();
    assert!(
        rest.contains("1 read, 0 stored, 0 failed, 1 unknown"),
        "{rest}"
    );
    let receipt: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(receipt["error"]["kind"], "closed");
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_broker_ends_in_order() {
    assert_eq!(Broker::start(&[]).stop(), 0);
}
