//! Network faults between clients and brokers: a proxy in front of each node.
//!
//! Blocking threads, two for each connection: a cluster under test has a few hundred, and a blocked thread delays
//! exactly what it forwards.

mod link;
#[cfg(test)]
mod tests;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

pub use self::link::Direction;
use self::link::Link;
use crate::Kafka;

/// A proxy in front of each node of a cluster that was started with [`proxied`](crate::KafkaBuilder::proxied). Clients
/// that bootstrap through it get all their connections through it.
#[derive(Debug)]
pub struct FaultProxy {
    links: Vec<(i32, Link)>,
}

impl FaultProxy {
    /// Starts to listen, without faults.
    ///
    /// # Errors
    /// The cluster was started without `proxied`, or a port is taken.
    pub fn start(kafka: &Kafka) -> Result<Self> {
        Self::start_at(kafka, 0)
    }

    /// As [`start`](Self::start), at the listeners of the second call of [`proxied`](crate::KafkaBuilder::proxied).
    ///
    /// # Errors
    /// It was called less than twice, or a port is taken.
    pub fn start_second(kafka: &Kafka) -> Result<Self> {
        Self::start_at(kafka, 1)
    }

    fn start_at(kafka: &Kafka, call: usize) -> Result<Self> {
        let nodes = kafka.proxied(call);
        ensure!(
            !nodes.is_empty(),
            "this cluster was started without `proxied()`, or with too few"
        );
        let links = nodes
            .into_iter()
            .map(|(node, listen, target)| Ok((node, Link::start(listen, target)?)));
        Ok(Self {
            links: links.collect::<Result<_>>()?,
        })
    }

    /// The proxies, as `host:port,host:port`.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        let links = self.links.iter();
        let addresses: Vec<_> = links
            .map(|(_, link)| format!("127.0.0.1:{}", link.port()))
            .collect();
        addresses.join(",")
    }

    /// Closes every connection to a node; returns how many. New ones come through.
    ///
    /// # Errors
    /// No such node.
    pub fn cut(&self, node: i32) -> Result<usize> {
        Ok(self.link(node)?.cut())
    }

    /// Closes every connection to a node, and new ones at once, until it is told `false`.
    ///
    /// # Errors
    /// No such node.
    pub fn refuse(&self, node: i32, refuse: bool) -> Result<()> {
        self.link(node)?.refuse(refuse);
        Ok(())
    }

    /// Holds everything up that goes in a direction, until it is told `false`; then it goes on. Connections stay open
    /// and new ones are accepted: what a client sees of a network that is away for a while.
    ///
    /// # Errors
    /// No such node.
    pub fn hold(&self, node: i32, direction: Direction, hold: bool) -> Result<()> {
        self.link(node)?.hold(direction, hold);
        Ok(())
    }

    /// Delays every piece of data, both ways; zero ends it.
    ///
    /// # Errors
    /// No such node.
    pub fn delay(&self, node: i32, delay: Duration) -> Result<()> {
        self.link(node)?.delay(delay);
        Ok(())
    }

    /// Leaves the present connections to a node half open: what goes in this direction vanishes from now on, and nobody
    /// is told. With [`Direction::Responses`] the broker still does what it is asked to. New connections are sound.
    /// Returns how many connections are half open now.
    ///
    /// # Errors
    /// No such node.
    pub fn swallow(&self, node: i32, direction: Direction) -> Result<usize> {
        Ok(self.link(node)?.swallow(direction))
    }

    /// Ends what holds, delays and refuses, at every node.
    pub fn calm(&self) {
        for (_, link) in &self.links {
            link.refuse(false);
            link.hold(Direction::Requests, false);
            link.hold(Direction::Responses, false);
            link.delay(Duration::ZERO);
        }
    }

    fn link(&self, node: i32) -> Result<&Link> {
        let found = self.links.iter().find(|(id, _)| *id == node);
        let (_, link) = found.with_context(|| format!("there is no proxy of node {node}"))?;
        Ok(link)
    }
}
