//! Unusable keys and certificates: reported when the client is created, with the file and the fault.

use std::error::Error as _;
use std::time::Duration;

use eventstream::{BrokerConfig, Client, Error, ErrorKind, Security};

const OWN: &str = "tests/certificates/own.pem";
const KEY: &str = "tests/certificates/own-key.pem";
const OTHER_KEY: &str = "tests/certificates/other-key.pem";
const ENCRYPTED: &str = "tests/certificates/own-key-encrypted.pem";

fn made(security: Security) -> Result<Client, Error> {
    Client::kafka(["127.0.0.1:1"])
        .config(BrokerConfig::new().security(security))
        .build()
}

fn mutual(certificate: &str, key: &str) -> Security {
    Security::none().cert_file(certificate).key_file(key)
}

#[tokio::test]
async fn a_key_or_certificate_that_cannot_be_used_is_named_with_its_fault() {
    let damaged = std::fs::read_to_string(OWN).expect("a certificate");
    let damaged = damaged.replace("\nMII", "\nAII");
    let key = std::fs::read_to_string(KEY).expect("a key");
    let damaged_key = key.replace("\nMI", "\nAI");
    for (security, field, words) in [
        (
            mutual(OWN, OTHER_KEY),
            "key_file",
            &["must be the key of the certificate in cert_file", OWN][..],
        ),
        (
            mutual(OWN, ENCRYPTED),
            "key_password",
            &["the private key is encrypted"],
        ),
        (
            mutual(OWN, ENCRYPTED).key_password("wrong"),
            "key_password",
            &["must be the passphrase of the key in key_file", ENCRYPTED],
        ),
        (
            mutual(OWN, OWN),
            "key_file",
            &["a private key in PEM", "it has CERTIFICATE"],
        ),
        (
            mutual(KEY, KEY),
            "cert_file",
            &["a certificate in PEM", "it has PRIVATE KEY"],
        ),
        (mutual(OWN, "tests/none.pem"), "key_file", &["No such file"]),
        (
            Security::none().ca_file(KEY),
            "ca_file",
            &["CA certificates in PEM"],
        ),
        (
            Security::none().ca_pem(&*damaged),
            "ca_pem",
            &["it is damaged"],
        ),
        (
            Security::none().cert_pem(&*damaged).key_pem(&*key),
            "cert_pem",
            &["it is damaged"],
        ),
        (
            Security::none()
                .cert_pem(std::fs::read_to_string(OWN).expect("one"))
                .key_pem(&*damaged_key),
            "key_pem",
            &["it is damaged"],
        ),
    ] {
        let error = made(security).expect_err(field);
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        let text = error.to_string();
        assert_eq!(error.faults().len(), 1, "{text}");
        assert_eq!(error.faults()[0].field, field, "{text} {error:?}");
        for word in words {
            assert!(text.contains(word), "no {word:?} in {text}");
        }
        // OpenSSL's message follows the remedy.
        assert!(!text.contains("error:0"), "{text}");
        if let Some(source) = error.source() {
            assert!(!source.to_string().is_empty());
        }
        assert!(!format!("{error:?}").contains("wrong"), "{error:?}");
    }
}

#[tokio::test]
async fn a_key_and_certificate_that_belong_together_are_taken() {
    for security in [
        mutual(OWN, KEY),
        mutual(OWN, ENCRYPTED).key_password("right"),
        Security::none().ca_file(OWN),
    ] {
        let client = made(security).expect("a client");
        client.shutdown(Duration::ZERO).await;
    }
}
