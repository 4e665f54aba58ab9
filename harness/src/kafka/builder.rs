//! The settings of a cluster, and its start.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::node::{Node, log_path, next_instance};
use super::properties::{Listeners, PROXIED, server_properties};
use super::secured::{Credentials, Oauth, Secured};
use super::{Kafka, START, storage, zookeeper};
use crate::certificates::Certificates;
use crate::jars::{DEFAULT_VERSION, Jars};
use crate::paths::logs;
use crate::tokens::TokenServer;

/// Options of a cluster that is not started yet.
#[derive(Clone, Debug)]
pub struct KafkaBuilder {
    version: String,
    nodes: usize,
    auto_create_topics: bool,
    secured: bool,
    users: Vec<String>,
    proxied: usize,
    expired: bool,
    oauth: Oauth,
    for_throughput: bool,
    heap: Option<u32>,
    data: Option<PathBuf>,
    properties: BTreeMap<String, String>,
}

impl Default for KafkaBuilder {
    fn default() -> Self {
        Self {
            version: DEFAULT_VERSION.to_owned(),
            nodes: 1,
            auto_create_topics: true,
            secured: false,
            users: Vec::new(),
            proxied: 0,
            expired: false,
            oauth: Oauth::No,
            for_throughput: false,
            heap: None,
            data: None,
            properties: BTreeMap::new(),
        }
    }
}

impl KafkaBuilder {
    /// The version of Apache Kafka, such as `3.9.2`. Before 3.3, ZooKeeper is started too.
    #[must_use]
    pub fn version(mut self, version: &str) -> Self {
        version.clone_into(&mut self.version);
        self
    }

    /// How many nodes. With three or more, topics get three replicas and writes need two of them.
    #[must_use]
    pub fn nodes(mut self, nodes: usize) -> Self {
        self.nodes = nodes;
        self
    }

    /// Whether the first use of a topic creates it. Default: yes.
    #[must_use]
    pub fn auto_create_topics(mut self, yes: bool) -> Self {
        self.auto_create_topics = yes;
        self
    }

    /// Adds listeners with TLS, SASL and both, in addition to the plain one; see [`Secured`].
    #[must_use]
    pub fn secured(mut self) -> Self {
        self.secured = true;
        self
    }

    /// Like [`secured`](Self::secured), with an authorizer that allows nothing to clients that log in; clients of the
    /// listener without authentication may do everything. See [`Admin::allow`](crate::Admin::allow).
    #[must_use]
    pub fn authorizing(self) -> Self {
        self.property(
            "authorizer.class.name",
            "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        )
        .property("super.users", "User:ANONYMOUS")
        .property("allow.everyone.if.no.acl.found", "false")
        .secured()
    }

    /// Adds a user for the PLAIN mechanism of [`secured`](Self::secured), whose password is its name followed by
    /// `-secret`; see [`Secured::user`].
    #[must_use]
    pub fn user(mut self, name: &str) -> Self {
        self.users.push(name.to_owned());
        self
    }

    /// Adds a plain listener that sends its clients to a port for a [`FaultProxy`](crate::FaultProxy). A second call
    /// adds one for another proxy, so that some clients can have different faults.
    #[must_use]
    pub fn proxied(mut self) -> Self {
        self.proxied += 1;
        self
    }

    /// Keeps the data in a new folder under this one, for instance in memory. Default: the
    /// temporary folder.
    #[must_use]
    pub fn data_under(mut self, folder: impl Into<PathBuf>) -> Self {
        self.data = Some(folder.into());
        self
    }

    /// Like [`secured`](Self::secured), with a certificate that expired yesterday.
    #[must_use]
    pub fn secured_by_an_expired_certificate(mut self) -> Self {
        self.expired = true;
        self.secured()
    }

    /// As [`secured`](Self::secured), with OAUTHBEARER beside the other mechanisms. It takes tokens that nobody signed:
    /// see [`unsecured_token`](crate::unsecured_token).
    #[must_use]
    pub fn oauth(mut self) -> Self {
        self.oauth = Oauth::Unsecured;
        self.secured()
    }

    /// As [`oauth`](Self::oauth), but the listener with TLS takes only tokens that this server has signed for the
    /// audience `kafka`.
    #[must_use]
    pub fn oauth_signed_by(mut self, server: &TokenServer) -> Self {
        self.oauth = Oauth::Signed(server.jwks_url());
        self.secured()
    }

    /// Lets the JVM compile fully, at the cost of a slower start: for benches.
    #[must_use]
    pub fn for_throughput(mut self) -> Self {
        self.for_throughput = true;
        self
    }

    /// The most memory of each node's heap, in MiB. Default: 512, and 1024 with
    /// [`for_throughput`](Self::for_throughput).
    #[must_use]
    pub fn heap(mut self, mebibytes: u32) -> Self {
        self.heap = Some(mebibytes);
        self
    }

    /// A property of the brokers, overriding the harness's own.
    #[must_use]
    pub fn property(mut self, name: &str, value: &str) -> Self {
        self.properties.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Starts the nodes and returns once all of them answer.
    ///
    /// # Errors
    /// The jars are missing, or a node does not come up: the message has the end of its log.
    pub fn start(self) -> Result<Kafka> {
        if self.nodes == 0 {
            bail!("a cluster has at least one node");
        }
        if self.proxied > PROXIED.len() {
            bail!("a cluster has at most {} proxies", PROXIED.len());
        }
        let jars = Jars::find(&self.version)?;
        let under = self.data.clone().unwrap_or_else(std::env::temp_dir);
        let data = tempfile::Builder::new()
            .prefix("eventstream-kafka-")
            .tempdir_in(&under)
            .with_context(|| format!("making a folder for the data in {}", under.display()))?;
        fs::create_dir_all(logs()).with_context(|| format!("creating {}", logs().display()))?;
        let security = self
            .secured
            .then(|| self.prepare_security(data.path()))
            .transpose()?;
        let nodes = self.lay_out_nodes(data.path(), security.as_ref())?;
        let credentials = security.as_ref().map(|(_, credentials)| credentials);
        let zookeeper = if zookeeper::is_needed(&self.version) {
            let log = nodes[0].log().with_extension("zookeeper.log");
            let port = &nodes[0].listeners.controller;
            Some(zookeeper::start(&jars, data.path(), &log, port)?)
        } else {
            storage::format_all(&jars, &nodes, credentials)?;
            None
        };
        for node in &nodes {
            node.spawn(&jars)?;
        }
        for node in &nodes {
            node.wait_until_ready(nodes.len(), START)?;
        }
        let secured = security.map(|(certificates, credentials)| {
            let listeners: Vec<_> = nodes.iter().map(|node| &node.listeners).collect();
            Secured::new(certificates, credentials, &listeners)
        });
        Ok(Kafka {
            jars,
            nodes,
            secured,
            _zookeeper: zookeeper,
            admin: std::sync::OnceLock::new(),
            _data: data,
        })
    }

    fn prepare_security(&self, data: &Path) -> Result<(Certificates, Credentials)> {
        let mut certificates = Certificates::generate(&data.join("certificates"))?;
        if self.expired {
            certificates.server = certificates.expired_server.clone();
        }
        let credentials = Credentials::new(&self.users, self.oauth.clone());
        Ok((certificates, credentials))
    }

    fn jvm_options(&self) -> Vec<String> {
        let heap = self
            .heap
            .unwrap_or(if self.for_throughput { 1024 } else { 512 });
        let mut options = vec![format!("-Xmx{heap}m")];
        if !self.for_throughput {
            options.extend(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"].map(str::to_owned));
        }
        if let Oauth::Signed(jwks) = &self.oauth {
            // Kafka 4 asks nobody else for keys.
            options.push(format!(
                "-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={jwks}"
            ));
        }
        options
    }

    fn lay_out_nodes(
        &self,
        data: &Path,
        security: Option<&(Certificates, Credentials)>,
    ) -> Result<Vec<Node>> {
        let mut listeners = Vec::with_capacity(self.nodes);
        for _ in 0..self.nodes {
            listeners.push(Listeners::reserve(self.secured, self.proxied)?);
        }
        let controllers: Vec<u16> = listeners.iter().map(|own| own.controller.number).collect();
        let instance = next_instance();
        let mut nodes = Vec::with_capacity(self.nodes);
        for (id, listeners) in (1_i32..).zip(listeners) {
            let folder = data.join(format!("node-{id}"));
            fs::create_dir_all(&folder)?;
            let mut properties =
                server_properties(id, &folder.join("data"), &listeners, &controllers);
            if zookeeper::is_needed(&self.version) {
                zookeeper::adapt(&mut properties, id, controllers[0]);
            }
            properties.insert(
                "auto.create.topics.enable".to_owned(),
                self.auto_create_topics.to_string(),
            );
            if let Some((certificates, credentials)) = security {
                properties.extend(credentials.server_properties(certificates));
            }
            properties.extend(self.properties.clone());
            let log = log_path(instance, id);
            nodes.push(Node::new(
                id,
                folder,
                listeners,
                &properties,
                log,
                self.jvm_options(),
            )?);
        }
        Ok(nodes)
    }
}
