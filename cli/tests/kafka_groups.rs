//! Groups on real Kafka: looked at, moved, copied and deleted by the tool, with real members.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod groups;

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use eventstream::{Assignment, StartOffset};
use harness::unique_topic;
use serde_json::{Value, json};

use groups::{
    MINUTE, Member, PARTITIONS, RECORDS, all_from, committed, fill, marked, run, screen, tool,
};

/// Where each partition is after `group seek`, as the tool says and as the broker has it.
#[track_caller]
fn sought(topic: &str, group: &str, to: &str) -> Vec<i64> {
    let args = ["group", "seek", group, "--topic", topic, "--to", to];
    let lines = run(&[&args[..], &["--yes", "--output", "json"]].concat())
        .expect(0)
        .lines();
    let told = lines.iter().map(|line| line["to"].as_i64().unwrap());
    let told: Vec<_> = told.collect();
    assert_eq!(committed(topic, group), told, "{to}");
    told
}

fn seeks(assignment: Assignment) {
    let topic = unique_topic("sought");
    let first = fill(&topic);
    let read =
        Member::join(&topic, &topic, assignment, StartOffset::Head).read(RECORDS * PARTITIONS);
    assert_eq!(read, all_from(&[0, 0]));
    let (records, far) = (RECORDS as i64, RECORDS as i64 + 50);
    assert_eq!(committed(&topic, &topic), [records, records]);

    let time = first + 7 * MINUTE + MINUTE / 2;
    let time = jiff::Timestamp::try_from(time).unwrap().to_string();
    let age = |minutes: u32| {
        let since = SystemTime::now().duration_since(first + minutes * MINUTE - MINUTE / 2);
        format!("{}s", since.unwrap().as_secs())
    };
    for (to, at) in [
        ("head", 0),
        ("tail", records),
        (&time, 8),
        ("5", 5),
        ("+3", 8),
        ("-4", 4),
        (&age(10), 10),
        ("-100", 0),
        (&far.to_string(), records),
        ("+1", records),
        ("1s", records),
    ] {
        assert_eq!(sought(&topic, &topic, to), [at, at], "{to}");
    }

    // One partition alone; the table says what is read again, and a dry run moves nothing.
    let args = [
        "group",
        "seek",
        &topic,
        "--topic",
        &topic,
        "--to",
        "12",
        "--partition",
        "1",
    ];
    let table = run(&[&args[..], &["--dry-run"]].concat()).expect(0).out;
    println!("{table}");
    assert!(table.contains("0 skipped, 8 read again"), "{table}");
    let row: Vec<_> = table.lines().last().unwrap().split_whitespace().collect();
    assert_eq!(row, ["1", "20", "12", "0", "8", "0", "20"]);
    assert_eq!(committed(&topic, &topic), [records, records]);
    run(&args).expect(2);
    run(&[&args[..], &["--yes"]].concat()).expect(0);
    assert_eq!(committed(&topic, &topic), [records, 12]);
    sought(&topic, &topic, "-3");
    assert_eq!(committed(&topic, &topic), [17, 9]);

    // A member that comes back reads from there, no less and no more. While it is there nothing moves.
    let member = Member::join(&topic, &topic, assignment, StartOffset::Tail);
    let name = member.client_id().to_owned();
    let seen = member.wait_for(3 + 11);
    let busy = run(&[&args[..], &["--yes"]].concat()).expect(1);
    println!("{}", busy.err);
    assert!(
        busy.err.contains("it has a member") && busy.err.contains(&name),
        "{}",
        busy.err
    );
    assert_eq!(member.stop(), all_from(&[17, 9]));
    assert_eq!(seen, all_from(&[17, 9]));
    assert_eq!(committed(&topic, &topic), [records, records]);
}

#[test]
fn a_seek_moves_a_classic_group_exactly() {
    seeks(Assignment::Eager);
}

#[test]
fn a_seek_moves_a_group_of_kip_848_exactly() {
    seeks(Assignment::Consumer);
}

/// A commit that says that it is of another topic makes a member read from the head. A seek is of this one.
#[test]
fn a_seek_says_which_topic_it_is_for() {
    let topic = unique_topic("sought_anew");
    fill(&topic);
    let foreign = "topic-id=00000000000000000000000000000001";
    for (group, is_moved) in [("left", false), ("moved", true)] {
        let group = format!("{topic}-{group}");
        for partition in 0..PARTITIONS {
            marked(&topic, &group, partition, 3, foreign);
        }
        if is_moved {
            sought(&topic, &group, "15");
        }
        let from = if is_moved { 15 } else { 0 };
        let member = Member::join(&topic, &group, Assignment::Eager, StartOffset::Tail);
        let read = member.read((RECORDS - from) * PARTITIONS);
        assert_eq!(read, all_from(&[from, from]), "{group}");
    }
}

/// Of a group's partitions, `(committed, end, lag)`.
fn shown(lines: &[Value]) -> BTreeMap<i64, (i64, i64, i64)> {
    let number = |line: &Value, field: &str| line[field].as_i64().unwrap();
    let lines = lines.iter().map(|line| {
        let place = (
            number(line, "committed"),
            number(line, "end"),
            number(line, "lag"),
        );
        (number(line, "partition"), place)
    });
    lines.collect()
}

#[test]
fn groups_are_listed_shown_copied_and_deleted() {
    let topic = unique_topic("shown");
    let first = fill(&topic);
    let copy = format!("{topic}-copy");
    let member = Member::join(&topic, &topic, Assignment::Eager, StartOffset::Head);
    member.wait_for(RECORDS * PARTITIONS);

    let listed = run(&["group", "list", "--output", "json"])
        .expect(0)
        .lines();
    let name = format!(".{topic}");
    let mine = listed.iter().find(|line| line["group"] == *name).unwrap();
    assert_eq!(
        (&mine["state"], &mine["protocol"], &mine["members"]),
        (&json!("stable"), &json!("classic"), &json!(1))
    );
    let table = run(&["group", "show", &topic]).expect(0).out;
    println!("{table}");
    assert!(
        table.contains(&format!(
            "group {name}: stable, protocol classic (range), members 1"
        )),
        "{table}"
    );
    assert!(
        table.contains(&format!("{}@127.0.0.1", member.client_id())),
        "{table}"
    );
    member.stop();

    let half = RECORDS as i64 / 2;
    sought(&topic, &topic, &half.to_string());
    let show = ["group", "show", &topic, "--output", "json"];
    let lines = run(&show).expect(0).lines();
    let records = RECORDS as i64;
    assert_eq!(
        shown(&lines),
        [(0, (half, records, half)), (1, (half, records, half))].into()
    );
    let due = first + u32::try_from(half).unwrap() * MINUTE;
    let behind = SystemTime::now().duration_since(due).unwrap().as_secs_f64();
    for line in &lines {
        let told = line["lag_seconds"].as_f64().unwrap();
        assert!((told - behind).abs() < 30.0, "{told} {behind}");
        let mut fields: Vec<_> = line
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        fields.sort_unstable();
        assert_eq!(
            fields,
            [
                "committed",
                "end",
                "lag",
                "lag_seconds",
                "member",
                "partition",
                "topic"
            ]
        );
        assert_eq!(line["member"], Value::Null);
    }

    // The copy goes on where the group is, and takes what is written beside the offsets along.
    run(&["group", "copy", &topic, &copy, "--yes"]).expect(0);
    assert_eq!(committed(&topic, &copy), [half, half]);
    let again = run(&["group", "copy", &topic, &copy, "--yes"]).expect(1);
    assert!(again.err.contains("has committed offsets"), "{}", again.err);
    let read = Member::join(&topic, &copy, Assignment::Eager, StartOffset::Tail).read(RECORDS);
    assert_eq!(read, all_from(&[RECORDS / 2, RECORDS / 2]));

    run(&[
        "group",
        "delete-offsets",
        &topic,
        "--topic",
        &topic,
        "--yes",
    ])
    .expect(0);
    let none = run(&show).expect(0).lines();
    assert!(none.is_empty(), "{none:?}");
    let exact = format!(".{copy}");
    run(&["group", "delete", "--exact", &exact]).expect(2);
    run(&["group", "delete", "--exact", &exact, "--yes"]).expect(0);
    let gone = run(&["group", "show", &copy]).expect(1);
    assert!(
        gone.err.contains("not known to the brokers"),
        "{}",
        gone.err
    );
}

/// On a terminal: drawn in place, until Ctrl-C.
#[test]
fn watching_refreshes_in_place() {
    let topic = unique_topic("watched");
    fill(&topic);
    sought(&topic, &topic, "head");
    let mut command = tool(&["group", "show", &topic, "--watch", "--interval", "0.2"]);
    command.stderr(Stdio::null());
    let mut screen = screen(command);
    let idle = screen.until(|text| text.contains("stuck"));
    assert!(idle.starts_with("\x1b[2J\x1b[H"), "{idle:?}");
    assert!(
        idle.matches("\x1b[H").count() >= 2 && idle.matches("\x1b[2J").count() == 1,
        "{idle:?}"
    );
    sought(&topic, &topic, "+7");
    let moved = screen.until(|text| text.contains("moving"));
    println!("{}", moved.replace("\x1b[K", "").replace("\x1b[H", "--\n"));
    screen.press(b"\x03");
    assert_eq!(screen.end(Duration::from_secs(30)), 0);
}
