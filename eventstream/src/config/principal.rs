//! The principal of this client for a broker's authorizer.

use std::fmt;

use super::broker::BrokerConfig;

/// The name that rights are granted to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Principal {
    name: Option<String>,
    by_certificate: bool,
}

impl BrokerConfig {
    /// The principal that a broker assigns to this client, unless it maps names.
    pub(crate) fn principal(&self) -> Principal {
        let protocol = self.protocol();
        let named = |name: &str| Some(format!("User:{name}"));
        let base = |key: &str| self.base_config.get(key);
        let (name, by_certificate) = if protocol.sasl() {
            let user = match &*self.security.sasl_username {
                "" => base("sasl.username").unwrap_or_default(),
                user => user,
            };
            (
                Some(user).filter(|user| !user.is_empty()).and_then(named),
                false,
            )
        } else if protocol.tls() && self.has_client_certificate() {
            let subject = self.client_certificate_subject();
            (subject.as_deref().and_then(named), true)
        } else {
            (named("ANONYMOUS"), false)
        };
        Principal {
            name,
            by_certificate,
        }
    }
}

impl Principal {
    /// For a command; a placeholder if it is unknown.
    pub(crate) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or("User:NAME")
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            None => f.write_str("this client"),
            Some(name) if self.by_certificate => {
                write!(f, "{name} (the subject of the client's certificate)")
            }
            Some(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{SaslMechanism, Security};

    #[test]
    fn it_is_the_user_the_certificate_or_nobody() {
        let of = |config: BrokerConfig| config.principal().to_string();
        let secured = |security| of(BrokerConfig::new().security(security));
        let certificate = include_str!("tests/utc_time.pem");
        assert_eq!(of(BrokerConfig::new()), "User:ANONYMOUS");
        assert_eq!(secured(Security::none().tls(true)), "User:ANONYMOUS");
        let sasl = Security::sasl(SaslMechanism::Plain, "alice", "x");
        assert_eq!(secured(sasl.clone()), "User:alice");
        // If there are both, the broker uses SASL.
        assert_eq!(secured(sasl.cert_pem(certificate)), "User:alice");
        let by_certificate = secured(Security::none().cert_pem(certificate).key_pem("y"));
        assert!(by_certificate.ends_with("certificate)"), "{by_certificate}");
        let unreadable = secured(Security::none().cert_pem("x").key_pem("y"));
        assert_eq!(unreadable, "this client");
        let base = BrokerConfig::new()
            .base_config("security.protocol", "sasl_ssl")
            .base_config("sasl.username", "bob");
        assert_eq!(of(base), "User:bob");
    }
}
