use serde_json::{Value, json};

use crate::support::{Broker, numbered};

#[test]
fn shows_partitions_watermarks_and_lag() {
    let broker = Broker::start(&["t:2", "other:1"]);
    broker.publish("t", &numbered(10));
    let all = broker.run(&["metadata"], "").expect(0).out;
    assert!(
        all.contains("topic other: 1 partitions, 0 records"),
        "{all}"
    );
    assert!(all.contains("topic t: 2 partitions, 10 records"), "{all}");
    let args = ["metadata", "--topic", "t", "--group", "g"];
    let table = broker.run(&args, "").out;
    assert!(table.contains("group .g: lag 10"), "{table}");
    let json = broker.run(&[&args[..], &["--json"]].concat(), "").lines();
    let partitions = json[0]["topics"][0]["partitions"].as_array().unwrap();
    let sum = |field: &str| {
        partitions
            .iter()
            .map(|p| p[field].as_i64().unwrap())
            .sum::<i64>()
    };
    assert_eq!((partitions.len(), sum("high"), sum("lag")), (2, 10, 10));
    let address = format!(
        "{}:{}",
        json[0]["brokers"][0]["host"].as_str().unwrap(),
        json[0]["brokers"][0]["port"]
    );
    assert_eq!(address, broker.address);
}

fn subscribed(broker: &Broker, more: &[&str]) {
    let args = [
        "subscribe",
        "--topic",
        "t",
        "--from",
        "head",
        "--count",
        "4",
    ];
    broker.run(&[&args[..], more].concat(), "").expect(0);
}

#[test]
fn a_group_that_nobody_has_is_said_to_be_unknown() {
    let broker = Broker::start(&["t:1"]);
    broker.publish("t", &numbered(4));
    let args = ["metadata", "--topic", "t", "--json", "--group"];
    let ended = broker
        .run(&[&args[..], &["misspelt"]].concat(), "")
        .expect(1);
    assert_eq!(
        ended.lines()[0]["group"],
        json!({"name": ".misspelt", "known": false})
    );
    assert!(
        ended.err.contains("group .misspelt is not known"),
        "{}",
        ended.err
    );
    subscribed(&broker, &["--group", "g"]);
    let ended = broker.run(&[&args[..], &["g"]].concat(), "").expect(0);
    assert_eq!(
        ended.lines()[0]["group"],
        json!({"name": ".g", "known": true})
    );
    assert_eq!(ended.err, "");
}

#[test]
fn a_group_can_be_named_as_on_the_broker() {
    let broker = Broker::start(&["t:1", "p.t:1"]);
    broker.publish("t", &numbered(4));
    subscribed(&broker, &["--exact-group", "foreign"]);
    let committed = |args: &[&str]| {
        let args = [&["metadata", "--topic", "t", "--json"], args].concat();
        broker.run(&args, "").lines()[0]["topics"][0]["partitions"][0]["committed"].clone()
    };
    assert_eq!(committed(&["--exact-group", "foreign"]), 4);
    assert_eq!(committed(&["--group", "foreign"]), Value::Null);
    subscribed(&broker, &["--group", "ours"]);
    assert_eq!(committed(&["--exact-group", ".ours"]), 4);
    let both = ["metadata", "--group", "g", "--exact-group", "g"];
    broker.run(&both, "").expect(2);
}

#[test]
fn a_topic_that_is_not_there_is_a_failure_and_stays_not_there() {
    let broker = Broker::start(&[]);
    for _ in 0..2 {
        let ended = broker
            .run(&["metadata", "--topic", "t", "--json"], "")
            .expect(1);
        assert_eq!(
            ended.lines()[0]["topics"][0]["error"]["kind"],
            "unknown_topic"
        );
    }
}
