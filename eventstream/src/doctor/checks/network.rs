//! 1: names resolve, listeners connect, brokers answer.

use super::cluster;
use crate::doctor::facts::{Facts, Listener, Role};
use crate::doctor::report::Tally;
use crate::error::Error;

pub(super) fn check(facts: &Facts, out: &mut Vec<Tally>) {
    out.push(names(facts));
    out.push(bootstrap(facts));
    out.push(advertised(facts));
    out.push(answer(facts));
}

fn names(facts: &Facts) -> Tally {
    let mut tally = Tally::new("names.resolve");
    for listener in &facts.listeners {
        match &listener.resolved {
            Ok(_) => tally.ok(format!("{} resolves", listener.address)),
            Err(why) => tally.fail(
                format!("{} does not resolve: {why}", listener.named()),
                match listener.role {
                    Role::Bootstrap => "correct `brokers`, or fix this host's name resolution",
                    Role::Advertised(_) => {
                        "have the broker advertise a name that this host can resolve (`advertised.listeners`)"
                    }
                },
            ),
        }
    }
    if facts.listeners.is_empty() {
        tally.not_run("the configuration is invalid: see config.valid");
    }
    tally
}

fn bootstrap(facts: &Facts) -> Tally {
    let mut tally = Tally::new("listeners.connect");
    let of_bootstrap = |l: &&Listener| l.role == Role::Bootstrap;
    let all = || facts.listeners.iter().filter(of_bootstrap);
    let is_up = |listener: &Listener| matches!(listener.connected, Some(Ok(_)));
    let any = all().any(is_up);
    for listener in all() {
        let remedy = "check that a broker runs there and that no firewall blocks the connection";
        match &listener.connected {
            Some(Ok(_)) => tally.ok(format!("{} accepts connections", listener.address)),
            Some(Err(why)) if any => tally.warn(format!("{}: {why}", listener.address), remedy),
            Some(Err(why)) => tally.fail(format!("{}: {why}", listener.address), remedy),
            None => tally.not_run(format!("{} has no address", listener.address)),
        }
    }
    if facts.listeners.is_empty() {
        tally.not_run("the configuration is invalid: see config.valid");
    }
    tally
}

fn advertised(facts: &Facts) -> Tally {
    let mut tally = Tally::new("listeners.advertised");
    let remedy = "have the broker advertise an address that this host can reach (`advertised.listeners`), \
                  or open the firewall: its partitions can be neither written nor read from here";
    if let Err(why) = cluster(facts) {
        match facts.cluster.as_ref().and_then(unreached) {
            Some((id, address)) => {
                tally.fail(
                    format!("broker {id} at {address} does not accept connections"),
                    remedy,
                );
            }
            None => tally.not_run(why),
        }
        return tally;
    }
    for listener in &facts.listeners {
        match (&listener.role, &listener.connected) {
            (Role::Bootstrap, _) => {}
            (_, Some(Ok(_))) => tally.ok(format!("{} accepts connections", listener.named())),
            (_, Some(Err(why))) => tally.fail(format!("{}: {why}", listener.named()), remedy),
            (_, None) => tally.fail(format!("{} does not resolve", listener.named()), remedy),
        }
    }
    tally
}

/// An advertised broker that librdkafka could not reach. It learns of the brokers before it sends a request, and may
/// then choose one of them rather than a bootstrap broker. It names advertised ones `address/id` and bootstrap ones
/// `address/bootstrap`.
fn unreached<T>(answer: &Result<T, Error>) -> Option<(i32, String)> {
    let text = answer.as_ref().err()?.to_string();
    text.split_whitespace().find_map(|word| {
        let (address, id) = word.strip_suffix(':')?.rsplit_once('/')?;
        Some((id.parse().ok()?, address.to_owned()))
    })
}

fn answer(facts: &Facts) -> Tally {
    let mut tally = Tally::new("brokers.answer");
    match &facts.cluster {
        Some(Ok(cluster)) => tally.ok(format!("the cluster has {} brokers", cluster.brokers.len())),
        Some(Err(error)) => tally.fail(error.to_string(), error.remedy()),
        None => tally.not_run("the configuration is invalid: see config.valid"),
    }
    tally
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn a_broker_that_is_advertised_and_not_reached_is_named() {
        let named = |text: &str| unreached::<()>(&Err(Error::new(ErrorKind::Unreachable, text)));
        let refused = "metadata: no broker answered; last error: kafka: 127.0.0.1:24375/1: Connect to \
                       ipv4#127.0.0.1:24375 failed: Connection refused";
        assert_eq!(named(refused), Some((1, "127.0.0.1:24375".to_owned())));
        let first = refused.replace("/1:", "/bootstrap:");
        assert_eq!(named(&first), None);
        assert_eq!(named("metadata: no broker answered"), None);
    }
}
