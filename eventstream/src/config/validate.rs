//! Finds every fault of a configuration at once.

mod base;
mod build;
mod security;

use std::time::Duration;

use super::broker::BrokerConfig;
use super::choice::{Acks, Assignment};
use super::settings::whole_millis;
use crate::error::{Error, ErrorKind, Fault, Result};

const HOUR: Duration = Duration::from_secs(3600);
const MAX: usize = i32::MAX as usize;

impl BrokerConfig {
    /// Checks everything. Building a client does the same.
    ///
    /// ```
    /// use std::time::Duration;
    /// use eventstream::{BrokerConfig, ErrorKind};
    ///
    /// let error = BrokerConfig::new()
    ///     .dial_timeout(Duration::ZERO)
    ///     .base_config("fetch.min.byte", 1)
    ///     .validate()
    ///     .unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::Config);
    /// assert_eq!(
    ///     error.to_string(),
    ///     "checking the configuration: dial_timeout \"0ns\": from 1s to 3600s; \
    ///      base_config.fetch.min.byte: unknown property; did you mean fetch.min.bytes?",
    /// );
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Config`] lists every option out of range, every unknown or refused property,
    /// and every contradiction, each with what is allowed. Files named by
    /// [`Security`](crate::Security) are checked too.
    pub fn validate(&self) -> Result<()> {
        let faults = self.faults();
        if faults.is_empty() {
            return Ok(());
        }
        let doing = "checking the configuration";
        Err(Error::from_faults(ErrorKind::Config, doing, faults))
    }

    /// Every fault, for a caller with more of its own.
    pub(crate) fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        self.check_times(&mut faults);
        self.check_numbers(&mut faults);
        self.check_texts(&mut faults);
        self.check_producer(&mut faults);
        self.check_consumer(&mut faults);
        faults.extend(self.commit.fault());
        security::check(self, &mut faults);
        base::check(self, &mut faults);
        build::check(self, &mut faults);
        faults
    }

    fn check_times(&self, faults: &mut Vec<Fault>) {
        let ms = Duration::from_millis;
        let minutes_5 = Duration::from_secs(300);
        let day = HOUR * 24;
        let mut check = |name: &str, value: Duration, low: Duration, high: Duration| {
            if value < low || value > high {
                faults.push(Fault::new(name, shown(value), range(low, high)));
            }
        };
        check("dial_timeout", self.dial_timeout, ms(1000), HOUR);
        check("read_timeout", self.read_timeout, ms(10), minutes_5);
        check("write_timeout", self.write_timeout, ms(100), minutes_5);
        check("publish_timeout", self.publish_timeout, ms(1), day);
        check("linger", self.linger, Duration::ZERO, ms(900_000));
        check("max_poll_interval", self.max_poll_interval, ms(1), day);
        check(
            "registration_settle",
            self.registration_settle,
            Duration::ZERO,
            ms(60_000),
        );
        check(
            "fetch_queue_backoff",
            self.fetch_queue_backoff,
            Duration::ZERO,
            minutes_5,
        );
        check("fetch_wait", self.fetch_wait, Duration::ZERO, minutes_5);
        if let Some(value) = self.session_timeout {
            check("session_timeout", value, ms(1), HOUR);
        }
        if let Some(value) = self.heartbeat_interval {
            check("heartbeat_interval", value, ms(1), HOUR);
        }
        if let Some(value) = self.statistics_interval {
            check("statistics_interval", value, ms(1), day);
        }
    }

    fn check_numbers(&self, faults: &mut Vec<Fault>) {
        let mut check = |name: &str, value: usize, low: usize, high: usize| {
            if value < low || value > high {
                faults.push(Fault::new(
                    name,
                    value.to_string(),
                    format!("from {low} to {high}"),
                ));
            }
        };
        check("batch_bytes", self.batch_bytes, 1, MAX);
        check("batch_events", self.batch_events, 1, 1_000_000);
        check("buffer_events", self.buffer_events, 1, 1_000_000_000);
        check(
            "message_max_bytes",
            self.message_max_bytes,
            1_000,
            1_000_000_000,
        );
        check(
            "fetch_queue_bytes",
            self.fetch_queue_bytes,
            1024,
            2_097_151 * 1024,
        );
        check("fetch_queue_events", self.fetch_queue_events, 1, 10_000_000);
        let largest = self.effective_message_max_bytes();
        if self.buffer_bytes < largest || self.buffer_bytes / 1024 > MAX / 4 {
            let allowed = format!("from message_max_bytes ({largest}) to {}", MAX / 4 * 1024);
            faults.push(Fault::new(
                "buffer_bytes",
                self.buffer_bytes.to_string(),
                allowed,
            ));
        }
        if let Some(retries) = self
            .publish_retries
            .filter(|retries| *retries > i32::MAX as u32)
        {
            faults.push(Fault::new(
                "publish_retries",
                retries.to_string(),
                format!("at most {MAX}"),
            ));
        }
    }

    fn check_texts(&self, faults: &mut Vec<Fault>) {
        let legal = |c: char| c.is_ascii_alphanumeric() || ['.', '_', '-'].contains(&c);
        let suffix = &self.dead_letter_suffix;
        if suffix.is_empty() || suffix.len() > 100 || !suffix.chars().all(legal) {
            let allowed = "1 to 100 of the letters, digits, '.', '_' and '-' of a topic's name";
            faults.push(Fault::new("dead_letter_suffix", suffix, allowed));
        }
        if self.client_id.is_empty() || self.client_id.contains(char::is_control) {
            faults.push(Fault::new(
                "client_id",
                &self.client_id,
                "a name without control characters",
            ));
        }
    }

    fn check_producer(&self, faults: &mut Vec<Fault>) {
        // If `base_config` sets one of the two, its own check compares them.
        let given = |property| self.base_config.get(property).is_some();
        let option = !given("linger.ms") && !given("delivery.timeout.ms");
        if option && self.linger >= self.publish_timeout {
            let allowed = format!(
                "shorter than publish_timeout ({})",
                shown(self.publish_timeout)
            );
            faults.push(Fault::new("linger", shown(self.linger), allowed));
        }
        if self.idempotence == Some(true) && self.acks != Acks::All {
            faults.push(Fault::new("idempotence", "true", "needs acks all"));
        }
        if self.is_idempotent() && self.publish_retries == Some(0) {
            faults.push(Fault::new(
                "publish_retries",
                "0",
                "at least 1, or idempotence false",
            ));
        }
    }

    fn check_consumer(&self, faults: &mut Vec<Fault>) {
        if self.assignment == Assignment::Consumer {
            let given = [
                ("session_timeout", self.session_timeout),
                ("heartbeat_interval", self.heartbeat_interval),
            ];
            for (name, value) in given {
                if let Some(value) = value {
                    let allowed = "not with assignment consumer: the broker decides";
                    faults.push(Fault::new(name, shown(value), allowed));
                }
            }
            return;
        }
        let of = |property, option| {
            Duration::from_millis(
                u64::try_from(self.number(property, whole_millis(option))).unwrap_or(0),
            )
        };
        let session = of("session.timeout.ms", self.effective_session_timeout());
        let heartbeat = of("heartbeat.interval.ms", self.effective_heartbeat_interval());
        let poll = of("max.poll.interval.ms", self.max_poll_interval);
        if heartbeat >= session {
            let allowed = format!(
                "shorter than session_timeout ({}), best a third",
                shown(session)
            );
            faults.push(Fault::new("heartbeat_interval", shown(heartbeat), allowed));
        }
        if poll < session {
            let allowed = format!("at least session_timeout ({})", shown(session));
            faults.push(Fault::new("max_poll_interval", shown(poll), allowed));
        }
    }
}

fn shown(duration: Duration) -> String {
    format!("{duration:?}")
}

fn range(low: Duration, high: Duration) -> String {
    format!("from {} to {}", shown(low), shown(high))
}
