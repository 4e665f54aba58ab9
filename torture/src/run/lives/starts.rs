//! New groups and partitions, and members that die before they have committed anything.

use std::ops::Range;
use std::sync::MutexGuard;
use std::time::Duration;

use anyhow::{Context as _, Result};
use checker::history::Phase;

use super::{FEW, Named, Ongoing, PARTITIONS, pause, wait_for_death};
use crate::layout::{offsets_partition, on_broker};

/// The duration of a request to the coordinator, and of its response, in milliseconds: longer than the handling of a
/// first record.
const SLOW: Range<u64> = 80..300;
const DEATH: Duration = Duration::from_secs(60);
const OFFSETS: &str = "__consumer_offsets";
const BEFORE_GROWTH: i32 = 2;
const AFTER_GROWTH: i32 = 5;

impl Ongoing<'_> {
    /// A member of a new group is killed before its first commit is due.
    pub(super) fn fresh_tail(&self, nodes: MutexGuard<'_, ()>) -> Result<()> {
        let lives = self.lives;
        let topic = lives.fresh(self.admin, "fresh", PARTITIONS)?;
        drop(nodes);
        self.note(&topic, Phase::Begin)?;
        // Existing records are not for the group.
        lives.publish(&topic, FEW)?;
        let mut first = lives.at_tail(&topic, false)?;
        lives.wait_ready(&first)?;
        lives.publish(&topic, FEW)?;
        first.1.kill();
        self.last(&topic)?;
        self.note(&topic, Phase::End)
    }

    /// Members join and leave before their first commit is due, cleanly or not, while the topic is published to.
    pub(super) fn short_lives(
        &self,
        nodes: MutexGuard<'_, ()>,
        random: &mut fastrand::Rng,
    ) -> Result<()> {
        let lives = self.lives;
        let topic = lives.fresh(self.admin, "short", PARTITIONS)?;
        drop(nodes);
        self.note(&topic, Phase::Begin)?;
        let publisher = lives.publisher(&topic, 4, None)?;
        for _ in 0..random.u8(2..5) {
            let member = lives.at_tail(&topic, false)?;
            if random.bool() {
                lives.wait_ready(&member)?;
                pause(random, 0..500);
            } else {
                pause(random, 200..2_500);
            }
            self.go(member, random)?;
        }
        let last = lives.at_tail(&topic, true)?;
        lives.wait_ready(&last)?;
        pause(random, 0..1_000);
        lives.end(publisher)?;
        self.caught_up(&topic, &topic);
        lives.end(last)?;
        self.note(&topic, Phase::End)
    }

    /// A member dies in its first event while its coordinator is slow: a commit in flight then never arrives.
    pub(super) fn start_delayed(
        &self,
        nodes: MutexGuard<'_, ()>,
        random: &mut fastrand::Rng,
    ) -> Result<()> {
        let lives = self.lives;
        let topic = lives.fresh(self.admin, "delayed", PARTITIONS)?;
        self.note(&topic, Phase::Begin)?;
        let coordinator = self.admin.leader(OFFSETS, offsets_partition(&topic))?;
        let coordinator = coordinator.context("the group has no coordinator")?;
        drop(nodes);
        let publisher = lives.publisher(&topic, 2, None)?;
        let slow = Duration::from_millis(random.u64(SLOW));
        lives.proxy.delay(coordinator, slow)?;
        let dies = ["--tail", "--dies-of=first"];
        let mut first = lives.member(&topic, &topic, &dies)?;
        wait_for_death(&mut first, DEATH)?;
        lives.proxy.cut(coordinator)?;
        lives.proxy.delay(coordinator, Duration::ZERO)?;
        first.1.kill();
        pause(random, 0..500);
        let last = lives.at_tail(&topic, true)?;
        lives.wait_ready(&last)?;
        lives.end(publisher)?;
        self.caught_up(&topic, &topic);
        lives.end(last)?;
        self.note(&topic, Phase::End)
    }

    /// Partitions are added while the group is up, or while all of it is down.
    pub(super) fn grown(
        &self,
        nodes: MutexGuard<'_, ()>,
        random: &mut fastrand::Rng,
    ) -> Result<()> {
        let lives = self.lives;
        let topic = lives.fresh(self.admin, "grown", BEFORE_GROWTH)?;
        self.note(&topic, Phase::Begin)?;
        let start = || -> Result<[Named; 2]> {
            let both = [lives.at_tail(&topic, true)?, lives.at_tail(&topic, true)?];
            for member in &both {
                lives.wait_ready(member)?;
            }
            Ok(both)
        };
        let mut members = start()?;
        lives.publish(&topic, FEW)?;
        let is_away = random.u8(0..3) > 0;
        if is_away {
            for member in members {
                self.go(member, random)?;
            }
            self.admin
                .add_partitions(&on_broker(&topic), AFTER_GROWTH)?;
            drop(nodes);
            lives.publish(&topic, 4 * FEW)?;
            members = start()?;
        } else {
            self.admin
                .add_partitions(&on_broker(&topic), AFTER_GROWTH)?;
            drop(nodes);
        }
        lives.publish(&topic, 4 * FEW)?;
        self.caught_up(&topic, &topic);
        for member in members {
            lives.end(member)?;
        }
        self.note(&topic, Phase::End)
    }

    /// A member leaves cleanly or is killed.
    fn go(&self, mut member: Named, random: &mut fastrand::Rng) -> Result<()> {
        if random.bool() {
            member.1.kill();
            return Ok(());
        }
        self.lives.end(member)
    }

    /// The last member of a group handles what is left.
    fn last(&self, topic: &str) -> Result<()> {
        let last = self.lives.at_tail(topic, true)?;
        self.lives.wait_ready(&last)?;
        self.caught_up(topic, topic);
        self.lives.end(last)
    }
}
