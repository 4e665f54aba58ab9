//! The options that are one of a few words.

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

            /// The word that stands for this variant in the environment and in TOML.
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

            /// Parses the word, in any case, with `-` and `_` alike.
            ///
            /// # Errors
            /// [`ErrorKind::Config`] with the words that are allowed.
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
    /// How much of the Kafka client's own log is passed on, for each client on its own.
    LogMode, "log_mode" {
        /// Nothing. Failures still reach the caller: as errors, receipts and callbacks.
        #[default]
        Off = "off",
        /// What failed.
        Error = "error",
        /// And what was odd: a lost connection, a slow broker.
        Warn = "warn" | "warning",
        /// And what happened: assignments, leaders.
        Info = "info",
        /// Everything. For more still, add librdkafka's contexts: `base_config("debug", "broker,cgrp")`.
        Debug = "debug",
    }
}

choice! {
    /// How many copies must exist before an event counts as published.
    Acks, "acks" {
        /// Every replica in sync. An event that was acknowledged survives the loss of any broker
        /// but all of them; with it the producer is idempotent.
        #[default]
        All = "all" | "-1",
        /// The leader alone. What is given up: an acknowledged event is lost when the leader dies
        /// before its followers copied it; idempotence is off, so a retry may store an event twice
        /// and out of order.
        Leader = "leader" | "1",
        /// Nobody. What is given up: everything. A receipt says only that the bytes were handed to
        /// the socket, its offset is unknown, and no failure at the broker is ever reported.
        None = "none" | "0",
    }
}

choice! {
    /// The codec for batches of events.
    Compression, "compression" {
        /// None: no CPU spent, most bytes sent.
        #[default]
        None = "none",
        /// gzip: small and slow.
        Gzip = "gzip",
        /// Snappy: quick.
        Snappy = "snappy",
        /// LZ4: quickest.
        Lz4 = "lz4",
        /// Zstandard: smaller than gzip, at a fraction of its CPU.
        Zstd = "zstd",
    }
}

choice! {
    /// How the key of an event chooses its partition. All producers of a topic must agree, or the
    /// order of events within a key is lost.
    Partitioner, "partitioner" {
        /// CRC32 of the key; without a key at random. Where the Go SDK v4 (and any librdkafka
        /// client) puts a key, so that services in both languages share topics.
        #[default]
        ConsistentRandom = "consistent-random",
        /// CRC32 of the key; without a key the same partition always.
        Consistent = "consistent",
        /// Murmur2 of the key, as the Java client does; without a key at random.
        Murmur2Random = "murmur2-random",
        /// Murmur2 of the key; without a key the same partition always.
        Murmur2 = "murmur2",
        /// FNV-1a of the key, as Sarama does; without a key at random.
        Fnv1aRandom = "fnv1a-random",
        /// FNV-1a of the key; without a key the same partition always.
        Fnv1a = "fnv1a",
        /// Any partition, whatever the key: there is no order within a key.
        Random = "random",
    }
}

impl Partitioner {
    /// librdkafka's word for it.
    pub(crate) fn property(self) -> String {
        self.as_str().replace('-', "_")
    }
}

choice! {
    /// How a group divides its partitions. All members of a group must agree: change it only while
    /// no member runs, or the others are refused.
    Assignment, "assignment" {
        /// The classic protocol with `range,roundrobin`, as the Go SDK's members use: at a rebalance
        /// every member gives up all its partitions and gets a new share.
        #[default]
        Eager = "eager",
        /// The classic protocol with `cooperative-sticky`: only partitions that move are paused.
        CooperativeSticky = "cooperative-sticky",
        /// The protocol of KIP-848, where the broker assigns (Apache Kafka 4.0 and later). The
        /// session timeout and the heartbeat are then the broker's, so
        /// [`session_timeout`](crate::BrokerConfig::session_timeout) and
        /// [`heartbeat_interval`](crate::BrokerConfig::heartbeat_interval) may not be given.
        Consumer = "consumer",
    }
}

/// A SASL mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SaslMechanism {
    /// SCRAM with SHA-512; what the Go SDK calls `SASL-SCRAM`.
    ScramSha512,
    /// SCRAM with SHA-256.
    ScramSha256,
    /// The password itself: only over TLS.
    Plain,
    /// OAuth bearer tokens. Named so that it can be refused with its reason: this build of
    /// librdkafka has no HTTP client to fetch tokens with, so [`validate`] fails.
    ///
    /// [`validate`]: crate::BrokerConfig::validate
    OauthBearer,
}

impl SaslMechanism {
    pub(crate) const ALLOWED: &str = "one of scram-sha-512, scram-sha-256, plain";

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

    /// Parses the name, in any case, with `-` and `_` alike.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] with the names that are allowed.
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
