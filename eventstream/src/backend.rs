use std::fmt;
use std::str::FromStr;

use crate::error::{Error, ErrorKind, Fault};

/// Where events go to and come from. Parses from the names in the table.
///
/// | name | what it is |
/// |---|---|
/// | `kafka` | a cluster |
/// | `embedded` | a Kafka protocol broker inside this process: see [`EmbeddedBroker`](crate::EmbeddedBroker) |
/// | `stdout` | one JSON line for each publish, to standard output or the builder's writer: `{"topic":"t","key":"k","headers":[["name","value"]],"event":{..}}`, with `audit_log` in place of `event` for audit logs; a key or header that is not UTF-8 is `{"base64":".."}` |
/// | `none` | accepts everything, checks and stores nothing |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Backend {
    /// A Kafka cluster.
    Kafka,
    /// A broker inside the process.
    Embedded,
    /// JSON lines on a writer.
    Stdout,
    /// Discards everything.
    None,
}

impl Backend {
    /// The name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kafka => "kafka",
            Self::Embedded => "embedded",
            Self::Stdout => "stdout",
            Self::None => "none",
        }
    }
}

impl FromStr for Backend {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        match name {
            "kafka" => Ok(Self::Kafka),
            "embedded" => Ok(Self::Embedded),
            "stdout" => Ok(Self::Stdout),
            "none" => Ok(Self::None),
            other => Err(Error::from_faults(
                ErrorKind::Config,
                "choose a backend",
                vec![Fault::new(
                    "backend",
                    other,
                    "must be one of kafka, embedded, stdout, none",
                )],
            )),
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
