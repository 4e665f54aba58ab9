//! `subscribe` with a selection.

use serde_json::{Value, json};

use crate::support::{Broker, Ended};

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
