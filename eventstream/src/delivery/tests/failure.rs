use super::*;

#[test]
fn a_failing_record_is_retried_in_place_before_what_comes_after_it() {
    let mut m = machine(
        CommitMode::Auto,
        Concurrency::PerPartition,
        Retry::forever().backoff(steady()),
    );
    feed(&mut m, 0, None, Plan::One(A));
    feed(&mut m, 1, None, Plan::One(A));
    actions(&mut m);
    fail(&mut m, 0, 100);
    assert_eq!(actions(&mut m), [""; 0]);
    assert_eq!(m.poll_timeout(), Some(at(110)));
    m.handle(Input::Tick(at(109)));
    assert_eq!(actions(&mut m), [""; 0], "not before its time");
    m.handle(Input::Tick(at(110)));
    assert_eq!(actions(&mut m), ["run 0 route 0 attempt 2"]);
    end(&mut m, 0, Outcome::Handled);
    assert_eq!(actions(&mut m), ["run 1 route 0 attempt 1"]);
    assert_eq!(m.poll_timeout(), None);
}

#[test]
fn an_exhausted_record_moves_the_offset_only_once_its_dead_letter_is_stored() {
    let mut m = machine(
        CommitMode::Auto,
        Concurrency::PerPartition,
        Retry::attempts(1).backoff(steady()),
    );
    m.config.backoff = steady();
    feed(&mut m, 0, None, Plan::One(A));
    feed(&mut m, 1, None, Plan::One(A));
    actions(&mut m);
    fail(&mut m, 0, 0);
    assert_eq!(actions(&mut m), ["dead letter 0 Exhausted"]);
    letter(&mut m, 0, Some(A), false, 0);
    assert_eq!(actions(&mut m), [""; 0], "the lane waits");
    assert_eq!(m.watermark(), None);
    m.handle(Input::Tick(at(10)));
    assert_eq!(actions(&mut m), ["dead letter 0 Exhausted"]);
    letter(&mut m, 0, Some(A), true, 10);
    assert_eq!(m.watermark(), Some(1));
    assert_eq!(actions(&mut m), ["run 1 route 0 attempt 1"]);
}

#[test]
fn a_rejected_record_is_dead_lettered_without_a_retry() {
    let mut m = machine(
        CommitMode::Auto,
        Concurrency::PerPartition,
        Retry::forever(),
    );
    feed(&mut m, 0, None, Plan::One(A));
    actions(&mut m);
    end(&mut m, 0, Outcome::Rejected);
    assert_eq!(actions(&mut m), ["dead letter 0 Rejected"]);
}

#[test]
fn skip_passes_over_the_record_and_says_so() {
    let retry = Retry::attempts(1).then(Exhausted::Skip);
    let mut m = machine(CommitMode::Auto, Concurrency::PerPartition, retry);
    feed(&mut m, 0, None, Plan::One(A));
    actions(&mut m);
    fail(&mut m, 0, 0);
    assert_eq!(actions(&mut m), ["skipped 0 Exhausted"]);
    assert_eq!(m.watermark(), Some(1));
}

#[test]
fn stop_and_rejoin_leave_the_record_undone_and_start_nothing_more() {
    let stop = Retry::attempts(1).then(Exhausted::Stop);
    for (retry, said) in [(stop, "stop at 0"), (Retry::Rejoin, "rejoin at 0")] {
        let mut m = machine(CommitMode::Auto, Concurrency::PerPartition, retry);
        feed(&mut m, 0, None, Plan::One(A));
        feed(&mut m, 1, None, Plan::One(A));
        actions(&mut m);
        fail(&mut m, 0, 0);
        assert_eq!(actions(&mut m), [said]);
        assert_eq!((m.watermark(), m.in_flight()), (None, 0));
    }
}

#[test]
fn undecodable_and_unmatched_records_follow_their_options() {
    let mut m = machine(
        CommitMode::Auto,
        Concurrency::PerPartition,
        Retry::forever(),
    );
    feed(&mut m, 0, None, Plan::Undecodable);
    feed(&mut m, 1, None, Plan::Unmatched);
    assert_eq!(
        actions(&mut m),
        ["skipped 0 Undecodable", "skipped 1 Unmatched"]
    );
    assert_eq!(m.watermark(), Some(2));

    m.config.on_undecodable = OnUndecodable::DeadLetter;
    m.config.on_unmatched = OnUnmatched::DeadLetter;
    feed(&mut m, 2, None, Plan::Undecodable);
    feed(&mut m, 3, None, Plan::Unmatched);
    assert_eq!(
        actions(&mut m),
        ["dead letter 2 Undecodable", "dead letter 3 Unmatched"]
    );
    letter(&mut m, 3, None, true, 0);
    assert_eq!(m.watermark(), Some(2), "offset 2 is not stored");
    letter(&mut m, 2, None, true, 0);
    assert_eq!(m.watermark(), Some(4));

    m.config.on_undecodable = OnUndecodable::Stop;
    feed(&mut m, 4, None, Plan::Undecodable);
    feed(&mut m, 5, None, Plan::One(A));
    assert_eq!(actions(&mut m), ["stop at 4"]);
    assert_eq!(m.watermark(), Some(4));
}

#[test]
fn a_failure_may_bring_the_policy_of_its_record() {
    let mut m = machine(
        CommitMode::Auto,
        Concurrency::PerPartition,
        Retry::forever().backoff(steady()),
    );
    feed(&mut m, 0, Some(1), Plan::One(A));
    feed(&mut m, 1, Some(1), Plan::One(A));
    assert_eq!(actions(&mut m), ["run 0 route 0 attempt 1"]);
    let once = Outcome::Failed {
        now: at(0),
        retry: Some(Retry::attempts(1).then(Exhausted::Skip)),
    };
    end(&mut m, 0, once);
    assert_eq!(
        actions(&mut m),
        ["skipped 0 Exhausted", "run 1 route 0 attempt 1"]
    );
    fail(&mut m, 1, 0);
    assert_eq!(actions(&mut m), [""; 0]);
}
