use super::*;

fn busy() -> Machine {
    let mut m = machine(
        CommitMode::Auto,
        Concurrency::PerKey(2),
        Retry::forever().backoff(steady()),
    );
    for offset in 0..3 {
        feed(&mut m, offset, None, Plan::One(A));
    }
    assert_eq!(actions(&mut m).len(), 2);
    m
}

#[test]
fn revoke_lets_running_handlers_finish_and_starts_nothing() {
    let mut m = busy();
    m.handle(Input::Revoke);
    assert_eq!(actions(&mut m), [""; 0]);
    end(&mut m, 0, Outcome::Handled);
    assert_eq!(actions(&mut m), [""; 0]);
    fail(&mut m, 1, 0);
    assert_eq!(actions(&mut m), ["drained"]);
    assert_eq!(
        (m.watermark(), m.buffered(), m.poll_timeout()),
        (Some(1), 0, None)
    );
    m.handle(Input::Revoke);
    assert_eq!(actions(&mut m), [""; 0], "drained once");
}

/// Keys in parallel, one of them behind: records 0, 1 and 4 are of key 1, which runs 0.
fn behind() -> Machine {
    let mut m = machine(
        CommitMode::Auto,
        Concurrency::PerKey(2),
        Retry::forever().backoff(steady()),
    );
    for (offset, key) in [(0, 1), (1, 1), (2, 2), (3, 3), (4, 1)] {
        feed(&mut m, offset, Some(key), Plan::One(A));
    }
    assert_eq!(
        actions(&mut m),
        ["run 0 route 0 attempt 1", "run 2 route 0 attempt 1"]
    );
    end(&mut m, 2, Outcome::Handled);
    assert_eq!(actions(&mut m), ["run 3 route 0 attempt 1"]);
    end(&mut m, 3, Outcome::Handled);
    assert_eq!(actions(&mut m), [""; 0]);
    m
}

#[test]
fn revoke_starts_what_keeps_a_done_record_from_being_committed() {
    let mut m = behind();
    m.handle(Input::Revoke);
    assert_eq!(actions(&mut m), [""; 0]);
    end(&mut m, 0, Outcome::Handled);
    assert_eq!(actions(&mut m), ["run 1 route 0 attempt 1"]);
    end(&mut m, 1, Outcome::Handled);
    assert_eq!(actions(&mut m), ["drained"], "4 has nothing done after it");
    assert_eq!(m.watermark(), Some(4));
}

#[test]
fn a_drain_catches_up_no_more_once_a_record_fails_or_the_time_is_over() {
    let mut m = behind();
    m.handle(Input::Revoke);
    fail(&mut m, 0, 0);
    assert_eq!(actions(&mut m), ["drained"]);
    assert_eq!(m.watermark(), None);
    let mut m = behind();
    m.handle(Input::Revoke);
    m.handle(Input::StopCatchingUp);
    end(&mut m, 0, Outcome::Handled);
    assert_eq!(actions(&mut m), ["drained"]);
    assert_eq!(m.watermark(), Some(1));
}

#[test]
fn revoke_with_nothing_in_flight_drains_at_once() {
    let mut m = machine(
        CommitMode::Auto,
        Concurrency::PerPartition,
        Retry::forever(),
    );
    m.handle(Input::Drain);
    assert_eq!(actions(&mut m), ["drained"]);
}

#[test]
fn lost_cancels_what_runs_and_may_not_be_committed() {
    let mut m = busy();
    end(&mut m, 0, Outcome::Handled);
    m.handle(Input::Lost);
    assert_eq!(actions(&mut m), ["cancel route 0"]);
    end(&mut m, 1, Outcome::Handled);
    assert_eq!(actions(&mut m), [""; 0]);
    assert_eq!(
        (m.watermark(), m.in_flight(), m.poll_timeout()),
        (None, 0, None)
    );
}

#[test]
fn a_dead_letter_that_fails_in_a_drain_leaves_its_record_undone() {
    let mut m = machine(
        CommitMode::Auto,
        Concurrency::PerPartition,
        Retry::attempts(1),
    );
    feed(&mut m, 0, None, Plan::One(A));
    actions(&mut m);
    fail(&mut m, 0, 0);
    assert_eq!(actions(&mut m), ["dead letter 0 Exhausted"]);
    m.handle(Input::Revoke);
    assert_eq!(actions(&mut m), [""; 0], "the write is in flight");
    letter(&mut m, 0, Some(A), false, 0);
    assert_eq!(actions(&mut m), ["drained"]);
    assert_eq!(m.watermark(), None);
}

#[test]
fn an_outcome_of_an_earlier_assignment_finds_nothing() {
    let config = PartitionConfig {
        incarnation: 1,
        ..PartitionConfig::default()
    };
    let mut m = Partition::new(config);
    m.add_route(A, RouteOptions::default());
    feed(&mut m, 0, None, Plan::One(A));
    assert_eq!(actions(&mut m), ["run 0 route 0 attempt 1"]);
    end(&mut m, 0, Outcome::Handled);
    assert_eq!((m.watermark(), m.in_flight()), (None, 1));
}
