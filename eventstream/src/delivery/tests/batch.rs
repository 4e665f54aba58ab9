use super::*;

fn batches(concurrency: Concurrency, retry: Retry, up_to: usize) -> Machine {
    let mut machine = Partition::new(PartitionConfig::default());
    let batch = Batch::up_to(up_to).within(Duration::from_millis(100));
    machine.add_route(
        A,
        RouteOptions {
            concurrency,
            retry,
            batch: Some(batch),
        },
    );
    machine
}

/// The records of the batch that starts now.
fn started(machine: &mut Machine) -> Vec<Ticket> {
    loop {
        match machine.poll() {
            Some(Action::RunBatch { records, .. }) => {
                return records.iter().map(|record| record.ticket).collect();
            }
            Some(_) => {}
            None => return Vec::new(),
        }
    }
}

fn end(machine: &mut Machine, tickets: &[Ticket], outcomes: &[Outcome], millis: u64) {
    machine.handle(Input::BatchEnded {
        route: A,
        outcomes: tickets
            .iter()
            .copied()
            .zip(outcomes.iter().copied())
            .collect(),
        now: at(millis),
    });
}

fn forever() -> Retry {
    Retry::forever().backoff(steady())
}

#[test]
fn a_batch_starts_once_it_is_full() {
    let mut m = batches(Concurrency::PerPartition, forever(), 3);
    for n in 0..2 {
        feed(&mut m, n, None, Plan::One(A));
    }
    assert!(actions(&mut m).is_empty());
    for n in 2..5 {
        feed(&mut m, n, None, Plan::One(A));
    }
    assert_eq!(actions(&mut m), ["batch [(0, 1), (1, 1), (2, 1)] route 0"]);
}

#[test]
fn a_batch_that_is_not_full_starts_when_its_first_record_has_waited() {
    let mut m = batches(Concurrency::PerPartition, forever(), 3);
    m.handle(Input::Tick(at(50)));
    feed(&mut m, 0, None, Plan::One(A));
    assert!(actions(&mut m).is_empty());
    assert_eq!(m.poll_timeout(), Some(at(150)));
    m.handle(Input::Tick(at(120)));
    feed(&mut m, 1, None, Plan::One(A));
    assert!(actions(&mut m).is_empty());
    m.handle(Input::Tick(at(150)));
    assert_eq!(actions(&mut m), ["batch [(0, 1), (1, 1)] route 0"]);
}

#[test]
fn what_failed_is_tried_again_alone_and_what_follows_waits() {
    let mut m = batches(Concurrency::PerPartition, forever(), 4);
    for n in 0..8 {
        feed(&mut m, n, None, Plan::One(A));
    }
    let first = started(&mut m);
    let failed = Outcome::Failed {
        now: at(0),
        retry: None,
    };
    let outcomes = [Outcome::Handled, failed, Outcome::Handled, failed];
    end(&mut m, &first, &outcomes, 0);
    assert!(actions(&mut m).is_empty());
    assert_eq!(m.watermark(), Some(1));
    m.handle(Input::Tick(at(10)));
    assert_eq!(actions(&mut m), ["batch [(1, 2)] route 0"]);
    end(&mut m, &first[1..2], &[Outcome::Handled], 10);
    assert_eq!(m.watermark(), Some(3));
    // It has waited long enough meanwhile.
    assert_eq!(actions(&mut m), ["batch [(3, 2)] route 0"]);
    end(&mut m, &first[3..4], &[Outcome::Handled], 10);
    assert_eq!(
        actions(&mut m),
        ["batch [(4, 1), (5, 1), (6, 1), (7, 1)] route 0"]
    );
}

#[test]
fn what_is_rejected_is_dead_lettered_in_order_without_another_attempt() {
    let mut m = batches(Concurrency::PerPartition, forever(), 3);
    for n in 0..3 {
        feed(&mut m, n, None, Plan::One(A));
    }
    let first = started(&mut m);
    let outcomes = [Outcome::Rejected, Outcome::Handled, Outcome::Rejected];
    end(&mut m, &first, &outcomes, 0);
    for (at_offset, watermark) in [(0, 2), (2, 3)] {
        assert_eq!(
            actions(&mut m),
            [format!("dead letter {at_offset} Rejected")]
        );
        m.handle(Input::DeadLettered {
            ticket: first[at_offset],
            route: Some(A),
            stored: true,
            now: at(0),
        });
        assert_eq!(m.watermark(), Some(watermark));
    }
}

#[test]
fn a_key_that_fails_holds_up_no_other() {
    let mut m = batches(Concurrency::PerKey(1), forever(), 4);
    for n in 0..4 {
        feed(&mut m, n, Some(n as u64 % 2), Plan::One(A));
    }
    let first = started(&mut m);
    let failed = Outcome::Failed {
        now: at(0),
        retry: None,
    };
    let outcomes = [failed, Outcome::Handled, Outcome::Handled, Outcome::Handled];
    end(&mut m, &first, &outcomes, 0);
    for n in 4..8 {
        feed(&mut m, n, Some(n as u64 % 2), Plan::One(A));
    }
    assert!(actions(&mut m).is_empty());
    m.handle(Input::Tick(at(10)));
    assert_eq!(actions(&mut m), ["batch [(0, 2)] route 0"]);
    m.handle(Input::Tick(at(100)));
    let once_more = Outcome::Failed {
        now: at(100),
        retry: None,
    };
    end(&mut m, &first[..1], &[once_more], 100);
    // Key 0 waits for its next attempt; key 1 has waited long enough.
    assert_eq!(actions(&mut m), ["batch [(5, 1), (7, 1)] route 0"]);
}

#[test]
fn keys_are_in_one_batch_at_a_time() {
    let mut m = batches(Concurrency::PerKey(2), forever(), 2);
    for (offset, key) in [(0, 0), (1, 0), (2, 0), (3, 0), (4, 1), (5, 1)] {
        feed(&mut m, offset, Some(key), Plan::One(A));
    }
    assert_eq!(
        actions(&mut m),
        [
            "batch [(0, 1), (1, 1)] route 0",
            "batch [(4, 1), (5, 1)] route 0",
        ]
    );
}

#[test]
fn a_batch_does_not_wait_where_nothing_more_comes() {
    let mut closing = batches(Concurrency::PerPartition, forever(), 9);
    feed(&mut closing, 0, None, Plan::One(A));
    assert!(actions(&mut closing).is_empty());
    closing.close_route(A);
    assert_eq!(actions(&mut closing), ["batch [(0, 1)] route 0"]);

    let mut full = Partition::new(PartitionConfig {
        records: Marks { high: 2, low: 1 },
        ..PartitionConfig::default()
    });
    full.add_route(
        A,
        RouteOptions {
            batch: Some(Batch::up_to(9)),
            ..RouteOptions::default()
        },
    );
    feed(&mut full, 0, None, Plan::One(A));
    feed(&mut full, 1, None, Plan::One(A));
    assert_eq!(
        actions(&mut full),
        ["pause", "batch [(0, 1), (1, 1)] route 0"]
    );
}

#[test]
fn a_batch_that_was_not_run_goes_back() {
    let mut m = batches(Concurrency::Serial, forever(), 2);
    for n in 0..3 {
        feed(&mut m, n, None, Plan::One(A));
    }
    let tickets = started(&mut m);
    m.handle(Input::Withdrawn { route: A, tickets });
    assert_eq!(actions(&mut m), ["batch [(0, 1), (1, 1)] route 0"]);
}

#[test]
fn a_drain_waits_for_a_batch_and_starts_none() {
    let mut m = batches(Concurrency::PerPartition, forever(), 2);
    for n in 0..5 {
        feed(&mut m, n, None, Plan::One(A));
    }
    let first = started(&mut m);
    revoke(&mut m);
    assert!(actions(&mut m).is_empty());
    end(&mut m, &first, &[Outcome::Handled; 2], 0);
    assert_eq!(actions(&mut m), ["drained"]);
    assert_eq!(m.watermark(), Some(2));
}

#[test]
fn a_drain_tries_again_what_a_batch_did_not_do_before_what_it_did() {
    let mut m = batches(Concurrency::PerPartition, forever(), 4);
    for n in 0..4 {
        feed(&mut m, n, None, Plan::One(A));
    }
    let tickets = started(&mut m);
    revoke(&mut m);
    let failed = Outcome::Failed {
        now: at(0),
        retry: None,
    };
    let outcomes = [
        failed,
        Outcome::Handled,
        Outcome::Rejected,
        Outcome::Handled,
    ];
    end(&mut m, &tickets, &outcomes, 0);
    assert!(actions(&mut m).is_empty());
    m.handle(Input::Tick(m.poll_timeout().expect("a retry")));
    assert_eq!(actions(&mut m), ["batch [(0, 2)] route 0"]);
    end(&mut m, &tickets[..1], &[Outcome::Handled], 10);
    assert_eq!(actions(&mut m), ["dead letter 2 Rejected"]);
    letter(&mut m, 2, Some(A), true, 10);
    assert_eq!(actions(&mut m), ["drained"]);
    assert_eq!(m.watermark(), Some(4));
}

#[test]
fn what_was_in_a_batch_is_retried_before_what_came_from_another_worker() {
    let mut m = Partition::new(PartitionConfig {
        commit: CommitMode::AfterEach,
        ..PartitionConfig::default()
    });
    let batch = Some(Batch::up_to(2));
    for (route, batch) in [(A, batch), (B, None)] {
        m.add_route(
            route,
            RouteOptions {
                retry: forever(),
                batch,
                ..RouteOptions::default()
            },
        );
    }
    let to = |route| Plan::One(route);
    feed(&mut m, 0, None, to(A));
    feed(&mut m, 1, None, to(B));
    feed(&mut m, 2, None, to(A));
    let first = started(&mut m);
    assert_eq!(first, [ticket(0), ticket(2)]);
    let failed = Outcome::Failed {
        now: at(0),
        retry: None,
    };
    end(&mut m, &first, &[Outcome::Handled, failed], 0);
    assert_eq!(actions(&mut m), ["commit 1"]);
    // The front is now the record of B, which B gives away before it may start it.
    m.abandon_route(B, &|_| {
        Some(Heir {
            worker: Worker {
                route: A,
                others: vec![B],
            },
            key: None,
        })
    });
    m.handle(Input::Committed {
        up_to: 1,
        history: 0,
        ok: true,
        now: at(0),
    });
    assert_eq!(actions(&mut m), ["route 1 drained"]);
    m.handle(Input::Tick(at(10)));
    assert_eq!(actions(&mut m), ["batch [(2, 2)] route 0"]);
}
