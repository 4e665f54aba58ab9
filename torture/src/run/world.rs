//! What faults act on.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use checker::history::{Event, Fault, Phase, Writer};
use harness::{FaultProxy, Kafka};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;

use super::children::Members;
use super::lives::Lives;
use crate::control::Moods;
use crate::layout::{dead_letters_of, on_broker, stored};
use crate::roles::lane;

const CALL: Duration = Duration::from_secs(5);
const MEND: Duration = Duration::from_secs(120);

/// The cluster, its proxy, the members, and the history of what happens to them.
pub(super) struct World {
    pub(super) kafka: Kafka,
    pub(super) proxy: FaultProxy,
    pub(super) members: Members,
    pub(super) lives: Lives,
    pub(super) moods: Moods,
    pub(super) directory: PathBuf,
    pub(super) history: Writer,
    /// Held by a fault that makes a node unavailable, or that needs all of them: one of three nodes may be down.
    pub(super) nodes: Mutex<()>,
    pub(super) dead_letters: Mutex<()>,
    pub(super) running: Mutex<Vec<String>>,
}

impl World {
    /// Writes the start or end of a fault to the history, and shows it.
    pub(super) fn note(&self, kind: &str, target: &str, phase: Phase, clean: bool) -> Result<()> {
        let text = format!("{kind} {target}");
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        match phase {
            Phase::Begin => running.push(text),
            Phase::End => running.retain(|other| *other != text),
        }
        drop(running);
        self.history.write(Event::Fault(Fault {
            kind: kind.into(),
            target: target.into(),
            phase,
            clean,
        }))?;
        Ok(())
    }

    /// The current faults.
    pub(super) fn running(&self) -> String {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.join(", ")
    }

    /// Waits until every replica is in sync.
    pub(super) fn wait_in_sync(&self) -> Result<()> {
        for topic in stored().chain([lane::TOPIC]) {
            self.kafka.wait_in_sync(&on_broker(topic), MEND)?;
        }
        Ok(())
    }

    /// Makes the brokers reject records for a topic's dead-letter topic, or accept them again.
    pub(super) fn refuse_dead_letters(&self, topic: &str, refuse: bool) -> Result<()> {
        // Above the 78 bytes of a transaction's marker: a broker that cannot write one never tries again, and the
        // transaction hangs.
        let limit = if refuse { "100" } else { "1048588" };
        self.set(&dead_letters_of(topic), "max.message.bytes", limit)
    }

    /// Sets this property of a topic, and removes all others.
    pub(super) fn set(&self, topic: &str, property: &str, value: &str) -> Result<()> {
        let name = on_broker(topic);
        let client: AdminClient<DefaultClientContext> = ClientConfig::new()
            .set("bootstrap.servers", self.kafka.bootstrap())
            .create()?;
        let config = AlterConfig::new(ResourceSpecifier::Topic(&name)).set(property, value);
        let options = AdminOptions::new().request_timeout(Some(CALL));
        let deadline = Instant::now() + MEND;
        loop {
            let altered = wait(client.alter_configs([&config], &options))?;
            let failure = match altered {
                Ok(results) => results.into_iter().find_map(Result::err).map(|e| e.1),
                Err(error) => error.rdkafka_error_code(),
            };
            let Some(code) = failure else { return Ok(()) };
            if Instant::now() > deadline {
                return Err(code).with_context(|| format!("altering {name}"));
            }
            thread::sleep(Duration::from_millis(200));
        }
    }
}

/// Takes a lock if it is free.
pub(super) fn try_hold(lock: &Mutex<()>) -> Option<MutexGuard<'_, ()>> {
    match lock.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// Waits for a future of `rdkafka`, which needs no runtime.
fn wait<T>(future: impl Future<Output = T>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    Ok(runtime.block_on(future))
}
