//! Members that join and leave under load.

use std::io::Error as IoError;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering as Atomic};
use std::time::Duration;

use eventstream::{
    Assignment, BrokerConfig, Client, Concurrency, Context, Event, Publish, StartOffset, Subscribe,
};
use eventstream_harness::{GoPeer, shared, unique_topic};

use crate::support::{END, Seen, client, committed, create, number, publish, until, wire};

/// Partitions that move between cooperative members are left alone for their drain timeout.
const LONG: Duration = Duration::from_secs(60);
/// Of this, more than the session timeout is left when the member joins anew.
const SLOW: Duration = Duration::from_secs(16);
/// The numbers of events that take as long begin here.
const TEDIOUS: usize = 1_000_000;

fn counting(topic: &str, instance: &str, seen: &Seen) -> Subscribe {
    let seen = seen.clone();
    Subscribe::new(topic)
        .group_id(topic)
        .group_instance_id(instance)
        .offset(StartOffset::Head)
        .concurrency(Concurrency::PerKey(8))
        .on_any(move |_: Context, event: Event| {
            let seen = seen.clone();
            async move {
                let number = number(&event);
                let time = match number {
                    TEDIOUS.. => SLOW,
                    _ => Duration::from_millis(2),
                };
                tokio::time::sleep(time).await;
                seen.add(number);
                Ok::<_, IoError>(())
            }
        })
}

async fn member(config: &BrokerConfig, topic: &str, instance: &str, seen: &Seen) -> Client {
    member_of(topic, &[topic], config, instance, seen).await
}

/// A member of `group` that handles events of these topics.
async fn member_of(
    group: &str,
    topics: &[&str],
    config: &BrokerConfig,
    instance: &str,
    seen: &Seen,
) -> Client {
    let client = client(config.clone());
    for topic in topics {
        let subscribe = counting(topic, instance, seen).group_id(group);
        let subscription = client.register(subscribe).await;
        subscription.expect("registered").detach();
    }
    client
}

/// Publishes until told to stop; returns how many.
async fn load(client: &Client, topic: &str, done: &AtomicBool) -> usize {
    let mut n = 0;
    while !done.load(Atomic::SeqCst) {
        for _ in 0..20 {
            let event = Publish::new(topic, "e")
                .key(format!("k{}", n % 50))
                .payload(serde_json::json!({ "n": n }));
            drop(client.publish(event).await.expect("accepted"));
            n += 1;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    client.flush(END).await.expect("flushed");
    n
}

async fn come_and_go(assignment: Assignment) {
    let topic = unique_topic(&format!("come_and_go_{assignment}"));
    create(&topic, 6);
    let config = BrokerConfig::new().assignment(assignment);
    let (seen, done) = (Seen::default(), Arc::new(AtomicBool::new(false)));
    let publisher = client(BrokerConfig::new());
    let loading = tokio::spawn({
        let (publisher, topic, done) = (publisher.clone(), topic.clone(), Arc::clone(&done));
        async move { load(&publisher, &topic, &done).await }
    });
    let mut members = vec![member(&config, &topic, "", &seen).await];
    for step in 0..6 {
        tokio::time::sleep(Duration::from_millis(1700)).await;
        if step % 3 < 2 {
            members.push(member(&config, &topic, "", &seen).await);
        } else {
            let leaves = members.remove(0);
            assert!(leaves.shutdown(END).await.is_empty());
        }
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    done.store(true, Atomic::SeqCst);
    let published = loading.await.expect("published");
    until("all", Duration::from_secs(30), || {
        seen.distinct() == published
    })
    .await;
    let stats: Vec<_> = members.iter().map(Client::reader_stats).collect();
    for member in members {
        member.shutdown(END).await;
    }
    println!(
        "{assignment}: {published} events, {} handled, rebalances {:?}",
        seen.total(),
        stats.iter().map(|s| s.rebalances).collect::<Vec<_>>()
    );
    assert_eq!(seen.total(), published, "handled twice");
    assert_eq!(
        committed(&topic, &topic),
        i64::try_from(published).expect("few")
    );
    publisher.shutdown(END).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn eager_members_come_and_go() {
    come_and_go(Assignment::Eager).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cooperative_members_come_and_go() {
    come_and_go(Assignment::CooperativeSticky).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_of_the_new_protocol_come_and_go() {
    come_and_go(Assignment::Consumer).await;
}

/// The group tells a member only what changes.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_of_the_new_protocol_is_ready_for_a_topic_of_which_it_gets_nothing() {
    let (group, added) = (unique_topic("keeps"), unique_topic("adds"));
    create(&group, 2);
    create(&added, 1);
    let config = BrokerConfig::new().assignment(Assignment::Consumer);
    let seen = Seen::default();
    let members = [
        member(&config, &group, "", &seen).await,
        member(&config, &group, "", &seen).await,
    ];
    until("one partition each", END, || {
        members.iter().all(|m| m.reader_stats().partitions == 1)
    })
    .await;
    let mut all = Vec::new();
    for member in &members {
        let subscribe = counting(&added, "", &seen).group_id(&group);
        all.push(member.register(subscribe).await.expect("registered"));
    }
    for subscription in &all {
        let ready = tokio::time::timeout(END, subscription.ready()).await;
        ready.expect("in time").expect("ready");
    }
    publish(&members[0], &added, "e", 0..10).await;
    until("all", END, || seen.distinct() == 10).await;
    for member in members {
        member.shutdown(END).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_static_member_returns_without_a_rebalance() {
    let topic = unique_topic("static");
    create(&topic, 4);
    let config = BrokerConfig::new().session_timeout(Duration::from_secs(20));
    let seen = Seen::default();
    let publisher = client(BrokerConfig::new());
    let stays = member(&config, &topic, "stays", &seen).await;
    let returns = member(&config, &topic, "returns", &seen).await;
    publish(&publisher, &topic, "e", 0..400).await;
    until("settled", END, || {
        stays.reader_stats().partitions == 2 && returns.reader_stats().partitions == 2
    })
    .await;
    until("all", END, || seen.distinct() == 400).await;
    let before = stays.reader_stats().rebalances;
    returns.shutdown(END).await;
    publish(&publisher, &topic, "e", 400..800).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let returned = member(&config, &topic, "returns", &seen).await;
    until("all", END, || seen.distinct() == 800).await;
    assert_eq!(stays.reader_stats().rebalances, before);
    assert_eq!(returned.reader_stats().partitions, 2);
    stays.shutdown(END).await;
    returned.shutdown(END).await;
    assert_eq!(seen.total(), 800);
    publisher.shutdown(END).await;
}

/// The broker does not tell a static leader that returns that it leads, so nobody else would see that the topic has grown.
async fn grown_while_static_members_are_away(assignment: Assignment) {
    let topic = unique_topic(&format!("static_grown_{assignment}"));
    create(&topic, 2);
    let config = BrokerConfig::new()
        .assignment(assignment)
        .session_timeout(Duration::from_secs(20));
    let seen = Seen::default();
    let publisher = client(BrokerConfig::new());
    let mut members = Vec::new();
    for instance in ["one", "other"] {
        members.push(member(&config, &topic, instance, &seen).await);
    }
    until("one each", END, || {
        let mut members = members.iter();
        members.all(|member| member.reader_stats().partitions == 1)
    })
    .await;
    publish(&publisher, &topic, "e", 0..20).await;
    until("the first", END, || seen.distinct() == 20).await;
    for leaves in members.drain(..) {
        leaves.shutdown(END).await;
    }
    publisher.shutdown(END).await;
    let admin = shared().admin();
    admin.add_partitions(&wire(&topic), 6).expect("added");
    for instance in ["one", "other"] {
        members.push(member(&config, &topic, instance, &seen).await);
    }
    let publisher = client(BrokerConfig::new());
    publish(&publisher, &topic, "e", 20..100).await;
    until("all", LONG, || seen.distinct() == 100).await;
    until("one member for each partition", LONG, || {
        let have = members
            .iter()
            .map(|member| member.reader_stats().partitions);
        have.sum::<usize>() == 6
    })
    .await;
    for member in members {
        member.shutdown(END).await;
    }
    assert_eq!(seen.total(), 100);
    publisher.shutdown(END).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_added_while_static_members_are_away_are_read() {
    grown_while_static_members_are_away(Assignment::Eager).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_added_while_cooperative_static_members_are_away_are_read() {
    grown_while_static_members_are_away(Assignment::CooperativeSticky).await;
}

/// Members that are away for longer than this are no longer of the group.
fn short_session() -> BrokerConfig {
    BrokerConfig::new().session_timeout(Duration::from_secs(7))
}

/// The broker gives a static member that returns what it had, whatever it subscribes to now.
#[tokio::test(flavor = "multi_thread")]
async fn a_static_member_that_returns_with_another_topic_reads_it() {
    let (old, new) = (unique_topic("static_old"), unique_topic("static_new"));
    create(&old, 2);
    create(&new, 2);
    let (seen, publisher) = (Seen::default(), client(BrokerConfig::new()));
    let config = short_session();
    let before = member_of(&old, &[&old], &config, "it", &seen).await;
    publish(&publisher, &old, "e", 0..20).await;
    until("the first", END, || seen.distinct() == 20).await;
    before.shutdown(END).await;
    let after = member_of(&old, &[&old, &new], &config, "it", &seen).await;
    publish(&publisher, &old, "e", 20..40).await;
    publish(&publisher, &new, "e", 40..60).await;
    until("all", LONG, || seen.distinct() == 60).await;
    after.shutdown(END).await;
    publisher.shutdown(END).await;
    assert_eq!(seen.total(), 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_static_member_no_longer_subscribes_to_goes_to_others() {
    let (kept, left) = (unique_topic("static_kept"), unique_topic("static_left"));
    create(&kept, 4);
    create(&left, 4);
    let (seen, publisher) = (Seen::default(), client(BrokerConfig::new()));
    let config = short_session();
    let stays = member_of(&kept, &[&kept, &left], &config, "stays", &seen).await;
    let before = member_of(&kept, &[&kept, &left], &config, "returns", &seen).await;
    until("half each", END, || {
        stays.reader_stats().partitions == 4 && before.reader_stats().partitions == 4
    })
    .await;
    publish(&publisher, &left, "e", 0..40).await;
    until("the first", END, || seen.distinct() == 40).await;
    before.shutdown(END).await;
    let after = member_of(&kept, &[&kept], &config, "returns", &seen).await;
    publish(&publisher, &left, "e", 40..80).await;
    publish(&publisher, &kept, "e", 80..120).await;
    until("what it kept", LONG, || seen.distinct() >= 80).await;
    // They are being handled when the member joins anew, which must not end its session.
    publish(&publisher, &kept, "e", TEDIOUS..TEDIOUS + 8).await;
    until("all", LONG, || seen.distinct() == 128).await;
    stays.shutdown(END).await;
    after.shutdown(END).await;
    publisher.shutdown(END).await;
    assert_eq!(seen.total(), 128);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_go_member_shares_the_group() {
    let topic = unique_topic("with_go");
    create(&topic, 6);
    let peer = GoPeer::find().expect("the peer");
    let seen = Seen::default();
    let publisher = client(BrokerConfig::new());
    let ours = member(&BrokerConfig::new(), &topic, "", &seen).await;
    publish(&publisher, &topic, "e", 0..300).await;
    until("the first", END, || seen.distinct() > 100).await;
    let mut theirs = peer
        .consume(shared().bootstrap(), &wire(&topic), &wire(&topic))
        .start()
        .expect("a Go member");
    let mut records = tokio::task::spawn_blocking(move || {
        let records = theirs.wait_for_partitions(3, END).expect("half");
        (records, theirs)
    })
    .await
    .expect("joined");
    until("half", END, || ours.reader_stats().partitions == 3).await;
    publish(&publisher, &topic, "e", 300..900).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    // Our member leaves, Go takes over.
    assert!(ours.shutdown(END).await.is_empty());
    publish(&publisher, &topic, "e", 900..1000).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let more = tokio::task::spawn_blocking(move || records.1.stop().expect("stopped"));
    records.0.extend(more.await.expect("joined"));
    let own = seen.total();
    for record in &records.0 {
        let event: serde_json::Value =
            serde_json::from_str(record.value.as_deref().expect("a value")).expect("an envelope");
        let n = event["payload"]["n"].as_u64().expect("a number");
        seen.add(usize::try_from(n).expect("small"));
    }
    println!("ours {own}, Go {}", records.0.len());
    assert_eq!(seen.distinct(), 1000);
    assert_eq!(seen.total(), 1000, "handled twice");
    assert!(own > 300 && records.0.len() > 300);
    publisher.shutdown(END).await;
}
