//! ZooKeeper, which brokers before Kafka 3.3 need: with their own quorum they have no idempotent
//! producer.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, Result};

use super::node::logging_option;
use crate::guard::Guarded;
use crate::jars::Jars;
use crate::ports::Port;

/// Whether brokers of this version run with ZooKeeper.
pub(crate) fn is_needed(version: &str) -> bool {
    let mut numbers = version.split('.').map_while(|n| n.parse::<u32>().ok());
    (numbers.next(), numbers.next()) < (Some(3), Some(3))
}

/// Starts ZooKeeper on `port`. Brokers wait for it by themselves.
pub(crate) fn start(jars: &Jars, data: &Path, log: &Path, port: &Port) -> Result<Guarded> {
    let folder = data.join("zookeeper");
    fs::create_dir_all(&folder)?;
    let config = folder.join("zookeeper.properties");
    let text = format!(
        "dataDir={}\nclientPort={}\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\n\
         tickTime=500\nmaxClientCnxns=0\n",
        folder.join("data").display(),
        port.number
    );
    fs::write(&config, text)?;
    let log = fs::File::create(log).with_context(|| format!("creating {}", log.display()))?;
    let arguments = [
        "-Xmx256m".to_owned(),
        "-XX:TieredStopAtLevel=1".to_owned(),
        logging_option(jars, &data.join("node-1")),
        "-cp".to_owned(),
        jars.class_path(),
        "org.apache.zookeeper.server.quorum.QuorumPeerMain".to_owned(),
        config.display().to_string(),
    ];
    let stdout = Stdio::from(log.try_clone()?);
    Guarded::spawn(Path::new("java"), &arguments, None, stdout, log)
}

/// Replaces the settings of a quorum.
pub(crate) fn adapt(properties: &mut BTreeMap<String, String>, id: i32, port: u16) {
    for name in [
        "process.roles",
        "node.id",
        "controller.quorum.voters",
        "controller.listener.names",
    ] {
        properties.remove(name);
    }
    if let Some(listeners) = properties.get_mut("listeners") {
        let clients = listeners
            .split(',')
            .filter(|l| !l.starts_with("CONTROLLER:"));
        *listeners = clients.collect::<Vec<_>>().join(",");
    }
    let mut set = |name: &str, value: String| properties.insert(name.to_owned(), value);
    set("broker.id", id.to_string());
    set("zookeeper.connect", format!("127.0.0.1:{port}"));
    set("zookeeper.session.timeout.ms", "3000".to_owned());
}

#[cfg(test)]
mod tests {
    use super::is_needed;

    #[test]
    fn is_needed_before_3_3() {
        for version in ["2.8.2", "3.2.3", "0.10.2"] {
            assert!(is_needed(version), "{version}");
        }
        for version in ["3.3.1", "3.9.2", "4.3.1"] {
            assert!(!is_needed(version), "{version}");
        }
    }
}
