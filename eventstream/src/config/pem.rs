//! Keys and certificates as given: what they must contain, and which option they come from. Faults that only OpenSSL
//! can find (a damaged key, a wrong passphrase, a key of another certificate) are found when the client is created.

use std::path::Path;

use super::broker::BrokerConfig;

/// The purpose of a PEM text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Ca,
    Certificate,
    Key,
}

impl Part {
    const ALL: [Self; 3] = [Self::Ca, Self::Certificate, Self::Key];

    /// The option for a file, the one for text, and the equivalent properties.
    fn names(self) -> [&'static str; 4] {
        match self {
            Self::Ca => ["ca_file", "ca_pem", "ssl.ca.location", "ssl.ca.pem"],
            Self::Certificate => [
                "cert_file",
                "cert_pem",
                "ssl.certificate.location",
                "ssl.certificate.pem",
            ],
            Self::Key => ["key_file", "key_pem", "ssl.key.location", "ssl.key.pem"],
        }
    }

    /// What it must contain, for errors.
    pub(crate) fn wanted(self) -> &'static str {
        match self {
            Self::Ca => "CA certificates in PEM",
            Self::Certificate => "a certificate in PEM",
            Self::Key => "a private key in PEM",
        }
    }
}

/// Where a part comes from: the option or property, and the path if it is a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) field: String,
    pub(crate) path: String,
}

impl BrokerConfig {
    /// Where a part comes from, if it was given.
    pub(crate) fn given(&self, part: Part) -> Option<Given> {
        let security = &self.security;
        let (file, pem): (&Path, &str) = match part {
            Part::Ca => (&security.ca_file, &security.ca_pem),
            Part::Certificate => (&security.cert_file, &security.cert_pem),
            Part::Key => (&security.key_file, security.key_pem.expose()),
        };
        let [file_name, pem_name, location, text] = part.names();
        let base = |key: &str| self.base_config.get(key);
        let (field, path) = if !file.as_os_str().is_empty() {
            (file_name.to_owned(), file.display().to_string())
        } else if !pem.is_empty() {
            (pem_name.to_owned(), String::new())
        } else if let Some(path) = base(location).filter(|path| *path != "probe") {
            (format!("base_config.{location}"), path.to_owned())
        } else if base(text).is_some() {
            (format!("base_config.{text}"), String::new())
        } else {
            return None;
        };
        Some(Given { field, path })
    }

    /// Whether the private key needs a passphrase, if it can be read.
    pub(crate) fn has_encrypted_key(&self) -> bool {
        let Some(given) = self.given(Part::Key) else {
            return false;
        };
        match &*given.path {
            "" => {
                let property = self.base_config.get("ssl.key.pem").unwrap_or_default();
                is_encrypted(self.security.key_pem.expose()) || is_encrypted(property)
            }
            path => std::fs::read_to_string(path).is_ok_and(|key| is_encrypted(&key)),
        }
    }

    /// Whether keys or certificates were given.
    pub(crate) fn has_own_tls(&self) -> bool {
        self.protocol().tls() && Part::ALL.iter().any(|part| self.given(*part).is_some())
    }
}

/// The fault of a part's PEM, for a fault's `allowed`.
pub(crate) fn fault(part: Part, bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let labels: Vec<&str> = text
        .split("-----BEGIN ")
        .skip(1)
        .filter_map(|rest| Some(rest.split_once("-----")?.0))
        .collect();
    let is_wanted = |label: &&str| match part {
        Part::Ca | Part::Certificate => label.ends_with("CERTIFICATE"),
        Part::Key => label.ends_with("PRIVATE KEY"),
    };
    if labels.iter().any(is_wanted) {
        return None;
    }
    // The tag of a sequence, with which every DER key and certificate starts.
    let found = match bytes.first() {
        _ if !labels.is_empty() => format!("it has {}", labels.join(", ")),
        None => "it is empty".to_owned(),
        Some(0x30) => "it is DER: convert it with openssl (-inform der)".to_owned(),
        Some(_) => "it has no line -----BEGIN ...-----".to_owned(),
    };
    Some(format!("{}; {found}", part.wanted()))
}

/// Whether a private key needs a passphrase.
pub(crate) fn is_encrypted(key: &str) -> bool {
    key.contains("BEGIN ENCRYPTED PRIVATE KEY") || key.contains("Proc-Type: 4,ENCRYPTED")
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n";
    const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";

    #[test]
    fn each_part_says_what_it_wants_and_what_it_found() {
        let both = format!("{KEY}{CERTIFICATE}");
        for (part, bytes, expected) in [
            (Part::Key, KEY.as_bytes(), None),
            (Part::Key, both.as_bytes(), None),
            (Part::Ca, both.as_bytes(), None),
            (Part::Certificate, CERTIFICATE.as_bytes(), None),
            (
                Part::Key,
                CERTIFICATE.as_bytes(),
                Some("a private key in PEM; it has CERTIFICATE"),
            ),
            (
                Part::Ca,
                KEY.as_bytes(),
                Some("CA certificates in PEM; it has PRIVATE KEY"),
            ),
            (
                Part::Certificate,
                b"",
                Some("a certificate in PEM; it is empty"),
            ),
            (
                Part::Certificate,
                b"\x30\x82\x01\xff",
                Some("a certificate in PEM; it is DER: convert it with openssl (-inform der)"),
            ),
            (
                Part::Key,
                b"[package]",
                Some("a private key in PEM; it has no line -----BEGIN ...-----"),
            ),
        ] {
            assert_eq!(fault(part, bytes).as_deref(), expected);
        }
    }

    #[test]
    fn an_encrypted_key_is_known_in_both_forms() {
        assert!(!is_encrypted(KEY));
        assert!(is_encrypted(&KEY.replace("PRIVATE", "ENCRYPTED PRIVATE")));
        let old = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n";
        assert!(is_encrypted(old));
    }
}
