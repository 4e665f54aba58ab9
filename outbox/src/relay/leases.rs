//! The slots of a relay, and how long they are its own: without a database or a clock.

use std::collections::HashSet;
use std::time::{Duration, Instant, SystemTime};

/// A time by both clocks: one stands still while the machine is suspended, the other may be set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) ticks: Instant,
    wall: SystemTime,
}

/// The slots that the database gave, and how many would be a fair share.
#[derive(Debug)]
pub(crate) struct Leased {
    /// When it was asked: earlier than it gave them.
    pub(crate) asked: Moment,
    pub(crate) slots: Vec<i16>,
    pub(crate) share: usize,
}

/// All are renewed together.
#[derive(Debug)]
pub(crate) struct Leases {
    lease: Duration,
    slots: HashSet<i16>,
    /// No longer read, and released once nothing of them is in flight.
    leaving: HashSet<i16>,
    asked: Moment,
    renew_at: Instant,
}

impl Moment {
    pub(crate) fn now() -> Self {
        Self {
            ticks: Instant::now(),
            wall: SystemTime::now(),
        }
    }

    /// The time from then until now, by the clock that counts more.
    fn since(self, then: Self) -> Duration {
        let ticks = self.ticks.saturating_duration_since(then.ticks);
        // Set back, it counts nothing.
        let wall = self.wall.duration_since(then.wall).unwrap_or_default();
        ticks.max(wall)
    }
}

impl Leases {
    pub(crate) fn new(lease: Duration, now: Moment) -> Self {
        Self {
            lease,
            slots: HashSet::new(),
            leaving: HashSet::new(),
            asked: now,
            renew_at: now.ticks,
        }
    }

    /// The slots whose rows may be read.
    pub(crate) fn kept(&self) -> HashSet<i16> {
        self.slots.difference(&self.leaving).copied().collect()
    }

    pub(crate) fn keeps_any(&self) -> bool {
        self.slots.len() > self.leaving.len()
    }

    /// The slots that another relay waits for.
    pub(crate) fn leaving(&self) -> impl Iterator<Item = i16> {
        self.leaving.iter().copied()
    }

    pub(crate) fn count(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn renew_at(&self) -> Instant {
        self.renew_at
    }

    /// When they end without a renewal, if there are any.
    pub(crate) fn end(&self) -> Option<Instant> {
        (!self.slots.is_empty()).then(|| self.asked.ticks + self.lease)
    }

    /// Gives up slots that another relay may have by now. Returns whether there were any.
    pub(crate) fn expire(&mut self, now: Moment) -> bool {
        let expired = !self.slots.is_empty() && now.since(self.asked) >= self.lease;
        if expired {
            self.slots.clear();
            self.leaving.clear();
            self.renew_at = now.ticks;
        }
        expired
    }

    /// Takes what the database gave. What is beyond the share leaves, so the database is asked again at `soon`.
    pub(crate) fn take(&mut self, leased: Leased, soon: Instant) {
        self.asked = leased.asked;
        self.renew_at = self.asked.ticks + self.lease / 3;
        self.slots = leased.slots.into_iter().collect();
        let extra = self.slots.len().saturating_sub(leased.share);
        // Those already leaving go first.
        let mut slots: Vec<_> = self.slots.iter().copied().collect();
        slots.sort_by_key(|slot| (!self.leaving.contains(slot), *slot));
        self.leaving = slots.into_iter().take(extra).collect();
        if extra > 0 {
            self.renew_at = self.renew_at.min(soon);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    impl Moment {
        fn after(self, ticks: Duration, wall: Duration) -> Self {
            Self {
                ticks: self.ticks + ticks,
                wall: self.wall + wall,
            }
        }
    }

    fn leases(asked: Moment, slots: &[i16], share: usize) -> Leases {
        let mut leases = Leases::new(9 * SECOND, asked);
        let slots = slots.to_vec();
        let leased = Leased {
            asked,
            slots,
            share,
        };
        leases.take(leased, asked.ticks + SECOND);
        leases
    }

    #[test]
    fn a_lease_ends_by_the_clock_that_counts_more() {
        let asked = Moment::now();
        let ends = |ticks, wall| leases(asked, &[1, 2], 2).expire(asked.after(ticks, wall));
        assert!(!ends(8 * SECOND, 8 * SECOND));
        assert!(ends(9 * SECOND, 9 * SECOND));
        assert!(ends(SECOND, 9 * SECOND), "the machine was suspended");
        assert!(ends(9 * SECOND, Duration::ZERO));
        let mut set_back = leases(asked.after(Duration::ZERO, 3600 * SECOND), &[1], 1);
        assert!(!set_back.expire(asked.after(8 * SECOND, Duration::ZERO)));
        assert!(set_back.expire(asked.after(9 * SECOND, Duration::ZERO)));
    }

    #[test]
    fn after_its_end_nothing_is_kept_and_the_database_is_asked_at_once() {
        let asked = Moment::now();
        let mut leases = leases(asked, &[1, 2], 1);
        let woken = asked.after(SECOND / 2, 3600 * SECOND);
        assert!(leases.keeps_any());
        assert!(leases.expire(woken) && !leases.expire(woken));
        assert!(!leases.keeps_any());
        assert_eq!((leases.count(), leases.kept().len()), (0, 0));
        assert_eq!(leases.leaving().count(), 0);
        assert_eq!((leases.end(), leases.renew_at()), (None, woken.ticks));
    }

    #[test]
    fn what_is_beyond_the_share_leaves_and_goes_on_leaving() {
        let asked = Moment::now();
        let mut leases = leases(asked, &[1, 2, 3], 2);
        assert_eq!(leases.kept(), HashSet::from([2, 3]));
        assert_eq!(leases.renew_at(), asked.ticks + SECOND);
        let leased = Leased {
            asked,
            slots: vec![0, 1, 2, 3],
            share: 2,
        };
        leases.take(leased, asked.ticks + SECOND);
        assert_eq!(leases.leaving().collect::<HashSet<_>>(), [0, 1].into());
        assert_eq!(leases.end(), Some(asked.ticks + 9 * SECOND));
    }
}
