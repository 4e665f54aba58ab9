//! Groups of another kind: whatever keeps a member of this library out is reported once, with the current members and
//! what to set.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use eventstream::{
    Assignment, BrokerConfig, Client, Context, Error, ErrorKind, Event, Problem, StartOffset,
    Subscribe,
};
use eventstream_harness::{Kafka, unique_topic};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

const TOLD: Duration = Duration::from_secs(20);

/// A member using bare librdkafka, which joins and stays until it is dropped.
fn member(kafka: &Kafka, topic: &str, group: &str, set: &[(&str, &str)]) -> BaseConsumer {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", kafka.bootstrap())
        .set("client.id", "billing-v1")
        .set("group.id", group);
    for (name, value) in set {
        config.set(*name, *value);
    }
    let consumer: BaseConsumer = config.create().expect("a consumer");
    consumer.subscribe(&[topic]).expect("subscribed");
    let deadline = Instant::now() + TOLD;
    while consumer.assignment().expect("an assignment").count() == 0 {
        assert!(Instant::now() < deadline, "the other member never joined");
        consumer.poll(Duration::from_millis(50));
    }
    consumer
}

/// Registers, and returns what is reported within [`TOLD`] and the three seconds after it.
async fn told(kafka: &Kafka, topic: &str, group: &str, assignment: Assignment) -> Vec<Error> {
    let bootstrap = kafka.bootstrap();
    let config = BrokerConfig::new().assignment(assignment);
    let client = Client::kafka(bootstrap.split(','))
        .config(config)
        .build()
        .expect("a client");
    let told: Arc<Mutex<Vec<Error>>> = Arc::default();
    let into = Arc::clone(&told);
    let subscribe = Subscribe::new(topic)
        .group_id(group)
        .offset(StartOffset::Head)
        .on_error(move |error| into.lock().expect("a lock").push(error))
        .on("n", |_: Context, _: Event| async {
            Ok::<_, std::io::Error>(())
        });
    let subscription = client.register(subscribe).await.expect("registered");
    let unsupported = |problems: &[Problem]| {
        let mut problems = problems.iter();
        problems.any(|problem| problem.error().kind() == ErrorKind::Unsupported)
    };
    let deadline = Instant::now() + TOLD;
    while !unsupported(&subscription.health().problems) {
        let health = subscription.health();
        assert!(Instant::now() < deadline, "not told: {health:?} {told:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // librdkafka retries each second, so a second report would have arrived by then.
    tokio::time::sleep(Duration::from_secs(3)).await;
    drop(subscription);
    client.shutdown(Duration::from_secs(5)).await;
    let told = told.lock().expect("a lock").clone();
    assert!(told.iter().all(Error::is_final), "{told:?}");
    told
}

fn check(told: &[Error], words: &[&str]) {
    assert_eq!(told.len(), 1, "{told:#?}");
    let text = told[0].to_string();
    println!("{text}");
    for word in words {
        assert!(text.contains(word), "no {word:?} in {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_keeps_this_member_out_of_its_group_and_what_to_set_is_told_once() {
    let builder = Kafka::builder().property("group.consumer.migration.policy", "disabled");
    let kafka = builder.start().expect("Kafka");
    let topic = unique_topic("foreign_groups");
    let admin = kafka.admin().expect("an admin");
    admin.create_topic(&topic, 2, 1, &[]).expect("a topic");

    let sticky = [("partition.assignment.strategy", "cooperative-sticky")];
    let _sticky = member(&kafka, &topic, ".sticky", &sticky);
    let by_assignor = told(&kafka, &topic, "sticky", Assignment::Eager).await;
    check(
        &by_assignor,
        &[
            ".sticky",
            "billing-v1 at 127.0.0.1",
            "set `assignment` to cooperative-sticky",
        ],
    );

    let _new = member(&kafka, &topic, ".new", &[("group.protocol", "consumer")]);
    let by_protocol = told(&kafka, &topic, "new", Assignment::Eager).await;
    check(
        &by_protocol,
        &[
            ".new",
            "billing-v1 at 127.0.0.1",
            "KIP-848",
            "set `assignment` to consumer",
        ],
    );

    let _old = member(&kafka, &topic, ".old", &[]);
    let by_protocol = told(&kafka, &topic, "old", Assignment::Consumer).await;
    check(
        &by_protocol,
        &[
            ".old",
            "billing-v1 at 127.0.0.1",
            "set `assignment` to eager",
        ],
    );

    let bootstrap = kafka.bootstrap();
    let arguments = [
        "--bootstrap-server",
        &bootstrap,
        "--topic",
        &topic,
        "--group",
        ".shared",
        "--timeout-ms",
        "3000",
    ];
    // It ends because no records arrive; the group stays.
    let class = "org.apache.kafka.tools.consumer.ConsoleShareConsumer";
    let shared = kafka.tool(class, &arguments);
    shared.expect("a share group");
    for assignment in [Assignment::Eager, Assignment::Consumer] {
        let by_type = told(&kafka, &topic, "shared", assignment).await;
        check(&by_type, &[".shared", "share group", "use another group"]);
    }
}
