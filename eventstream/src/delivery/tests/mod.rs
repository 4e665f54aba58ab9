//! Each rule by itself, readable; the simulation has them all at once.

mod batch;
mod commit;
mod failure;
mod flood;
mod history;
mod order;
mod rebalance;
mod speed;
mod staging;
mod workers;

use std::sync::Arc;
use std::time::Duration;

use super::backoff::Jitter;
use super::*;

pub(super) type Machine = Partition<u64>;

pub(super) const A: RouteId = RouteId(0);
pub(super) const B: RouteId = RouteId(1);

pub(super) fn at(millis: u64) -> Time {
    Time::from_nanos(millis * 1_000_000)
}

/// A machine with one route.
pub(super) fn machine(commit: CommitMode, concurrency: Concurrency, retry: Retry) -> Machine {
    let mut machine = Partition::new(PartitionConfig {
        commit,
        ..PartitionConfig::default()
    });
    machine.add_route(
        A,
        RouteOptions {
            concurrency,
            retry,
            batch: None,
        },
    );
    machine
}

/// Waits 10 ms, always.
pub(super) fn steady() -> Backoff {
    Backoff::default()
        .initial(Duration::from_millis(10))
        .multiplier(1.0)
        .jitter(0.0)
}

/// The partition is taken away; a second is left for retries.
pub(super) fn revoke(machine: &mut Machine) {
    machine.handle(Input::Revoke { until: at(1_000) });
}

pub(super) fn feed(machine: &mut Machine, offset: i64, key: Option<u64>, plan: Plan) {
    machine.handle(Input::Record {
        offset,
        key,
        size: 10,
        body: offset as u64,
        plan,
    });
}

pub(super) fn both() -> Plan {
    Plan::Many(Arc::from([A, B]))
}

/// All actions until there are no more, in short form.
pub(super) fn actions(machine: &mut Machine) -> Vec<String> {
    let short = |action: Action<u64>| match action {
        Action::Run {
            route,
            attempt,
            offset,
            ..
        } => format!("run {offset} route {} attempt {attempt}", route.0),
        Action::RunBatch { route, records } => {
            let records = records.iter();
            let records: Vec<_> = records.map(|r| (r.offset, r.attempt)).collect();
            format!("batch {records:?} route {}", route.0)
        }
        Action::DeadLetter(failure) => {
            format!("dead letter {} {:?}", failure.offset, failure.reason)
        }
        Action::Release { ticket } => format!("release {}", ticket.distance(Ticket::first(0))),
        Action::Commit { up_to, .. } => format!("commit {up_to}"),
        Action::Skipped(failure) => format!("skipped {} {:?}", failure.offset, failure.reason),
        Action::StopSubscription(failure) => format!("stop at {}", failure.offset),
        Action::Rejoin(failure) => format!("rejoin at {}", failure.offset),
        Action::Orphaned { route } => format!("route {} orphaned", route.0),
        Action::RouteDrained { route } => format!("route {} drained", route.0),
        Action::Cancel { route, .. } => format!("cancel route {}", route.0),
        Action::Pause => "pause".into(),
        Action::Resume => "resume".into(),
        Action::Drained => "drained".into(),
    };
    std::iter::from_fn(|| machine.poll()).map(short).collect()
}

/// The ticket of the record that was fed as number `n`, from 0.
pub(super) fn ticket(n: usize) -> Ticket {
    Ticket::first(0).plus(n)
}

pub(super) fn end(machine: &mut Machine, n: usize, result: Outcome) {
    machine.handle(Input::Outcome {
        ticket: ticket(n),
        route: A,
        result,
    });
}

pub(super) fn fail(machine: &mut Machine, n: usize, millis: u64) {
    let now = at(millis);
    end(machine, n, Outcome::Failed { now, retry: None });
}

pub(super) fn letter(
    machine: &mut Machine,
    n: usize,
    route: Option<RouteId>,
    stored: bool,
    millis: u64,
) {
    machine.handle(Input::DeadLettered {
        ticket: ticket(n),
        route,
        stored,
        now: at(millis),
    });
}

#[test]
fn backoff_doubles_to_its_maximum_and_jitter_only_shortens_it() {
    let backoff = Backoff::default();
    assert_eq!(backoff.ceiling(1), Duration::from_millis(100));
    assert_eq!(backoff.ceiling(4), Duration::from_millis(800));
    assert_eq!(backoff.ceiling(u32::MAX), Duration::from_secs(30));
    let mut jitter = Jitter::new(1);
    for retry in 1..1_000 {
        let (delay, ceiling) = (backoff.delay(retry, &mut jitter), backoff.ceiling(retry));
        assert!(
            delay <= ceiling && delay >= ceiling.mul_f64(0.8),
            "{delay:?} of {ceiling:?}"
        );
    }
}

#[test]
fn backoff_names_numbers_that_make_no_sense() {
    assert_eq!(Backoff::default().fault(), None);
    assert!(Backoff::default().multiplier(0.5).fault().is_some());
    assert!(Backoff::default().multiplier(f64::NAN).fault().is_some());
    assert!(Backoff::default().jitter(1.5).fault().is_some());
    assert!(
        Backoff::default()
            .initial(Duration::from_secs(60))
            .fault()
            .is_some()
    );
}
