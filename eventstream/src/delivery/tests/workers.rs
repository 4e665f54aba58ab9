use super::*;

/// Two workers of one name; `A` is chosen unless a plan says otherwise.
fn workers(concurrency: Concurrency) -> Machine {
    let mut m = machine(CommitMode::Auto, concurrency, Retry::forever());
    let retry = Retry::forever();
    m.add_route(
        B,
        RouteOptions {
            concurrency,
            retry,
            batch: None,
        },
    );
    m
}

fn to(route: RouteId) -> Plan {
    let others = if route == A { vec![B] } else { vec![A] };
    Plan::Shared(Arc::from([Worker { route, others }]))
}

fn end_at(machine: &mut Machine, n: usize, route: RouteId, result: Outcome) {
    machine.handle(Input::Outcome {
        ticket: ticket(n),
        route,
        result,
    });
}

fn heir_is(route: RouteId) -> impl Fn(&u64) -> Option<Heir> {
    let others = if route == A { vec![B] } else { vec![A] };
    let worker = Worker { route, others };
    move |_| {
        Some(Heir {
            worker: worker.clone(),
            key: None,
        })
    }
}

#[test]
fn a_key_changes_workers_when_the_old_one_owes_nothing_of_it() {
    let mut m = workers(Concurrency::PerKey(4));
    feed(&mut m, 0, Some(1), to(A));
    feed(&mut m, 1, Some(1), to(A));
    feed(&mut m, 2, Some(1), to(B));
    feed(&mut m, 3, Some(2), to(B));
    feed(&mut m, 4, Some(1), to(A));
    assert_eq!(
        actions(&mut m),
        ["run 0 route 0 attempt 1", "run 3 route 1 attempt 1"]
    );
    end(&mut m, 0, Outcome::Handled);
    assert_eq!(actions(&mut m), ["run 1 route 0 attempt 1"]);
    end(&mut m, 1, Outcome::Handled);
    assert_eq!(actions(&mut m), ["run 2 route 1 attempt 1"]);
    end_at(&mut m, 2, B, Outcome::Handled);
    assert_eq!(actions(&mut m), ["run 4 route 0 attempt 1"]);
}

#[test]
fn new_records_wait_for_a_worker_that_leaves_and_then_go_to_the_next() {
    let mut m = workers(Concurrency::PerPartition);
    feed(&mut m, 0, None, to(A));
    feed(&mut m, 1, None, to(A));
    m.close_route(A);
    feed(&mut m, 2, None, to(A));
    assert_eq!(actions(&mut m), ["run 0 route 0 attempt 1"]);
    end(&mut m, 0, Outcome::Handled);
    assert_eq!(actions(&mut m), ["run 1 route 0 attempt 1"]);
    end(&mut m, 1, Outcome::Handled);
    assert_eq!(
        actions(&mut m),
        ["route 0 drained", "run 2 route 1 attempt 1"]
    );
}

#[test]
fn a_closed_route_is_paused_no_more() {
    let mut m = machine(
        CommitMode::Auto,
        Concurrency::PerPartition,
        Retry::forever(),
    );
    m.pause_route(A);
    feed(&mut m, 0, None, Plan::One(A));
    m.close_route(A);
    m.pause_route(A);
    assert_eq!(actions(&mut m), ["run 0 route 0 attempt 1"]);
    end(&mut m, 0, Outcome::Handled);
    assert_eq!(actions(&mut m), ["route 0 drained"]);
    assert_eq!(m.watermark(), Some(1));
}

#[test]
fn what_an_abandoned_worker_has_not_begun_goes_to_another_in_order() {
    let mut m = workers(Concurrency::PerPartition);
    for offset in 0..3 {
        feed(&mut m, offset, None, to(A));
    }
    feed(&mut m, 3, None, to(B));
    assert_eq!(actions(&mut m), ["run 0 route 0 attempt 1"]);
    m.close_route(A);
    m.abandon_route(A, &heir_is(B));
    assert_eq!(actions(&mut m), [""; 0], "0 runs, and its order holds");
    fail(&mut m, 0, 0);
    assert_eq!(actions(&mut m), ["route 0 orphaned"]);
    m.abandon_route(A, &heir_is(B));
    assert_eq!(
        actions(&mut m),
        ["route 0 drained", "run 0 route 1 attempt 1"]
    );
    for n in 0..3 {
        end_at(&mut m, n, B, Outcome::Handled);
        assert_eq!(
            actions(&mut m),
            [format!("run {} route 1 attempt 1", n + 1)]
        );
    }
}

#[test]
fn what_an_abandoned_route_leaves_to_nobody_counts_as_unmatched() {
    for (policy, said) in [
        (OnUnmatched::Acknowledge, "skipped"),
        (OnUnmatched::DeadLetter, "dead letter"),
    ] {
        let mut m = machine(
            CommitMode::Auto,
            Concurrency::PerPartition,
            Retry::forever().backoff(steady()),
        );
        m.config.on_unmatched = policy;
        feed(&mut m, 0, None, Plan::One(A));
        feed(&mut m, 1, None, Plan::One(A));
        actions(&mut m);
        m.close_route(A);
        m.abandon_route(A, &|_| None);
        assert_eq!(actions(&mut m), [format!("{said} 1 Stopped")]);
        letter(&mut m, 1, Some(A), true, 0);
        assert_eq!(m.watermark(), None, "0 runs still");
        end(&mut m, 0, Outcome::Handled);
        assert_eq!(actions(&mut m), ["route 0 drained"]);
        assert_eq!(m.watermark(), Some(2));
    }
}

#[test]
fn a_route_that_stops_the_group_stops_its_siblings() {
    let stop = Retry::attempts(1).then(Exhausted::Stop);
    let mut m = machine(CommitMode::Auto, Concurrency::PerPartition, stop);
    m.add_route(B, RouteOptions::default());
    feed(&mut m, 0, None, Plan::One(A));
    feed(&mut m, 1, None, Plan::One(B));
    feed(&mut m, 2, None, Plan::One(B));
    assert_eq!(actions(&mut m).len(), 2);
    fail(&mut m, 0, 0);
    assert_eq!(actions(&mut m), ["stop at 0"]);
    end_at(&mut m, 1, B, Outcome::Handled);
    assert_eq!(actions(&mut m), [""; 0]);
    revoke(&mut m);
    assert_eq!(actions(&mut m), ["drained"]);
    assert_eq!(m.watermark(), None);
}

#[test]
fn a_handler_that_was_not_started_after_all_holds_up_no_drain() {
    let mut m = machine(CommitMode::Auto, Concurrency::Serial, Retry::forever());
    feed(&mut m, 0, None, Plan::One(A));
    assert_eq!(actions(&mut m), ["run 0 route 0 attempt 1"]);
    let withdrawn = Input::Withdrawn {
        route: A,
        tickets: vec![ticket(0)],
    };
    m.handle(withdrawn.clone());
    assert_eq!(
        actions(&mut m),
        ["run 0 route 0 attempt 1"],
        "no attempt was made"
    );
    m.handle(withdrawn);
    revoke(&mut m);
    assert_eq!(actions(&mut m), ["drained"]);
    assert_eq!((m.watermark(), m.in_flight()), (None, 0));
}
