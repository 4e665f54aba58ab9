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
    revoke(&mut m);
    assert_eq!(actions(&mut m), [""; 0]);
    end(&mut m, 0, Outcome::Handled);
    assert_eq!(actions(&mut m), [""; 0]);
    fail(&mut m, 1, 0);
    assert_eq!(actions(&mut m), ["drained"]);
    assert_eq!(
        (m.watermark(), m.buffered(), m.poll_timeout()),
        (Some(1), 0, None)
    );
    revoke(&mut m);
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
    revoke(&mut m);
    assert_eq!(actions(&mut m), [""; 0]);
    end(&mut m, 0, Outcome::Handled);
    assert_eq!(actions(&mut m), ["run 1 route 0 attempt 1"]);
    end(&mut m, 1, Outcome::Handled);
    assert_eq!(actions(&mut m), ["drained"], "4 has nothing done after it");
    assert_eq!(m.watermark(), Some(4));
}

#[test]
fn a_drain_waits_for_a_retry_that_is_due_in_time() {
    let mut m = behind();
    fail(&mut m, 0, 0);
    assert_eq!(actions(&mut m), [""; 0]);
    revoke(&mut m);
    assert_eq!(actions(&mut m), [""; 0]);
    for (from, attempt) in [(0, 2), (10, 3)] {
        assert_eq!(m.poll_timeout(), Some(at(from + 10)));
        m.handle(Input::Tick(at(from + 10)));
        let again = format!("run 0 route 0 attempt {attempt}");
        assert_eq!(actions(&mut m), [again]);
        if attempt == 2 {
            fail(&mut m, 0, from + 10);
            assert_eq!(actions(&mut m), [""; 0]);
        }
    }
    end(&mut m, 0, Outcome::Handled);
    assert_eq!(actions(&mut m), ["run 1 route 0 attempt 1"]);
    end(&mut m, 1, Outcome::Handled);
    assert_eq!(actions(&mut m), ["drained"]);
    assert_eq!((m.watermark(), m.poll_timeout()), (Some(4), None));
}

#[test]
fn a_drain_waits_for_no_retry_that_is_due_too_late() {
    let mut waiting = behind();
    fail(&mut waiting, 0, 0);
    assert_eq!(actions(&mut waiting), [""; 0]);
    waiting.handle(Input::Revoke { until: at(9) });
    let mut running = behind();
    running.handle(Input::Revoke { until: at(9) });
    fail(&mut running, 0, 0);
    for mut m in [waiting, running] {
        assert_eq!(actions(&mut m), ["drained"]);
        assert_eq!((m.watermark(), m.poll_timeout()), (None, None));
    }
}

#[test]
fn a_drain_waits_for_no_retry_that_keeps_nothing_back() {
    let mut m = machine(
        CommitMode::Auto,
        Concurrency::PerKey(2),
        Retry::forever().backoff(steady()),
    );
    feed(&mut m, 0, Some(1), Plan::One(A));
    feed(&mut m, 1, Some(2), Plan::One(A));
    assert_eq!(actions(&mut m).len(), 2);
    fail(&mut m, 0, 0);
    revoke(&mut m);
    assert_eq!(actions(&mut m), [""; 0], "1 may still succeed");
    fail(&mut m, 1, 0);
    assert_eq!(actions(&mut m), ["drained"]);
}

#[test]
fn a_drain_writes_the_dead_letter_of_what_keeps_something_back() {
    for stored in [true, false] {
        let mut m = behind();
        revoke(&mut m);
        end(&mut m, 0, Outcome::Rejected);
        assert_eq!(actions(&mut m), ["dead letter 0 Rejected"]);
        letter(&mut m, 0, Some(A), stored, 0);
        if stored {
            assert_eq!(actions(&mut m), ["run 1 route 0 attempt 1"]);
        } else {
            assert_eq!(actions(&mut m), ["drained"]);
            assert_eq!(m.watermark(), None);
        }
    }
}

#[test]
fn a_drain_writes_the_dead_letter_of_the_last_record() {
    for fails in [false, true] {
        let mut m = machine(
            CommitMode::Auto,
            Concurrency::PerPartition,
            Retry::attempts(1),
        );
        feed(&mut m, 0, None, Plan::One(A));
        actions(&mut m);
        revoke(&mut m);
        let reason = if fails {
            fail(&mut m, 0, 0);
            "Exhausted"
        } else {
            end(&mut m, 0, Outcome::Rejected);
            "Rejected"
        };
        assert_eq!(actions(&mut m), [format!("dead letter 0 {reason}")]);
        letter(&mut m, 0, Some(A), true, 0);
        assert_eq!(actions(&mut m), ["drained"]);
        assert_eq!(m.watermark(), Some(1));
    }
}

#[test]
fn a_drain_catches_up_no_more_once_the_time_is_over() {
    let mut m = behind();
    revoke(&mut m);
    fail(&mut m, 0, 0);
    m.handle(Input::StopCatchingUp);
    assert_eq!(actions(&mut m), ["drained"]);
    assert_eq!((m.watermark(), m.poll_timeout()), (None, None));
    let mut m = behind();
    revoke(&mut m);
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
    revoke(&mut m);
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
    revoke(&mut m);
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
