//! What is published with records leaves in their order, and not before its turn.

use super::*;

fn by_key() -> Machine {
    let mut machine = machine(
        CommitMode::Auto,
        Concurrency::PerKey(4),
        Retry::forever().backoff(steady()),
    );
    for offset in 0..3 {
        feed(&mut machine, offset, Some(offset as u64), Plan::One(A));
    }
    actions(&mut machine);
    machine
}

fn stage(machine: &mut Machine, n: usize) {
    let ticket = ticket(n);
    machine.handle(Input::Staged { ticket, size: 100 });
}

#[test]
fn what_is_published_waits_for_the_records_before() {
    let mut machine = by_key();
    for n in [2, 1] {
        stage(&mut machine, n);
        end(&mut machine, n, Outcome::Handled);
    }
    assert_eq!(actions(&mut machine), [""; 0]);
    end(&mut machine, 0, Outcome::Handled);
    assert_eq!(machine.covered(), None, "not before what is released");
    assert_eq!(actions(&mut machine), ["release 1", "release 2"]);
    assert_eq!(machine.covered(), Some(3));
}

#[test]
fn it_counts_until_it_has_left() {
    let mut machine = by_key();
    for n in 0..3 {
        stage(&mut machine, n);
        end(&mut machine, n, Outcome::Handled);
    }
    actions(&mut machine);
    assert_eq!((machine.buffered(), machine.buffered_bytes()), (3, 300));
    machine.handle(Input::Left {
        records: 3,
        bytes: 300,
    });
    assert_eq!((machine.buffered(), machine.buffered_bytes()), (0, 0));
}

#[test]
fn a_drain_releases_what_is_done_and_a_loss_nothing() {
    let mut drained = by_key();
    stage(&mut drained, 0);
    end(&mut drained, 0, Outcome::Handled);
    revoke(&mut drained);
    assert_eq!(actions(&mut drained), ["release 0"]);
    for n in [1, 2] {
        stage(&mut drained, n);
        end(&mut drained, n, Outcome::Handled);
    }
    assert_eq!(actions(&mut drained), ["release 1", "release 2", "drained"]);
    assert_eq!(drained.covered(), Some(3));

    let mut lost = by_key();
    stage(&mut lost, 0);
    end(&mut lost, 0, Outcome::Handled);
    lost.handle(Input::Lost);
    let cancelled = ["cancel route 0"; 2];
    assert_eq!(actions(&mut lost), cancelled);
    assert_eq!(lost.covered(), None);
}
