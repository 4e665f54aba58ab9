//! The brokers' addresses, which may contain secrets: `user:password@host:port` is a common
//! mistake.

use std::fmt;

use super::secret::PLACEHOLDER;
use super::value::{FromValue, Value};
use crate::error::Fault;

/// Bootstrap brokers, each `host:port`. `Debug` hides the part before an `@`.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Addresses(pub(crate) Vec<String>);

impl fmt::Debug for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|broker| shown(broker)))
            .finish()
    }
}

impl FromValue for Addresses {
    fn from_value(value: &Value) -> Result<Self, String> {
        let allowed = || "a list of host:port, or a string with commas between them".to_owned();
        let texts: Vec<&str> = match value {
            Value::Text(text) => text.split(',').collect(),
            Value::List(values) => values
                .iter()
                .map(|value| match value {
                    Value::Text(text) => Some(text.as_str()),
                    _ => None,
                })
                .collect::<Option<_>>()
                .ok_or_else(allowed)?,
            _ => return Err(allowed()),
        };
        let texts = texts.into_iter().map(str::trim);
        let texts = texts.filter(|text| !text.is_empty());
        Ok(Self(texts.map(str::to_owned).collect()))
    }
}

/// The faults of a list of brokers: it is empty, or one is not `host:port`.
pub(crate) fn broker_faults(brokers: &[String]) -> Vec<Fault> {
    if brokers.is_empty() {
        return vec![Fault::new("brokers", "", "at least one host:port")];
    }
    brokers
        .iter()
        .filter(|broker| !is_address(broker))
        .map(|broker| {
            let allowed = if broker.contains('@') {
                "host:port, one broker for each entry; a user and a password belong to \
                 sasl_username and sasl_password"
            } else {
                "host:port, one broker for each entry"
            };
            Fault::new("brokers", shown(broker), allowed)
        })
        .collect()
}

/// An address for display. No host contains an `@`, so the part before one may be a password.
pub(crate) fn shown(broker: &str) -> String {
    match broker.rsplit_once('@') {
        Some((_, address)) => format!("{PLACEHOLDER}@{address}"),
        None => broker.to_owned(),
    }
}

fn is_address(broker: &str) -> bool {
    let Some((host, port)) = broker.rsplit_once(':') else {
        return false;
    };
    let host = match host.strip_prefix('[') {
        Some(address) => return address.ends_with(']') && is_port(port),
        None => host,
    };
    !host.is_empty()
        && !host.contains([':', '/', ',', '[', ']', '@'])
        && !host.contains(char::is_whitespace)
        && is_port(port)
}

fn is_port(port: &str) -> bool {
    port.parse::<u16>().is_ok_and(|port| port > 0)
}
