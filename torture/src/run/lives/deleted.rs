//! Records deleted before their group has read them: by a request, or by the broker because of their age.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use checker::history::Phase;
use harness::{Admin, Signal, eventually};

use super::{Lives, Named, Ongoing, PARTITIONS, READY, caught_up, lock, pause};
use crate::layout::{REPLICAS, on_broker};
use crate::run::fault::Kind;

const TRIMMED: &str = "trimmed";
/// With a small value everything is old, with a large one nothing.
const RETENTION: &str = "retention.ms";
/// Longer than the interval at which a broker looks for old records.
const SETTLED: Duration = Duration::from_secs(2);

/// A topic that repeatedly loses records.
pub(super) struct Trimmed {
    publisher: Named,
    member: Named,
}

impl Trimmed {
    pub(super) fn start(lives: &Lives, admin: &Admin) -> Result<Self> {
        let forever = [(RETENTION, "-1")];
        admin.create_topic(&on_broker(TRIMMED), PARTITIONS, REPLICAS, &forever)?;
        let trimmed = Self {
            member: lives.member(TRIMMED, TRIMMED, &[])?,
            publisher: lives.publisher(TRIMMED, 5, None)?,
        };
        lives.wait_ready(&trimmed.member)?;
        Ok(trimmed)
    }

    /// Its topic.
    pub(super) fn end(self, lives: &Lives, admin: &Admin) -> Result<String> {
        lives.end(self.publisher)?;
        caught_up(admin, TRIMMED, TRIMMED);
        // A broker that learns late that records are kept again has deleted more of its replica.
        let ends = admin.end_offsets(&on_broker(TRIMMED))?;
        lives.deleted(TRIMMED, ends.into_iter().map(|(low, _)| Some(low)))?;
        lives.end(self.member)?;
        Ok(TRIMMED.to_owned())
    }
}

impl Ongoing<'_> {
    pub(super) fn deleted(&self, random: &mut fastrand::Rng) -> Result<()> {
        let mut trimmed = lock(&self.lives.trimmed);
        let trimmed = trimmed.as_mut().context("it was not started")?;
        self.note(TRIMMED, Phase::Begin)?;
        let member = &mut trimmed.member.1;
        member.signal(Signal::STOP)?;
        // Sometimes beyond the session timeout.
        pause(random, 1_500..8_000);
        let gone = if self.kind == Kind::RecordsAged {
            self.age()?
        } else {
            self.delete()?
        };
        self.lives.deleted(TRIMMED, gone.into_iter().map(Some))?;
        member.signal(Signal::CONT)?;
        pause(random, 500..3_000);
        self.note(TRIMMED, Phase::End)
    }

    /// Returns up to which offsets.
    fn delete(&self) -> Result<Vec<i64>> {
        let name = on_broker(TRIMMED);
        let ends = self.admin.end_offsets(&name)?;
        let ends: Vec<_> = ends.into_iter().map(|(_, high)| high).collect();
        for (partition, end) in (0..).zip(&ends) {
            self.admin.delete_records(&name, partition, *end)?;
        }
        Ok(ends)
    }

    /// Lets the brokers delete old records, which is all of them for a while.
    fn age(&self) -> Result<Vec<i64>> {
        let name = on_broker(TRIMMED);
        let before = self.admin.end_offsets(&name)?;
        let lows = || -> Result<Vec<i64>> {
            let ends = self.admin.end_offsets(&name)?;
            Ok(ends.into_iter().map(|(low, _)| low).collect())
        };
        self.world.set(TRIMMED, RETENTION, "1")?;
        eventually("old records to go", READY, || {
            let lows = lows()?;
            let gone = lows.iter().zip(&before).all(|(low, (_, high))| low >= high);
            Ok(gone.then_some(()))
        })?;
        self.world.set(TRIMMED, RETENTION, "-1")?;
        // A broker that has started deleting finishes what it saw.
        let mut last = lows()?;
        eventually("no more records to go", READY, || {
            thread::sleep(SETTLED);
            let now = lows()?;
            Ok((std::mem::replace(&mut last, now.clone()) == now).then_some(now))
        })
    }
}
