//! A topic recreated after its leaders were re-elected: its leader epochs start again below those of the old one.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use eventstream::{Assignment, BrokerConfig, Client, StartOffset};
use eventstream_harness::{Kafka, unique_topic};

use crate::support::{PREFIX, Seen, counting, publish, until, wire};

const LONG: Duration = Duration::from_secs(60);

async fn is_read_after(assignment: Assignment) {
    let topic = unique_topic("epochs");
    let kafka = Kafka::builder().auto_create_topics(false).start();
    let kafka = kafka.expect("a Kafka");
    let create = || {
        let admin = kafka.admin().expect("an admin");
        admin
            .create_topic(&wire(&topic), 1, 1, &[])
            .expect("created");
    };
    create();
    let client = || {
        let config = BrokerConfig::new()
            .assignment(assignment)
            .base_config("topic.metadata.refresh.interval.ms", 500);
        let client = Client::kafka([kafka.bootstrap()])
            .prefix(PREFIX)
            .config(config);
        client.build().expect("a client")
    };
    let (reader, writer) = (client(), client());
    let seen = Seen::default();
    let subscribe = counting(&topic, &topic, StartOffset::Head, &seen, Duration::ZERO);
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = Arc::clone(&told);
    let subscribe = subscribe.on_error(move |error| tell.lock().expect("a lock").push(error));
    let subscription = reader.register(subscribe).await.expect("registered");
    for round in 0..3 {
        publish(&writer, &topic, "e", round * 10..(round + 1) * 10).await;
        until("before", LONG, || seen.distinct() == (round + 1) * 10).await;
        kafka.kill(1).expect("killed");
        kafka.restart(1).expect("restarted");
    }
    until("healthy", LONG, || subscription.health().is_healthy()).await;
    let admin = kafka.admin().expect("an admin");
    // A commit that the deletion overtakes is refused, and told.
    let group = wire(&topic);
    let committed = || admin.committed(&group, &wire(&topic)).expect("offsets");
    until("committed", LONG, || committed() == [Some(30)]).await;
    told.lock().expect("a lock").clear();
    admin.delete_topic(&wire(&topic)).expect("deleted");
    // Long enough for everybody to see that it is gone.
    tokio::time::sleep(Duration::from_secs(3)).await;
    create();
    publish(&writer, &topic, "e", 100..120).await;
    until("after", LONG, || seen.distinct() == 50).await;
    let told: Vec<_> = told
        .lock()
        .expect("a lock")
        .iter()
        .map(ToString::to_string)
        .collect();
    let of_commits = |text: &&String| text.contains("commit offsets");
    assert_eq!(told.iter().filter(of_commits).count(), 0, "{told:?}");
    // The group's commits went with the old topic, and nothing else shows that records may have.
    let of_remade = |text: &String| text.contains("was deleted and recreated; it is read from");
    assert!(told.iter().any(of_remade), "{told:?}");
    subscription.stop(LONG).await.expect("stopped");
    reader.shutdown(LONG).await;
    writer.shutdown(LONG).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_anew_below_its_leader_epochs_is_read_by_an_eager_member() {
    is_read_after(Assignment::Eager).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_anew_below_its_leader_epochs_is_read_by_a_cooperative_member() {
    is_read_after(Assignment::CooperativeSticky).await;
}
