//! 9: this client's configuration.

use std::time::Duration;

use super::{cluster, number, shown};
use crate::config::Assignment;
use crate::doctor::facts::{Facts, Setup};
use crate::doctor::report::Tally;

/// Properties that undo a promise: the value that keeps it, and the promise.
const PROMISES: &[(&str, &[&str], &str)] = &[
    (
        "acks",
        &["-1", "all"],
        "an event that is stored survives the loss of a broker",
    ),
    (
        "enable.idempotence",
        &["true"],
        "a retry neither duplicates an event nor overtakes another",
    ),
    (
        "enable.ssl.certificate.verification",
        &["true"],
        "the broker is who it says",
    ),
    (
        "ssl.endpoint.identification.algorithm",
        &["https"],
        "the broker is the one that was asked for",
    ),
    (
        "isolation.level",
        &["read_committed"],
        "no event of an aborted transaction is read",
    ),
];

pub(super) fn check(facts: &Facts, out: &mut Vec<Tally>) {
    let setup = &facts.setup;
    out.push(valid(setup));
    out.push(poll_interval(setup));
    out.push(session_timeout(facts));
    out.push(publish_timeout(setup));
    out.push(promises(setup));
}

fn valid(setup: &Setup) -> Tally {
    let mut tally = Tally::new("config.valid");
    for fault in &setup.faults {
        tally.fail(fault.to_string(), format!("correct `{}`", fault.field));
    }
    tally.ok("nothing is refused");
    tally
}

fn millis(setup: &Setup, property: &str) -> Option<Duration> {
    setup
        .consumer(property)
        .parse()
        .ok()
        .map(Duration::from_millis)
}

fn poll_interval(setup: &Setup) -> Tally {
    let mut tally = Tally::new("config.poll_interval");
    let Some(most) = millis(setup, "max.poll.interval.ms") else {
        tally.not_run("it is not set");
        return tally;
    };
    let interval = shown(most);
    let drain = setup.drain_timeout;
    if drain >= most {
        tally.fail(
            format!(
                "a drain may take {}, a rebalance {interval}: the member is expelled meanwhile",
                shown(drain)
            ),
            "lower `drain_timeout`, or raise `max_poll_interval`",
        );
    } else if setup.handler_timeout.is_some_and(|timeout| timeout > drain) {
        tally.warn(
            format!(
                "a handler may take {}, and a drain waits {} for it: a rebalance cuts it off",
                shown(setup.handler_timeout.unwrap_or_default()),
                shown(drain)
            ),
            "raise `drain_timeout` above the handlers' limit, and `max_poll_interval` above both",
        );
    } else {
        tally.ok(format!("a drain of {} fits into {interval}", shown(drain)));
    }
    tally
}

fn session_timeout(facts: &Facts) -> Tally {
    let mut tally = Tally::new("config.session_timeout");
    if facts.setup.config.assignment == Assignment::Consumer {
        tally.ok("the brokers decide");
        return tally;
    }
    let own: i64 = facts
        .setup
        .consumer("session.timeout.ms")
        .parse()
        .unwrap_or(0);
    let bounds =
        cluster(facts).and_then(|cluster| cluster.broker_configs.as_ref().map_err(Clone::clone));
    let bounds = bounds.and_then(|configs| {
        let of = |name| number(configs, name).ok_or("the broker does not say".to_owned());
        Ok((
            of("group.min.session.timeout.ms")?,
            of("group.max.session.timeout.ms")?,
        ))
    });
    match bounds {
        Err(why) => tally.not_run(why),
        Ok((least, most)) if own < least || own > most => tally.fail(
            format!("session_timeout is {own} ms, and the brokers take {least} to {most}: no member gets in"),
            "set `session_timeout` within their bounds",
        ),
        Ok((least, most)) => tally.ok(format!("{own} ms is within {least} to {most}")),
    }
    tally
}

fn publish_timeout(setup: &Setup) -> Tally {
    let mut tally = Tally::new("config.publish_timeout");
    let publish = setup.config.effective_publish_timeout();
    let write = setup.producer("socket.timeout.ms").parse().unwrap_or(0);
    let write = Duration::from_millis(write);
    if publish < write {
        tally.warn(
            format!(
                "publish_timeout is {}, below write_timeout of {}: events may be stored twice",
                shown(publish),
                shown(write)
            ),
            "raise `publish_timeout` above `write_timeout`",
        );
    } else {
        tally.ok(format!(
            "{} is above the {} of one request",
            shown(publish),
            shown(write)
        ));
    }
    tally
}

fn promises(setup: &Setup) -> Tally {
    let mut tally = Tally::new("config.promises");
    for (property, keeps, promise) in PROMISES {
        let value = match setup.producer(property) {
            "" => setup.consumer(property),
            value => value,
        };
        if !value.is_empty() && !keeps.iter().any(|keep| value.eq_ignore_ascii_case(keep)) {
            tally.warn(
                format!("{property} is {value}: it undoes that {promise}"),
                format!("leave {property} out"),
            );
        }
    }
    tally.ok("nothing undoes a promise");
    tally
}
