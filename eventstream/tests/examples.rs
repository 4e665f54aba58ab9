//! The examples run and succeed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use eventstream_harness::{eventually, run_example, start_example, workspace};

const PATIENCE: Duration = Duration::from_secs(60);

fn run(name: &str) -> String {
    run_example(name, &[]).unwrap()
}

#[test]
fn typed() {
    assert!(run("typed").ends_with("player-7 logged in with steam\n"));
}

#[test]
fn worker() {
    let printed = run("worker");
    for line in [
        "attempt 3: not enough coins",
        "exhausted: the purse holds only 70",
        "rejected: no such player",
        "coinsEarned at attempt 2",
        r#"{"player-7": 70}"#,
    ] {
        assert!(printed.lines().any(|l| l == line), "{line}:\n{printed}");
    }
}

#[test]
fn batch() {
    let printed = run("batch");
    for keys in ["1 keys: 5000 rows in ", "5000 keys: 5000 rows in "] {
        let inserts = printed.lines().find_map(|line| line.strip_prefix(keys));
        let inserts: usize = inserts
            .unwrap()
            .trim_end_matches(" inserts")
            .parse()
            .unwrap();
        assert!(inserts <= 100, "{printed}");
    }
}

#[test]
fn pull() {
    let printed = run("pull");
    let expected = "\
level 7 at attempt 1
level 8: later
level 8 at attempt 2
dead letter: no such level
dead letter: cannot decode the payload: invalid type: string \"nine\", expected u32 at line 1 column 15
";
    assert_eq!(printed, expected);
}

#[test]
fn blocking() {
    assert!(run("blocking").ends_with("player-7 has a new level\n"));
}

#[test]
fn testing_handler() {
    assert!(run("testing_handler").ends_with("\n4 tests passed\n"));
}

#[test]
fn testing_service() {
    assert_eq!(
        run("testing_service"),
        "rejected: nothing was bought\n4 tests passed\n"
    );
}

/// Sends a request, and returns the status and the body.
fn http(port: u16, request: &str, headers: &[&str], body: &str) -> (u16, String) {
    let mut connection = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let length = format!("content-length: {}", body.len());
    let lines = [&["host: test", "connection: close", &length], headers].concat();
    write!(
        connection,
        "{request} HTTP/1.1\r\n{}\r\n\r\n{body}",
        lines.join("\r\n")
    )
    .unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap();
    (status.parse().unwrap(), body.to_owned())
}

#[test]
fn service() {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    let folder = workspace().join("eventstream/examples/service");
    let file = folder.join("eventstream.toml");
    let environment = [("BACKEND", "embedded"), ("PORT", "0")];
    let mut service = start_example("service", &[file.to_str().unwrap()], &environment).unwrap();
    let mut lines = BufReader::new(service.take_stdout().unwrap()).lines();
    let mut line = || lines.next().unwrap().unwrap();
    let port = line();
    let port = port.strip_prefix("port ").unwrap().parse().unwrap();
    // The embedded broker makes the topic when the first order comes.
    assert_eq!(http(port, "GET /ready", &[], "").0, 503);

    let json = "content-type: application/json";
    let parent = format!("traceparent: 00-{TRACE}-00f067aa0ba902b7-01");
    let order = r#"{"player":"player-7","item":"sword"}"#;
    let (status, id) = http(port, "POST /orders", &[json, &parent], order);
    assert_eq!((status, id.len()), (202, 32), "{id}");
    assert_eq!(line(), format!("sword for player-7, trace {TRACE}"));
    eventually("the service to be ready", PATIENCE, || {
        Ok((http(port, "GET /ready", &[], "").0 == 200).then_some(()))
    })
    .unwrap();
    assert_eq!(http(port, "POST /orders", &[json], "{}").0, 422);
    let nameless = r#"{"player":"","item":""}"#;
    assert_eq!(http(port, "POST /orders", &[json], nameless).0, 202);
    assert!(line().starts_with(" for , trace "), "a trace of its own");
    eventually("both to be counted", PATIENCE, || {
        let (status, metrics) = http(port, "GET /metrics", &[], "");
        assert_eq!(status, 200);
        let handled = r#"outcome="handled",topic="orders"} 2"#;
        Ok(metrics.contains(handled).then_some(()))
    })
    .unwrap();

    // What the deployment asks for is there.
    let deployment = std::fs::read_to_string(folder.join("kubernetes.yaml")).unwrap();
    let probes = deployment
        .lines()
        .filter_map(|line| line.trim().strip_prefix("path: "));
    let probes: Vec<_> = probes.collect();
    assert_eq!(probes, ["/ready", "/live"]);
    for path in probes {
        assert_eq!(http(port, &format!("GET {path}"), &[], "").0, 200, "{path}");
    }
    let indented = std::fs::read_to_string(&file)
        .unwrap()
        .replace('\n', "\n    ");
    assert!(deployment.contains(indented.trim_end()), "the ConfigMap");
    let variables = deployment
        .split("- name: EVENTSTREAM_")
        .skip(1)
        .map(|rest| {
            let (name, rest) = rest.split_once('\n').unwrap();
            let value = rest.lines().next().unwrap().trim().strip_prefix("value: ");
            // The password is in a file that is only there.
            let name = name.strip_suffix("_FILE").unwrap_or(name);
            (format!("EVENTSTREAM_{name}"), value.unwrap().to_owned())
        });
    let config = eventstream::BrokerConfig::from_file(&file).unwrap();
    let config = config.apply_vars(variables).unwrap();
    let client = eventstream::Client::builder(eventstream::Backend::Kafka).config(config);
    drop(client.build().unwrap());

    let status = service.terminate(PATIENCE).unwrap();
    assert!(status.success(), "{status}");
    assert_eq!(line(), "ended with 0 events undelivered");
}
