//! Options from the environment.

use std::collections::BTreeMap;

use super::broker::BrokerConfig;
use super::commit::GoKeys;
use super::file::BROKERS;
use super::near::distance;
use super::properties;
use super::security::Security;
use super::value::Value;
use crate::error::{Error, ErrorKind, Fault, Result};

pub(super) const PREFIX: &str = "EVENTSTREAM_";
const BASE_CONFIG: &str = "BASE_CONFIG_";

/// Variables that only the command-line tool reads.
pub(super) const OTHERS: &[&str] = &["STREAM", "CONFIG"];

impl BrokerConfig {
    /// Reads the process's environment: the options' names in upper case after `EVENTSTREAM_`.
    /// `EVENTSTREAM_BROKERS=a:9092,b:9092`, `EVENTSTREAM_DIAL_TIMEOUT=10s`, `EVENTSTREAM_SASL_PASSWORD=...`,
    /// `EVENTSTREAM_SASL_PASSWORD_FILE=/run/secrets/kafka`, and librdkafka's properties as
    /// `EVENTSTREAM_BASE_CONFIG_FETCH_MIN_BYTES=1000`. An empty variable counts as unset.
    ///
    /// A variable whose name is close to an option's is treated as a misspelling and refused. Others are
    /// ignored: next to a Kubernetes service called `eventstream`, every container has an
    /// `EVENTSTREAM_SERVICE_HOST`.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] lists every misspelt variable and every invalid value.
    pub fn from_env() -> Result<Self> {
        Self::new().apply_env()
    }

    /// Reads `vars` as [`from_env`](BrokerConfig::from_env) reads the environment.
    ///
    /// ```
    /// use eventstream::{BrokerConfig, LogMode};
    ///
    /// let vars = [("EVENTSTREAM_LOG_MODE".to_owned(), "warn".to_owned())];
    /// let config = BrokerConfig::from_vars(vars)?;
    /// assert_eq!(config, BrokerConfig::new().log_mode(LogMode::Warn));
    /// # Ok::<(), eventstream::Error>(())
    /// ```
    ///
    /// # Errors
    /// As `from_env`.
    pub fn from_vars(vars: impl IntoIterator<Item = (String, String)>) -> Result<Self> {
        Self::new().apply_vars(vars)
    }

    /// Applies the environment on top of this configuration, for instance a file's.
    ///
    /// # Errors
    /// As [`from_env`](BrokerConfig::from_env).
    pub fn apply_env(self) -> Result<Self> {
        let mut vars = Vec::new();
        for (name, value) in std::env::vars_os() {
            let Some(name) = name
                .into_string()
                .ok()
                .filter(|name| name.starts_with(PREFIX))
            else {
                continue;
            };
            match value.into_string() {
                Ok(value) => vars.push((name, value)),
                Err(_) => return Err(refused(vec![Fault::new(name, "", "text in UTF-8")])),
            }
        }
        self.apply_vars(vars)
    }

    /// Applies `vars` on top of this configuration.
    ///
    /// # Errors
    /// As [`from_env`](BrokerConfig::from_env).
    pub fn apply_vars(mut self, vars: impl IntoIterator<Item = (String, String)>) -> Result<Self> {
        let mut faults = Vec::new();
        let mut go = GoKeys::default();
        // In order of their names, so that the order of arrival does not matter.
        for (variable, value) in vars.into_iter().collect::<BTreeMap<_, _>>() {
            let Some(name) = variable.strip_prefix(PREFIX) else {
                continue;
            };
            if value.is_empty() || OTHERS.contains(&name) {
                continue;
            }
            let fault = match go.take(&name.to_ascii_lowercase(), &Value::Text(value.clone())) {
                Some(taken) => taken.err(),
                None => self.apply_var(name, value),
            };
            faults.extend(fault.map(|fault| Fault {
                field: variable.clone(),
                ..fault
            }));
        }
        faults.extend(go.apply(&mut self).into_iter().map(|fault| Fault {
            field: format!("{PREFIX}{}", fault.field.to_ascii_uppercase()),
            ..fault
        }));
        if faults.is_empty() {
            Ok(self)
        } else {
            Err(refused(faults))
        }
    }

    fn apply_var(&mut self, name: &str, value: String) -> Option<Fault> {
        if let Some(property) = name.strip_prefix(BASE_CONFIG) {
            self.base_config.insert(property_name(property), value);
            return None;
        }
        let key = name.to_ascii_lowercase();
        let value = Value::Text(value);
        if key == BROKERS || self.set(&key, &value).is_some() {
            self.apply(&key, &value)
        } else if Security::NAMES.contains(&key.as_str())
            || Security::SECRET_FILES.contains(&key.as_str())
        {
            self.security.apply(&key, &value)
        } else {
            misspelt(name).map(|meant| {
                Fault::new(name, "", format!("unknown variable; did you mean {meant}?"))
            })
        }
    }
}

fn refused(faults: Vec<Fault>) -> Error {
    let doing = "reading the configuration from the environment";
    Error::from_faults(ErrorKind::Config, doing, faults)
}

/// `FETCH_MIN_BYTES` to `fetch.min.bytes`.
fn property_name(variable: &str) -> String {
    properties::names()
        .find(|name| name.replace('.', "_").eq_ignore_ascii_case(variable))
        .map_or_else(
            || variable.to_ascii_lowercase().replace('_', "."),
            str::to_owned,
        )
}

/// The variable that differs from a name by one or two letters.
fn misspelt(name: &str) -> Option<String> {
    let options = BrokerConfig::NAMES
        .iter()
        .chain(Security::NAMES)
        .chain(Security::SECRET_FILES)
        .chain(GoKeys::NAMES)
        .chain([&BROKERS]);
    options
        .copied()
        .chain(OTHERS.iter().copied())
        .map(str::to_ascii_uppercase)
        .find(|option| distance(name, option) <= (option.len() / 4).min(2))
        .map(|option| format!("{PREFIX}{option}"))
}
