//! Apache Kafka as child processes: one node or three, each both broker and controller.

mod builder;
mod node;
mod properties;
mod secured;
mod storage;
mod tools;
mod zookeeper;

use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;
use tempfile::TempDir;

pub use self::builder::KafkaBuilder;
use self::node::Node;
pub use self::secured::{Secured, User};
use crate::admin::Admin;
use crate::guard::Guarded;
use crate::jars::Jars;

/// A cold start on two busy cores takes about ten seconds; this is for even slower machines.
const START: Duration = Duration::from_secs(180);
const SHUTDOWN: Duration = Duration::from_secs(30);

/// A running cluster. Dropping it kills the nodes and removes their data; their logs stay in `.kafka/logs`.
#[derive(Debug)]
pub struct Kafka {
    jars: Jars,
    nodes: Vec<Node>,
    secured: Option<Secured>,
    _zookeeper: Option<Guarded>,
    admin: OnceLock<Admin>,
    // Last, so that it is removed once the nodes are gone.
    _data: TempDir,
}

impl Kafka {
    /// A builder for one node of [`DEFAULT_VERSION`](crate::DEFAULT_VERSION).
    #[must_use]
    pub fn builder() -> KafkaBuilder {
        KafkaBuilder::default()
    }

    /// The brokers without encryption or authentication, as `host:port,host:port`.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        let addresses: Vec<_> = self.nodes.iter().map(Node::address).collect();
        addresses.join(",")
    }

    /// The address of one node.
    ///
    /// # Errors
    /// No such node.
    pub fn address(&self, node: i32) -> Result<String> {
        Ok(self.node(node)?.address())
    }

    /// The ids of the nodes: 1, and with three nodes 2 and 3.
    #[must_use]
    pub fn node_ids(&self) -> Vec<i32> {
        self.nodes.iter().map(|node| node.id).collect()
    }

    /// The version of Apache Kafka that runs.
    #[must_use]
    pub fn version(&self) -> &str {
        self.jars.version()
    }

    /// What a client needs for the secured listeners.
    ///
    /// # Errors
    /// The cluster was started without [`KafkaBuilder::secured`].
    pub fn secured(&self) -> Result<&Secured> {
        self.secured
            .as_ref()
            .context("this cluster was started without `secured()`")
    }

    /// The listeners behind the first proxy, accessed directly. They send their clients to the proxy, so without one
    /// only metadata works.
    #[must_use]
    pub fn past_the_proxy(&self) -> String {
        let ports = self.proxied(0).into_iter();
        let all: Vec<_> = ports
            .map(|(_, _, broker)| format!("127.0.0.1:{broker}"))
            .collect();
        all.join(",")
    }

    /// The effect of the given call of [`KafkaBuilder::proxied`], counted from 0, on each node: its id, the port that
    /// clients are sent to, and the port it listens on.
    pub(crate) fn proxied(&self, call: usize) -> Vec<(i32, u16, u16)> {
        let nodes = self.nodes.iter();
        nodes
            .filter_map(|node| {
                let proxied = node.listeners.proxied.get(call)?;
                Some((node.id, proxied.proxy.number, proxied.broker.number))
            })
            .collect()
    }

    /// Administration through the listener without authentication; made at the first call.
    ///
    /// # Errors
    /// librdkafka refuses to make a client.
    pub fn admin(&self) -> Result<&Admin> {
        if let Some(admin) = self.admin.get() {
            return Ok(admin);
        }
        let admin = Admin::new(&self.bootstrap())?;
        Ok(self.admin.get_or_init(|| admin))
    }

    /// Ends a node with SIGKILL: what it had not written is lost, and nobody is notified.
    ///
    /// # Errors
    /// No such node.
    pub fn kill(&self, node: i32) -> Result<()> {
        self.node(node)?.kill();
        Ok(())
    }

    /// Ends a node with SIGTERM: it first hands over its partitions. Returns once it has exited.
    ///
    /// # Errors
    /// No such node, or it does not end within 30 s.
    pub fn shut_down(&self, node: i32) -> Result<()> {
        self.node(node)?.shut_down(SHUTDOWN)
    }

    /// Starts a node again with its data and its port, killing it first if it runs. Returns when it answers.
    ///
    /// # Errors
    /// No such node, or it does not come up; the message has the end of its log.
    pub fn restart(&self, node: i32) -> Result<()> {
        let node = self.node(node)?;
        node.kill();
        node.spawn(&self.jars)?;
        node.wait_until_ready(1, START)
    }

    /// Starts all nodes again, killing those that run. Returns when all of them answer.
    ///
    /// # Errors
    /// A node does not come up; the message has the end of its log.
    pub fn restart_all(&self) -> Result<()> {
        self.stop();
        for node in &self.nodes {
            node.spawn(&self.jars)?;
        }
        for node in &self.nodes {
            node.wait_until_ready(self.nodes.len(), START)?;
        }
        Ok(())
    }

    /// Stops a node with SIGSTOP: its connections stay open, and nothing answers.
    ///
    /// # Errors
    /// No such node, or it does not run.
    pub fn pause(&self, node: i32) -> Result<()> {
        self.node(node)?.signal(Signal::STOP)
    }

    /// Resumes a paused node (SIGCONT).
    ///
    /// # Errors
    /// No such node, or it does not run.
    pub fn resume(&self, node: i32) -> Result<()> {
        self.node(node)?.signal(Signal::CONT)
    }

    /// Ends all nodes with SIGKILL. [`Kafka::restart_all`] brings them back: one of three would wait for another.
    pub fn stop(&self) {
        for node in &self.nodes {
            node.kill();
        }
    }

    /// Waits until every replica of the topic is in sync, as after a [`Kafka::restart`].
    ///
    /// # Errors
    /// It is not so `within` the time given.
    pub fn wait_in_sync(&self, topic: &str, within: Duration) -> Result<()> {
        let admin = self.admin()?;
        crate::eventually(&format!("all replicas of {topic}"), within, || {
            Ok(admin.in_sync(topic)?.then_some(()))
        })
    }

    /// The end of the log of each node, for a failure's message.
    #[must_use]
    pub fn log_tails(&self) -> String {
        self.nodes.iter().map(Node::log_tail).collect()
    }

    fn node(&self, id: i32) -> Result<&Node> {
        match self.nodes.iter().find(|node| node.id == id) {
            Some(node) => Ok(node),
            None => bail!("there is no node {id}; the nodes are {:?}", self.node_ids()),
        }
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log_tails());
        }
        self.stop();
    }
}
