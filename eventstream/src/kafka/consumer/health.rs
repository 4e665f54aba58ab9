use std::time::{Duration, Instant};

use super::group::{Group, LATELY};
use super::routes::Registration;
use super::words::Shared;
use crate::error::{Error, ErrorKind};
use crate::observe::health::{Health, Problem};

/// After this long without progress, with records waiting, a partition counts as stuck.
const STUCK: Duration = Duration::from_secs(60);
/// A record that has failed this often, or for this long, is a problem: a temporary fault is over by then.
const FAILED_TIMES: u32 = 5;
const FAILED_FOR: Duration = Duration::from_secs(10);

impl Group {
    /// The health of the group, or of one registration if given.
    pub(super) fn health(&self, registration: Option<&Registration>) -> Health {
        let state = self.state.lock();
        let reporter = &self.env.reporter;
        let lately = |(at, _): &&(Instant, Error)| at.elapsed() < LATELY;
        let notices = state.notices.iter().filter(lately);
        let mut health = Health {
            problems: state.end.clone().into_iter().collect(),
            notices: notices.map(|(_, error)| error.clone()).collect(),
            assigned: state.was_assigned,
            connected: reporter.is_connected(),
        };
        let own = state.problem.iter().chain(&state.transacting);
        let mut problems: Vec<Problem> = own.cloned().collect();
        match registration {
            Some(registration) => {
                problems.extend(registration.state.lock().problem.clone());
                // The client's own health has it once.
                health.notices.extend(reporter.notice());
            }
            None => {
                for registration in state.roster.registrations() {
                    problems.extend(registration.state.lock().problem.clone());
                }
            }
        }
        problems.extend(self.refusals.problems());
        problems.extend(state.waiting.iter().cloned());
        problems.extend(reporter.problem());
        for shared in &state.assigned {
            problems.extend(of_partition(shared));
        }
        for problem in problems {
            health.add(problem);
        }
        health
    }
}

fn of_partition(shared: &Shared) -> Vec<Problem> {
    let progress = shared.progress.lock();
    let blocked = progress.blocked.iter();
    let mut problems: Vec<Problem> = blocked.map(|(_, problem)| problem.clone()).collect();
    problems.extend(progress.unreadable.clone());
    let place = format!("{}/{}", shared.source.topic, shared.source.partition);
    if let Some(failing) = &progress.failing
        && (failing.attempts >= FAILED_TIMES || failing.since.elapsed() >= FAILED_FOR)
    {
        let text = format!(
            "{place} offset {}: its handler has failed {} times in {} s, and is called again",
            failing.offset,
            failing.attempts,
            failing.since.elapsed().as_secs()
        );
        let error = Error::new(ErrorKind::Handler, text);
        let error = error.with_source(failing.error.clone());
        problems.push(Problem::since_instant(error, failing.since));
    }
    let stuck = progress.since.elapsed();
    if progress.buffered > 0 && stuck > STUCK && problems.is_empty() {
        let text = format!(
            "partition {place} has {} records waiting and made no progress for {} s",
            progress.buffered,
            stuck.as_secs()
        );
        let error = Error::new(ErrorKind::Handler, text).with_remedy(
            "find what the handler waits for, or bound it with `handler_timeout`; more partitions, \
             or `Concurrency::PerKey`, if it is only slow",
        );
        problems.push(Problem::since_instant(error, progress.since));
    }
    problems
}
