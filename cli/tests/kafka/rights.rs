//! The tool with a Kafka that checks rights: a missing right ends a command with one message.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use harness::{Kafka, Operation, Resource, unique_topic};

const TOLD: Duration = Duration::from_secs(20);

fn kafka() -> &'static Kafka {
    static KAFKA: OnceLock<Kafka> = OnceLock::new();
    KAFKA.get_or_init(|| {
        let kafka = Kafka::builder().authorizing().user("reader");
        kafka.user("stranger").start().unwrap()
    })
}

/// A topic of ten events that `reader` may read, and no group that it may use.
fn topic(test: &str) -> String {
    let topic = unique_topic(test);
    let admin = kafka().admin().unwrap();
    admin.create_topic(&topic, 2, 1, &[]).unwrap();
    for operation in [Operation::Read, Operation::Describe] {
        admin
            .allow("reader", operation, Resource::Topic(&topic))
            .unwrap();
    }
    let mut publish = Command::new(env!("CARGO_BIN_EXE_eventstream"));
    publish.args(["--brokers", &kafka().bootstrap()]);
    publish.args(["publish", "--topic", &topic, "--name", "n"]);
    let mut child = publish.stdin(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(&b"{}\n".repeat(10)).unwrap();
    drop(input);
    assert!(child.wait().unwrap().success());
    topic
}

fn run(user: &str, arguments: &[&str]) -> Output {
    let mut command = tool(user, arguments);
    command.stdin(Stdio::null()).output().unwrap()
}

fn tool(user: &str, arguments: &[&str]) -> Command {
    let secured = kafka().secured().unwrap();
    let user = secured.user(user).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_eventstream"));
    command
        .args(["--brokers", &secured.sasl_plaintext, "--sasl-without-tls"])
        .args(["--sasl-mechanism", "plain", "--sasl-username", &user.name])
        .env("EVENTSTREAM_SASL_PASSWORD", &user.password)
        .args(arguments);
    command
}

#[test]
fn reading_without_a_group_wants_no_right_on_one() {
    let topic = topic("no_group");
    let args = ["--topic", &topic, "--from", "head", "--count", "10"];
    let output = run("reader", &[&["subscribe"], &args[..]].concat());
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{err}");
    assert_eq!(output.stdout.iter().filter(|b| **b == b'\n').count(), 10);
    assert!(!err.contains("error: "), "{err}");
}

#[test]
fn publishing_ends_at_a_missing_right_though_there_is_more_to_read() {
    let topic = topic("no_write");
    let mut command = tool("reader", &["publish", "--topic", &topic, "--name", "n"]);
    let piped = command.stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(&b"{}\n".repeat(10)).unwrap();
    let started = Instant::now();
    // The input stays open.
    std::thread::spawn(move || {
        std::thread::sleep(TOLD);
        drop(input);
    });
    let output = child.wait_with_output().unwrap();
    let took = started.elapsed();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(took < TOLD, "{took:?}: {err}");
    assert!(err.contains("no right to Write"), "{err}");
    assert!(err.contains("; refused: the remaining lines"), "{err}");
}

#[test]
fn a_missing_right_ends_a_command_with_one_message() {
    let topic = topic("rights");
    let of_topic = ["--topic", &*topic];
    let idle = ["--idle", "60"];
    for (user, command, more) in [
        ("stranger", "metadata", &[][..]),
        ("stranger", "subscribe", &idle),
        ("stranger", "subscribe", &["--group", "g", "--count", "1"]),
        ("reader", "subscribe", &["--group", "g", "--idle", "60"]),
        ("reader", "metadata", &["--group", "g"]),
    ] {
        let started = Instant::now();
        let output = run(user, &[&[command], &of_topic[..], more].concat());
        let took = started.elapsed();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{user} {command}: {err}");
        assert!(took < TOLD, "{user} {command} {more:?}: {took:?}: {err}");
        let errors = err.lines().filter(|line| line.starts_with("error: "));
        assert_eq!(errors.count(), 1, "{user} {command} {more:?}: {err}");
        assert!(err.to_lowercase().contains("authoriz"), "{err}");
    }
}
