//! Faults of the properties in `base_config`.

use crate::config::base::shown;
use crate::config::broker::BrokerConfig;
use crate::config::choice::Assignment;
use crate::config::near::did_you_mean;
use crate::config::properties;
use crate::error::Fault;

pub(super) fn check(config: &BrokerConfig, faults: &mut Vec<Fault>) {
    for (key, value) in config.base_config.iter() {
        check_property(config, key, value, faults);
    }
    check_pairs(config, faults);
}

fn check_property(config: &BrokerConfig, key: &str, value: &str, faults: &mut Vec<Fault>) {
    let field = format!("base_config.{key}");
    if let Some(instead) = properties::refusal(key) {
        faults.push(Fault::new(
            field,
            "",
            format!("not to be set here: {instead}"),
        ));
        return;
    }
    let Some((name, _, kind)) = properties::find(key) else {
        let allowed = format!("unknown property{}", did_you_mean(key, properties::names()));
        faults.push(Fault::new(field, "", allowed));
        return;
    };
    if name != key && config.base_config.iter().any(|(other, _)| other == name) {
        faults.push(Fault::new(
            field,
            "",
            format!("not together with {name}, which means the same"),
        ));
    } else if value.contains('\0') {
        faults.push(Fault::new(field, "", "text without a zero byte"));
    } else if let Err(allowed) = kind.check(value) {
        faults.push(Fault::new(field, shown(key, value), allowed));
    }
}

/// Properties that contradict an option or each other.
fn check_pairs(config: &BrokerConfig, faults: &mut Vec<Fault>) {
    let given = |property: &str| config.base_config.get(property);
    let number = |property: &str| given(property).and_then(|value| value.parse::<i64>().ok());
    let mut fault = |property: &str, allowed: String| {
        let field = format!("base_config.{property}");
        faults.push(Fault::new(field, given(property).unwrap_or(""), allowed));
    };

    if config.is_idempotent() {
        if given("acks").is_some_and(|acks| !acks.eq_ignore_ascii_case("all") && acks != "-1") {
            fault(
                "acks",
                "not with idempotence: use acks, which says what it gives up".to_owned(),
            );
        }
        let limits = [
            ("max.in.flight", 5),
            ("queue.buffering.backpressure.threshold", 1),
        ];
        for (property, most) in limits {
            if number(property).is_some_and(|number| number > most) {
                fault(property, format!("at most {most} with idempotence"));
            }
        }
        if number("retries") == Some(0) {
            fault("retries", "at least 1 with idempotence".to_owned());
        }
    } else if given("enable.gapless.guarantee")
        .is_some_and(|word| word.eq_ignore_ascii_case("true"))
    {
        fault("enable.gapless.guarantee", "needs idempotence".to_owned());
    }

    if let Some(timeout) = number("delivery.timeout.ms") {
        let linger = config.linger.as_secs_f64() * 1000.0;
        let linger = given("linger.ms")
            .and_then(|value| value.parse().ok())
            .unwrap_or(linger);
        if timeout == 0 {
            fault(
                "delivery.timeout.ms",
                "above 0: every event's time is bounded".to_owned(),
            );
        } else if timeout as f64 <= linger {
            fault("delivery.timeout.ms", format!("above linger.ms ({linger})"));
        }
    } else if let Some(linger) = given("linger.ms").and_then(|value| value.parse::<f64>().ok())
        && linger >= config.publish_timeout.as_secs_f64() * 1000.0
    {
        fault(
            "linger.ms",
            format!("below publish_timeout ({:?})", config.publish_timeout),
        );
    }

    if config.assignment == Assignment::Consumer {
        for property in ["session.timeout.ms", "heartbeat.interval.ms"] {
            if given(property).is_some() {
                fault(
                    property,
                    "not with assignment consumer: the broker decides".to_owned(),
                );
            }
        }
    } else if given("group.remote.assignor").is_some() {
        fault(
            "group.remote.assignor",
            "needs assignment consumer".to_owned(),
        );
    }

    check_sizes(config, faults);
}

fn check_sizes(config: &BrokerConfig, faults: &mut Vec<Fault>) {
    let given = |property: &str| config.base_config.get(property)?.parse::<i64>().ok();
    let mut at_least = |property: &str, least: i64, what: &str| {
        if let Some(number) = given(property).filter(|number| *number < least) {
            let allowed = format!("at least {what} ({least})");
            faults.push(Fault::new(
                format!("base_config.{property}"),
                number.to_string(),
                allowed,
            ));
        }
    };
    let largest = i64::try_from(config.effective_message_max_bytes()).unwrap_or(i64::MAX);
    at_least("fetch.max.bytes", largest, "message.max.bytes");
    // librdkafka's own rule for a fetch size that was not set: 50 MiB, within the queue's limit.
    let queue = config.fetch_queue_bytes as i64 / 1024;
    let queue = config
        .number("queued.max.messages.kbytes", queue)
        .saturating_mul(1024);
    let fetch = given("fetch.max.bytes").unwrap_or_else(|| queue.min(52_428_800).max(largest));
    at_least(
        "receive.message.max.bytes",
        fetch + 512,
        "fetch.max.bytes + 512",
    );
    let first = config.number("reconnect.backoff.ms", 100);
    at_least("reconnect.backoff.max.ms", first, "reconnect.backoff.ms");
    if first > 2000 && given("reconnect.backoff.max.ms").is_none() {
        let allowed = "at most 2000, or with a larger reconnect.backoff.max.ms";
        faults.push(Fault::new(
            "base_config.reconnect.backoff.ms",
            first.to_string(),
            allowed,
        ));
    }
}
