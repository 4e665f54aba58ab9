//! 9: this client's configuration.

use std::time::Duration;

use super::{cluster, number, shown};
use crate::config::Assignment;
use crate::doctor::facts::{Facts, Setup};
use crate::doctor::report::Tally;

/// Properties that can break a promise, the values that keep it, and the promise.
const PROMISES: &[(&str, &[&str], &str)] = &[
    (
        "acks",
        &["-1", "all"],
        "a stored event survives the loss of a broker",
    ),
    (
        "enable.idempotence",
        &["true"],
        "a retry neither duplicates nor reorders events",
    ),
    (
        "enable.ssl.certificate.verification",
        &["true"],
        "the broker's certificate is verified",
    ),
    (
        "ssl.endpoint.identification.algorithm",
        &["https"],
        "the broker's certificate is for its host name",
    ),
    (
        "isolation.level",
        &["read_committed"],
        "events of aborted transactions are not read",
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
    tally.ok("the configuration is valid");
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
        tally.not_run("max.poll.interval.ms is not set");
        return tally;
    };
    let interval = shown(most);
    let drain = setup.drain_timeout;
    if drain >= most {
        tally.fail(
            format!(
                "a drain may take {}, but the member is expelled after {interval}",
                shown(drain)
            ),
            "lower `drain_timeout`, or raise `max_poll_interval`",
        );
    } else if setup.handler_timeout.is_some_and(|timeout| timeout > drain) {
        tally.warn(
            format!(
                "a handler may take {}, but a drain waits only {} for it: a rebalance cuts it short",
                shown(setup.handler_timeout.unwrap_or_default()),
                shown(drain)
            ),
            "raise `drain_timeout` above the handlers' time limit, and `max_poll_interval` above both",
        );
    } else {
        tally.ok(format!(
            "a drain of {} fits into max_poll_interval, {interval}",
            shown(drain)
        ));
    }
    tally
}

fn session_timeout(facts: &Facts) -> Tally {
    let mut tally = Tally::new("config.session_timeout");
    if facts.setup.config.assignment == Assignment::Consumer {
        tally.ok("the brokers set it");
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
        let of = |name| number(configs, name).ok_or("the broker does not report it".to_owned());
        Ok((
            of("group.min.session.timeout.ms")?,
            of("group.max.session.timeout.ms")?,
        ))
    });
    match bounds {
        Err(why) => tally.not_run(why),
        Ok((least, most)) if own < least || own > most => tally.fail(
            format!("session_timeout is {own} ms, but the brokers accept {least} to {most} ms: no member can join"),
            "set `session_timeout` within these limits",
        ),
        Ok((least, most)) => tally.ok(format!("{own} ms is within {least} to {most} ms")),
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
            "{} is not below write_timeout, {}",
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
                format!("{property} is {value}, which breaks a promise: {promise}"),
                format!("remove {property}"),
            );
        }
    }
    tally.ok("no property breaks a promise");
    tally
}
