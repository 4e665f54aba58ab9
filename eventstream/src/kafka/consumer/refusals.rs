//! Refusals that keep a group's consumer from working until somebody acts: reported once, shown by `health` until
//! over.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::error::Error;
use crate::observe::health::Problem;

/// What was refused. Topics are named as on the broker.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cause {
    /// The right to read a topic.
    Topic(String),
    /// The right to join the group and to commit.
    Group,
    /// The group does not admit members like this one.
    Membership,
}

/// The lasting refusals of one group. They outlive its consumer, which a refusal may end.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<BTreeMap<Cause, Refusal>>);

#[derive(Debug)]
struct Refusal {
    error: Error,
    since: Instant,
    repeated: u64,
    /// When to log it again, and the interval after that.
    next_log: Instant,
    wait: Duration,
}

const LOG_MIN: Duration = Duration::from_secs(30);
const LOG_MAX: Duration = Duration::from_secs(600);

impl Refusals {
    /// Notes a refusal; `true` if it is new, and must be reported.
    pub(super) fn add(&self, group: &str, cause: Cause, error: &Error, now: Instant) -> bool {
        let mut all = self.0.lock();
        let Some(refusal) = all.get_mut(&cause) else {
            let refusal = Refusal {
                error: error.clone(),
                since: now,
                repeated: 0,
                next_log: now + LOG_MIN,
                wait: LOG_MIN,
            };
            all.insert(cause, refusal);
            drop(all);
            tracing::warn!(group, %error, "refused");
            return true;
        };
        refusal.repeated += 1;
        let (repeated, seconds) = (refusal.repeated, (now - refusal.since).as_secs());
        let is_due = now >= refusal.next_log;
        if is_due {
            refusal.wait = (refusal.wait * 2).min(LOG_MAX);
            refusal.next_log = now + refusal.wait;
        }
        drop(all);
        if is_due {
            tracing::warn!(group, %error, repeated, seconds, "still refused");
        }
        false
    }

    /// Forgets those of other topics, which nobody wants to read any more.
    pub(super) fn keep_topics(&self, subscribed: &[String]) {
        let is_wanted = |cause: &Cause| match cause {
            Cause::Topic(topic) => subscribed.contains(topic),
            Cause::Group | Cause::Membership => true,
        };
        self.0.lock().retain(|cause, _| is_wanted(cause));
    }

    /// Notes that it is over; `false` if there was none.
    pub(super) fn remove(&self, group: &str, cause: &Cause) -> bool {
        let removed = self.0.lock().remove(cause);
        let Some(refusal) = removed else { return false };
        let (repeated, seconds) = (refusal.repeated, refusal.since.elapsed().as_secs());
        let error = &refusal.error;
        tracing::info!(group, %error, repeated, seconds, "no longer refused");
        true
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }

    pub(super) fn has(&self, cause: &Cause) -> bool {
        self.0.lock().contains_key(cause)
    }

    /// The topics that may not be read.
    pub(super) fn topics(&self) -> Vec<String> {
        let all = self.0.lock();
        let topics = all.keys().filter_map(|cause| match cause {
            Cause::Topic(topic) => Some(topic.clone()),
            Cause::Group | Cause::Membership => None,
        });
        topics.collect()
    }

    /// For `health`.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let all = self.0.lock();
        let problem =
            |refusal: &Refusal| Problem::since_instant(refusal.error.clone(), refusal.since);
        all.values().map(problem).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn a_cause_is_new_once_until_it_is_over() {
        let (refusals, now) = (Refusals::default(), Instant::now());
        let error = Error::new(ErrorKind::Unauthorized, "no");
        let topic = Cause::Topic("t".to_owned());
        assert!(refusals.add("g", topic.clone(), &error, now));
        for seconds in [0, 29, 30, 31, 4000] {
            let later = now + Duration::from_secs(seconds);
            assert!(!refusals.add("g", topic.clone(), &error, later));
        }
        assert!(refusals.add("g", Cause::Group, &error, now));
        assert_eq!(refusals.problems().len(), 2);
        assert_eq!(refusals.topics(), ["t"]);
        assert!(refusals.remove("g", &topic) && !refusals.remove("g", &topic));
        assert!(refusals.add("g", topic, &error, now));
        refusals.keep_topics(&["other".to_owned()]);
        assert!(refusals.topics().is_empty() && refusals.has(&Cause::Group));
    }
}
