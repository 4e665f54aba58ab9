//! Real Apache Kafka, PostgreSQL and a Go peer, for the tests and benches of `eventstream`.
//!
//! `cargo xtask setup` fetches the jars and builds the peer once; nothing here downloads by itself. A test asks for
//! [`shared`] (one node for the whole test binary) or starts what it needs:
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use eventstream_harness::{Kafka, unique_topic};
//!
//! let kafka = Kafka::builder().nodes(3).start()?;
//! let topic = unique_topic("survives_a_killed_node");
//! kafka.admin()?.create_topic(&topic, 6, 3, &[])?;
//! kafka.kill(2)?;
//! kafka.restart(2)?;
//! assert_eq!(kafka.admin()?.count_records(&topic)?, 0);
//! # Ok(())
//! # }
//! ```
//!
//! | module | what |
//! |---|---|
//! | `jars` | Apache Kafka from Maven Central into `.kafka/` |
//! | `kafka` | brokers as child processes: properties, storage, start, faults |
//! | `proxy` | connections that are cut, held up, delayed or half open |
//! | `certificates` | a CA, a server and the client certificates of a secured broker |
//! | `tokens` | tokens for OAUTHBEARER: unsecured ones, and a server that signs others |
//! | `admin` | blocking administration and reading, over librdkafka and Kafka's own tools |
//! | `acl` | rights given and withdrawn |
//! | `postgres` | PostgreSQL that can be killed, paused and started again |
//! | `go_peer` | a Go program that speaks the same envelopes |
//! | `contract` | what the library promises, as behaviours to be run on any broker (feature `contract`) |
//! | `guard` | child processes that cannot outlive the test |
//! | `pages` | the blocks of code and the lines to type of README and guide |

mod acl;
mod admin;
mod certificates;
#[cfg(feature = "contract")]
pub mod contract;
mod example;
mod go_peer;
mod guard;
mod jars;
mod kafka;
mod pages;
mod paths;
mod ports;
mod postgres;
mod proxy;
mod shared;
mod tokens;
mod wait;

pub use acl::{Operation, Resource};
pub use admin::{Admin, RawRecord};
pub use certificates::{Certificates, Identity};
pub use example::{run_example, start_example};
pub use go_peer::{GoPeer, PeerConsume, PeerConsumer, PeerHeader, PeerRecord};
pub use guard::Guarded;
pub use jars::{DEFAULT_VERSION, Jars, OLDER_VERSION, OLDEST_VERSION};
pub use kafka::{Kafka, KafkaBuilder, Secured, User};
pub use pages::{Block, Typed, pages_for_readers};
pub use paths::{home, workspace};
pub use postgres::{Postgres, shared_postgres};
pub use proxy::{Direction, FaultProxy};
pub use rustix::process::Signal;
pub use shared::{BROKERS_VARIABLE, Shared, shared, unique_topic};
pub use tokens::{Answer, TokenServer, unsecured_token};
pub use wait::eventually;
