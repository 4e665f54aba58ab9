//! Rights that are withdrawn and granted again. Everybody else in a run is a superuser.

use anyhow::{Context as _, Result};
use checker::history::Phase;
use harness::{Admin, Operation, Resource};

use super::{GUEST, Lives, Named, Ongoing, PARTITIONS, caught_up, pause};
use crate::layout::{REPLICAS, on_broker};

const GUARDED: &str = "guarded";

/// A publisher and a member that have only the rights granted to them.
pub(super) struct Guarding {
    publisher: Named,
    member: Named,
}

/// A right that is withdrawn and granted again.
#[derive(Clone, Copy, Debug)]
enum Right {
    Read,
    Write,
    Join,
}

impl Right {
    const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Join];

    fn change(self, admin: &Admin, allow: bool) -> Result<()> {
        let name = on_broker(GUARDED);
        let (operation, on) = match self {
            Self::Read => (Operation::Read, Resource::Topic(&name)),
            Self::Write => (Operation::Write, Resource::Topic(&name)),
            Self::Join => (Operation::Read, Resource::Group(&name)),
        };
        if allow {
            admin.allow(GUEST, operation, on)
        } else {
            admin.withdraw(GUEST, operation, on)
        }
    }
}

impl Guarding {
    pub(super) fn start(lives: &Lives, admin: &Admin) -> Result<Self> {
        admin.create_topic(&on_broker(GUARDED), PARTITIONS, REPLICAS, &[])?;
        for right in Right::ALL {
            right.change(admin, true)?;
        }
        let user = format!("--user={GUEST}");
        let guarding = Self {
            member: lives.member_of(&lives.guests, GUARDED, GUARDED, &[&user])?,
            publisher: lives.publisher_of(&lives.guests, GUARDED, 10, [user])?,
        };
        lives.wait_ready(&guarding.member)?;
        Ok(guarding)
    }

    /// Its topic.
    pub(super) fn end(self, lives: &Lives, admin: &Admin) -> Result<String> {
        lives.end(self.publisher)?;
        caught_up(admin, GUARDED, GUARDED);
        lives.end(self.member)?;
        Ok(GUARDED.to_owned())
    }
}

impl Ongoing<'_> {
    pub(super) fn rights_withdrawn(&self, random: &mut fastrand::Rng) -> Result<()> {
        let right = random.choice(Right::ALL).context("there are rights")?;
        let target = format!("{GUARDED}: {right:?}").to_lowercase();
        self.note(&target, Phase::Begin)?;
        right.change(self.admin, false)?;
        // Sometimes beyond the session timeout.
        pause(random, 1_000..10_000);
        right.change(self.admin, true)?;
        pause(random, 1_000..4_000);
        self.note(&target, Phase::End)
    }
}
