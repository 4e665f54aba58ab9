use std::fmt;
use std::time::{Instant, SystemTime};

use jiff::Timestamp;

use crate::error::Error;
use crate::guard::with_causes;

/// Whether a client or a subscription can do its work, and if not, why.
///
/// ```
/// # use eventstream::Client;
/// # let client = Client::none().build()?;
/// for problem in client.health().problems {
///     eprintln!("{} since {:?}: {}", problem.error(), problem.since(), problem.remedy());
/// }
/// # Ok::<(), eventstream::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Health {
    /// What prevents work; empty if nothing does.
    pub problems: Vec<Problem>,
    /// What operators should know though it prevents no work. Within the last hour: records that were
    /// deleted before they were read, topics that were deleted and recreated. As long as it lasts: a
    /// token provider that fails while its last token still holds.
    pub notices: Vec<Error>,
    /// Whether the group has given this member at least one partition since it joined; true if
    /// there is no group.
    pub assigned: bool,
    /// Whether a broker has answered, and not all of them have been out of reach since; true if
    /// there is no broker.
    pub connected: bool,
}

/// What prevents a client or a subscription from working: the error, since when, and what to do.
///
/// `Display` has all three in one line.
#[derive(Clone, Debug)]
pub struct Problem {
    error: Error,
    since: SystemTime,
}

impl Problem {
    pub(crate) fn now(error: Error) -> Self {
        let since = SystemTime::now();
        Self { error, since }
    }

    pub(crate) fn since_instant(error: Error, since: Instant) -> Self {
        let since = SystemTime::now().checked_sub(since.elapsed());
        Self {
            error,
            since: since.unwrap_or(SystemTime::UNIX_EPOCH),
        }
    }

    pub(crate) fn at(error: Error, since: SystemTime) -> Self {
        Self { error, since }
    }

    /// The error; if it is the same as before, it keeps the earlier start.
    pub(crate) fn after(before: Option<&Self>, error: Error) -> Self {
        match before.filter(|before| before.is_as(&error)) {
            Some(before) => Self {
                error,
                since: before.since,
            },
            None => Self::now(error),
        }
    }

    fn is_as(&self, error: &Error) -> bool {
        self.error.kind() == error.kind() && self.error.to_string() == error.to_string()
    }

    /// What is wrong.
    pub fn error(&self) -> &Error {
        &self.error
    }

    /// When it began, by this machine's clock.
    pub fn since(&self) -> SystemTime {
        self.since
    }

    /// What to do about it: [`Error::remedy`].
    pub fn remedy(&self) -> &str {
        self.error.remedy()
    }

    /// The error alone.
    pub fn into_error(self) -> Error {
        self.error
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = with_causes(&self.error);
        f.write_str(&error)?;
        if let Ok(since) = Timestamp::try_from(self.since) {
            write!(f, "; since {since:.0}")?;
        }
        // Some errors contain it in their text.
        if error.contains(self.remedy()) {
            return Ok(());
        }
        write!(f, "; {}", self.remedy())
    }
}

impl Health {
    /// Of a client with nothing that could fail.
    pub(crate) fn of_nothing() -> Self {
        Self {
            problems: Vec::new(),
            notices: Vec::new(),
            assigned: true,
            connected: true,
        }
    }

    /// Whether no problem is known: for a liveness probe or an alert. A client that has not been in
    /// contact yet is healthy for its first 10 s, but not ready.
    pub fn is_healthy(&self) -> bool {
        self.problems.is_empty()
    }

    /// Whether work can be done now: there is no problem, a broker has answered, and each group has
    /// given this member partitions. For a readiness probe. If a group has more members than
    /// partitions, some are never ready.
    ///
    /// A client that neither subscribes nor has published anything has not contacted a broker: call
    /// [`metadata`](crate::Client::metadata) once to do so.
    pub fn is_ready(&self) -> bool {
        self.is_healthy() && self.connected && self.assigned
    }

    /// Adds a problem once: several parts of a client may report the same one. It keeps the
    /// earliest start.
    pub(crate) fn add(&mut self, problem: Problem) {
        let known = self.problems.iter_mut();
        match known.into_iter().find(|known| known.is_as(&problem.error)) {
            Some(known) => known.since = known.since.min(problem.since),
            None => self.problems.push(problem),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::error::ErrorKind;

    fn away() -> Error {
        Error::new(ErrorKind::Unreachable, "no broker answers")
    }

    #[test]
    fn a_problem_says_what_since_when_and_what_to_do() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_250);
        let problem = Problem::at(away(), at);
        assert_eq!(
            problem.to_string(),
            "no broker answers; since 2023-11-14T22:13:20Z; check that the brokers run, and that this \
             host reaches every address they advertise"
        );
        let error = Error::new(ErrorKind::Authentication, "kafka: set `ca_file`");
        let problem = Problem::at(error.with_remedy("set `ca_file`"), at);
        assert_eq!(problem.remedy(), "set `ca_file`");
        let text = "kafka: set `ca_file`; since 2023-11-14T22:13:20Z";
        assert_eq!(problem.to_string(), text, "not twice");
    }

    #[test]
    fn what_is_still_wrong_is_as_old_as_when_it_began() {
        let first = Problem::at(away(), SystemTime::UNIX_EPOCH);
        let again = Problem::after(Some(&first), away());
        assert_eq!(again.since(), SystemTime::UNIX_EPOCH);
        let other = Problem::after(Some(&first), Error::new(ErrorKind::Broker, "no"));
        assert!(other.since() > SystemTime::UNIX_EPOCH);
        let mut health = Health::of_nothing();
        health.add(Problem::now(away()));
        health.add(first);
        assert_eq!(health.problems.len(), 1);
        assert_eq!(health.problems[0].since(), SystemTime::UNIX_EPOCH);
    }

    #[test]
    fn the_remedy_of_a_cause_is_that_of_the_error() {
        let cause = away().with_remedy("start the broker");
        let error = Error::new(ErrorKind::Handler, "handler").with_source(cause);
        assert_eq!(error.remedy(), "start the broker");
    }
}
