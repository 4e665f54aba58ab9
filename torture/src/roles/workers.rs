//! The registrations of a member. In some groups they change on request: workers of a name start, pause, resume, stop
//! and are dropped, as does everything that reads the additional topic.

use std::future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use eventstream::{Client, Subscription};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::member::{Member, STOP, subscribe};
use crate::control::Mood;
use crate::layout;

/// Between changes, and between checks whether any are requested, in milliseconds.
const PACE: std::ops::Range<u64> = 10..200;
/// The maximum number of workers of a name in one process.
const MOST: usize = 4;
/// The deadline of a worker that stops in a hurry, in milliseconds.
const HURRY: u64 = 200;

/// What competing workers handle.
type Job = (&'static str, &'static [&'static str]);

struct Worker {
    job: Job,
    subscription: Subscription,
    paused: bool,
}

pub(super) struct Workers {
    client: Client,
    member: Arc<Member>,
    slot: usize,
    jobs: Vec<Job>,
    running: Vec<Worker>,
    stopping: JoinSet<eventstream::Result<()>>,
    random: fastrand::Rng,
    is_changed: bool,
}

impl Workers {
    /// One worker for each job.
    pub(super) async fn start(client: &Client, member: &Arc<Member>, slot: usize) -> Result<Self> {
        let plan = member.plan;
        let mut jobs = Vec::new();
        for name in plan.topics() {
            let topic = layout::topic(name).context("no such topic")?;
            if plan.beside.is_some() {
                jobs.extend(topic.events.chunks(1).map(|event| (topic.name, event)));
            } else {
                jobs.push((topic.name, topic.events));
            }
        }
        let mut workers = Self {
            client: client.clone(),
            member: Arc::clone(member),
            slot,
            jobs,
            running: Vec::new(),
            stopping: JoinSet::new(),
            random: fastrand::Rng::new(),
            is_changed: true,
        };
        workers.restore().await?;
        Ok(workers)
    }

    /// Waits a moment and then changes something, if requested; dropping this leaves nothing half done.
    pub(super) async fn change(&mut self) -> Result<()> {
        if self.member.plan.beside.is_none() {
            return future::pending().await;
        }
        sleep(Duration::from_millis(self.random.u64(PACE))).await;
        while self.stopping.try_join_next().is_some() {}
        if self.member.moods.has(Mood::Changing) {
            self.is_changed = true;
            self.change_one().await
        } else {
            self.restore().await
        }
    }

    async fn change_one(&mut self) -> Result<()> {
        let at = self.random.usize(..self.running.len());
        let (job, paused) = (self.running[at].job, self.running[at].paused);
        let alike = self.running.iter().filter(|other| other.job == job).count();
        match self.random.u8(0..10) {
            0..3 => {
                let jobs: Vec<_> = (self.jobs.iter().copied())
                    .filter(|job| {
                        self.running
                            .iter()
                            .filter(|other| other.job == *job)
                            .count()
                            < MOST
                    })
                    .collect();
                if let Some(job) = self.random.choice(jobs) {
                    self.come(job).await?;
                }
            }
            3..8 => {
                let worker = &mut self.running[at];
                worker.paused = !paused;
                if paused {
                    worker.subscription.resume();
                } else {
                    worker.subscription.pause();
                }
            }
            // The last worker of a name stops only if nothing else reads the topic, so that all of it waits.
            _ if alike > 1 || Some(job.0) == self.member.plan.beside => {
                let worker = self.running.swap_remove(at);
                match self.random.u8(0..3) {
                    0 => drop(worker.subscription),
                    1 => {
                        let time = Duration::from_millis(self.random.u64(0..HURRY));
                        self.stopping.spawn(worker.subscription.stop(time));
                    }
                    _ => {
                        self.stopping.spawn(worker.subscription.stop(STOP));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Resumes all, and gives each job a worker.
    async fn restore(&mut self) -> Result<()> {
        if !self.is_changed {
            return Ok(());
        }
        for worker in self.running.iter_mut().filter(|worker| worker.paused) {
            worker.paused = false;
            worker.subscription.resume();
        }
        for job in self.jobs.clone() {
            if !self.running.iter().any(|worker| worker.job == job) {
                self.come(job).await?;
            }
        }
        self.is_changed = false;
        Ok(())
    }

    async fn come(&mut self, job: Job) -> Result<()> {
        let subscribe = subscribe(&self.member, self.slot, job.0, job.1);
        self.running.push(Worker {
            job,
            subscription: self.client.register(subscribe).await?,
            paused: false,
        });
        Ok(())
    }

    /// Whether all stopped in time, except those that were in a hurry.
    pub(super) async fn stop(mut self) -> bool {
        while self.stopping.join_next().await.is_some() {}
        for worker in self.running {
            self.stopping.spawn(worker.subscription.stop(STOP));
        }
        let mut clean = true;
        while let Some(stopped) = self.stopping.join_next().await {
            clean &= matches!(stopped, Ok(Ok(())));
        }
        clean
    }
}
