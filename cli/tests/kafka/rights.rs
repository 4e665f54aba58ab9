//! The tool with a Kafka that checks rights: a missing right ends a command with one message.

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
    std::io::Write::write_all(&mut input, "{}\n".repeat(10).as_bytes()).unwrap();
    drop(input);
    assert!(child.wait().unwrap().success());
    topic
}

fn run(user: &str, arguments: &[&str]) -> Output {
    let secured = kafka().secured().unwrap();
    let user = secured.user(user).unwrap();
    Command::new(env!("CARGO_BIN_EXE_eventstream"))
        .args(["--brokers", &secured.sasl_plaintext, "--sasl-without-tls"])
        .args(["--sasl-mechanism", "plain", "--sasl-username", &user.name])
        .env("EVENTSTREAM_SASL_PASSWORD", &user.password)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
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
