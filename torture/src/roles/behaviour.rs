//! What a handler does with an event: a hash of its id decides, so it is the same in every member.

use std::time::Duration;

use crate::control::{Mood, Moods};
use crate::layout::GroupPlan;

/// What a handler does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Succeed,
    SucceedAfter(Duration),
    Fail,
    Panic,
}

const SLOW: Duration = Duration::from_millis(20);
const BUSY: Duration = Duration::from_millis(60);
/// Long enough for a rebalance in between.
const VERY_SLOW: Duration = Duration::from_millis(500);

/// The act for an attempt at an event. In a group that dead-letters, some events fail all their attempts.
pub(super) fn act(id: u64, attempt: u32, plan: &GroupPlan, moods: &Moods) -> Act {
    let hash = mix(id);
    if plan.attempts.is_some() {
        match hash % 400 {
            0 => return Act::Fail,
            1 => return Act::Panic,
            2 if attempt < 3 => return Act::Fail,
            3 => return Act::SucceedAfter(SLOW),
            _ => {}
        }
    }
    match (hash >> 32) % 10_000 {
        0..400 if moods.has(Mood::Failing) && attempt < 3 => Act::Fail,
        400..600 if moods.has(Mood::Panicking) && attempt == 1 => Act::Panic,
        600..900 if moods.has(Mood::Slow) => Act::SucceedAfter(SLOW),
        // So that something is running and something is queued when a worker stops.
        1_000..6_000 if plan.beside.is_some() && moods.has(Mood::Changing) => {
            Act::SucceedAfter(BUSY)
        }
        900..906 if moods.has(Mood::Slow) => Act::SucceedAfter(VERY_SLOW),
        _ => Act::Succeed,
    }
}

/// The last step of `SplitMix64`.
fn mix(id: u64) -> u64 {
    let mut z = id.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::GROUPS;

    /// The groups that dead-letter, or the others.
    fn groups(dead_letter: bool) -> impl Iterator<Item = &'static GroupPlan> {
        (GROUPS.iter()).filter(move |plan| plan.attempts.is_some() == dead_letter)
    }

    #[test]
    fn calm_handlers_of_other_groups_always_succeed() {
        let moods = Moods::default();
        for plan in groups(false) {
            assert!((0..10_000).all(|id| act(id, 1, plan, &moods) == Act::Succeed));
        }
    }

    #[test]
    fn some_events_fail_every_attempt_where_there_is_a_dead_letter_topic() {
        let moods = Moods::default();
        for plan in groups(true) {
            let fails =
                |id, attempt| matches!(act(id, attempt, plan, &moods), Act::Fail | Act::Panic);
            let exhausted = (0..10_000).filter(|id| (1..=3).all(|attempt| fails(*id, attempt)));
            assert!((20..100).contains(&exhausted.count()));
        }
    }

    #[test]
    fn every_event_succeeds_at_its_third_attempt_without_one() {
        let moods = Moods::default();
        for mood in [Mood::Slow, Mood::Failing, Mood::Panicking, Mood::Changing] {
            moods.set(mood, true);
        }
        for plan in groups(false) {
            let third = |id| act(id, 3, plan, &moods);
            assert!((0..10_000).all(|id| matches!(third(id), Act::Succeed | Act::SucceedAfter(_))));
        }
    }
}
