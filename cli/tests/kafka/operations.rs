//! Operators' tasks on one node of real Kafka: groups inspected and moved beside real members, topics read and
//! copied.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use eventstream::{Assignment, StartOffset};
use harness::{Admin, Guarded, RawRecord, eventually, shared, unique_topic};
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use serde_json::{Value, json};

use super::support::{
    MINUTE, Member, PARTITIONS, RECORDS, all_from, committed, fill, marked, run, screen, tool,
    transactional,
};

/// Where each partition is after `group seek`, according to the tool and to the broker.
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

    // A single partition: the table shows what is read again, and a dry run moves nothing.
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

    // A new member reads from exactly there. While it is there, nothing can be moved.
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

/// A commit for another topic makes a member read from the head. A seek commits for this one.
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

    // The copy starts where the group is, and includes the metadata stored with the offsets.
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

#[test]
fn a_time_bounds_what_is_shown() {
    let topic = unique_topic("bounded");
    let first = fill(&topic);
    let at = |minutes: u32| {
        let time = first + minutes * MINUTE - MINUTE / 2;
        jiff::Timestamp::try_from(time).unwrap().to_string()
    };
    let places = |more: &[&str]| {
        let args = [&["subscribe", "--topic", &topic, "--output", "json"], more].concat();
        let lines = run(&args).expect(0).lines();
        let number = |line: &Value, field: &str| line[field].as_i64().unwrap();
        let places = lines
            .iter()
            .map(|line| (number(line, "partition"), number(line, "offset")));
        let mut places: Vec<_> = places.collect();
        places.sort_unstable();
        places
    };
    let both = |offsets: std::ops::Range<i64>| {
        let of = |partition| offsets.clone().map(move |offset| (partition, offset));
        of(0).chain(of(1)).collect::<Vec<_>>()
    };
    assert_eq!(
        places(&["--since", &at(12), "--until", &at(15)]),
        both(12..15)
    );
    assert_eq!(places(&["--from", "head", "--until", &at(2)]), both(0..2));
    let age = SystemTime::now()
        .duration_since(first + 17 * MINUTE - MINUTE / 2)
        .unwrap();
    let age = format!("{}s", age.as_secs());
    let count = ["--since", &age, "--count", "6"];
    assert_eq!(places(&count), both(17..20));
    // By their timestamps, over both partitions.
    assert_eq!(places(&["--last", "4"]), both(18..20));
    assert_eq!(
        places(&["--since", &at(19), "--until", "1s", "--partition", "1"]),
        [(1, 19)]
    );
}

#[test]
fn the_last_records_are_found_among_markers() {
    let topic = unique_topic("last");
    shared().admin().create_topic(&topic, 1, 1, &[]).unwrap();
    let producer = transactional(&topic);
    for n in 0..6 {
        producer.begin_transaction().unwrap();
        let value = format!("{{\"id\":\"{n}\",\"name\":\"n\"}}");
        let record = BaseRecord::<[u8], str>::to(&topic).payload(&value);
        producer.send(record).map_err(|(error, _)| error).unwrap();
        producer.commit_transaction(MINUTE).unwrap();
    }
    for (count, first) in [("1", 5), ("4", 2), ("9", 0)] {
        let args = ["subscribe", "--topic", &topic, "--output", "json"];
        let shown = run(&[&args[..], &["--last", count]].concat()).expect(0);
        let ids = shown
            .lines()
            .into_iter()
            .map(|line| line["event"]["id"].clone());
        let expected = (first..6).map(|n| Value::from(n.to_string()));
        assert!(ids.eq(expected), "{}", shown.out);
    }
}

const COPIED: usize = 3000;

/// Events, tombstones, bytes that are not text, duplicate headers and headers without a value, records without a key.
fn fill_with_everything(topic: &str) {
    shared().admin().create_topic(topic, 3, 1, &[]).unwrap();
    // Idempotent, as a batch that is sent again would otherwise be stored behind its successors.
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", shared().bootstrap())
        .set("enable.idempotence", "true")
        .create()
        .unwrap();
    // Not older than the broker keeps records.
    let first = SystemTime::now() - 60 * MINUTE;
    let first = first.duration_since(UNIX_EPOCH).unwrap().as_millis();
    for partition in 0..3 {
        for n in 0..COPIED {
            let headers = OwnedHeaders::new()
                .insert(Header {
                    key: "n",
                    value: Some(&n.to_string()),
                })
                .insert(Header {
                    key: "twice",
                    value: Some("a"),
                })
                .insert(Header {
                    key: "twice",
                    value: None::<&str>,
                });
            let value = format!("{{\"name\":\"n\",\"payload\":{{\"n\":{n}}}}}").into_bytes();
            let (key, value) = ([n as u8, 0xff, 0], [value, vec![0xc3, 0x28, 0]]);
            let mut record = BaseRecord::<[u8], [u8]>::to(topic)
                .partition(partition)
                .timestamp(i64::try_from(first).unwrap() + i64::try_from(n).unwrap())
                .headers(headers);
            if n % 5 != 1 {
                record = record.key(&key);
            }
            if n % 7 != 2 {
                record = record.payload(&value[usize::from(n % 3 == 0)]);
            }
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
    }
    producer.flush(Duration::from_secs(60)).unwrap();
}

/// The number in a header of a copied record.
fn number(record: &RawRecord) -> usize {
    let (_, number) = record.headers.first().unwrap();
    std::str::from_utf8(number.as_ref().unwrap())
        .unwrap()
        .parse()
        .unwrap()
}

#[test]
fn a_copy_to_another_cluster_goes_on_after_a_kill() {
    let topic = unique_topic("copied");
    fill_with_everything(&topic);
    let program = Path::new(env!("CARGO_BIN_EXE_eventstream"));
    let said = tempfile::NamedTempFile::new().unwrap();
    let started = |arguments: &[&str], out| {
        let arguments: Vec<_> = arguments.iter().map(|&word| word.to_owned()).collect();
        let errors = said.reopen().unwrap();
        Guarded::spawn(program, &arguments, None, out, errors).unwrap()
    };
    let mut other = started(&["broker", "--topic", "target:3"], Stdio::piped());
    let mut address = String::new();
    BufReader::new(other.take_stdout().unwrap())
        .read_line(&mut address)
        .unwrap();
    let target = Admin::new(address.trim()).unwrap();

    let args = [
        "copy",
        "--topic",
        &topic,
        "--to",
        "target",
        "--to-brokers",
        address.trim(),
        "--group",
        &topic,
    ];
    let args = [
        &args[..],
        &["--keep-partitions", "-X", "session.timeout.ms=6000"],
    ]
    .concat();
    let brokers = ["--brokers", shared().bootstrap()];
    let slowly = [&brokers[..], &args, &["--rate", "1000"]].concat();
    let mut copy = started(&slowly, Stdio::null());
    // More than a commit interval, so that there is a commit to resume from.
    eventually("a part to be copied", Duration::from_secs(60), || {
        let copied = target.count_records("target")?;
        // The group's coordinator may be new.
        let group = format!(".{topic}");
        let Ok(committed) = shared().admin().committed(&group, &topic) else {
            return Ok(None);
        };
        let has_come = committed
            .iter()
            .any(|offset| offset.is_some_and(|offset| offset > 0));
        Ok((copied > 2000 && has_come).then_some(()))
    })
    .unwrap_or_else(|error| {
        let said = std::fs::read_to_string(said.path()).unwrap();
        panic!("{error}, and it said:\n{said}")
    });
    copy.kill();
    let at_kill = target.count_records("target").unwrap();
    assert!(at_kill < 9000, "it was done before the kill");

    let ended = run(&[&args[..], &["--until-end"]].concat()).expect(0);
    let source = shared().admin().read_all(&topic).unwrap();
    let copied = target.read_all("target").unwrap();
    println!(
        "{at_kill} at the kill, {} in all; {}",
        copied.len(),
        ended.err.trim()
    );
    let mut seen = vec![0; 3 * COPIED];
    for record in &copied {
        let n = number(record);
        let at = usize::try_from(record.partition).unwrap() * COPIED + n;
        let original = RawRecord {
            offset: record.offset,
            ..source[at].clone()
        };
        assert_eq!(record, &original);
        seen[at] += 1;
    }
    let missing = seen.iter().filter(|count| **count == 0).count();
    let again = seen.iter().filter(|count| **count > 1).count();
    println!("missing {missing}, again {again}");
    assert_eq!((missing, source.len()), (0, 3 * COPIED));
    assert!(copied.len() < 2 * 3 * COPIED && seen.iter().all(|count| *count <= 2));
    // In order, except for the step back after the kill.
    for partition in 0..3 {
        let of_it = copied.iter().filter(|record| record.partition == partition);
        let numbers: Vec<_> = of_it.map(number).collect();
        let steps_back = numbers.windows(2).filter(|pair| pair[1] < pair[0]);
        assert!(steps_back.count() <= 1, "partition {partition}");
    }
    // There is nothing left to copy.
    run(&[&args[..], &["--until-end"]].concat()).expect(0);
    assert_eq!(target.count_records("target").unwrap(), copied.len() as u64);
}
