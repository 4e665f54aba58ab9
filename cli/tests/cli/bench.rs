use serde_json::Value;

use crate::support::{Broker, Ended};

fn figures(ended: &Ended) -> Value {
    let lines = ended.lines();
    assert_eq!(lines.len(), 1);
    for field in [
        "seconds",
        "events_per_second",
        "cpu_us_per_event",
        "max_rss_mib",
    ] {
        assert!(
            lines[0][field].as_f64().unwrap() > 0.0,
            "{field}: {}",
            lines[0]
        );
    }
    lines[0].clone()
}

#[test]
fn publishes_and_consumes_as_many_as_it_is_told() {
    let broker = Broker::start(&[]);
    let args = ["--events", "5000", "--topic", "b"];
    let published = broker
        .run(&[&["bench", "publish"], &args[..]].concat(), "")
        .expect(0);
    let published = figures(&published);
    assert_eq!(
        (&published["events"], &published["failed"]),
        (&5000.into(), &0.into())
    );
    let consumed = broker
        .run(&[&["bench", "consume"], &args[..]].concat(), "")
        .expect(0);
    assert_eq!(figures(&consumed)["events"], 5000);
    let event = &broker.read("b", 1)[0];
    assert_eq!(
        event["event"]["payload"]["userAccount"]["authType"],
        "EMAILPASSWD"
    );
    assert!(event["key"].as_str().unwrap().starts_with("player-"));
}

#[test]
fn too_few_events_to_consume_are_a_failure() {
    let broker = Broker::start(&[]);
    broker
        .run(&["bench", "publish", "--events", "10"], "")
        .expect(0);
    let args = ["bench", "consume", "--events", "11", "--idle", "5"];
    let ended = broker.run(&args, "").expect(1);
    assert_eq!(
        (&ended.lines()[0]["events"], &ended.lines()[0]["failed"]),
        (&10.into(), &1.into())
    );
    assert!(ended.err.contains("10 of 11"), "{}", ended.err);
}

#[test]
fn latencies_are_in_order() {
    let broker = Broker::start(&[]);
    let args = ["bench", "latency", "--events", "500", "--in-flight", "8"];
    let latency = &figures(&broker.run(&args, "").expect(0))["latency_us"];
    let at = |name: &str| latency[name].as_u64().unwrap();
    assert!(
        0 < at("p50") && at("p50") <= at("p99") && at("p99") <= at("max"),
        "{latency}"
    );
}

#[test]
fn the_embedded_stream_needs_no_broker_and_has_the_partitions_asked_for() {
    let args = [
        "bench",
        "publish",
        "--stream",
        "embedded",
        "--events",
        "100",
        "--partitions",
        "9",
    ];
    figures(&crate::support::run(&args, "").expect(0));
}
