//! When offsets are committed: the option, and the Go SDK's three keys.

use std::fmt;
use std::time::Duration;

use super::broker::BrokerConfig;
use super::value::{FromValue, Value};
use crate::error::Fault;

const DEFAULT_INTERVAL: Duration = Duration::from_secs(1);
const MIN_INTERVAL: Duration = Duration::from_millis(10);
const MAX_INTERVAL: Duration = Duration::from_secs(24 * 3600);

/// When the offsets of handled events are committed.
///
/// [`BrokerConfig::commit`] sets it for a client, [`Subscribe::commit`](crate::Subscribe::commit) for
/// one subscription, which takes precedence. All subscriptions of a group in a client must agree.
///
/// In TOML and in the environment it is `interval`, `each-event`, `each-event-async`,
/// `before-processing`, or an interval such as `5s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CommitPolicy {
    /// At this interval, 10 ms to 24 h: after a crash, the events of one interval are handled twice.
    /// The default, at 1 s: one small request a second.
    Interval(Duration),
    /// After each event; the next event of the partition waits for the commit. At most the events
    /// that were being handled are handled twice after a crash; each costs a round trip.
    EachEvent,
    /// After each event, without waiting for the commit: a commit overtaken by a later one is
    /// skipped, and the committed offset never moves backwards.
    EachEventAsync,
    /// Before the event is handled: at most once. An event whose handler fails or whose process dies
    /// is not handled again, so a retry policy with more than one attempt is refused.
    BeforeProcessing,
}

impl Default for CommitPolicy {
    fn default() -> Self {
        Self::Interval(DEFAULT_INTERVAL)
    }
}

impl CommitPolicy {
    /// How often to commit; with the other policies, how soon to retry a failed commit.
    pub(crate) fn interval(self) -> Duration {
        match self {
            Self::Interval(interval) => interval,
            Self::EachEvent | Self::EachEventAsync | Self::BeforeProcessing => DEFAULT_INTERVAL,
        }
    }

    /// Its fault, if any.
    pub(crate) fn fault(self) -> Option<Fault> {
        let interval = self.interval();
        let fits = (MIN_INTERVAL..=MAX_INTERVAL).contains(&interval);
        (!fits).then(|| {
            let allowed = format!("an interval from {MIN_INTERVAL:?} to {MAX_INTERVAL:?}");
            Fault::new(COMMIT, format!("{interval:?}"), allowed)
        })
    }
}

/// As in TOML and in the environment; an interval as a duration, such as `5s`.
impl fmt::Display for CommitPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interval(interval) => write!(f, "{interval:?}"),
            Self::EachEvent => f.write_str("each-event"),
            Self::EachEventAsync => f.write_str("each-event-async"),
            Self::BeforeProcessing => f.write_str("before-processing"),
        }
    }
}

impl FromValue for CommitPolicy {
    fn from_value(value: &Value) -> Result<Self, String> {
        let word = value.scalar().unwrap_or_default();
        let word = word.trim().to_ascii_lowercase().replace('_', "-");
        match word.as_str() {
            "interval" => Ok(Self::default()),
            "each-event" => Ok(Self::EachEvent),
            "each-event-async" => Ok(Self::EachEventAsync),
            "before-processing" => Ok(Self::BeforeProcessing),
            _ => Duration::from_value(value)
                .map(Self::Interval)
                .map_err(|_| {
                    "one of interval, each-event, each-event-async, before-processing, or an \
                     interval such as \"5s\""
                        .to_owned()
                }),
        }
    }
}

pub(super) const COMMIT: &str = "commit";
const DISABLE: &str = "disable_auto_commit";
const INTERVAL: &str = "auto_commit_interval";
const BEFORE: &str = "commit_before_processing";

/// The keys of one source, a file or the environment, by which the Go SDK selects a policy. They
/// are read together, because only together they define a policy.
#[derive(Default)]
pub(super) struct GoKeys {
    disable: Option<bool>,
    interval: Option<Duration>,
    before: Option<bool>,
    /// The source also sets `commit`.
    commit: bool,
}

impl GoKeys {
    pub(super) const NAMES: &[&str] = &[DISABLE, INTERVAL, BEFORE];

    /// Reads a key if it is one of these; `commit` is only noted, and later read as an option.
    pub(super) fn take(&mut self, key: &str, value: &Value) -> Option<Result<(), Fault>> {
        let fault = |allowed| Fault::new(key, value.shown(), allowed);
        match key {
            COMMIT => {
                self.commit = true;
                return None;
            }
            DISABLE => match bool::from_value(value) {
                Ok(disable) => self.disable = Some(disable),
                Err(allowed) => return Some(Err(fault(allowed))),
            },
            INTERVAL => match Duration::from_value(value) {
                Ok(interval) => self.interval = Some(interval),
                Err(allowed) => return Some(Err(fault(allowed))),
            },
            BEFORE => match bool::from_value(value) {
                Ok(before) => self.before = Some(before),
                Err(allowed) => return Some(Err(fault(allowed))),
            },
            _ => return None,
        }
        Some(Ok(()))
    }

    /// Sets the policy that the keys of this source select; without such keys nothing changes.
    pub(super) fn apply(self, config: &mut BrokerConfig) -> Vec<Fault> {
        let faults = self.contradictions();
        if !faults.is_empty() {
            return faults;
        }
        if self.before == Some(true) {
            config.commit = CommitPolicy::BeforeProcessing;
        } else if self.disable == Some(true) {
            config.commit = CommitPolicy::EachEvent;
        } else if let Some(interval) = self.interval {
            config.commit = CommitPolicy::Interval(interval);
        } else {
            // A `false` overrides the choice of an earlier source.
            let denied = match config.commit {
                CommitPolicy::EachEvent => self.disable,
                CommitPolicy::BeforeProcessing => self.before,
                CommitPolicy::Interval(_) | CommitPolicy::EachEventAsync => None,
            };
            if denied.is_some() {
                config.commit = CommitPolicy::default();
            }
        }
        Vec::new()
    }

    fn contradictions(&self) -> Vec<Fault> {
        let given = [
            (DISABLE, self.disable.map(|disable| disable.to_string())),
            (
                INTERVAL,
                self.interval.map(|interval| format!("{interval:?}")),
            ),
            (BEFORE, self.before.map(|before| before.to_string())),
        ];
        if self.commit {
            let given = given
                .into_iter()
                .filter_map(|(name, value)| Some((name, value?)));
            return given
                .map(|(name, value)| {
                    Fault::new(name, value, "not together with commit, which covers it")
                })
                .collect();
        }
        let Some(interval) = self.interval else {
            return Vec::new();
        };
        [(DISABLE, self.disable), (BEFORE, self.before)]
            .into_iter()
            .filter(|(_, given)| *given == Some(true))
            .map(|(name, _)| {
                let allowed = format!("not together with {name} = true, which commits each event");
                Fault::new(INTERVAL, format!("{interval:?}"), allowed)
            })
            .collect()
    }
}
