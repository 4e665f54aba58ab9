//! `subscribe` with a selection.

use std::io::{BufRead, BufReader};
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::{Broker, Ended, end, numbered};

/// Ten levels of two players; `t` has one partition, so the order is known.
fn levels() -> Broker {
    let broker = Broker::start(&["t:1", "u:3"]);
    let line = |n: u64| {
        let event = json!({
            "key": format!("player-{}", n % 2), "userId": format!("u{}", n % 2),
            "payload": {"level": n, "title": if n == 7 { "the great" } else { "small" }, "big": 12_345_678_901_234_567_u64},
        });
        format!("{event}\n")
    };
    let lines: String = (0..10).map(line).collect();
    broker.publish("t", &lines);
    broker.publish("u", &lines);
    broker
}

fn levels_of(ended: &Ended) -> Vec<u64> {
    let lines = ended.lines();
    let level = |line: &Value| line["event"]["payload"]["level"].as_u64().unwrap();
    lines.iter().map(level).collect()
}

#[test]
fn conditions_choose_records() {
    let broker = levels();
    let chosen = |more: &[&str]| {
        let args = [&["subscribe", "--topic", "t", "--last", "10"], more].concat();
        levels_of(&broker.run(&args, "").expect(0))
    };
    assert_eq!(chosen(&[]), (0..10).collect::<Vec<_>>());
    assert_eq!(
        chosen(&["--where", "user_id=u1 && payload.level>3"]),
        [5, 7, 9]
    );
    assert_eq!(
        chosen(&["--where", "payload.title ~ great || offset < 2"]),
        [0, 1, 7]
    );
    assert_eq!(chosen(&["--where", "!(payload.level >= 2)"]), [0, 1]);
    assert_eq!(
        chosen(&["--where", "name=tested && !payload.none"]).len(),
        10
    );
    assert_eq!(chosen(&["--grep", "the great"]), [7]);
    assert_eq!(chosen(&["--key", "player-0"]), [0, 2, 4, 6, 8]);
    assert_eq!(chosen(&["--name", "other"]), [0_u64; 0]);
}

#[test]
fn the_last_records_are_those_of_all_partitions() {
    let broker = levels();
    let args = ["subscribe", "--topic", "u", "--last", "3"];
    let mut last = levels_of(&broker.run(&args, "").expect(0));
    last.sort_unstable();
    // They may have been published in the same millisecond.
    assert_eq!(last.len(), 3);
    let args = ["subscribe", "--topic", "t", "--last", "3"];
    assert_eq!(levels_of(&broker.run(&args, "").expect(0)), [7, 8, 9]);
    let all = broker.read("u", 10);
    let one = all[0]["partition"].to_string();
    let count = all
        .iter()
        .filter(|line| line["partition"] == all[0]["partition"])
        .count();
    let args = [
        "subscribe",
        "--topic",
        "u",
        "--last",
        "10",
        "--partition",
        &one,
    ];
    let of_one = broker.run(&args, "").expect(0).lines();
    assert_eq!(of_one.len(), count);
    assert!(
        of_one
            .iter()
            .all(|line| line["partition"] == all[0]["partition"])
    );
}

#[test]
fn fields_are_members_or_columns() {
    let broker = levels();
    let fields = "offset,key,userId,payload.level,payload.big,payload.none";
    let args = [
        "subscribe",
        "--topic",
        "t",
        "--last",
        "1",
        "--fields",
        fields,
    ];
    let line = broker.run(&args, "").expect(0).out;
    let expected = r#"{"offset":9,"key":"player-1","userId":"u1","payload.level":9,"payload.big":12345678901234567,"payload.none":null}"#;
    assert_eq!(line.trim_end(), expected);
    let table = broker
        .run(&[&args[..], &["--output", "table"]].concat(), "")
        .expect(0)
        .out;
    let rows: Vec<Vec<_>> = table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(rows[0], fields.split(',').collect::<Vec<_>>());
    assert_eq!(
        rows[1],
        ["9", "player-1", "u1", "9", "12345678901234567", "-"]
    );
    let columns = broker.run(
        &[
            "subscribe",
            "--topic",
            "t",
            "--last",
            "2",
            "--output",
            "table",
        ],
        "",
    );
    let columns = columns.expect(0).out;
    assert!(columns.starts_with("timestamp "), "{columns}");
    assert_eq!(columns.lines().count(), 3);
    for (more, said) in [
        (&["--output", "pretty"][..], "--fields: needs"),
        (&["--where", "a="], "needs a value"),
        (&["--group", "g"], "cannot be used with"),
        (&["--since", "soon"], "90s, 15m, 2h"),
    ] {
        let refused = broker.run(&[&args[..], more].concat(), "").expect(2);
        assert!(refused.err.contains(said), "{}", refused.err);
    }
}

#[test]
fn a_time_that_has_passed_bounds_what_was_there() {
    let broker = levels();
    let args = ["subscribe", "--topic", "t", "--until", "0s"];
    // Only what was there can be before that.
    let shown = levels_of(&broker.run(&args, "").expect(0));
    assert_eq!(shown, (0..10).collect::<Vec<_>>());
    let from = [&args[..], &["--from", "7"]].concat();
    assert_eq!(levels_of(&broker.run(&from, "").expect(0)), [7, 8, 9]);
    let tail = [&args[..], &["--from", "tail"]].concat();
    assert_eq!(levels_of(&broker.run(&tail, "").expect(0)), [0_u64; 0]);
}

#[test]
fn a_partition_that_is_not_there_is_wrong_usage() {
    let broker = levels();
    for more in [&["--last", "3"][..], &[]] {
        let args = ["subscribe", "--topic", "u", "--partition", "99"];
        let refused = broker.run(&[&args[..], more].concat(), "").expect(2);
        let told = "--partition 99: must be from 0 to 2";
        assert!(refused.err.contains(told), "{}", refused.err);
    }
}

/// More than the tool and the pipe hold while nobody reads the lines, and less than the broker keeps.
const BACKLOG: usize = 20_000;
/// Little is read ahead.
const AHEAD: [&str; 4] = [
    "-X",
    "queued.min.messages=1",
    "-X",
    "fetch.message.max.bytes=100000",
];

#[test]
fn a_time_to_come_ends_it_behind_what_is_there_then() {
    let broker = Broker::start(&["t:1"]);
    broker.publish("t", &numbered(BACKLOG));
    let until = jiff::Timestamp::try_from(SystemTime::now() + Duration::from_secs(2)).unwrap();
    let until = until.to_string();
    let args = ["subscribe", "--topic", "t", "--until", &until];
    // At the tail there is nothing to wait for.
    let at_tail = broker.spawn(&args);
    let args = [&args[..], &["--from", "head", "--output", "json"], &AHEAD].concat();
    let mut reads = broker.spawn(&args);
    let lines = BufReader::new(reads.stdout.take().unwrap()).lines();
    // It has long passed when the lines are read.
    sleep(Duration::from_secs(5));
    assert_eq!(lines.count(), BACKLOG);
    end(reads).expect(0);
    assert_eq!(end(at_tail).expect(0).out, "");
}

#[test]
fn an_outage_is_not_the_end_of_a_selection() {
    let broker = Broker::start(&["t:1"]);
    broker.publish("t", &numbered(BACKLOG));
    let args = ["subscribe", "--topic", "t", "--until", "0s"];
    let args = [&args[..], &["--from", "head", "--output", "json"], &AHEAD].concat();
    let mut reads = broker.spawn(&args);
    let mut lines = BufReader::new(reads.stdout.take().unwrap()).lines();
    lines.next().unwrap().unwrap();
    broker.signal(Signal::SIGSTOP);
    let counting = std::thread::spawn(move || lines.count());
    // Longer than the silence that counts as the end.
    sleep(Duration::from_secs(13));
    broker.signal(Signal::SIGCONT);
    let ended = end(reads).expect(0);
    assert_eq!(counting.join().unwrap() + 1, BACKLOG, "{}", ended.err);
}
