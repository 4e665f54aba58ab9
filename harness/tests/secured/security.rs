//! The library with a secured Kafka: every way to connect, and what is reported if it fails.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use eventstream::{
    BrokerConfig, Client, Error, ErrorKind, Health, Problem, Receipt, SaslMechanism, Security,
};
use eventstream_harness::unique_topic;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::support::{
    END, builder, event, expired, ids, kafka, mutual, pem, plain, scram, secured, until,
};

/// A name, the brokers, and how to log in.
type Way = (&'static str, String, Security);

fn ways_in() -> Vec<Way> {
    let to = secured(kafka());
    let certificates = &to.certificates;
    let ca = &certificates.ca;
    let sha_256 = scram(to).sasl_mechanism(SaslMechanism::ScramSha256);
    let as_go_says = Security::none()
        .authentication_type("SASL-SCRAM")
        .sasl_username(&to.scram.name)
        .sasl_password(&*to.scram.password);
    let in_memory = Security::none()
        .ca_pem(pem(ca))
        .cert_pem(pem(&certificates.client.certificate))
        .key_pem(pem(&certificates.client.key));
    let (over_tls, in_plain_text) = (&to.sasl_ssl, &to.sasl_plaintext);
    [
        ("SCRAM-SHA-512", over_tls, scram(to).ca_file(ca)),
        ("SCRAM-SHA-256", over_tls, sha_256.clone().ca_pem(pem(ca))),
        ("PLAIN", over_tls, plain(to).ca_file(ca)),
        ("PLAIN, CA in memory", over_tls, plain(to).ca_pem(pem(ca))),
        ("SASL-SCRAM", over_tls, as_go_says.ca_file(ca)),
        (
            "mutual TLS",
            &to.ssl,
            mutual(certificates, &certificates.client),
        ),
        ("mutual TLS, in memory", &to.ssl, in_memory),
        (
            "SCRAM-SHA-512 without TLS",
            in_plain_text,
            scram(to).sasl_without_tls(true),
        ),
        (
            "SCRAM-SHA-256 without TLS",
            in_plain_text,
            sha_256.sasl_without_tls(true),
        ),
        (
            "PLAIN without TLS",
            in_plain_text,
            plain(to).sasl_without_tls(true),
        ),
    ]
    .map(|(name, brokers, security)| (name, brokers.clone(), security))
    .into()
}

async fn publish_100(client: &Client, topic: &str) -> BTreeSet<String> {
    let mut receipts: Vec<Receipt> = Vec::new();
    for n in 0..100 {
        let accepted = client.publish(event(topic, n)).await;
        receipts.push(accepted.expect("accepted"));
    }
    let mut published = BTreeSet::new();
    for receipt in receipts {
        published.insert(receipt.id().to_owned());
        receipt.await.expect("stored");
    }
    assert_eq!(published.len(), 100);
    published
}

async fn there_and_back((name, brokers, security): Way) {
    let topic = unique_topic(name);
    let admin = kafka().admin().expect("an admin");
    admin.create_topic(&topic, 2, 1, &[]).expect("a topic");
    let client = builder(&brokers, security).build().expect("a client");
    let published = publish_100(&client, &topic).await;
    let seen = Arc::new(Mutex::new(BTreeSet::new()));
    let into = Arc::clone(&seen);
    let subscribe = ids(&topic, move |id| {
        into.lock().expect("a lock").insert(id);
    });
    let subscription = client.register(subscribe).await.expect("registered");
    let all = || *seen.lock().expect("a lock") == published;
    until(name, END, all).await;
    let metadata = client.metadata(Some(&topic), END).await;
    assert_eq!(metadata.expect("metadata").topics[0].partitions.len(), 2);
    assert!(subscription.health().is_healthy(), "{name}");
    assert!(client.health().is_healthy(), "{name}");
    assert!(client.shutdown(END).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn events_go_there_and_back_by_every_way() {
    let mut all = JoinSet::new();
    for way in ways_in() {
        all.spawn(there_and_back(way));
    }
    while let Some(done) = all.join_next().await {
        done.expect("there and back");
    }
}

#[test]
fn credentials_over_plain_text_have_to_be_asked_for() {
    let to = secured(kafka());
    for security in [scram(to).tls(false), plain(to).tls(false)] {
        let error = builder(&to.sasl_plaintext, security).build().err();
        let error = error.expect("refused");
        assert_eq!(error.kind(), ErrorKind::Config);
        assert_eq!(
            error.faults()[0].to_string(),
            "tls \"false\": credentials over plain text need sasl_without_tls"
        );
    }
}

/// A rejected client, and words of the reported cause and remedy.
type TurnedAway = (
    &'static str,
    String,
    Security,
    &'static [&'static str],
    &'static str,
);

#[rustfmt::skip]
fn turned_away() -> Vec<TurnedAway> {
    let (to, old) = (secured(kafka()), secured(expired()));
    let certificates = &to.certificates;
    let ca = &certificates.ca;
    let wrong = |mechanism, name: &str| Security::sasl(mechanism, name, "not-the-password").ca_file(ca);
    let no_way = |identity| mutual(certificates, identity);
    let clear = kafka().bootstrap();
    // By address: the certificate is for it, and no server name is sent. `127.1` is the same host.
    let by_another_name = to.sasl_ssl.replace("127.0.0.1", "127.1");
    vec![
        ("wrong password, SCRAM", to.sasl_ssl.clone(), wrong(SaslMechanism::ScramSha512, &to.scram.name), &["does not accept the user name or password"], "check `sasl_username`, `sasl_password`"),
        ("wrong password, PLAIN", to.sasl_ssl.clone(), wrong(SaslMechanism::Plain, &to.plain.name), &["does not accept the user name or password"], "check `sasl_username`, `sasl_password`"),
        ("wrong password without TLS", to.sasl_plaintext.clone(), Security::sasl(SaslMechanism::ScramSha256, &to.scram.name, "not-the-password").sasl_without_tls(true), &["does not accept the user name or password"], "check `sasl_username`, `sasl_password`"),
        ("unknown user", to.sasl_ssl.clone(), wrong(SaslMechanism::ScramSha512, "mallory"), &["does not accept the user name or password"], "check `sasl_username`, `sasl_password`"),
        ("unknown CA", to.sasl_ssl.clone(), scram(to).ca_file(&certificates.unknown_ca), &["certificate is not accepted", "not signed by a trusted CA"], "(`ca_file`, `ca_pem`)"),
        ("the system's CAs", to.sasl_ssl.clone(), scram(to), &["certificate is not accepted", "not signed by a trusted CA"], "(`ca_file`, `ca_pem`)"),
        ("another host's certificate", by_another_name, scram(to).ca_file(ca), &["certificate is not accepted", "is for another host name"], "connect by a name"),
        ("expired server certificate", old.sasl_ssl.clone(), scram(old).ca_file(&old.certificates.ca), &["certificate is not accepted", "has expired", "subject=/CN=expired-server"], "renew it on the broker"),
        ("expired client certificate", to.ssl.clone(), no_way(&certificates.expired_client), &["the client's certificate expired on 20"], "renew it (`cert_file`)"),
        ("unknown client certificate", to.ssl.clone(), no_way(&certificates.unknown_client), &["does not accept the client's certificate"], "signed by a CA that the broker trusts"),
        ("missing client certificate", to.ssl.clone(), Security::none().ca_file(ca), &["requires a client certificate"], "set `cert_file` and `key_file`"),
        ("TLS to a plain port", clear.clone(), Security::none().ca_file(ca), &["not seem to speak TLS"], "turn TLS off"),
        ("SASL over TLS to a plain port", clear.clone(), scram(to).ca_file(ca), &["not seem to speak TLS"], "`sasl_without_tls`"),
        ("plain text to a TLS port", to.ssl.clone(), Security::none(), &["require TLS"], "set `tls` and the CA (`ca_file`)"),
        ("SASL without TLS to a TLS port", to.sasl_ssl.clone(), scram(to).sasl_without_tls(true), &["require TLS"], "remove `sasl_without_tls`"),
        ("nobody to a SASL port", to.sasl_plaintext.clone(), Security::none(), &["require SASL"], "set `sasl_mechanism`"),
        ("SASL to a port without", clear, scram(to).sasl_without_tls(true), &["does not support SASL"], "remove the SASL options"),
    ]
}

/// The maximum time until an operator should see the reason.
const TOLD: Duration = Duration::from_secs(20);

fn check(where_told: &str, name: &str, error: &Error, cause: &[&str], remedy: &str) {
    let text = error.to_string();
    for words in cause.iter().chain([&remedy]) {
        assert!(
            text.contains(words),
            "{name}, {where_told}: no {words:?} in {text}"
        );
    }
    assert_eq!(error.kind(), ErrorKind::Authentication, "{name}: {text}");
    assert!(!error.is_retriable(), "{name}: {text}");
    assert!(!text.contains("not-the-password"), "{name}: {text}");
}

/// Publishing, consuming and metadata, each by a client that does nothing else.
async fn hear((name, brokers, security, cause, remedy): TurnedAway) {
    let told = Arc::new(Mutex::new(Vec::<Error>::new()));
    let by_callback = Arc::new(Mutex::new(Vec::<Error>::new()));
    let into = Arc::clone(&by_callback);
    let publisher = builder(&brokers, security.clone())
        .on_error(move |failed| {
            into.lock().expect("a lock").push(failed.error().clone());
        })
        .build()
        .expect("a client");
    let consumer = builder(&brokers, security.clone())
        .build()
        .expect("a client");
    let asker = builder(&brokers, security).build().expect("a client");

    let into = Arc::clone(&told);
    let subscribe = ids("kept-out", |_| {}).on_error(move |error| {
        into.lock().expect("a lock").push(error);
    });
    let begin = Instant::now();
    let subscription = consumer.register(subscribe).await.expect("registered");
    let receipt = publisher.publish(event("kept-out", 0)).await;
    let receipt = receipt.expect("accepted");
    let (published, asked) = tokio::join!(
        tokio::time::timeout(TOLD, receipt),
        asker.metadata(None, TOLD)
    );
    let published = published.expect("in time").expect_err("kept out");
    check("receipt", name, &published, cause, remedy);
    check(
        "metadata",
        name,
        &asked.expect_err("kept out"),
        cause,
        remedy,
    );
    let failed = by_callback.lock().expect("a lock").clone();
    assert_eq!(failed.len(), 1, "{name}");
    check("callback", name, &failed[0], cause, remedy);

    let of_kind = |errors: &[Error]| {
        let found = errors
            .iter()
            .find(|error| error.kind() == ErrorKind::Authentication);
        found.cloned()
    };
    let problems = |health: Health| -> Vec<Error> {
        let problems = health.problems.into_iter();
        problems.map(Problem::into_error).collect()
    };
    let unhealthy = || of_kind(&problems(subscription.health())).is_some();
    until(name, TOLD.saturating_sub(begin.elapsed()), unhealthy).await;
    println!("{name}: {:?}\n    {published}", begin.elapsed());
    let told = told.lock().expect("a lock").clone();
    let told_error = of_kind(&told).expect("told");
    check("on_error", name, &told_error, cause, remedy);
    assert!(told.len() < 10, "{name}: told {} times", told.len());
    for (place, problems) in [
        ("subscription", problems(subscription.health())),
        ("consumer", problems(consumer.health())),
        ("publisher", problems(publisher.health())),
    ] {
        let problem = of_kind(&problems).expect("a problem");
        check(place, name, &problem, cause, remedy);
    }
    drop(subscription);
    for client in [publisher, consumer, asker] {
        client.shutdown(Duration::ZERO).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_turned_away_hears_cause_and_remedy() {
    // Two cores can only do so many handshakes in the allowed time.
    let at_once = Arc::new(Semaphore::new(4));
    let mut all = JoinSet::new();
    for case in turned_away() {
        let at_once = Arc::clone(&at_once);
        all.spawn(async move {
            let _permit = at_once.acquire().await.expect("open");
            hear(case).await;
        });
    }
    while let Some(done) = all.join_next().await {
        done.expect("told");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_wrong_address_among_right_ones_costs_no_event() {
    let to = secured(kafka());
    let topic = unique_topic("one_wrong_address");
    // The plain port and the one that requires client certificates reject this client.
    let brokers = [kafka().bootstrap(), to.ssl.clone(), to.sasl_ssl.clone()];
    let config = BrokerConfig::new().security(scram(to).ca_file(&to.certificates.ca));
    for _ in 0..5 {
        let client = Client::kafka(brokers.clone())
            .config(config.clone())
            .build();
        let client = client.expect("a client");
        publish_100(&client, &topic).await;
        assert!(client.shutdown(END).await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_turned_away_is_let_in_once_its_user_exists() {
    let to = secured(kafka());
    let security =
        Security::sasl(SaslMechanism::ScramSha512, "carol", "carol-secret").sasl_without_tls(true);
    let client = builder(&to.sasl_plaintext, security)
        .build()
        .expect("a client");
    let topic = unique_topic("let_in");
    let admin = kafka().admin().expect("an admin");
    admin.create_topic(&topic, 1, 1, &[]).expect("a topic");
    let error = client.publish_sync(event(&topic, 0)).await;
    assert_eq!(
        error.expect_err("unknown").kind(),
        ErrorKind::Authentication
    );

    let made = tokio::task::spawn_blocking(|| {
        let clear = kafka().bootstrap();
        let arguments = [
            "--bootstrap-server",
            &clear,
            "--alter",
            "--add-config",
            "SCRAM-SHA-512=[password=carol-secret]",
            "--entity-type",
            "users",
            "--entity-name",
            "carol",
        ];
        kafka().tool("kafka.admin.ConfigCommand", &arguments)
    });
    made.await.expect("joined").expect("a user");
    let deadline = Instant::now() + END;
    while let Err(error) = client.publish_sync(event(&topic, 1)).await {
        assert_eq!(error.kind(), ErrorKind::Authentication, "{error}");
        assert!(Instant::now() < deadline, "still outside: {error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // A connection tried before may still be refused after the first one that is accepted.
    until("healthy", END, || client.health().is_healthy()).await;
    assert!(client.shutdown(END).await.is_empty());
}
