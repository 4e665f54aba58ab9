use super::*;

#[test]
fn trips_once_when_half_of_the_last_records_are_dead() {
    let mut guard = FloodGuard::new(FloodOptions {
        window: 4,
        ratio: 0.5,
    });
    assert!(!guard.dead_lettered());
    for _ in 0..4 {
        guard.done();
    }
    assert!(!guard.dead_lettered(), "the first one has left the window");
    assert!(guard.dead_lettered());
    assert!(guard.is_tripped());
    assert!(!guard.dead_lettered(), "says so once");
}

#[test]
fn starts_over_after_a_reset() {
    let mut guard = FloodGuard::new(FloodOptions {
        window: 4,
        ratio: 0.5,
    });
    guard.dead_lettered();
    assert!(guard.dead_lettered());
    guard.reset();
    assert!(!guard.is_tripped());
    assert!(!guard.dead_lettered());
    assert!(guard.dead_lettered());
}
