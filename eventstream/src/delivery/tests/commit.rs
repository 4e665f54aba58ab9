use super::*;

fn committed(machine: &mut Machine, up_to: i64, ok: bool, millis: u64) {
    machine.handle(Input::Committed {
        history: 0,
        up_to,
        ok,
        now: at(millis),
    });
}

#[test]
fn after_each_the_next_record_waits_for_the_commit() {
    let mut m = machine(
        CommitMode::AfterEach,
        Concurrency::PerPartition,
        Retry::forever(),
    );
    m.config.backoff = steady();
    feed(&mut m, 0, None, Plan::One(A));
    feed(&mut m, 1, None, Plan::One(A));
    assert_eq!(actions(&mut m), ["run 0 route 0 attempt 1"]);
    end(&mut m, 0, Outcome::Handled);
    assert_eq!(actions(&mut m), ["commit 1"]);
    committed(&mut m, 1, false, 0);
    assert_eq!(actions(&mut m), [""; 0]);
    m.handle(Input::Tick(at(10)));
    assert_eq!(
        actions(&mut m),
        ["commit 1"],
        "a failed commit is tried again"
    );
    committed(&mut m, 1, true, 10);
    assert_eq!(actions(&mut m), ["run 1 route 0 attempt 1"]);
}

#[test]
fn async_each_commits_on_every_advance_and_waits_for_none() {
    let mut m = machine(
        CommitMode::AsyncEach,
        Concurrency::PerKey(3),
        Retry::forever(),
    );
    m.config.backoff = steady();
    for offset in 0..3 {
        feed(&mut m, offset, None, Plan::One(A));
    }
    actions(&mut m);
    end(&mut m, 1, Outcome::Handled);
    assert_eq!(actions(&mut m), [""; 0], "offset 0 is not done");
    end(&mut m, 0, Outcome::Handled);
    assert_eq!(actions(&mut m), ["commit 2"]);
    end(&mut m, 2, Outcome::Handled);
    assert_eq!(actions(&mut m), ["commit 3"]);
    committed(&mut m, 2, false, 0);
    assert_eq!(actions(&mut m), [""; 0], "commit 3 covers it");
    committed(&mut m, 3, false, 0);
    m.handle(Input::Tick(at(10)));
    assert_eq!(actions(&mut m), ["commit 3"]);
}

#[test]
fn before_processing_runs_a_record_only_once_its_commit_is_confirmed() {
    let mut m = machine(
        CommitMode::BeforeProcessing,
        Concurrency::PerPartition,
        Retry::forever(),
    );
    m.config.backoff = steady();
    feed(&mut m, 0, None, Plan::One(A));
    feed(&mut m, 1, None, Plan::One(A));
    assert_eq!(actions(&mut m), ["commit 1"]);
    committed(&mut m, 1, false, 0);
    m.handle(Input::Tick(at(10)));
    assert_eq!(
        actions(&mut m),
        ["commit 1"],
        "a failed commit does not skip the record"
    );
    committed(&mut m, 1, true, 10);
    assert_eq!(
        actions(&mut m),
        ["run 0 route 0 attempt 1"],
        "the next one is not committed before it can run"
    );
    fail(&mut m, 0, 20);
    assert_eq!(
        actions(&mut m),
        ["skipped 0 Exhausted", "commit 2"],
        "told, and not retried"
    );
}

#[test]
fn before_processing_tells_what_was_committed_and_will_not_run() {
    let mut m = machine(
        CommitMode::BeforeProcessing,
        Concurrency::PerPartition,
        Retry::forever(),
    );
    feed(&mut m, 0, None, Plan::One(A));
    assert_eq!(actions(&mut m), ["commit 1"]);
    revoke(&mut m);
    assert_eq!(actions(&mut m), [""; 0], "the commit is on its way");
    committed(&mut m, 1, true, 0);
    assert_eq!(actions(&mut m), ["skipped 0 Revoked", "drained"]);
    assert_eq!(m.watermark(), Some(1));
}
