//! A value from the environment, TOML or any serde format, and how options read it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use jiff::SignedDuration;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::choice::{Acks, Assignment, Compression, LogMode, Partitioner, SaslMechanism, one_of};
use super::secret::Secret;
use super::security::Security;

/// A scalar, a list or a table of values. It has no `Debug`, as it may contain a secret.
#[derive(Clone)]
pub(crate) enum Value {
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    List(Vec<Value>),
    Table(BTreeMap<String, Value>),
}

impl Value {
    /// A scalar as passed to librdkafka; `None` for a list or a table.
    pub(crate) fn scalar(&self) -> Option<String> {
        match self {
            Self::Bool(value) => Some(value.to_string()),
            Self::Integer(value) => Some(value.to_string()),
            Self::Float(value) => Some(value.to_string()),
            Self::Text(value) => Some(value.clone()),
            Self::List(_) | Self::Table(_) => None,
        }
    }

    /// The value for a fault: scalars as given, a description of the others.
    pub(crate) fn shown(&self) -> String {
        self.scalar().unwrap_or_else(|| match self {
            Self::List(_) => "a list".to_owned(),
            _ => "a table".to_owned(),
        })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a number, true, false, a list or a table")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        // Too large for any option; as text it is rejected with the option's own range.
        Ok(i64::try_from(value).map_or_else(|_| Value::Text(value.to_string()), Value::Integer))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element()? {
            values.push(value);
        }
        Ok(Value::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut table = BTreeMap::new();
        while let Some((key, value)) = map.next_entry()? {
            table.insert(key, value);
        }
        Ok(Value::Table(table))
    }
}

/// An option's type: how it is read, and what is allowed if it cannot be.
pub(crate) trait FromValue: Sized {
    fn from_value(value: &Value) -> Result<Self, String>;
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: &Value) -> Result<Self, String> {
        T::from_value(value).map(Some)
    }
}

impl FromValue for bool {
    fn from_value(value: &Value) -> Result<Self, String> {
        match value {
            Value::Bool(value) => Ok(*value),
            Value::Text(text) if text.eq_ignore_ascii_case("true") || text == "1" => Ok(true),
            Value::Text(text) if text.eq_ignore_ascii_case("false") || text == "0" => Ok(false),
            _ => Err("true or false".to_owned()),
        }
    }
}

fn integer<T: TryFrom<i64>>(value: &Value) -> Result<T, String> {
    let number = match value {
        Value::Integer(value) => Some(*value),
        Value::Text(text) => text.trim().replace('_', "").parse().ok(),
        _ => None,
    };
    number
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| "a whole number, not negative".to_owned())
}

impl FromValue for u32 {
    fn from_value(value: &Value) -> Result<Self, String> {
        integer(value)
    }
}

impl FromValue for usize {
    fn from_value(value: &Value) -> Result<Self, String> {
        integer(value)
    }
}

impl FromValue for Duration {
    fn from_value(value: &Value) -> Result<Self, String> {
        const ALLOWED: &str =
            "a time such as \"10s\", \"500ms\" or \"1m30s\", or a number of seconds";
        let read = match value {
            Value::Integer(seconds) => u64::try_from(*seconds).ok().map(Self::from_secs),
            Value::Float(seconds) => Self::try_from_secs_f64(*seconds).ok(),
            Value::Text(text) => parse_duration(text.trim()),
            Value::Bool(_) | Value::List(_) | Value::Table(_) => None,
        };
        read.ok_or_else(|| ALLOWED.to_owned())
    }
}

fn parse_duration(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    Duration::try_from(text.parse::<SignedDuration>().ok()?).ok()
}

impl FromValue for String {
    fn from_value(value: &Value) -> Result<Self, String> {
        value.scalar().ok_or_else(|| "a text".to_owned())
    }
}

impl FromValue for Secret {
    fn from_value(value: &Value) -> Result<Self, String> {
        String::from_value(value).map(Self::from)
    }
}

impl FromValue for PathBuf {
    fn from_value(value: &Value) -> Result<Self, String> {
        match value {
            Value::Text(text) => Ok(Self::from(text)),
            _ => Err("a path".to_owned()),
        }
    }
}

macro_rules! from_word {
    ($($choice:ident),+) => {$(
        impl FromValue for $choice {
            fn from_value(value: &Value) -> Result<Self, String> {
                value
                    .scalar()
                    .and_then(|word| Self::from_word(&word))
                    .ok_or_else(|| one_of(Self::WORDS))
            }
        }
    )+};
}

from_word!(LogMode, Acks, Compression, Partitioner, Assignment);

impl FromValue for SaslMechanism {
    fn from_value(value: &Value) -> Result<Self, String> {
        value
            .scalar()
            .and_then(|word| Self::from_word(&word))
            .ok_or_else(|| Self::ALLOWED.to_owned())
    }
}

impl FromValue for Security {
    /// Tables are read option by option, so that each fault is reported; this handles everything
    /// else.
    fn from_value(_: &Value) -> Result<Self, String> {
        Err("a table; each of its options has its own variable".to_owned())
    }
}
