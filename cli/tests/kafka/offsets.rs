//! The tool with leaders that are distant, newly elected or gone.

use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use harness::{FaultProxy, Kafka, unique_topic};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use serde_json::Value;

use super::support::fed;

const PARTITIONS: i32 = 200;

struct Cluster {
    kafka: Kafka,
    proxy: FaultProxy,
}

/// One test at a time, as they take nodes and links away.
fn cluster() -> (&'static Cluster, MutexGuard<'static, ()>) {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let cluster = CLUSTER.get_or_init(|| {
        let kafka = Kafka::builder().nodes(3).proxied().start().unwrap();
        let proxy = FaultProxy::start(&kafka).unwrap();
        Cluster { kafka, proxy }
    });
    (cluster, alone)
}

fn run(brokers: &str, arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_eventstream"));
    command.args(["--brokers", brokers]).args(arguments);
    fed(&mut command, input)
}

#[track_caller]
fn ended(output: &Output, code: i32) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{out}\n{err}");
    (out, err)
}

#[test]
fn a_topic_can_be_used_in_the_moment_it_is_made() {
    const ROUNDS: usize = 20;
    let (cluster, _alone) = cluster();
    let brokers = cluster.kafka.bootstrap();
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", &brokers)
        .create()
        .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    for round in 0..ROUNDS {
        let topic = unique_topic(&format!("just_made_{round}"));
        let new = NewTopic::new(&topic, PARTITIONS, TopicReplication::Fixed(1));
        // Only the answer matters: the brokers are still assigning leaders.
        let options = AdminOptions::new().request_timeout(Some(Duration::from_secs(30)));
        let made = admin.create_topics([&new], &options);
        let made = runtime.block_on(made).unwrap();
        assert!(made[0].is_ok(), "{made:?}");
        let (of_topic, all) = (&["--topic", &topic], |p: &Value| p["high"] == 0);
        match round % 3 {
            0 => {
                let args = [&["metadata", "--json"], &of_topic[..]].concat();
                let (out, err) = ended(&run(&brokers, &args, ""), 0);
                let found: Value = serde_json::from_str(&out).unwrap();
                let partitions = found["topics"][0]["partitions"].as_array().unwrap();
                assert_eq!(partitions.len(), usize::try_from(PARTITIONS).unwrap());
                assert!(partitions.iter().all(all), "{err}");
            }
            1 => {
                let args = ["subscribe", "--from", "head", "--idle", "0.5"];
                ended(&run(&brokers, &[&args, &of_topic[..]].concat(), ""), 0);
            }
            _ => {
                let lines = "{\"payload\":{}}\n".repeat(1000);
                let args = ["publish", "--name", "n"];
                let output = run(&brokers, &[&args, &of_topic[..]].concat(), &lines);
                let (_, err) = ended(&output, 0);
                assert!(err.contains("1000 stored"), "{err}");
            }
        }
    }
}

#[test]
fn far_brokers_are_asked_once_each() {
    const FAR: Duration = Duration::from_millis(50);
    let (cluster, _alone) = cluster();
    let topic = unique_topic("far");
    let admin = cluster.kafka.admin().unwrap();
    admin.create_topic(&topic, 2 * PARTITIONS, 1, &[]).unwrap();
    for node in cluster.kafka.node_ids() {
        cluster.proxy.delay(node, FAR).unwrap();
    }
    let brokers = cluster.proxy.bootstrap();
    let started = Instant::now();
    let args = ["metadata", "--topic", &topic, "--json", "--timeout", "10"];
    let output = run(&brokers, &args, "");
    let took = started.elapsed();
    cluster.proxy.calm();
    let (out, _) = ended(&output, 0);
    assert!(!out.contains("\"high\":null"), "{out}");
    // A connection to each broker and ten answers, not one for each partition.
    assert!(took < FAR * 100, "{took:?}");
}

#[test]
fn a_partition_without_a_leader_is_named_and_the_others_are_shown() {
    let (cluster, _alone) = cluster();
    let brokers = cluster.kafka.bootstrap();
    let admin = cluster.kafka.admin().unwrap();
    let topic = unique_topic("leaderless");
    admin.create_topic(&topic, 3, 1, &[]).unwrap();
    let lines = "{\"payload\":{}}\n".repeat(100);
    ended(
        &run(
            &brokers,
            &["publish", "--topic", &topic, "--name", "n"],
            &lines,
        ),
        0,
    );
    let gone = (0..3).find(|p| admin.leader(&topic, *p).unwrap() == Some(3));
    let gone = usize::try_from(gone.unwrap()).unwrap();
    cluster.kafka.shut_down(3).unwrap();
    let brokers = cluster.kafka.address(1).unwrap();
    let args = ["metadata", "--topic", &topic, "--json", "--timeout", "10"];
    let metadata = run(&brokers, &args, "");
    let table = run(&brokers, &["metadata", "--topic", &topic], "");
    let args = [
        "subscribe",
        "--topic",
        &topic,
        "--from",
        "head",
        "--idle",
        "5",
    ];
    let read = run(&brokers, &args, "");
    cluster.kafka.restart(3).unwrap();
    let (out, err) = ended(&metadata, 1);
    let found: Value = serde_json::from_str(&out).unwrap();
    let partitions = &found["topics"][0]["partitions"];
    assert_eq!(partitions[gone]["leader"], Value::Null);
    assert_eq!(partitions[gone]["high"], Value::Null);
    let high = partitions.as_array().unwrap().iter();
    let high: u64 = high.filter_map(|p| p["high"].as_u64()).sum();
    assert!(high > 0 && high < 100, "{high}");
    assert!(err.contains("has no leader"), "{err}");
    let (out, err) = ended(&table, 1);
    assert!(out.contains("(1 partitions not known)"), "{out}");
    assert_eq!(err.matches("error: ").count(), 1, "{err}");
    let (out, err) = ended(&read, 0);
    assert_eq!(out.lines().count() as u64, high, "{err}");
    assert!(err.contains("without a leader"), "{err}");
}
