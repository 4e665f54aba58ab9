//! Options from TOML and from any other serde format.

use std::collections::BTreeMap;
use std::path::Path;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::addresses::Addresses;
use super::broker::BrokerConfig;
use super::commit::GoKeys;
use super::near::did_you_mean;
use super::security::Security;
use super::value::{FromValue, Value};
use crate::error::{Error, ErrorKind, Fault, Result};

type Table = BTreeMap<String, Value>;

/// The one option with a type of its own.
pub(super) const BROKERS: &str = "brokers";

const DOING: &str = "reading the configuration";

impl BrokerConfig {
    /// Reads TOML: the builder's names as keys, the options of [`Security`] in the table
    /// `[security]`, and librdkafka's properties in the table `[base_config]`, quoted or not.
    ///
    /// `sasl_password_file` in `[security]` names a file that holds the password, `oauth_client_secret_file` one that
    /// holds a client's secret.
    ///
    /// ```
    /// let config = eventstream::BrokerConfig::from_toml(r#"
    ///     brokers = ["kafka-1:9092", "kafka-2:9092"]
    ///     prefix = "prod"
    ///     publish_timeout = "30s"
    ///
    ///     [security]
    ///     sasl_mechanism = "scram-sha-512"
    ///     sasl_username = "alice"
    ///     sasl_password = "her password"
    /// "#)?;
    /// config.validate()?;
    /// # Ok::<(), eventstream::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if it is not TOML, with the line; otherwise it lists every unknown
    /// key, with the nearest known one, and every invalid value. Contradictions are left to
    /// [`validate`](BrokerConfig::validate).
    pub fn from_toml(text: &str) -> Result<Self> {
        Self::new().apply_toml(text)
    }

    /// Reads a TOML file as [`from_toml`](BrokerConfig::from_toml) does.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if the file cannot be read; otherwise as `from_toml`.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        Self::new().apply_file(path)
    }

    /// Applies a TOML file on top of this configuration, for instance a program's own defaults.
    ///
    /// # Errors
    /// As [`from_file`](BrokerConfig::from_file).
    pub fn apply_file(self, path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(|error| {
            let message = format!("{DOING} from {}", path.display());
            Error::new(ErrorKind::Config, message).with_source(error)
        })?;
        self.apply_toml(&text)
    }

    fn apply_toml(self, text: &str) -> Result<Self> {
        let table: Table = toml::from_str(text).map_err(|error| {
            // The error's own text quotes the line, which may contain a password.
            let line = error.span().map_or(0, |span| {
                text.as_bytes()[..span.start.min(text.len())]
                    .iter()
                    .filter(|byte| **byte == b'\n')
                    .count()
            });
            let message = format!("{DOING}: line {}: {}", line + 1, error.message());
            Error::new(ErrorKind::Config, message)
        })?;
        let mut config = self;
        let faults = config.apply_table(table);
        if faults.is_empty() {
            Ok(config)
        } else {
            Err(Error::from_faults(ErrorKind::Config, DOING, faults))
        }
    }

    fn apply_table(&mut self, table: Table) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut go = GoKeys::default();
        for (key, value) in table {
            if let Some(taken) = go.take(&key, &value) {
                faults.extend(taken.err());
                continue;
            }
            match (key.as_str(), value) {
                ("security", Value::Table(table)) => {
                    for (key, value) in table {
                        faults.extend(self.security.apply(&key, &value));
                    }
                }
                ("base_config", Value::Table(table)) => {
                    flatten(String::new(), table, &mut |key, value| {
                        self.base_config.insert(key, value);
                    });
                }
                ("security" | "base_config", _) => {
                    faults.push(Fault::new(key, "", "a table"));
                }
                (key, value) => faults.extend(self.apply(key, &value)),
            }
        }
        faults.extend(go.apply(self));
        faults
    }

    /// Sets one option by its name.
    pub(crate) fn apply(&mut self, key: &str, value: &Value) -> Option<Fault> {
        if key == BROKERS {
            // An invalid value is not shown, as an address may contain a password.
            return match Addresses::from_value(value) {
                Ok(brokers) => {
                    self.brokers = brokers;
                    None
                }
                Err(allowed) => Some(Fault::new(key, "", allowed)),
            };
        }
        match self.set(key, value) {
            Some(Ok(())) => None,
            // A value given instead of a table may contain a password.
            Some(Err(allowed)) if key == "security" => Some(Fault::new(key, "", allowed)),
            Some(Err(allowed)) => Some(Fault::new(key, value.shown(), allowed)),
            None => Some(Fault::new(key, "", unknown_option(key))),
        }
    }
}

/// Turns nested tables, as unquoted dotted keys make them, back into dotted keys.
fn flatten(prefix: String, table: Table, insert: &mut impl FnMut(String, String)) {
    for (key, value) in table {
        let key = if prefix.is_empty() {
            key
        } else {
            format!("{prefix}.{key}")
        };
        match value.scalar() {
            Some(scalar) => insert(key, scalar),
            None => {
                if let Value::Table(table) = value {
                    flatten(key, table, insert);
                }
            }
        }
    }
}

fn unknown_option(key: &str) -> String {
    if key == "stream" {
        return "not an option of the brokers' configuration but an argument of Client::builder"
            .to_owned();
    }
    if Security::NAMES.contains(&key) {
        return "unknown option; it belongs in the table [security]".to_owned();
    }
    let names = BrokerConfig::NAMES.iter().copied();
    let names = names.chain([BROKERS, "base_config"]);
    let names = names.chain(GoKeys::NAMES.iter().copied());
    format!("unknown option{}", did_you_mean(key, names))
}

impl Security {
    /// Sets one option by its name.
    pub(crate) fn apply(&mut self, key: &str, value: &Value) -> Option<Fault> {
        if Self::SECRET_FILES.contains(&key) {
            return self.read_secret(key, &value.shown());
        }
        match self.set(key, value) {
            Some(Ok(())) => None,
            Some(Err(allowed)) if Self::SECRET.contains(&key) => Some(Fault::new(key, "", allowed)),
            Some(Err(allowed)) => Some(Fault::new(key, value.shown(), allowed)),
            None => {
                let names = Self::NAMES.iter().chain(Self::SECRET_FILES).copied();
                let allowed = format!("unknown option of security{}", did_you_mean(key, names));
                Some(Fault::new(key, "", allowed))
            }
        }
    }

    fn read_secret(&mut self, key: &str, path: &str) -> Option<Fault> {
        match std::fs::read_to_string(path) {
            Ok(text) => {
                let secret = text.trim_end_matches(['\r', '\n']).into();
                match key {
                    "sasl_password_file" => self.sasl_password = secret,
                    _ => self.oauth_client_secret = secret,
                }
                None
            }
            Err(error) => {
                let allowed = format!("a file that can be read ({error})");
                Some(Fault::new(key, path, allowed))
            }
        }
    }
}

impl<'de> Deserialize<'de> for BrokerConfig {
    /// Reads the same keys and tables as [`BrokerConfig::from_toml`], so that a program's own
    /// configuration can contain this one.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let table = Table::deserialize(deserializer)?;
        let mut config = Self::default();
        let faults = config.apply_table(table);
        if faults.is_empty() {
            Ok(config)
        } else {
            Err(D::Error::custom(Error::from_faults(
                ErrorKind::Config,
                DOING,
                faults,
            )))
        }
    }
}
