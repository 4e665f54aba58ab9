//! The properties of a node that is both broker and controller.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;

use crate::ports::Port;

/// The ports of one node.
#[derive(Debug)]
pub(crate) struct Listeners {
    pub(crate) plaintext: Port,
    pub(crate) controller: Port,
    pub(crate) secured: Option<SecuredListeners>,
    pub(crate) proxied: Vec<ProxiedListener>,
}

/// The names of plain listeners behind a proxy; there are no more than these.
pub(crate) const PROXIED: [&str; 2] = ["PROXIED", "PROXIED_TOO"];

/// A plain listener that advertises another port: that of a proxy in front of it.
#[derive(Debug)]
pub(crate) struct ProxiedListener {
    pub(crate) broker: Port,
    pub(crate) proxy: Port,
}

/// A secured node's ports in addition to the plain one.
#[derive(Debug)]
pub(crate) struct SecuredListeners {
    pub(crate) sasl_ssl: Port,
    pub(crate) sasl_plaintext: Port,
    pub(crate) ssl: Port,
}

impl Listeners {
    pub(crate) fn reserve(secured: bool, proxied: usize) -> Result<Self> {
        let secured = if secured {
            Some(SecuredListeners {
                sasl_ssl: Port::reserve()?,
                sasl_plaintext: Port::reserve()?,
                ssl: Port::reserve()?,
            })
        } else {
            None
        };
        let proxied = (0..proxied).map(|_| {
            Ok(ProxiedListener {
                broker: Port::reserve()?,
                proxy: Port::reserve()?,
            })
        });
        let proxied = proxied.collect::<Result<_>>()?;
        Ok(Self {
            plaintext: Port::reserve()?,
            controller: Port::reserve()?,
            secured,
            proxied,
        })
    }

    /// The listeners for clients: name, listening port, and advertised port.
    fn for_clients(&self) -> Vec<(&'static str, u16, u16)> {
        let mut all = vec![("PLAINTEXT", &self.plaintext, &self.plaintext)];
        if let Some(secured) = &self.secured {
            all.push(("SASL_SSL", &secured.sasl_ssl, &secured.sasl_ssl));
            let sasl_plaintext = &secured.sasl_plaintext;
            all.push(("SASL_PLAINTEXT", sasl_plaintext, sasl_plaintext));
            all.push(("SSL", &secured.ssl, &secured.ssl));
        }
        for (name, proxied) in PROXIED.into_iter().zip(&self.proxied) {
            all.push((name, &proxied.broker, &proxied.proxy));
        }
        let numbers = all.into_iter();
        numbers
            .map(|(name, own, told)| (name, own.number, told.number))
            .collect()
    }
}

/// Common to all nodes, secured or not. A Kafka version that does not know a property only warns. The new group
/// protocol (KIP-848) needs no setting: it is enabled in Kafka 4, and librdkafka does not support the preview in
/// Kafka 3.
pub(crate) fn server_properties(
    id: i32,
    data: &Path,
    listeners: &Listeners,
    controllers: &[u16],
) -> BTreeMap<String, String> {
    let mut properties = BTreeMap::new();
    let mut set = |name: &str, value: String| properties.insert(name.to_owned(), value);

    let for_clients = listeners.for_clients();
    let addresses = |port: fn(&(&str, u16, u16)) -> u16| {
        let all = for_clients
            .iter()
            .map(|listener| format!("{}://127.0.0.1:{}", listener.0, port(listener)));
        all.collect::<Vec<_>>().join(",")
    };
    let voters: Vec<_> = (1..)
        .zip(controllers)
        .map(|(id, port): (i32, _)| format!("{id}@127.0.0.1:{port}"))
        .collect();
    set("process.roles", "broker,controller".to_owned());
    set("node.id", id.to_string());
    set("controller.quorum.voters", voters.join(","));
    set(
        "listeners",
        format!(
            "{},CONTROLLER://127.0.0.1:{}",
            addresses(|listener| listener.1),
            listeners.controller.number
        ),
    );
    set("advertised.listeners", addresses(|listener| listener.2));
    set("controller.listener.names", "CONTROLLER".to_owned());
    set("inter.broker.listener.name", "PLAINTEXT".to_owned());
    set(
        "listener.security.protocol.map",
        "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,PROXIED:PLAINTEXT,PROXIED_TOO:PLAINTEXT".to_owned(),
    );
    set("log.dirs", data.display().to_string());

    let replicas = controllers.len().min(3);
    let in_sync = if replicas == 3 { 2 } else { 1 };
    for name in [
        "default.replication.factor",
        "offsets.topic.replication.factor",
        "transaction.state.log.replication.factor",
        "share.coordinator.state.topic.replication.factor",
    ] {
        set(name, replicas.to_string());
    }
    for name in [
        "min.insync.replicas",
        "transaction.state.log.min.isr",
        "share.coordinator.state.topic.min.isr",
    ] {
        set(name, in_sync.to_string());
    }
    for (name, value) in FAST {
        set(name, (*value).to_owned());
    }
    properties
}

/// Few internal partitions and short timeouts, as tests wait for each of them.
const FAST: &[(&str, &str)] = &[
    ("offsets.topic.num.partitions", "5"),
    ("transaction.state.log.num.partitions", "5"),
    // How often the transactions of killed producers are looked for.
    (
        "transaction.abort.timed.out.transaction.cleanup.interval.ms",
        "1000",
    ),
    ("share.coordinator.state.topic.num.partitions", "1"),
    ("group.initial.rebalance.delay.ms", "0"),
    // A test with a killed member cannot wait for the broker's default minimum of six seconds.
    ("group.min.session.timeout.ms", "500"),
    ("group.consumer.min.heartbeat.interval.ms", "200"),
    ("group.consumer.heartbeat.interval.ms", "500"),
    ("group.consumer.min.session.timeout.ms", "1000"),
    ("group.consumer.session.timeout.ms", "6000"),
    // How soon a dead node is noticed, and how soon it may return.
    ("broker.session.timeout.ms", "3000"),
    ("broker.heartbeat.interval.ms", "500"),
    ("controller.quorum.election.timeout.ms", "500"),
    ("controller.quorum.fetch.timeout.ms", "1000"),
];
