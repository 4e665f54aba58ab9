use super::*;

fn row(id: i64, topic: &str, key: &str) -> Row {
    let event = SealedEvent::new(id.to_string(), topic, key, "{}", []);
    Row {
        id,
        slot: i16::try_from(key.len()).expect("short"),
        lane: lane(topic, key),
        age: Duration::ZERO,
        event,
    }
}

fn of(failed_key: FailedKey) -> Board {
    let mut board = Board::new(failed_key);
    board.keep_slots((0..3).collect());
    board
}

fn lane(topic: &str, key: &str) -> Lane {
    Lane {
        topic: topic.into(),
        key: key.as_bytes().into(),
    }
}

/// Reads rows now.
fn add<const N: usize>(board: &mut Board, rows: [Row; N]) {
    assert!(board.add(rows, board.epoch()));
}

fn probed(board: &mut Board, row: Option<Row>) {
    board.probed("t".to_owned(), row, board.epoch());
}

fn started(board: &mut Board) -> Vec<i64> {
    let mut ids: Vec<_> = board.start().iter().map(|row| row.id).collect();
    ids.sort_unstable();
    ids
}

fn settle(board: &mut Board, topic: &str, key: &str, verdict: Verdict) {
    board.settle(&lane(topic, key), verdict, Instant::now());
}

fn rejected() -> Verdict {
    Verdict::Rejected("no".to_owned())
}

fn suspect() -> Verdict {
    Verdict::Suspect("too large".to_owned())
}

#[test]
fn a_key_has_one_event_on_its_way_and_others_do_not_wait_for_it() {
    let mut board = of(FailedKey::GoesOn);
    add(
        &mut board,
        [
            row(1, "t", "a"),
            row(2, "t", "a"),
            row(3, "t", "b"),
            row(4, "u", "a"),
        ],
    );
    assert_eq!(started(&mut board), [1, 3, 4]);
    assert!(started(&mut board).is_empty());
    settle(&mut board, "t", "a", Verdict::Stored);
    assert_eq!(started(&mut board), [2]);
    // Read again before it was marked.
    add(&mut board, [row(1, "t", "a")]);
    assert_eq!(board.take_done(), (vec![1], vec![]));
    board.marked([1]);
    assert_eq!(board.known_count(), 3);
}

#[test]
fn the_events_behind_a_rejected_one_go_on_or_wait() {
    let mut board = of(FailedKey::GoesOn);
    add(&mut board, [row(1, "t", "a"), row(2, "t", "a")]);
    started(&mut board);
    settle(&mut board, "t", "a", rejected());
    assert_eq!(started(&mut board), [2]);
    assert_eq!(board.take_done(), (vec![], vec![(1, "no".to_owned())]));

    let mut board = of(FailedKey::Waits);
    add(
        &mut board,
        [row(1, "t", "a"), row(2, "t", "a"), row(3, "t", "b")],
    );
    started(&mut board);
    let epoch = board.epoch();
    settle(&mut board, "t", "a", rejected());
    assert!(started(&mut board).is_empty());
    assert!(
        !board.add([row(2, "t", "a")], epoch),
        "read before the table says that 1 failed"
    );
    let mut known = board.known();
    known.sort_unstable();
    assert_eq!(known, [1, 3], "2 is read again once it may be");
    board.marked([1]);
    add(&mut board, [row(2, "t", "a")]);
    assert_eq!(started(&mut board), [2]);
}

#[test]
fn a_suspect_is_tried_alone_before_it_is_rejected() {
    let mut board = of(FailedKey::GoesOn);
    add(
        &mut board,
        [
            row(1, "t", "a"),
            row(2, "t", "b"),
            row(3, "t", "c"),
            row(4, "t", "c"),
        ],
    );
    assert_eq!(started(&mut board), [1, 2, 3]);
    settle(&mut board, "t", "a", suspect());
    settle(&mut board, "t", "b", suspect());
    assert!(started(&mut board).is_empty(), "3 is on its way");
    settle(&mut board, "t", "c", Verdict::Stored);
    assert_eq!(started(&mut board), [1]);
    settle(&mut board, "t", "a", suspect());
    assert_eq!(started(&mut board), [2]);
    settle(&mut board, "t", "b", Verdict::Stored);
    assert_eq!(started(&mut board), [4]);
    assert_eq!(
        board.take_done(),
        (vec![3, 2], vec![(1, "too large".to_owned())])
    );
}

#[test]
fn a_topic_that_cannot_be_published_to_is_probed_with_one_event_and_holds_up_no_other() {
    let now = Instant::now();
    let mut board = of(FailedKey::GoesOn);
    add(
        &mut board,
        [
            row(1, "t", "a"),
            row(2, "t", "b"),
            row(3, "t", "b"),
            row(4, "u", "a"),
        ],
    );
    started(&mut board);
    board.settle(&lane("t", "a"), Verdict::Later, now);
    board.settle(&lane("t", "b"), Verdict::Later, now);
    assert_eq!(board.known(), [4], "the rest of the topic is forgotten");
    assert_eq!(board.held(), ["t"]);
    assert_eq!(board.next_probe(), Some(now + FIRST_WAIT));
    assert!(board.probes(now).is_empty());

    let later = now + FIRST_WAIT;
    assert_eq!(board.probes(later), ["t"]);
    assert!(board.probes(later).is_empty() && board.next_probe().is_none());
    probed(&mut board, Some(row(1, "t", "a")));
    assert_eq!(started(&mut board), [1]);
    board.settle(&lane("t", "a"), Verdict::Later, later);
    assert_eq!(board.next_probe(), Some(later + 2 * FIRST_WAIT));

    let later = later + 2 * FIRST_WAIT;
    board.probes(later);
    probed(&mut board, Some(row(1, "t", "a")));
    started(&mut board);
    board.settle(&lane("t", "a"), Verdict::Stored, later);
    assert!(board.held().is_empty());
}

#[test]
fn a_probe_that_is_rejected_or_finds_nothing_does_not_end_the_probing() {
    let now = Instant::now();
    let mut board = of(FailedKey::GoesOn);
    add(&mut board, [row(1, "t", "a")]);
    started(&mut board);
    board.settle(&lane("t", "a"), Verdict::Later, now);
    let later = now + FIRST_WAIT;
    board.probes(later);
    board.unprobed(&["t".to_owned()]);
    assert_eq!(board.probes(later), ["t"]);
    probed(&mut board, Some(row(1, "t", "a")));
    started(&mut board);
    board.settle(&lane("t", "a"), rejected(), later);
    assert_eq!(board.probes(later), ["t"]);
    assert!(board.holds("t"));
    probed(&mut board, None);
    assert!(board.held().is_empty() && !board.holds("t"));
}

#[test]
fn of_a_slot_that_is_given_up_only_what_is_on_its_way_stays() {
    let mut board = of(FailedKey::GoesOn);
    add(
        &mut board,
        [row(1, "t", "a"), row(2, "t", "a"), row(3, "t", "bb")],
    );
    started(&mut board);
    add(&mut board, [row(4, "t", "c")]);
    board.keep_slots(HashSet::from([2]));
    add(&mut board, [row(5, "t", "d")]);
    assert!(board.flies_in(1) && board.flies_in(2));
    assert!(started(&mut board).is_empty(), "4 and 5 are of the slot");
    settle(&mut board, "t", "a", Verdict::Stored);
    assert!(started(&mut board).is_empty());
    assert!(!board.flies_in(1));
}

#[test]
fn rows_that_were_read_before_something_was_forgotten_are_read_again() {
    let mut board = of(FailedKey::GoesOn);
    add(
        &mut board,
        [row(1, "t", "a"), row(2, "t", "a"), row(3, "t", "a")],
    );
    started(&mut board);
    // Without 1 to 3, which are known.
    let epoch = board.epoch();
    let read = [row(4, "t", "a")];
    board.keep_slots(HashSet::new());
    board.keep_slots((0..3).collect());
    assert!(!board.add(read, epoch), "4 would come before 2");
    settle(&mut board, "t", "a", Verdict::Stored);
    add(
        &mut board,
        [row(2, "t", "a"), row(3, "t", "a"), row(4, "t", "a")],
    );
    assert_eq!(started(&mut board), [2]);
}

#[test]
fn a_suspect_of_a_slot_that_was_lost_is_left_to_its_next_holder() {
    let mut board = of(FailedKey::GoesOn);
    add(&mut board, [row(1, "t", "a"), row(2, "t", "bb")]);
    assert_eq!(started(&mut board), [1, 2]);
    board.keep_slots(HashSet::from([2]));
    settle(&mut board, "t", "a", suspect());
    settle(&mut board, "t", "bb", Verdict::Stored);
    assert!(started(&mut board).is_empty());

    // It may have had one in the meantime, and be at a later event by now.
    let mut board = of(FailedKey::GoesOn);
    add(&mut board, [row(1, "t", "a")]);
    started(&mut board);
    board.keep_slots(HashSet::new());
    board.keep_slots((0..3).collect());
    add(&mut board, [row(3, "t", "a")]);
    settle(&mut board, "t", "a", suspect());
    assert!(started(&mut board).is_empty());
    assert!(board.known().is_empty(), "1 is read again if it is there");
}

#[test]
fn a_topic_whose_probe_was_forgotten_with_its_slot_is_probed_again() {
    let now = Instant::now();
    let mut board = of(FailedKey::GoesOn);
    add(&mut board, [row(1, "t", "a")]);
    started(&mut board);
    board.settle(&lane("t", "a"), Verdict::Later, now);
    let later = now + FIRST_WAIT;
    assert_eq!(board.probes(later), ["t"]);
    probed(&mut board, Some(row(1, "t", "a")));
    board.keep_slots(HashSet::new());
    assert!(!board.holds("t"), "another relay does");
    board.keep_slots((0..3).collect());
    assert!(board.holds("t"));
    assert_eq!(board.probes(later), ["t"]);

    // Or with a suspect.
    probed(&mut board, Some(row(1, "t", "a")));
    started(&mut board);
    board.keep_slots(HashSet::new());
    settle(&mut board, "t", "a", suspect());
    assert_eq!(board.probes(later), ["t"]);
}
