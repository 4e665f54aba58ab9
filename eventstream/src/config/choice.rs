//! Options whose value is one of a few words.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, ErrorKind, Fault};

/// An enum whose variants are words: `as_str`, `Display`, `FromStr` (case, `-` and `_` alike).
macro_rules! choice {
    (
        $(#[$meta:meta])*
        $name:ident, $field:literal {
            $( $(#[$variant_meta:meta])* $variant:ident = $word:literal $(| $alias:literal)* ),+ $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $( $(#[$variant_meta])* $variant, )+
        }

        impl $name {
            /// The words this option accepts.
            pub(crate) const WORDS: &[&str] = &[$($word),+];

            /// The word for this variant in the environment and in TOML.
            pub fn as_str(self) -> &'static str {
                match self {
                    $( Self::$variant => $word, )+
                }
            }

            /// The variant a word stands for, in any case, with `-` and `_` alike.
            pub(crate) fn from_word(word: &str) -> Option<Self> {
                let word = word.trim().to_ascii_lowercase().replace('_', "-");
                $(
                    if [$word $(, $alias)*].contains(&word.as_str()) {
                        return Some(Self::$variant);
                    }
                )+
                None
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = Error;

            /// Parses the word, ignoring case and treating `-` and `_` alike.
            ///
            /// # Errors
            /// [`ErrorKind::Config`] with the allowed words.
            fn from_str(word: &str) -> Result<Self, Error> {
                Self::from_word(word).ok_or_else(|| {
                    Error::from_faults(
                        ErrorKind::Config,
                        "parsing the configuration",
                        vec![Fault::new($field, word, one_of(Self::WORDS))],
                    )
                })
            }
        }
    };
}

/// `one of a, b, c`.
pub(crate) fn one_of(words: &[&str]) -> String {
    format!("one of {}", words.join(", "))
}

choice! {
    /// How much of the Kafka client's own log is forwarded, for each client separately.
    LogMode, "log_mode" {
        /// Nothing. Failures still reach the caller: as errors, receipts and callbacks.
        #[default]
        Off = "off",
        /// Failures.
        Error = "error",
        /// Also anything unusual: a lost connection, a slow broker.
        Warn = "warn" | "warning",
        /// Also state changes: assignments, leaders.
        Info = "info",
        /// Everything. For even more, add librdkafka's contexts: `base_config("debug", "broker,cgrp")`.
        Debug = "debug",
    }
}

choice! {
    /// How many copies must exist before an event counts as published.
    Acks, "acks" {
        /// Every in-sync replica. An acknowledged event survives unless all of them are lost; with it
        /// the producer is idempotent.
        #[default]
        All = "all" | "-1",
        /// The leader alone. The cost: an acknowledged event is lost if the leader dies before its
        /// followers have copied it; idempotence is off, so a retry may store an event twice and out of
        /// order.
        Leader = "leader" | "1",
        /// No replica. The cost: everything. A receipt only says that the bytes were handed to the socket,
        /// its offset is unknown, and no failure at the broker is ever reported.
        None = "none" | "0",
    }
}

choice! {
    /// The codec for batches of events.
    Compression, "compression" {
        /// None: no CPU cost, most bytes sent.
        #[default]
        None = "none",
        /// gzip: small and slow.
        Gzip = "gzip",
        /// Snappy: fast.
        Snappy = "snappy",
        /// LZ4: fastest.
        Lz4 = "lz4",
        /// Zstandard: smaller than gzip, at a fraction of its CPU.
        Zstd = "zstd",
    }
}

choice! {
    /// How an event's key maps to a partition. All producers of a topic must agree, or the order of
    /// events within a key is lost.
    Partitioner, "partitioner" {
        /// CRC32 of the key; random without a key. It puts a key where the Go SDK v4 (and any librdkafka
        /// client) does, so that services in both languages can share topics.
        #[default]
        ConsistentRandom = "consistent-random",
        /// CRC32 of the key; without a key, always the same partition.
        Consistent = "consistent",
        /// Murmur2 of the key, as in the Java client; random without a key.
        Murmur2Random = "murmur2-random",
        /// Murmur2 of the key; without a key, always the same partition.
        Murmur2 = "murmur2",
        /// FNV-1a of the key, as in Sarama; random without a key.
        Fnv1aRandom = "fnv1a-random",
        /// FNV-1a of the key; without a key, always the same partition.
        Fnv1a = "fnv1a",
        /// Any partition, whatever the key: no order within a key.
        Random = "random",
    }
}

impl Partitioner {
    /// librdkafka's name for it.
    pub(crate) fn property(self) -> String {
        self.as_str().replace('-', "_")
    }
}

choice! {
    /// How a group divides its partitions. All members of a group must agree: change it only while
    /// no member runs, or the others are refused.
    Assignment, "assignment" {
        /// The classic protocol with `range,roundrobin`, as the Go SDK's members use: in a rebalance,
        /// every member gives up all its partitions and gets a new share.
        #[default]
        Eager = "eager",
        /// The classic protocol with `cooperative-sticky`: only partitions that move are paused.
        CooperativeSticky = "cooperative-sticky",
        /// The KIP-848 protocol, in which the broker assigns (Apache Kafka 4.0 and later). The broker
        /// then sets the session timeout and the heartbeat, so
        /// [`session_timeout`](crate::BrokerConfig::session_timeout) and
        /// [`heartbeat_interval`](crate::BrokerConfig::heartbeat_interval) must not be set.
        Consumer = "consumer",
    }
}

/// A SASL mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SaslMechanism {
    /// SCRAM with SHA-512, which the Go SDK calls `SASL-SCRAM`.
    ScramSha512,
    /// SCRAM with SHA-256.
    ScramSha256,
    /// Sends the password itself: only over TLS.
    Plain,
    /// Bearer tokens: [`Security::oauth`](crate::Security::oauth) says where they come from.
    OauthBearer,
}

impl SaslMechanism {
    pub(crate) const ALLOWED: &str = "one of scram-sha-512, scram-sha-256, plain, oauthbearer";

    /// The mechanism's registered name, as Kafka spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ScramSha512 => "SCRAM-SHA-512",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::Plain => "PLAIN",
            Self::OauthBearer => "OAUTHBEARER",
        }
    }

    pub(crate) fn from_word(word: &str) -> Option<Self> {
        match word.trim().to_ascii_lowercase().replace('_', "-").as_str() {
            "scram-sha-512" => Some(Self::ScramSha512),
            "scram-sha-256" => Some(Self::ScramSha256),
            "plain" => Some(Self::Plain),
            "oauthbearer" | "oauth-bearer" => Some(Self::OauthBearer),
            _ => None,
        }
    }
}

impl fmt::Display for SaslMechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for SaslMechanism {
    type Err = Error;

    /// Parses the name, ignoring case and treating `-` and `_` alike.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] with the allowed names.
    fn from_str(word: &str) -> Result<Self, Error> {
        Self::from_word(word).ok_or_else(|| {
            Error::from_faults(
                ErrorKind::Config,
                "parsing the configuration",
                vec![Fault::new("sasl_mechanism", word, Self::ALLOWED)],
            )
        })
    }
}
