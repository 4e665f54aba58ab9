//! Options that need what this build is without. They exist in every build, because programs share configurations.

use crate::config::broker::BrokerConfig;
use crate::config::choice::{Compression, SaslMechanism};
use crate::error::Fault;

/// What features have built in.
#[derive(Clone, Copy)]
struct Build {
    tls: bool,
    gzip: bool,
    zstd: bool,
}

const THIS: Build = Build {
    tls: cfg!(feature = "tls"),
    gzip: cfg!(feature = "gzip"),
    zstd: cfg!(feature = "zstd"),
};

pub(super) fn check(config: &BrokerConfig, faults: &mut Vec<Fault>) {
    check_for(THIS, config, faults);
}

fn check_for(build: Build, config: &BrokerConfig, faults: &mut Vec<Fault>) {
    if let Some((field, value)) = needs_tls(config).filter(|_| !build.tls) {
        let allowed = "needs the feature `tls` or `tls-vendored` of eventstream";
        faults.push(Fault::new(field, value, allowed));
    }
    let lacks = match config.compression {
        Compression::Gzip if !build.gzip => Some("needs the feature `gzip` of eventstream"),
        Compression::Zstd if !build.zstd => Some("needs the feature `zstd` of eventstream"),
        _ => None,
    };
    let value = config.compression.as_str();
    faults.extend(lacks.map(|allowed| Fault::new("compression", value, allowed)));
}

/// The option that only OpenSSL can serve, and its value. It also computes what SCRAM and the checks of tokens need.
fn needs_tls(config: &BrokerConfig) -> Option<(&'static str, &str)> {
    let security = &config.security;
    let base = |property| config.base_config.get(property);
    let over_tls = config.protocol().tls();
    let protocol = base("security.protocol").filter(|_| over_tls);
    let protocol = protocol.map(|word| ("base_config.security.protocol", word));
    let mechanism = security.mechanism();
    let mechanism = mechanism.filter(|it| over_tls || *it != SaslMechanism::Plain);
    let in_base = base("sasl.mechanism").filter(|word| !word.eq_ignore_ascii_case("PLAIN"));
    protocol
        .or_else(|| security.tls_options().first().map(|name| (*name, "")))
        .or_else(|| (security.tls == Some(true)).then_some(("tls", "true")))
        .or_else(|| mechanism.map(|word| ("sasl_mechanism", word.as_str())))
        .or_else(|| in_base.map(|word| ("base_config.sasl.mechanism", word)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::security::Security;
    use crate::oauth::Token;

    const LIGHT: Build = Build {
        tls: false,
        gzip: false,
        zstd: false,
    };

    fn faults(build: Build, config: &BrokerConfig) -> Vec<String> {
        let mut faults = Vec::new();
        check_for(build, config, &mut faults);
        faults.iter().map(ToString::to_string).collect()
    }

    fn secured(security: Security) -> BrokerConfig {
        BrokerConfig::new().security(security)
    }

    #[test]
    fn what_needs_tls_names_the_feature() {
        let sasl = |mechanism| Security::sasl(mechanism, "a", "b");
        let plain = sasl(SaslMechanism::Plain);
        let tokens = Security::oauth(async || Ok::<_, String>(Token::new("t", soon())));
        for (config, field) in [
            (secured(Security::none().tls(true)), "tls \"true\""),
            (secured(Security::none().ca_pem("x")), "ca_pem"),
            (secured(plain.clone()), "sasl_mechanism \"PLAIN\""),
            (
                secured(sasl(SaslMechanism::ScramSha512).sasl_without_tls(true)),
                "sasl_mechanism \"SCRAM-SHA-512\"",
            ),
            (
                secured(tokens.sasl_without_tls(true)),
                "sasl_mechanism \"OAUTHBEARER\"",
            ),
            (
                BrokerConfig::new().base_config("security.protocol", "ssl"),
                "base_config.security.protocol \"ssl\"",
            ),
            (
                secured(Security::none().sasl_without_tls(true))
                    .base_config("security.protocol", "sasl_plaintext")
                    .base_config("sasl.mechanism", "SCRAM-SHA-256"),
                "base_config.sasl.mechanism \"SCRAM-SHA-256\"",
            ),
        ] {
            let expected =
                format!("{field}: needs the feature `tls` or `tls-vendored` of eventstream");
            assert_eq!(faults(LIGHT, &config), [expected]);
            assert_eq!(faults(Build { tls: true, ..LIGHT }, &config), [""; 0]);
        }
        for config in [BrokerConfig::new(), secured(plain.sasl_without_tls(true))] {
            assert_eq!(faults(LIGHT, &config), [""; 0]);
        }
    }

    #[test]
    fn codecs_that_are_not_built_in_are_named() {
        let with = |compression| BrokerConfig::new().compression(compression);
        for (compression, word) in [(Compression::Gzip, "gzip"), (Compression::Zstd, "zstd")] {
            let expected =
                format!("compression \"{word}\": needs the feature `{word}` of eventstream");
            assert_eq!(faults(LIGHT, &with(compression)), [expected]);
            assert_eq!(faults(THIS, &with(compression)), [""; 0]);
        }
        for compression in [Compression::None, Compression::Snappy, Compression::Lz4] {
            assert_eq!(faults(LIGHT, &with(compression)), [""; 0]);
        }
    }

    fn soon() -> std::time::SystemTime {
        std::time::SystemTime::now() + std::time::Duration::from_secs(60)
    }
}
