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
    let table = broker.run(&args, "").expect(0).out;
    assert!(table.contains("group g: lag 10"), "{table}");
    let json = broker
        .run(&[&args[..], &["--json"]].concat(), "")
        .expect(0)
        .lines();
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
