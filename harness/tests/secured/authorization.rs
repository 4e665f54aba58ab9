//! The library with a Kafka that checks rights: what it reports if one is missing, and that it resumes once the right
//! is granted.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use eventstream::{
    Assignment, BrokerConfig, Client, CommitPolicy, Error, ErrorKind, Problem, SaslMechanism,
    Security, Subscription,
};
use eventstream_harness::{Kafka, Operation, Resource, unique_topic};
use tokio::task::JoinSet;

use crate::support::{END, event, ids, until};

/// The maximum time until an operator should see the reason.
const TOLD: Duration = Duration::from_secs(20);
/// The maximum time until a client resumes once it has the right.
const GOES_ON: Duration = Duration::from_secs(10);
const USERS: usize = 40;
const PROTOCOLS: [Assignment; 3] = [
    Assignment::Eager,
    Assignment::CooperativeSticky,
    Assignment::Consumer,
];

/// One node for the whole binary.
fn kafka() -> &'static Kafka {
    static KAFKA: OnceLock<Kafka> = OnceLock::new();
    let start = || {
        let builder = (0..USERS).fold(Kafka::builder(), |builder, n| {
            builder.user(&format!("user-{n}"))
        });
        builder.authorizing().start().expect("Kafka")
    };
    KAFKA.get_or_init(start)
}

/// A user that no other test uses.
fn new_user() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    assert!(n < USERS, "more users are needed");
    format!("user-{n}")
}

fn allow(user: &str, operation: Operation, on: Resource<'_>) {
    let admin = kafka().admin().expect("an admin");
    admin.allow(user, operation, on).expect("allowed");
}

fn withdraw(user: &str, operation: Operation, on: Resource<'_>) {
    let admin = kafka().admin().expect("an admin");
    admin.withdraw(user, operation, on).expect("withdrawn");
}

fn client(prefix: &str, user: &str, assignment: Assignment) -> Client {
    let to = kafka().secured().expect("it is secured");
    let user = to.user(user).expect("a user");
    let security =
        Security::sasl(SaslMechanism::Plain, &user.name, &*user.password).sasl_without_tls(true);
    let config = BrokerConfig::new()
        .assignment(assignment)
        .commit(CommitPolicy::Interval(Duration::from_millis(200)))
        .security(security);
    let brokers = to.sasl_plaintext.split(',');
    Client::kafka(brokers)
        .prefix(prefix)
        .config(config)
        .build()
        .expect("a client")
}

/// A client that may do everything.
fn root(prefix: &str) -> Client {
    let bootstrap = kafka().bootstrap();
    Client::kafka(bootstrap.split(','))
        .prefix(prefix)
        .build()
        .expect("a client")
}

/// A subscription and the errors reported to it.
struct Member {
    client: Client,
    subscription: Subscription,
    seen: Arc<Mutex<Vec<String>>>,
    told: Arc<Mutex<Vec<Error>>>,
}

impl Member {
    /// The group has the topic's name.
    async fn start(prefix: &str, topic: &str, user: &str, assignment: Assignment) -> Self {
        let client = client(prefix, user, assignment);
        let (seen, told) = (Arc::default(), Arc::default());
        let (into, tell) = (Arc::clone(&seen), Arc::clone(&told));
        let subscribe = ids(topic, move |id| {
            let seen: &Mutex<Vec<String>> = &into;
            seen.lock().expect("a lock").push(id);
        })
        .on_error(move |error| {
            let told: &Mutex<Vec<Error>> = &tell;
            told.lock().expect("a lock").push(error);
        });
        let subscription = client.register(subscribe).await.expect("registered");
        Self {
            client,
            subscription,
            seen,
            told,
        }
    }

    fn told(&self) -> Vec<Error> {
        self.told.lock().expect("a lock").clone()
    }

    fn is_unauthorized(&self) -> bool {
        let problems = self.subscription.health().problems;
        problems
            .iter()
            .any(|p| p.error().kind() == ErrorKind::Unauthorized)
    }

    async fn sees(&self, what: &str, root: &Client, topic: &str, within: Duration) {
        let stored = root.publish(event(topic, 0)).await.expect("accepted");
        let id = stored.id().to_owned();
        stored.await.expect("stored");
        let came = || self.seen.lock().expect("a lock").contains(&id);
        until(&format!("{what}: the event"), within, came).await;
    }

    /// The refusal is shown everywhere, with these words, and was reported this often.
    async fn hears(&self, what: &str, words: &[&str], times: usize) {
        let healthy = format!("{what}: a problem");
        until(&healthy, TOLD, || self.is_unauthorized()).await;
        let is_told = || self.told().len() >= times;
        until(&format!("{what}: told"), TOLD, is_told).await;
        let problems = self.subscription.health().problems;
        let mut all = self.told();
        all.extend(problems.into_iter().map(Problem::into_error));
        all.retain(|error| error.kind() == ErrorKind::Unauthorized);
        for error in &all {
            let text = error.to_string();
            for word in words {
                assert!(text.contains(word), "{what}: no {word:?} in {text}");
            }
            assert!(error.is_final() && !error.is_retriable(), "{what}: {text}");
        }
        let told = self.told();
        assert_eq!(told.len(), times, "{what}: {told:#?}");
        let of_client = self.client.health().problems;
        let in_client = of_client
            .iter()
            .any(|p| p.error().kind() == ErrorKind::Unauthorized);
        assert!(in_client, "{what}: {of_client:?}");
    }

    async fn end(self) {
        drop(self.subscription);
        self.client.shutdown(Duration::from_secs(5)).await;
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Missing {
    /// Only `Describe` on the topic, or not even that.
    Topic {
        described: bool,
    },
    Group {
        described: bool,
    },
}

/// Registers without a right, gets the error, then the right, and resumes.
async fn starts_without(missing: Missing, prefix: &'static str, assignment: Assignment) {
    let what = format!("{assignment:?}, prefix {prefix:?}, {missing:?}");
    let (user, topic) = (new_user(), unique_topic("starts_without"));
    let dot = if prefix.is_empty() { "" } else { "." };
    let (wire, group) = (format!("{prefix}{dot}{topic}"), format!("{prefix}.{topic}"));
    let admin = kafka().admin().expect("an admin");
    admin.create_topic(&wire, 2, 1, &[]).expect("a topic");
    let (on_topic, on_group) = (Resource::Topic(&wire), Resource::Group(&group));
    let (lacks, has, described, name) = match missing {
        Missing::Topic { described } => (on_topic, on_group, described, format!("topic {wire}")),
        Missing::Group { described } => (on_group, on_topic, described, format!("group {group}")),
    };
    allow(&user, Operation::Read, has);
    if described {
        allow(&user, Operation::Describe, lacks);
    }
    let member = Member::start(prefix, &topic, &user, assignment).await;
    let begin = Instant::now();
    let principal = format!("User:{user}");
    let words = [&*principal, "Read", &name, "kafka-acls --add"];
    member.hears(&what, &words, 1).await;
    println!("{what}: told after {:?}", begin.elapsed());

    allow(&user, Operation::Read, lacks);
    let given = Instant::now();
    until(&format!("{what}: healthy"), GOES_ON, || {
        !member.is_unauthorized() && member.subscription.health().is_healthy()
    })
    .await;
    let root = root(prefix);
    let left = GOES_ON.saturating_sub(given.elapsed());
    member.sees(&what, &root, &topic, left).await;
    println!("{what}: went on after {:?}", given.elapsed());
    let told = member.told();
    assert_eq!(told.len(), 1, "{what}: {told:#?}");
    member.end().await;
    root.shutdown(END).await;
}

async fn all_of(all: impl IntoIterator<Item = impl Future<Output = ()> + Send + 'static>) {
    let mut running: JoinSet<()> = all.into_iter().collect();
    while let Some(done) = running.join_next().await {
        done.expect("as it should be");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_right_to_read_a_topic_is_told_and_waited_for() {
    let cases = PROTOCOLS.into_iter().flat_map(|assignment| {
        [false, true]
            .map(|described| starts_without(Missing::Topic { described }, "env", assignment))
    });
    all_of(cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_right_on_a_group_is_told_as_on_the_broker() {
    let cases = PROTOCOLS.into_iter().flat_map(|assignment| {
        [("", false), ("env", true)].map(|(prefix, described)| {
            starts_without(Missing::Group { described }, prefix, assignment)
        })
    });
    all_of(cases).await;
}

/// Reads, loses a right, gets the error, gets the right back and resumes: twice.
async fn loses(group_right: bool, assignment: Assignment) {
    let what = format!("{assignment:?}, group {group_right}");
    let (user, topic) = (new_user(), unique_topic("loses"));
    let group = format!(".{topic}");
    let admin = kafka().admin().expect("an admin");
    admin.create_topic(&topic, 2, 1, &[]).expect("a topic");
    let (on_topic, on_group) = (Resource::Topic(&topic), Resource::Group(&group));
    allow(&user, Operation::Read, on_topic);
    allow(&user, Operation::Read, on_group);
    // The remaining rights are enough to stay in the group.
    allow(&user, Operation::Describe, on_topic);
    let root = root("");
    let member = Member::start("", &topic, &user, assignment).await;
    member.sees(&what, &root, &topic, TOLD).await;
    let (lost, name) = if group_right {
        (on_group, format!("group {group}"))
    } else {
        (on_topic, format!("topic {topic}"))
    };
    for time in 1..=2 {
        withdraw(&user, Operation::Read, lost);
        // Something to commit, and something that cannot be read.
        root.publish_sync(event(&topic, 1)).await.expect("stored");
        let principal = format!("User:{user}");
        member
            .hears(&what, &[&principal, "Read", &name], time)
            .await;
        allow(&user, Operation::Read, lost);
        let begin = Instant::now();
        until(&format!("{what}: healthy again"), GOES_ON, || {
            member.subscription.health().is_healthy()
        })
        .await;
        let left = GOES_ON.saturating_sub(begin.elapsed());
        member.sees(&what, &root, &topic, left).await;
        println!("{what}: went on after {:?}", begin.elapsed());
    }
    member.end().await;
    root.shutdown(END).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_withdrawn_is_told_and_its_return_heeded() {
    let cases = PROTOCOLS
        .into_iter()
        .flat_map(|assignment| [false, true].map(|group_right| loses(group_right, assignment)));
    all_of(cases).await;
}

/// A group is not unready because of a topic that it has left.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_topic_is_forgotten_with_its_subscription() {
    let (user, group) = (new_user(), unique_topic("may"));
    let refused = unique_topic("may_not");
    let admin = kafka().admin().expect("an admin");
    for topic in [&group, &refused] {
        admin.create_topic(topic, 1, 1, &[]).expect("a topic");
    }
    allow(&user, Operation::Read, Resource::Topic(&group));
    allow(
        &user,
        Operation::Read,
        Resource::Group(&format!(".{group}")),
    );
    let member = Member::start("", &group, &user, Assignment::Eager).await;
    let subscribe = ids(&refused, |_| {}).group_id(&group);
    let other = member.client.register(subscribe).await.expect("registered");
    until("refused", TOLD, || member.is_unauthorized()).await;
    other.stop(END).await.expect("stopped");
    until("healthy", Duration::from_secs(5), || {
        member.subscription.health().is_healthy() && member.client.health().is_healthy()
    })
    .await;
    let root = root("");
    member.sees("what it may read", &root, &group, END).await;
    member.end().await;
    root.shutdown(END).await;
}

/// Joining the group says nothing about transactions; that there is a producer of them does.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_right_on_transactions_stays_in_health_until_it_is_granted() {
    let (user, topic) = (new_user(), unique_topic("may_not_transact"));
    let admin = kafka().admin().expect("an admin");
    admin.create_topic(&topic, 1, 1, &[]).expect("a topic");
    allow(&user, Operation::Read, Resource::Topic(&topic));
    allow(
        &user,
        Operation::Read,
        Resource::Group(&format!(".{topic}")),
    );
    let client = client("", &user, Assignment::Eager);
    let subscribe = ids(&topic, |_| {}).exactly_once().group_instance_id("one");
    let subscription = client.register(subscribe).await.expect("registered");
    until("assigned", END, || subscription.health().assigned).await;
    let names_it = || {
        let problems = subscription.health().problems;
        let kinds = problems.iter().map(|problem| problem.error().kind());
        kinds.collect::<Vec<_>>().contains(&ErrorKind::Unauthorized)
    };
    until("told", TOLD, names_it).await;
    let end = Instant::now() + Duration::from_secs(5);
    while Instant::now() < end {
        assert!(names_it(), "{:?}", subscription.health());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let id = format!(".{topic}.one");
    for operation in [Operation::Describe, Operation::Write] {
        allow(&user, operation, Resource::TransactionalId(&id));
    }
    until("healthy", END, || subscription.health().is_healthy()).await;
    drop(subscription);
    client.shutdown(Duration::from_secs(5)).await;
}
