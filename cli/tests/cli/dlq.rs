use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};
use std::time::Instant;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::letters::{self, Letter};
use crate::support::{Broker, Ended, SOON, end, run, run_command, signal, typed};

/// With the topic for finished work; if it were missing, a command would wait a second for it.
fn broker() -> Broker {
    Broker::start(&["player:2", "player-dlq:2", "player-dlq-replayed:1"])
}

fn write(broker: &Broker, letters: impl IntoIterator<Item = Letter>) {
    letters::write(&broker.address, "player-dlq", letters);
}

fn dlq(broker: &Broker, args: &[&str]) -> Ended {
    broker.run(
        &[&["dlq", args[0], "--topic", "player"], &args[1..]].concat(),
        "",
    )
}

fn summary(broker: &Broker, args: &[&str]) -> Value {
    let ended = dlq(broker, &[args, &["--yes", "--output", "json"]].concat()).expect(0);
    ended.lines().remove(0)
}

#[test]
fn causes_come_with_counts_as_table_and_as_json() {
    let broker = broker();
    write(&broker, (0..30).map(|n| Letter::new("player", n)));
    let rejected = (30..35).map(|n| Letter {
        reason: Some("rejected"),
        error: format!("no player {n}"),
        ..Letter::new("player", n)
    });
    write(&broker, rejected);
    let causes = dlq(&broker, &["list", "--output", "json"]).expect(0);
    assert_eq!(
        causes.lines(),
        [
            json!({
                "reason": "exhausted", "name": "paid", "error": "connect <addr>: refused", "group": ".rewards",
                "count": 30, "oldest": "2025-06-15T15:06:40.000Z", "newest": "2025-06-15T15:07:09.000Z",
            }),
            json!({
                "reason": "rejected", "name": "paid", "error": "no player <n>", "group": ".rewards",
                "count": 5, "oldest": "2025-06-15T15:07:10.000Z", "newest": "2025-06-15T15:07:14.000Z",
            }),
        ]
    );
    assert!(
        causes.err.contains("35 dead letters, 2 causes"),
        "{}",
        causes.err
    );
    let table = dlq(&broker, &["list"]).expect(0).out;
    let lines: Vec<_> = table.lines().collect();
    assert!(
        lines[0].starts_with("count") && lines[0].ends_with("error"),
        "{table}"
    );
    assert!(
        lines[1].ends_with("exhausted  paid   .rewards  connect <addr>: refused"),
        "{table}"
    );
    let by_hour = dlq(&broker, &["list", "--by", "hour", "--output", "json"]).expect(0);
    assert_eq!(by_hour.lines()[0]["hour"], "2025-06-15T15:00:00.000Z");
    let args = [
        "list",
        "--since",
        "2025-06-15T15:07:10Z",
        "--by",
        "key",
        "--output",
        "json",
    ];
    let by_key = dlq(&broker, &args).expect(0).lines();
    let keys: Vec<_> = by_key
        .iter()
        .map(|line| line["key"].as_str().unwrap())
        .collect();
    assert_eq!(keys, ["k30", "k31", "k32", "k33", "k34"]);
    let none = dlq(&broker, &["list", "--id", "nobody"]).expect(0);
    assert_eq!(
        (&*none.out, &*none.err),
        ("", "no dead letters in player-dlq\n")
    );
}

#[test]
fn a_dead_letter_is_shown_whole() {
    let broker = broker();
    write(&broker, [Letter::new("player", 7)]);
    let line = dlq(&broker, &["show"]).expect(0).lines().remove(0);
    assert_eq!(line["event"]["payload"], json!({"n": 7, "amount": 1.5}));
    assert_eq!(line["topic"], "player-dlq");
    assert_eq!(
        line["dead_letter"],
        json!({
            "reason": "exhausted", "error": "connect 10.0.0.7:5432: refused", "attempts": 3, "topic": "player",
            "partition": 0, "offset": 7, "timestamp": "2025-06-15T15:06:47.000Z", "group": ".rewards",
            "event_name": "paid", "replays": 0,
        })
    );
    let place = format!("{}@{}", line["partition"], line["offset"]);
    let pretty = dlq(&broker, &["show", &place, "--output", "pretty"])
        .expect(0)
        .out;
    for part in [
        "exhausted after 3 attempts",
        "player/0@7",
        ".rewards",
        "10.0.0.7:5432",
        "\"amount\": 1.50",
    ] {
        assert!(pretty.contains(part), "{part}\n{pretty}");
    }
    let none = dlq(&broker, &["show", "1@99"]).expect(0);
    assert_eq!(none.err, "no such dead letter in player-dlq\n");
}

#[test]
fn what_is_replayed_or_parked_is_so_once() {
    let broker = Broker::start(&["player:2", "player-dlq:2"]);
    write(&broker, (0..40).map(|n| Letter::new("player", n)));
    let worn = |n| Letter {
        replays: 3,
        ..Letter::new("player", n)
    };
    write(&broker, (40..43).map(worn));
    let plan = dlq(&broker, &["replay", "--dry-run", "--output", "json"]).expect(0);
    assert_eq!(
        plan.lines(),
        [
            json!({"selected": 43, "to_replay": 40, "to_park": 3, "already_replayed": 0, "target": "player"})
        ]
    );
    assert_eq!(
        summary(&broker, &["replay", "--limit", "10"])["replayed"],
        10
    );
    assert_eq!(
        summary(&broker, &["replay"]),
        json!({"selected": 43, "replayed": 30, "parked": 3, "already_replayed": 10, "failed": 0})
    );
    assert_eq!(
        summary(&broker, &["replay"]),
        json!({"selected": 43, "replayed": 0, "parked": 0, "already_replayed": 43, "failed": 0})
    );
    for line in broker.read("player", 40) {
        let letter = Letter::new(
            "player",
            usize::try_from(line["event"]["payload"]["n"].as_u64().unwrap()).unwrap(),
        );
        assert_eq!(line["key"], letter.key());
        assert_eq!(
            line["event"].to_string(),
            serde_json::from_str::<Value>(&letter.value())
                .unwrap()
                .to_string()
        );
        assert_eq!(
            line["headers"],
            json!([
                ["own", format!("h{}", letter.n)],
                ["eventstream-dead-letter-replays", "1"]
            ])
        );
    }
    assert_eq!(broker.read("player-parked", 3).len(), 3);
    write(&broker, (50..55).map(|n| Letter::new("player", n)));
    let parked = summary(
        &broker,
        &["park", "--because", "players deleted", "--id", "e50"],
    );
    assert_eq!(
        (&parked["parked"], &parked["selected"]),
        (&json!(1), &json!(1))
    );
    let left = dlq(&broker, &["list", "--output", "json"])
        .expect(0)
        .lines();
    assert_eq!(left[0]["count"], 4);
    let all = dlq(
        &broker,
        &["list", "--all", "--by", "reason", "--output", "json"],
    )
    .expect(0);
    assert_eq!(all.lines()[0]["count"], 48);
}

#[test]
fn an_interrupt_ends_a_replay_in_order_and_says_how_to_go_on() {
    let broker = broker();
    write(&broker, (0..300).map(|n| Letter::new("player", n)));
    let args = [
        "dlq", "replay", "--topic", "player", "--yes", "--rate", "20", "--output", "json",
    ];
    let child = broker.spawn(&args);
    let deadline = Instant::now() + SOON;
    while records(&broker, "player") < 3 {
        assert!(Instant::now() < deadline, "nothing was replayed");
    }
    signal(&child, Signal::SIGINT);
    let ended = end(child).expect(130);
    assert!(
        ended.err.contains("run the same command again"),
        "{}",
        ended.err
    );
    let replayed = ended.lines()[0]["replayed"].as_u64().unwrap();
    assert!((3..300).contains(&replayed), "{replayed}");
    let rest = summary(&broker, &["replay"]);
    assert_eq!(rest["replayed"], 300 - replayed);
    assert_eq!(records(&broker, "player"), 300);
}

/// A replay that watches what comes back, once it does.
fn watching(broker: &Broker) -> (Child, std::thread::JoinHandle<String>) {
    let args = [
        "dlq", "replay", "--topic", "player", "--yes", "--output", "json", "--follow", "60",
    ];
    let mut command = broker.tool(&args);
    command.args(["--publish-timeout", "2"]);
    let piped = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    let mut err = BufReader::new(child.stderr.take().unwrap());
    let mut told = String::new();
    while !told.contains("watching for 60 s") {
        assert!(err.read_line(&mut told).unwrap() > 0, "{told}");
    }
    let rest = std::thread::spawn(move || {
        err.read_to_string(&mut told).unwrap();
        told
    });
    (child, rest)
}

#[test]
fn however_the_watching_ends_the_summary_is_there() {
    let broker = broker();
    write(&broker, (0..5).map(|n| Letter::new("player", n)));
    let (child, told) = watching(&broker);
    signal(&child, Signal::SIGINT);
    let ended = end(child);
    let told = told.join().unwrap();
    assert_eq!(ended.code, 130, "{told}");
    assert_eq!(ended.lines()[0]["replayed"], 5, "{told}");

    write(&broker, (5..8).map(|n| Letter::new("player", n)));
    let (child, told) = watching(&broker);
    drop(broker);
    let ended = end(child);
    let told = told.join().unwrap();
    assert_eq!(ended.code, 1, "{told}");
    assert_eq!(ended.lines()[0]["replayed"], 3, "{told}");
    assert!(told.contains("error: "), "{told}");
}

#[test]
fn what_nobody_confirms_is_not_done() {
    let broker = broker();
    write(&broker, (0..2).map(|n| Letter::new("player", n)));
    for command in [&["replay"][..], &["park", "--because", "old"]] {
        let args = [&["dlq"], command, &["--topic", "player"]].concat();
        let told = typed(broker.tool(&args), "no\n").expect(1).err;
        assert!(told.contains("not done: "), "{told}");
    }
    assert_eq!(records(&broker, "player"), 0);
}

#[test]
fn causes_that_are_not_listed_are_counted() {
    let broker = broker();
    let letters = (0..10_005).map(|n| Letter {
        name: format!("n{n}"),
        ..Letter::new("player", n)
    });
    write(&broker, letters);
    let listed = dlq(&broker, &["list", "--output", "json"]).expect(0);
    assert_eq!(listed.lines().len(), 10_000);
    let told = "not listed: 5 dead letters";
    assert!(listed.err.contains(told), "{}", listed.err);
}

fn records(broker: &Broker, topic: &str) -> i64 {
    let ended = broker
        .run(&["metadata", "--topic", topic, "--json"], "")
        .expect(0);
    let partitions = ended.lines()[0]["topics"][0]["partitions"].clone();
    let records = |p: &Value| p["high"].as_i64().unwrap() - p["low"].as_i64().unwrap();
    partitions.as_array().unwrap().iter().map(records).sum()
}

#[test]
fn nothing_is_written_that_nobody_agreed_to() {
    let dlq = |args: &[&str]| run(&[&["dlq"], args].concat(), "").expect(2);
    let because = ["park", "--topic", "player", "--because", "old"];
    for args in [&["replay", "--topic", "player"][..], &because] {
        let told = dlq(args).err;
        assert!(
            told.contains("--yes") && told.contains("--dry-run"),
            "{told}"
        );
    }
    for (option, value, allowed) in [
        (
            "--reason",
            "tired",
            "undecodable, exhausted, unmatched, rejected",
        ),
        ("--at", "3", "PARTITION@OFFSET"),
        ("--since", "yesterday", "15m"),
    ] {
        let told = dlq(&["list", "--topic", "player", option, value]).err;
        assert!(told.contains(option) && told.contains(allowed), "{told}");
    }
    let broker = broker();
    write(&broker, [Letter::new("guild", 1), Letter::new("player", 2)]);
    let told = broker
        .run(&["dlq", "replay", "--topic", "player", "--yes"], "")
        .expect(2)
        .err;
    assert!(
        told.contains("--to") && told.contains("1 from guild"),
        "{told}"
    );
    assert_eq!(records(&broker, "player"), 0);
    let told = broker.run(
        &[
            "dlq",
            "replay",
            "--topic",
            "player",
            "--yes",
            "--to",
            "player-dlq",
        ],
        "",
    );
    assert!(told.expect(2).err.contains("--to \"player-dlq\": must be"));
    assert_eq!(
        summary(&broker, &["replay", "--to", "player"])["replayed"],
        2
    );
    let missing = broker
        .run(&["dlq", "list", "--topic", "nobody"], "")
        .expect(1)
        .err;
    assert!(
        missing.contains("there is no topic nobody, nor nobody-dlq"),
        "{missing}"
    );
}

#[test]
fn one_dead_letter_is_edited() {
    let broker = broker();
    write(&broker, (0..2).map(|n| Letter::new("player", n)));
    let edit = |editor: &str, args: &[&str]| {
        let mut command = broker.tool(&[&["dlq", "edit", "--topic", "player"], args].concat());
        command.env_remove("VISUAL").env("EDITOR", editor);
        run_command(command, "")
    };
    let told = edit("true", &[]).expect(2).err;
    assert!(told.contains("PARTITION@OFFSET"), "{told}");
    let told = edit("true", &["--id", "e1"]).expect(0);
    assert!(
        told.out.is_empty() && told.err.contains("nothing was changed"),
        "{}",
        told.err
    );
    let told = edit("false", &["--id", "e1"]).expect(1).err;
    assert!(told.contains("false failed:"), "{told}");
    let stored = edit("sed -i 's/\"n\": 1/\"n\": 100/'", &["--id", "e1"]).expect(0);
    assert_eq!(stored.lines()[0]["topic"], "player");
    let copy = broker.read("player", 1).remove(0);
    assert_eq!(copy["event"]["payload"]["n"], 100);
    assert_ne!(copy["event"]["id"], "e1");
    assert_eq!(
        (&copy["key"], &copy["headers"][1][0]),
        (&json!("k1"), &json!("eventstream-edited-from"))
    );
    let left = dlq(&broker, &["list", "--output", "json"]).expect(0);
    assert_eq!(left.lines()[0]["count"], 1);
}
