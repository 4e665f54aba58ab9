use super::*;
use crate::delivery::Marks;

#[test]
fn per_partition_runs_one_record_at_a_time_in_offset_order() {
    let mut m = machine(
        CommitMode::Auto,
        Concurrency::PerPartition,
        Retry::forever(),
    );
    feed(&mut m, 5, Some(1), Plan::One(A));
    feed(&mut m, 9, Some(2), Plan::One(A));
    assert_eq!(actions(&mut m), ["run 5 route 0 attempt 1"]);
    end(&mut m, 0, Outcome::Handled);
    assert_eq!(m.watermark(), Some(6));
    assert_eq!(actions(&mut m), ["run 9 route 0 attempt 1"]);
    end(&mut m, 1, Outcome::Handled);
    assert_eq!(
        (
            m.watermark(),
            m.buffered(),
            m.buffered_bytes(),
            m.in_flight()
        ),
        (Some(10), 0, 0, 0)
    );
}

#[test]
fn per_key_runs_keys_in_parallel_and_one_key_in_order() {
    let mut m = machine(CommitMode::Auto, Concurrency::PerKey(2), Retry::forever());
    for (offset, key) in [(0, 1), (1, 1), (2, 2), (3, 3)] {
        feed(&mut m, offset, Some(key), Plan::One(A));
    }
    assert_eq!(
        actions(&mut m),
        ["run 0 route 0 attempt 1", "run 2 route 0 attempt 1"]
    );
    end(&mut m, 2, Outcome::Handled);
    assert_eq!(m.watermark(), None, "offset 0 is not done");
    assert_eq!(actions(&mut m), ["run 3 route 0 attempt 1"]);
    end(&mut m, 0, Outcome::Handled);
    assert_eq!(m.watermark(), Some(1));
    assert_eq!(actions(&mut m), ["run 1 route 0 attempt 1"]);
}

#[test]
fn records_without_a_key_wait_for_nobody() {
    let mut m = machine(CommitMode::Auto, Concurrency::PerKey(3), Retry::forever());
    feed(&mut m, 0, None, Plan::One(A));
    feed(&mut m, 1, None, Plan::One(A));
    assert_eq!(actions(&mut m).len(), 2);
}

#[test]
fn a_key_in_backoff_gives_its_place_to_another_and_keeps_its_order() {
    let mut m = machine(
        CommitMode::Auto,
        Concurrency::PerKey(1),
        Retry::forever().backoff(steady()),
    );
    for (offset, key) in [(0, 1), (1, 1), (2, 2)] {
        feed(&mut m, offset, Some(key), Plan::One(A));
    }
    assert_eq!(actions(&mut m), ["run 0 route 0 attempt 1"]);
    fail(&mut m, 0, 0);
    assert_eq!(actions(&mut m), ["run 2 route 0 attempt 1"]);
    end(&mut m, 2, Outcome::Handled);
    assert_eq!(actions(&mut m), [""; 0], "offset 1 waits for offset 0");
    m.handle(Input::Tick(at(10)));
    assert_eq!(actions(&mut m), ["run 0 route 0 attempt 2"]);
}

#[test]
fn each_matching_route_has_its_own_attempts_and_the_record_waits_for_all() {
    let mut m = machine(
        CommitMode::Auto,
        Concurrency::PerPartition,
        Retry::forever().backoff(steady()),
    );
    m.add_route(B, RouteOptions::default());
    feed(&mut m, 0, None, both());
    assert_eq!(
        actions(&mut m),
        ["run 0 route 0 attempt 1", "run 0 route 1 attempt 1"]
    );
    fail(&mut m, 0, 0);
    m.handle(Input::Outcome {
        ticket: ticket(0),
        route: B,
        result: Outcome::Handled,
    });
    assert_eq!(m.watermark(), None);
    m.handle(Input::Tick(at(10)));
    assert_eq!(actions(&mut m), ["run 0 route 0 attempt 2"]);
    end(&mut m, 0, Outcome::Handled);
    assert_eq!(m.watermark(), Some(1));
}

#[test]
fn a_paused_route_keeps_its_records_and_goes_on_where_it_was() {
    let mut m = machine(
        CommitMode::Auto,
        Concurrency::PerPartition,
        Retry::forever(),
    );
    m.pause_route(A);
    feed(&mut m, 0, None, Plan::One(A));
    assert_eq!(actions(&mut m), [""; 0]);
    m.resume_route(A);
    assert_eq!(actions(&mut m), ["run 0 route 0 attempt 1"]);
}

#[test]
fn a_closed_route_runs_what_it_has_and_takes_no_more() {
    let mut m = machine(
        CommitMode::Auto,
        Concurrency::PerPartition,
        Retry::forever(),
    );
    feed(&mut m, 0, None, Plan::One(A));
    m.close_route(A);
    feed(&mut m, 1, None, Plan::One(A));
    assert_eq!(
        actions(&mut m),
        ["skipped 1 Unmatched", "run 0 route 0 attempt 1"]
    );
    end(&mut m, 0, Outcome::Handled);
    assert_eq!(actions(&mut m), ["route 0 drained"]);
    assert_eq!(m.watermark(), Some(2));
}

#[test]
fn pauses_at_the_high_mark_and_resumes_at_the_low_one() {
    let config = PartitionConfig {
        records: Marks { high: 3, low: 1 },
        ..PartitionConfig::default()
    };
    let mut m = Partition::new(config);
    m.add_route(A, RouteOptions::default());
    for offset in 0..4 {
        feed(&mut m, offset, None, Plan::One(A));
    }
    assert_eq!(actions(&mut m), ["pause", "run 0 route 0 attempt 1"]);
    for n in 0..2 {
        end(&mut m, n, Outcome::Handled);
        assert_eq!(actions(&mut m).len(), 1, "no resume yet");
    }
    end(&mut m, 2, Outcome::Handled);
    assert_eq!(actions(&mut m), ["resume", "run 3 route 0 attempt 1"]);
}

#[test]
fn one_key_that_fails_for_ever_pauses_the_partition_in_the_end() {
    let config = PartitionConfig {
        span: Marks { high: 10, low: 5 },
        ..PartitionConfig::default()
    };
    let mut m = Partition::new(config);
    m.add_route(
        A,
        RouteOptions {
            concurrency: Concurrency::PerKey(2),
            retry: Retry::forever().backoff(steady()),
            ..RouteOptions::default()
        },
    );
    feed(&mut m, 0, Some(0), Plan::One(A));
    actions(&mut m);
    fail(&mut m, 0, 0);
    for n in 1..9 {
        feed(&mut m, n as i64, Some(1), Plan::One(A));
        actions(&mut m);
        end(&mut m, n, Outcome::Handled);
    }
    assert_eq!(actions(&mut m), [""; 0]);
    feed(&mut m, 9, Some(1), Plan::One(A));
    assert_eq!(actions(&mut m), ["pause", "run 9 route 0 attempt 1"]);
}

#[test]
fn ignores_a_record_read_twice() {
    let mut m = machine(
        CommitMode::Auto,
        Concurrency::PerPartition,
        Retry::forever(),
    );
    feed(&mut m, 4, None, Plan::One(A));
    feed(&mut m, 4, None, Plan::One(A));
    feed(&mut m, 3, None, Plan::One(A));
    assert_eq!(m.buffered(), 1);
}
