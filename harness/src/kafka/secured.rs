//! Listeners with encryption and authentication.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};

use super::properties::{Listeners, SecuredListeners};
use crate::certificates::Certificates;
use crate::ports::Port;

const MECHANISMS: [&str; 3] = ["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"];
const OAUTHBEARER: &str = "OAUTHBEARER";

/// Which tokens the brokers take.
#[derive(Clone, Debug)]
pub(crate) enum Oauth {
    No,
    /// Those that nobody signed.
    Unsecured,
    /// On the listener with TLS, those signed with a key that this address serves; the others elsewhere.
    Signed(String),
}

/// A name and its password.
#[derive(Clone, Debug)]
pub struct User {
    /// The user name.
    pub name: String,
    /// The password, made for this test alone.
    pub password: String,
}

impl User {
    fn new(name: &str, password: &str) -> Self {
        Self {
            name: name.to_owned(),
            password: password.to_owned(),
        }
    }

    fn named(name: &str) -> Self {
        Self::new(name, &format!("{name}-secret"))
    }
}

/// The addresses of a secured cluster and what opens them.
#[derive(Debug)]
pub struct Secured {
    /// TLS, then SASL: SCRAM-SHA-512, SCRAM-SHA-256 or PLAIN.
    pub sasl_ssl: String,
    /// The same mechanisms without TLS.
    pub sasl_plaintext: String,
    /// TLS that demands a client certificate.
    pub ssl: String,
    /// Known to SCRAM-SHA-512 and SCRAM-SHA-256.
    pub scram: User,
    /// Known to PLAIN.
    pub plain: User,
    users: Vec<User>,
    /// The authorities and certificates, as paths of PEM files.
    pub certificates: Certificates,
}

impl Secured {
    pub(crate) fn new(
        certificates: Certificates,
        credentials: Credentials,
        listeners: &[&Listeners],
    ) -> Self {
        let addresses = |port: fn(&SecuredListeners) -> &Port| {
            let ports = listeners.iter().filter_map(|node| node.secured.as_ref());
            let all: Vec<_> = ports
                .map(|node| format!("127.0.0.1:{}", port(node).number))
                .collect();
            all.join(",")
        };
        Self {
            sasl_ssl: addresses(|node| &node.sasl_ssl),
            sasl_plaintext: addresses(|node| &node.sasl_plaintext),
            ssl: addresses(|node| &node.ssl),
            scram: credentials.scram,
            plain: credentials.plain,
            users: credentials.users,
            certificates,
        }
    }

    /// A user that was added with [`KafkaBuilder::user`](super::KafkaBuilder::user).
    ///
    /// # Errors
    /// There is none of this name.
    pub fn user(&self, name: &str) -> Result<&User> {
        let found = self.users.iter().find(|user| user.name == name);
        found.with_context(|| format!("this cluster was started without a user {name}"))
    }
}

/// The users that a secured cluster starts with.
#[derive(Debug)]
pub(crate) struct Credentials {
    scram: User,
    plain: User,
    /// Also known to PLAIN.
    users: Vec<User>,
    oauth: Oauth,
}

impl Credentials {
    pub(crate) fn new(users: &[String], oauth: Oauth) -> Self {
        Self {
            oauth,
            scram: User::named("alice"),
            plain: User::named("bob"),
            users: users.iter().map(|name| User::named(name)).collect(),
        }
    }

    /// SCRAM users are part of the storage: nobody could log in to create the first one.
    pub(crate) fn format_arguments(&self) -> Vec<String> {
        let User { name, password } = &self.scram;
        ["SCRAM-SHA-512", "SCRAM-SHA-256"]
            .into_iter()
            .flat_map(|mechanism| {
                [
                    "--add-scram".to_owned(),
                    format!("{mechanism}=[name={name},password={password}]"),
                ]
            })
            .collect()
    }

    pub(crate) fn server_properties(
        &self,
        certificates: &Certificates,
    ) -> BTreeMap<String, String> {
        let mut properties = BTreeMap::new();
        let mut set = |name: String, value: String| properties.insert(name, value);
        let server = &certificates.server;
        set("ssl.keystore.type".into(), "PEM".into());
        set(
            "ssl.keystore.location".into(),
            server.key_and_certificate.display().to_string(),
        );
        set("ssl.truststore.type".into(), "PEM".into());
        set(
            "ssl.truststore.location".into(),
            certificates.ca.display().to_string(),
        );
        set(
            "listener.name.ssl.ssl.client.auth".into(),
            "required".into(),
        );
        let mut mechanisms = MECHANISMS.to_vec();
        if !matches!(self.oauth, Oauth::No) {
            mechanisms.push(OAUTHBEARER);
        }
        set("sasl.enabled.mechanisms".into(), mechanisms.join(","));
        if let Oauth::Signed(jwks) = &self.oauth {
            let package = "org.apache.kafka.common.security.oauthbearer";
            set(
                "listener.name.sasl_ssl.oauthbearer.sasl.server.callback.handler.class".into(),
                format!("{package}.OAuthBearerValidatorCallbackHandler"),
            );
            set("sasl.oauthbearer.jwks.endpoint.url".into(), jwks.clone());
            set("sasl.oauthbearer.expected.audience".into(), "kafka".into());
        }
        let plain: String = [&self.plain]
            .into_iter()
            .chain(&self.users)
            .map(|user| format!(" user_{}=\"{}\"", user.name, user.password))
            .collect();
        // A broker only starts if every enabled mechanism has an entry on every SASL listener.
        for listener in ["sasl_ssl", "sasl_plaintext"] {
            for mechanism in mechanisms.iter().copied() {
                let login = if mechanism == "PLAIN" {
                    let module = "org.apache.kafka.common.security.plain.PlainLoginModule";
                    format!("{module} required{plain};")
                } else if mechanism == OAUTHBEARER {
                    let package = "org.apache.kafka.common.security.oauthbearer";
                    format!("{package}.OAuthBearerLoginModule required;")
                } else {
                    "org.apache.kafka.common.security.scram.ScramLoginModule required;".to_owned()
                };
                let mechanism = mechanism.to_lowercase();
                set(
                    format!("listener.name.{listener}.{mechanism}.sasl.jaas.config"),
                    login,
                );
            }
        }
        properties
    }
}
