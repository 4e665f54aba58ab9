//! A broker with TLS and SASL: which clients it accepts, and what they may do.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use eventstream_harness::{Admin, Kafka, Operation, Resource, Secured, User, eventually};

type Properties = Vec<(&'static str, String)>;

fn sasl(protocol: &str, mechanism: &str, user: &User) -> Properties {
    vec![
        ("security.protocol", protocol.to_owned()),
        ("sasl.mechanism", mechanism.to_owned()),
        ("sasl.username", user.name.clone()),
        ("sasl.password", user.password.clone()),
    ]
}

fn trusting(ca: &Path, mut properties: Properties) -> Properties {
    properties.push(("ssl.ca.location", ca.display().to_string()));
    properties
}

fn mutual(secured: &Secured, identity: &eventstream_harness::Identity) -> Properties {
    let properties = vec![
        ("security.protocol", "SSL".to_owned()),
        (
            "ssl.certificate.location",
            identity.certificate.display().to_string(),
        ),
        ("ssl.key.location", identity.key.display().to_string()),
    ];
    trusting(&secured.certificates.ca, properties)
}

fn answers(bootstrap: &str, properties: &Properties) -> Result<bool> {
    let properties: Vec<_> = properties
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    // The certificates are for localhost and 127.0.0.1, so the host name is verified, as is librdkafka's default.
    let admin = Admin::with_config(bootstrap, &properties)?;
    // One request takes half a second, as a TLS handshake on a busy machine may.
    Ok((0..4).any(|_| admin.broker_ids().is_ok()))
}

#[test]
fn lets_in_who_has_the_right_credentials() -> Result<()> {
    let kafka = Kafka::builder().secured().start()?;
    let secured = kafka.secured()?;
    let ca = &secured.certificates.ca;
    let wrong = User {
        name: secured.scram.name.clone(),
        password: "wrong".to_owned(),
    };

    let open = [
        (
            &secured.sasl_ssl,
            trusting(ca, sasl("SASL_SSL", "SCRAM-SHA-512", &secured.scram)),
        ),
        (
            &secured.sasl_ssl,
            trusting(ca, sasl("SASL_SSL", "SCRAM-SHA-256", &secured.scram)),
        ),
        (
            &secured.sasl_ssl,
            trusting(ca, sasl("SASL_SSL", "PLAIN", &secured.plain)),
        ),
        (
            &secured.sasl_plaintext,
            sasl("SASL_PLAINTEXT", "SCRAM-SHA-512", &secured.scram),
        ),
        (
            &secured.sasl_plaintext,
            sasl("SASL_PLAINTEXT", "PLAIN", &secured.plain),
        ),
        (&secured.ssl, mutual(secured, &secured.certificates.client)),
    ];
    for (bootstrap, properties) in &open {
        ensure!(
            answers(bootstrap, properties)?,
            "shut out: {properties:?}\n{}",
            kafka.log_tails()
        );
    }

    let shut = [
        (
            &secured.sasl_ssl,
            trusting(ca, sasl("SASL_SSL", "SCRAM-SHA-512", &wrong)),
        ),
        (
            &secured.sasl_ssl,
            trusting(
                &secured.certificates.unknown_ca,
                sasl("SASL_SSL", "PLAIN", &secured.plain),
            ),
        ),
        (
            &secured.ssl,
            mutual(secured, &secured.certificates.expired_client),
        ),
        (
            &secured.ssl,
            mutual(secured, &secured.certificates.unknown_client),
        ),
        (
            &secured.ssl,
            trusting(ca, vec![("security.protocol", "SSL".to_owned())]),
        ),
    ];
    for (bootstrap, properties) in &shut {
        ensure!(!answers(bootstrap, properties)?, "let in: {properties:?}");
    }
    Ok(())
}

#[test]
fn rights_are_given_and_withdrawn() -> Result<()> {
    let kafka = Kafka::builder().authorizing().user("reader").start()?;
    let secured = kafka.secured()?;
    let user = secured.user("reader")?;
    let admin = kafka.admin()?;
    admin.create_topic("t", 1, 1, &[])?;
    let theirs = Admin::with_config(
        &secured.sasl_plaintext,
        &[
            ("security.protocol", "SASL_PLAINTEXT"),
            ("sasl.mechanism", "PLAIN"),
            ("sasl.username", &user.name),
            ("sasl.password", &user.password),
        ],
    )?;
    let sees = || theirs.partitions("t").is_ok();
    ensure!(!sees(), "no right yet");
    let within = Duration::from_secs(5);
    admin.allow("reader", Operation::Read, Resource::Topic("t"))?;
    eventually("the right", within, || Ok(sees().then_some(())))?;
    admin.withdraw("reader", Operation::Read, Resource::Topic("t"))?;
    eventually("no right", within, || Ok((!sees()).then_some(())))?;
    admin.allow("reader", Operation::IdempotentWrite, Resource::Cluster)?;
    admin.withdraw("reader", Operation::IdempotentWrite, Resource::Cluster)?;
    ensure!(
        admin
            .withdraw("reader", Operation::Read, Resource::Topic("t"))
            .is_err(),
        "there is no such right"
    );
    Ok(())
}
