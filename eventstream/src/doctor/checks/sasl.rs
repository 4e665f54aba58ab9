//! 4: mechanism, token and credentials.

use crate::doctor::facts::{Facts, Speaks};
use crate::doctor::report::Tally;
use crate::error::ErrorKind;

pub(super) fn check(facts: &Facts, out: &mut Vec<Tally>) {
    let mut mechanism = Tally::new("sasl.mechanism");
    let mut token = Tally::new("sasl.token");
    let mut credentials = Tally::new("sasl.credentials");
    judge_token(facts, &mut token);
    if facts.setup.config.protocol().sasl() {
        judge_mechanism(facts, &mut mechanism);
        judge_credentials(facts, &mut credentials);
    } else {
        judge_none(facts, &mut mechanism);
        credentials.not_run("this client is configured without SASL");
    }
    out.extend([mechanism, token, credentials]);
}

fn own(facts: &Facts) -> &str {
    match facts.setup.consumer("sasl.mechanism") {
        "" => facts.setup.consumer("sasl.mechanisms"),
        own => own,
    }
}

fn judge_mechanism(facts: &Facts, tally: &mut Tally) {
    let own = own(facts);
    for listener in &facts.listeners {
        let at = listener.named();
        match listener.mechanisms.as_deref() {
            None => {}
            Some([]) => tally.fail(
                format!("{at} does not support SASL"),
                "use the broker's SASL port, or remove the SASL options",
            ),
            Some(offered) if offered.iter().any(|it| it == own) => {
                tally.ok(format!("{at} offers {own}"));
            }
            Some(offered) => tally.fail(
                format!("{at} offers {}, not {own}", offered.join(", ")),
                "set `sasl_mechanism` to one of them",
            ),
        }
    }
    if facts.listeners.iter().all(|l| l.mechanisms.is_none()) {
        tally.not_run("no broker listed its mechanisms");
    }
}

/// A broker that requires SASL answers the first request and closes the connection at the next.
fn judge_none(facts: &Facts, tally: &mut Tally) {
    let tls = facts.setup.config.protocol().tls();
    let speaks = |l: &crate::doctor::facts::Listener| l.speaks == Speaks::Kafka { tls };
    let answered = facts.listeners.iter().any(speaks);
    match &facts.cluster {
        Some(Err(error)) if error.kind() == ErrorKind::Authentication && answered => {
            tally.fail(error.to_string(), error.remedy());
        }
        _ => tally.not_run("this client is configured without SASL"),
    }
}

fn judge_token(facts: &Facts, tally: &mut Tally) {
    match &facts.token {
        None => tally.not_run("this client logs in without a token"),
        Some(Err(error)) => tally.fail(error.to_string(), error.remedy()),
        Some(Ok(token)) => {
            let seconds = token.left().as_secs();
            let of = match &*token.principal {
                "" => String::new(),
                principal => format!(" of {principal}"),
            };
            tally.ok(format!("the token{of} holds for {seconds} s"));
        }
    }
}

fn judge_credentials(facts: &Facts, tally: &mut Tally) {
    let own = own(facts);
    let offered = |l: &crate::doctor::facts::Listener| {
        let mechanisms = l.mechanisms.as_deref().unwrap_or_default();
        mechanisms.iter().any(|it| it == own)
    };
    match &facts.cluster {
        Some(Ok(_)) => tally.ok(format!("the brokers accept {}", facts.setup.principal)),
        Some(Err(_)) if matches!(facts.token, Some(Err(_))) => tally.not_run("there is no token"),
        Some(Err(error))
            if error.kind() == ErrorKind::Authentication && facts.listeners.iter().any(offered) =>
        {
            let found = format!("{}: {error}", facts.setup.principal);
            tally.fail(found, error.remedy());
        }
        _ => tally.not_run("an earlier step failed: see brokers.answer"),
    }
}
