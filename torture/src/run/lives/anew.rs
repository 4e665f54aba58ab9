//! Topics that are deleted and recreated.

use std::sync::MutexGuard;
use std::time::Duration;

use anyhow::{Context as _, Result};
use checker::history::Phase;
use harness::{Admin, Signal};

use super::{FEW, Lives, Named, Ongoing, PARTITIONS, caught_up, lock, pause, wait_for_death};
use crate::layout::{REPLICAS, on_broker};
use crate::roles::life::tell_incarnation;

const REBORN: &str = "reborn";
/// How long an heir may take to notice that its topic was recreated.
const HEIR: Duration = Duration::from_secs(20);

/// A topic that is repeatedly deleted and recreated while it is published to.
pub(super) struct Reborn {
    incarnation: u64,
    publisher: Named,
    /// Starts at the head and survives everything.
    witness: Named,
    /// Starts at the tail, and dies at the first event of a new incarnation.
    heir: Named,
}

impl Reborn {
    pub(super) fn start(lives: &Lives, admin: &Admin) -> Result<Self> {
        admin.create_topic(&on_broker(REBORN), PARTITIONS, REPLICAS, &[])?;
        let reborn = Self {
            incarnation: 0,
            witness: lives.member(REBORN, "witness", &[])?,
            heir: heir(lives)?,
            publisher: lives.publisher(REBORN, 5, None)?,
        };
        lives.wait_ready(&reborn.witness)?;
        lives.wait_ready(&reborn.heir)?;
        Ok(reborn)
    }

    /// Its topic.
    pub(super) fn end(self, lives: &Lives, admin: &Admin) -> Result<String> {
        lives.end(self.publisher)?;
        for (group, member) in [("witness", self.witness), ("heir", self.heir)] {
            caught_up(admin, REBORN, group);
            lives.end(member)?;
        }
        Ok(REBORN.to_owned())
    }
}

fn heir(lives: &Lives) -> Result<Named> {
    lives.member(REBORN, "heir", &["--tail", "--dies-of=anew"])
}

impl Ongoing<'_> {
    pub(super) fn remade(
        &self,
        nodes: MutexGuard<'_, ()>,
        random: &mut fastrand::Rng,
    ) -> Result<()> {
        let lives = self.lives;
        let mut reborn = lock(&lives.reborn);
        let reborn = reborn.as_mut().context("it was not started")?;
        self.note(REBORN, Phase::Begin)?;
        let between = if random.bool() { 0..1 } else { 0..3_000 };
        self.make_anew(REBORN, reborn.incarnation, || pause(random, between))?;
        reborn.incarnation += 1;
        drop(nodes);
        // A member that does not see the new topic does not die of it.
        wait_for_death(&mut reborn.heir, HEIR)?;
        reborn.heir.1.kill();
        reborn.heir = heir(lives)?;
        lives.wait_ready(&reborn.heir)?;
        pause(random, 500..2_000);
        self.note(REBORN, Phase::End)
    }

    /// A member sleeps until the new topic has more records than the old one had: the offset it has reached exists
    /// here too, and only the topic's id distinguishes the two.
    pub(super) fn outgrown(
        &self,
        nodes: MutexGuard<'_, ()>,
        random: &mut fastrand::Rng,
    ) -> Result<()> {
        let lives = self.lives;
        let topic = lives.fresh(self.admin, "outgrown", PARTITIONS)?;
        self.note(&topic, Phase::Begin)?;
        let mut member = lives.member(&topic, &topic, &["--commit-ms", "200"])?;
        lives.wait_ready(&member)?;
        lives.publish(&topic, FEW)?;
        self.caught_up(&topic, &topic);
        member.1.signal(Signal::STOP)?;
        self.make_anew(&topic, 0, || {})?;
        drop(nodes);
        lives.publish(&topic, random.u64(6 * FEW..10 * FEW))?;
        // Usually within the session timeout.
        pause(random, 0..2_000);
        member.1.signal(Signal::CONT)?;
        self.caught_up(&topic, &topic);
        lives.publish(&topic, FEW)?;
        self.caught_up(&topic, &topic);
        lives.end(member)?;
        // It may have left before it looked at the topic again: its commits say that they are of the old one.
        let next = lives.member(&topic, &topic, &["--commit-ms", "200"])?;
        lives.wait_ready(&next)?;
        self.caught_up(&topic, &topic);
        lives.end(next)?;
        self.note(&topic, Phase::End)
    }

    fn make_anew(&self, topic: &str, incarnation: u64, between: impl FnOnce()) -> Result<()> {
        let name = on_broker(topic);
        self.admin.delete_topic(&name)?;
        between();
        let all = vec![None; PARTITIONS as usize];
        self.lives.deleted(&format!("{topic}#{incarnation}"), all)?;
        tell_incarnation(self.lives.starter.history(), topic, incarnation + 1)?;
        self.admin.create_topic(&name, PARTITIONS, REPLICAS, &[])
    }
}
