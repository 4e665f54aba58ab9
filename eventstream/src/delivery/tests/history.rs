use super::*;

fn starting(commit: CommitMode, start: i64) -> Machine {
    let mut machine = Partition::new(PartitionConfig {
        commit,
        start: Start::ToCommit(start),
        backoff: steady(),
        ..PartitionConfig::default()
    });
    machine.add_route(A, RouteOptions::default());
    machine
}

fn committed(machine: &mut Machine, history: u32, up_to: i64, ok: bool, millis: u64) {
    machine.handle(Input::Committed {
        history,
        up_to,
        ok,
        now: at(millis),
    });
}

const MODES: [CommitMode; 4] = [
    CommitMode::Auto,
    CommitMode::AfterEach,
    CommitMode::AsyncEach,
    CommitMode::BeforeProcessing,
];

#[test]
fn nothing_starts_before_its_start_is_committed() {
    for mode in MODES {
        let mut m = starting(mode, 7);
        feed(&mut m, 7, None, Plan::Undecodable);
        feed(&mut m, 8, None, Plan::One(A));
        assert_eq!(m.watermark(), Some(7));
        assert_eq!(actions(&mut m), ["commit 7"], "{mode:?}");
        committed(&mut m, 0, 7, false, 0);
        assert_eq!(actions(&mut m), [""; 0], "{mode:?}");
        m.handle(Input::Tick(at(10)));
        assert_eq!(actions(&mut m), ["commit 7"], "{mode:?}: tried again");
        committed(&mut m, 0, 7, true, 10);
        let rest = actions(&mut m);
        assert_eq!(rest[0], "skipped 7 Undecodable", "{mode:?}");
        let run = ["run 8 route 0 attempt 1", "commit 8", "commit 9"];
        assert!(run.contains(&&*rest[1]), "{mode:?}: {rest:?}");
    }
}

#[test]
fn a_start_without_records_is_committed_once() {
    for mode in MODES {
        let mut m = starting(mode, 0);
        assert_eq!(actions(&mut m), ["commit 0"]);
        committed(&mut m, 0, 0, true, 0);
        assert_eq!(actions(&mut m), [""; 0], "{mode:?}");
    }
}

#[test]
fn offsets_that_begin_anew_are_read_after_what_is_here() {
    let mut m = machine(
        CommitMode::Auto,
        Concurrency::PerPartition,
        Retry::forever(),
    );
    feed(&mut m, 100, None, Plan::One(A));
    feed(&mut m, 101, None, Plan::One(A));
    assert_eq!(actions(&mut m), ["run 100 route 0 attempt 1"]);
    m.handle(Input::NewHistory { start: 0 });
    feed(&mut m, 0, None, Plan::One(A));
    assert_eq!(m.watermark(), Some(0));
    assert_eq!(actions(&mut m), ["commit 0"]);
    end(&mut m, 0, Outcome::Handled);
    assert_eq!(m.watermark(), Some(0), "offset 101 is of the past");
    assert_eq!(actions(&mut m), ["run 101 route 0 attempt 1"]);
    end(&mut m, 1, Outcome::Handled);
    assert_eq!(actions(&mut m), [""; 0], "the start is not committed");
    committed(&mut m, 0, 0, true, 0);
    assert_eq!(actions(&mut m), [""; 0], "an answer of the past");
    committed(&mut m, 1, 0, true, 0);
    assert_eq!(actions(&mut m), ["run 0 route 0 attempt 1"]);
    end(&mut m, 2, Outcome::Handled);
    assert_eq!(m.watermark(), Some(1));
}

#[test]
fn what_cannot_be_read_again_is_told_when_the_partition_leaves() {
    let mut m = machine(
        CommitMode::Auto,
        Concurrency::PerPartition,
        Retry::forever().backoff(steady()),
    );
    feed(&mut m, 100, None, Plan::One(A));
    feed(&mut m, 101, None, Plan::One(A));
    assert_eq!(actions(&mut m).len(), 1);
    m.handle(Input::NewHistory { start: 0 });
    feed(&mut m, 0, None, Plan::One(A));
    assert_eq!(actions(&mut m), ["commit 0"]);
    revoke(&mut m);
    end(&mut m, 0, Outcome::Handled);
    assert_eq!(
        actions(&mut m),
        ["run 101 route 0 attempt 1"],
        "a drain starts it"
    );
    fail(&mut m, 1, 0);
    assert_eq!(actions(&mut m), [""; 0], "it is tried again");
    m.handle(Input::StopCatchingUp);
    assert_eq!(actions(&mut m), ["skipped 101 Revoked", "drained"]);
    assert_eq!(m.watermark(), Some(0));
}

#[test]
fn a_gap_at_the_end_counts_as_read() {
    let mut m = machine(
        CommitMode::Auto,
        Concurrency::PerPartition,
        Retry::forever(),
    );
    m.handle(Input::ReadTo { offset: 3 });
    assert_eq!(m.watermark(), Some(3));
    feed(&mut m, 5, None, Plan::One(A));
    assert_eq!(actions(&mut m).len(), 1);
    m.handle(Input::ReadTo { offset: 9 });
    m.handle(Input::ReadTo { offset: 4 });
    assert_eq!(m.watermark(), Some(3));
    end(&mut m, 0, Outcome::Handled);
    assert_eq!(m.watermark(), Some(9));
}
