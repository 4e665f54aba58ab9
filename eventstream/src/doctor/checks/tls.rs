//! 3: certificates.

use std::time::Duration;

use jiff::Timestamp;

use crate::doctor::facts::{Facts, Speaks};
use crate::doctor::report::Tally;
use crate::error::ErrorKind;
use crate::kafka::unverified;

/// A certificate that expires within this time should be renewed.
const SOON: Duration = Duration::from_secs(30 * 86_400);
/// OpenSSL's codes for a certificate of another host or address.
const OTHER_HOST: [i32; 2] = [62, 64];
/// OpenSSL's code for an expired certificate.
const ENDED: i32 = 10;

pub(super) fn check(facts: &Facts, out: &mut Vec<Tally>) {
    let mut checks = [
        Tally::new("tls.files"),
        Tally::new("tls.chain"),
        Tally::new("tls.host_name"),
        Tally::new("tls.expiry"),
        Tally::new("tls.client_certificate"),
    ];
    if facts.setup.config.protocol().tls() {
        let [files, chain, host, expiry, client] = &mut checks;
        judge_files(facts, files);
        judge_chain(facts, chain);
        judge_host(facts, host);
        judge_expiry(facts, expiry);
        judge_client(facts, client);
    } else {
        for check in &mut checks {
            check.not_run("this client is configured without TLS");
        }
    }
    out.extend(checks);
}

fn judge_files(facts: &Facts, tally: &mut Tally) {
    const FIELDS: [&str; 4] = ["ca_", "cert_", "key_", "base_config.ssl."];
    for fault in &facts.setup.faults {
        if FIELDS.iter().any(|begin| fault.field.starts_with(begin)) {
            tally.fail(fault.to_string(), format!("correct `{}`", fault.field));
        }
    }
    tally.ok("the configured files can be read");
}

fn judge_chain(facts: &Facts, tally: &mut Tally) {
    for listener in &facts.listeners {
        let Some(tls) = &listener.tls else { continue };
        let mut verdicts = tls.verdicts.iter();
        let verdict = verdicts.find(|(code, _)| !OTHER_HOST.contains(code) && **code != ENDED);
        let at = listener.named();
        match verdict {
            None => tally.ok(format!("{at}: {}, {} is trusted", tls.version, tls.subject)),
            Some((code, words)) => {
                let text = unverified(*code);
                let (_, remedy) = text
                    .split_once(": ")
                    .unwrap_or((text, "replace it on the broker"));
                tally.fail(
                    format!(
                        "{at}: the certificate of {} is not accepted: {words}",
                        tls.subject
                    ),
                    remedy,
                );
            }
        }
    }
    no_handshake(facts, tally);
}

fn judge_host(facts: &Facts, tally: &mut Tally) {
    let checks = facts
        .setup
        .consumer("ssl.endpoint.identification.algorithm");
    for listener in &facts.listeners {
        let Some(tls) = &listener.tls else { continue };
        let at = listener.named();
        let names = super::some_of(&tls.names);
        let is_other = tls.verdicts.keys().any(|code| OTHER_HOST.contains(code));
        if !is_other {
            tally.ok(format!("{at}: the certificate is for this host"));
        } else if checks == "none" {
            tally.warn(
                format!(
                    "{at}: the certificate is for {names}, but this client does not check that"
                ),
                "remove `ssl.endpoint.identification.algorithm` once the names are right",
            );
        } else {
            tally.fail(
                format!("{at}: the certificate is for {names}"),
                "connect by a name that it is valid for, or issue one for this name",
            );
        }
    }
    no_handshake(facts, tally);
}

fn judge_expiry(facts: &Facts, tally: &mut Tally) {
    for listener in &facts.listeners {
        let ends = listener.tls.as_ref().and_then(|tls| tls.ends);
        if let Some(ends) = ends {
            judge_end(facts.now, ends, &listener.named(), "on the broker", tally);
        }
    }
    if let Some(ends) = facts.setup.config.client_certificate_end() {
        judge_end(facts.now, ends, "this client", "(`cert_file`)", tally);
    }
    no_handshake(facts, tally);
}

fn judge_end(now: Timestamp, ends: Timestamp, whose: &str, at: &str, tally: &mut Tally) {
    let left = ends.as_second() - now.as_second();
    let days = left / 86_400;
    let soon = i64::try_from(SOON.as_secs()).unwrap_or(i64::MAX);
    if left <= 0 {
        let found = format!("{whose}: the certificate expired on {ends}");
        tally.fail(found, format!("renew it {at}"));
    } else if left < soon {
        let found = format!("{whose}: the certificate expires in {days} days, on {ends}");
        tally.warn(found, format!("renew it {at}"));
    } else {
        tally.ok(format!(
            "{whose}: the certificate is valid for another {days} days"
        ));
    }
}

fn judge_client(facts: &Facts, tally: &mut Tally) {
    let is_plain_tls = !facts.setup.config.protocol().sasl();
    let accepted = facts.listeners.iter().any(|l| {
        let fine = l.tls.as_ref().is_some_and(|tls| tls.verdicts.is_empty());
        fine && matches!(l.speaks, Speaks::Tls | Speaks::Kafka { tls: true })
    });
    match &facts.cluster {
        Some(Ok(_)) => tally.ok("the brokers accept this client's certificate, or require none"),
        Some(Err(error))
            if error.kind() == ErrorKind::Authentication && accepted && is_plain_tls =>
        {
            tally.fail(error.to_string(), error.remedy());
        }
        _ => tally.not_run("an earlier step failed: see brokers.answer"),
    }
}

fn no_handshake(facts: &Facts, tally: &mut Tally) {
    if facts
        .listeners
        .iter()
        .all(|listener| listener.tls.is_none())
    {
        tally.not_run("there was no TLS handshake");
    }
}
