//! 2: the protocol of a port, and the version of Kafka behind it.

use crate::config::Assignment;
use crate::doctor::facts::{Facts, Speaks};
use crate::doctor::report::Tally;

/// Kafka's request numbers: a minimum version for the first, mere presence for the others.
const PRODUCE: (i16, i16) = (0, 3);
const INIT_PRODUCER_ID: i16 = 22;
const CONSUMER_GROUP_HEARTBEAT: i16 = 68;

pub(super) fn check(facts: &Facts, out: &mut Vec<Tally>) {
    out.push(matching(facts));
    out.push(version(facts));
}

fn matching(facts: &Facts) -> Tally {
    let mut tally = Tally::new("protocol.match");
    let tls = facts.setup.config.protocol().tls();
    for listener in &facts.listeners {
        let at = listener.named();
        match &listener.speaks {
            Speaks::Unknown => tally.not_run(format!("no connection to {at}")),
            Speaks::Kafka { tls: true } => tally.ok(format!("{at} speaks Kafka with TLS")),
            Speaks::Kafka { tls: false } if !tls => tally.ok(format!("{at} speaks Kafka without TLS")),
            Speaks::Kafka { .. } => tally.fail(
                format!("{at} speaks Kafka without TLS, but this client is configured for TLS"),
                "use the broker's TLS port, or turn TLS off (with SASL: `sasl_without_tls`)",
            ),
            Speaks::Tls if tls => tally.fail(
                format!("{at} speaks TLS, but closes the connection without a Kafka response"),
                "use a broker's port; if it requires a client certificate, set `cert_file` and `key_file`",
            ),
            Speaks::Tls => tally.fail(
                format!("{at} speaks TLS, but this client is configured without it"),
                "set `tls` and the CA (`ca_file`), or use the broker's plain-text port",
            ),
            Speaks::Http => tally.fail(
                format!("{at} speaks HTTP"),
                "use a broker's port: this one belongs to a web server, a REST proxy or a metrics exporter",
            ),
            Speaks::Other(said) => tally.fail(
                format!("{at} does not answer like a Kafka broker: {said}"),
                "use a broker's port; a load balancer without a broker behind it answers like this too",
            ),
        }
    }
    if facts.listeners.is_empty() {
        tally.not_run("the configuration is invalid: see config.valid");
    }
    tally
}

fn version(facts: &Facts) -> Tally {
    let mut tally = Tally::new("protocol.version");
    let wants_848 = facts.setup.config.assignment == Assignment::Consumer;
    for listener in &facts.listeners {
        let Some(versions) = &listener.versions else {
            continue;
        };
        let at = listener.named();
        let has = |kind: i16| versions.0.contains_key(&kind);
        let produces = versions
            .0
            .get(&PRODUCE.0)
            .is_some_and(|most| *most >= PRODUCE.1);
        if !produces || !has(INIT_PRODUCER_ID) {
            tally.fail(
                format!(
                    "{at} is older than Kafka 0.11: it supports neither headers nor the idempotent producer"
                ),
                "upgrade the broker: 2.8 is the oldest version tested",
            );
        } else if wants_848 && !has(CONSUMER_GROUP_HEARTBEAT) {
            tally.fail(
                format!("{at} does not support the KIP-848 group protocol"),
                "set `assignment` to eager or cooperative-sticky, or upgrade to Kafka 4.0",
            );
        } else {
            tally.ok(format!("{at} supports {} request types", versions.0.len()));
        }
    }
    if facts.listeners.iter().all(|l| l.versions.is_none()) {
        tally.not_run("no broker reported its versions");
    }
    tally
}
