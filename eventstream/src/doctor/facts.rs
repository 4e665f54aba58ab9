//! The facts that checks judge: gathered once, plain data, so that tests can construct them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use jiff::Timestamp;

use crate::config::{BrokerConfig, Principal};
use crate::error::{Error, Fault};
use crate::oauth::Token;

/// An answer, or why there is none.
pub(crate) type Asked<T> = Result<T, String>;

/// Properties in effect, by name.
pub(crate) type Configs = BTreeMap<String, String>;

pub(crate) struct Facts {
    pub(crate) setup: Setup,
    /// The bootstrap brokers, then all that the cluster advertises.
    pub(crate) listeners: Vec<Listener>,
    /// `None`: this client needs none, or nobody was asked.
    pub(crate) token: Option<Result<Token, Error>>,
    /// `None` if it was not asked, because the configuration is invalid.
    pub(crate) cluster: Option<Result<Cluster, Error>>,
    pub(crate) now: Timestamp,
}

/// This client's settings, and what to check.
pub(crate) struct Setup {
    pub(crate) config: BrokerConfig,
    pub(crate) faults: Vec<Fault>,
    /// librdkafka's properties of each kind of client.
    pub(crate) producer: Configs,
    pub(crate) consumer: Configs,
    pub(crate) principal: Principal,
    pub(crate) handler_timeout: Option<Duration>,
    pub(crate) drain_timeout: Duration,
    /// Whether the group's subscriptions start at the tail.
    pub(crate) starts_at_tail: bool,
}

impl Setup {
    pub(crate) fn producer(&self, property: &str) -> &str {
        self.producer.get(property).map_or("", String::as_str)
    }

    pub(crate) fn consumer(&self, property: &str) -> &str {
        self.consumer.get(property).map_or("", String::as_str)
    }
}

/// Where an address comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Bootstrap,
    /// The broker of this id.
    Advertised(i32),
}

/// An address, and how far a connection with the configured protocol gets.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) role: Role,
    /// `host:port`.
    pub(crate) address: String,
    pub(crate) resolved: Asked<Vec<SocketAddr>>,
    /// How long the connection took; `None` if there was no address to connect to.
    pub(crate) connected: Option<Asked<Duration>>,
    pub(crate) speaks: Speaks,
    pub(crate) tls: Option<Tls>,
    pub(crate) versions: Option<Versions>,
    /// The SASL mechanisms it offers, if this client uses SASL.
    pub(crate) mechanisms: Option<Vec<String>>,
}

impl Listener {
    pub(crate) fn new(role: Role, address: &str) -> Self {
        Self {
            role,
            address: address.to_owned(),
            resolved: Err("the lookup took too long".to_owned()),
            connected: None,
            speaks: Speaks::Unknown,
            tls: None,
            versions: None,
            mechanisms: None,
        }
    }

    /// The address and its role, for findings.
    pub(crate) fn named(&self) -> String {
        match self.role {
            Role::Bootstrap => self.address.clone(),
            Role::Advertised(id) => format!("broker {id} at {}", self.address),
        }
    }
}

/// The protocol that a port speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    /// Not asked, or no connection was established.
    Unknown,
    Kafka {
        tls: bool,
    },
    /// TLS around a protocol that is not shown to a client without TLS.
    Tls,
    Http,
    /// None of these; what it did instead.
    Other(String),
}

/// A broker's certificate and OpenSSL's verdicts on it.
#[derive(Debug, Default)]
pub(crate) struct Tls {
    pub(crate) version: String,
    /// OpenSSL's verdicts on the chain, by number.
    pub(crate) verdicts: BTreeMap<i32, String>,
    pub(crate) subject: String,
    /// The names and addresses that it is valid for.
    pub(crate) names: Vec<String>,
    /// The earliest expiry in the chain.
    pub(crate) ends: Option<Timestamp>,
}

/// The highest version that a broker supports of each request, by the request's number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Versions(pub(crate) BTreeMap<i16, i16>);

/// What the cluster reports to this client.
pub(crate) struct Cluster {
    /// Their ids and addresses.
    pub(crate) brokers: Vec<(i32, String)>,
    pub(crate) broker_configs: Asked<Configs>,
    /// The given topics, each followed by its dead-letter topic.
    pub(crate) topics: Vec<Topic>,
    pub(crate) group: Option<Group>,
    pub(crate) round_trip: Option<Result<RoundTrip, Error>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TopicRole {
    Source,
    DeadLetters,
    Canary,
}

pub(crate) struct Topic {
    /// As named on the broker.
    pub(crate) name: String,
    pub(crate) role: TopicRole,
    /// `Err` if it does not exist or is not visible.
    pub(crate) partitions: Result<Vec<Partition>, Error>,
    pub(crate) rights: Asked<Rights>,
    pub(crate) configs: Asked<Configs>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rights {
    pub(crate) read: bool,
    pub(crate) write: bool,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Partition {
    pub(crate) id: i32,
    pub(crate) leader: Option<i32>,
    pub(crate) replicas: usize,
    pub(crate) in_sync: usize,
    /// The first offset and the next one.
    pub(crate) ends: Option<(i64, i64)>,
    pub(crate) committed: Option<i64>,
    /// What was committed at the second read.
    pub(crate) committed_later: Option<i64>,
    /// For each age requested, the first offset that is not older; -1 if all are older.
    pub(crate) younger: BTreeMap<Age, i64>,
    /// At least how far a record is ahead of this host's clock.
    pub(crate) ahead: Option<Duration>,
}

impl Partition {
    /// The number of records that the group has not read.
    pub(crate) fn lag(&self) -> Option<i64> {
        let (low, high) = self.ends?;
        Some((high - self.committed.unwrap_or(low)).max(0))
    }

    /// Whether the group has an unread record that is older than this.
    pub(crate) fn waits_longer_than(&self, age: Age) -> bool {
        let (Some(lag), Some(at), Some(committed)) =
            (self.lag(), self.younger.get(&age), self.committed)
        else {
            return false;
        };
        lag > 0 && (*at < 0 || committed < *at)
    }
}

/// An age of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Age {
    Minute,
    TenMinutes,
    /// Four fifths of the topic's retention.
    NearRetention,
    /// Four fifths of the brokers' retention for offsets of groups without members.
    NearExpiry,
}

/// Four fifths of a time, at which its end counts as near.
pub(crate) fn near(time: Duration) -> Duration {
    time / 5 * 4
}

pub(crate) struct Group {
    /// As named on the broker.
    pub(crate) name: String,
    pub(crate) described: Asked<Described>,
    /// Why its committed offsets are unknown.
    pub(crate) no_offsets: Option<String>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Described {
    pub(crate) may_read: Option<bool>,
    /// Whether the broker assigns (KIP-848).
    pub(crate) broker_assigns: Option<bool>,
    pub(crate) assignor: String,
    pub(crate) state: String,
    pub(crate) members: usize,
    /// The topics of which members have partitions.
    pub(crate) assigned: BTreeSet<String>,
}

/// How long canaries took from publish call to read, sorted.
#[derive(Clone, Debug)]
pub(crate) struct RoundTrip {
    pub(crate) topic: String,
    pub(crate) times: Vec<Duration>,
}
