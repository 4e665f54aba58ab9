//! The lives of topics: topics that are deleted and recreated, trimmed, grown, guarded, or new to a group that starts at
//! the tail. They have their own topics, groups, histories and proxy, so that their faults excuse nothing elsewhere, and
//! the other faults are no excuse here.
//!
//! | module | what |
//! |---|---|
//! | `anew` | topics that are deleted and recreated |
//! | `deleted` | records that are deleted before they are read |
//! | `starts` | groups and partitions that begin, and members that die before they have committed anything |
//! | `rights` | rights that are withdrawn and given back |

mod anew;
mod deleted;
mod rights;
mod starts;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use checker::history::{Deleted, Event, Phase, Record, Writer};
use harness::{Admin, FaultProxy, Guarded, Kafka, eventually};

use self::anew::Reborn;
use self::deleted::Trimmed;
use self::rights::Guarding;
use super::children::{Starter, end};
use super::fault::Kind;
use super::world::World;
use crate::layout::{REPLICAS, on_broker};

/// A principal with no rights except those granted to it.
pub(super) const GUEST: &str = "guest";
const PARTITIONS: i32 = 3;
/// The range of ids for each publisher.
const IDS: u64 = 1_000_000;
const READY: Duration = Duration::from_secs(120);
const CATCH_UP: Duration = Duration::from_secs(45);
/// Events published before or after a step.
const FEW: u64 = 50;
const LOOK: Duration = Duration::from_millis(10);

/// The current lives, and the history they are written to.
pub(super) struct Lives {
    starter: Starter,
    /// Starts processes that log in, and so bypass the proxy.
    guests: Starter,
    proxy: FaultProxy,
    history: Writer,
    /// How many names and ids were used.
    names: AtomicU64,
    reborn: Mutex<Option<Reborn>>,
    trimmed: Mutex<Option<Trimmed>>,
    guarding: Mutex<Option<Guarding>>,
    /// The topics of finished lives.
    past: Mutex<Vec<String>>,
}

/// A process and its name.
type Named = (String, Guarded);

impl Lives {
    /// Starts what these kinds need, and nothing else.
    pub(super) fn start(
        kafka: &Kafka,
        directory: &Path,
        sabotage: Option<&'static str>,
        kinds: &[Kind],
    ) -> Result<Self> {
        let admin = kafka.admin()?;
        let proxy = FaultProxy::start_second(kafka)?;
        let guests = kafka.secured()?.sasl_plaintext.clone();
        let lives = Self {
            starter: Starter::new(directory, proxy.bootstrap(), sabotage)?,
            guests: Starter::new(directory, guests, sabotage)?,
            proxy,
            history: Writer::create(directory, "lives")?,
            names: AtomicU64::new(0),
            reborn: Mutex::new(None),
            trimmed: Mutex::new(None),
            guarding: Mutex::new(None),
            past: Mutex::new(Vec::new()),
        };
        let wanted = |some: &[Kind]| some.iter().any(|kind| kinds.contains(kind));
        if wanted(&[Kind::TopicRemade]) {
            *lock(&lives.reborn) = Some(Reborn::start(&lives, admin)?);
        }
        if wanted(&[Kind::RecordsDeleted, Kind::RecordsAged]) {
            *lock(&lives.trimmed) = Some(Trimmed::start(&lives, admin)?);
        }
        if wanted(&[Kind::RightsWithdrawn]) {
            *lock(&lives.guarding) = Some(Guarding::start(&lives, admin)?);
        }
        Ok(lives)
    }

    /// Ends the delays of their connections.
    pub(super) fn calm(&self) {
        self.proxy.calm();
    }

    fn number(&self) -> u64 {
        self.names.fetch_add(1, Ordering::Relaxed)
    }

    /// A new topic for one fault, whose name is also that of its group.
    fn fresh(&self, admin: &Admin, stem: &str, partitions: i32) -> Result<String> {
        let topic = format!("{stem}-{}", self.number());
        admin.create_topic(&on_broker(&topic), partitions, REPLICAS, &[])?;
        lock(&self.past).push(topic.clone());
        Ok(topic)
    }

    fn member(&self, topic: &str, group: &str, more: &[&str]) -> Result<Named> {
        self.member_of(&self.starter, topic, group, more)
    }

    fn member_of(
        &self,
        starter: &Starter,
        topic: &str,
        group: &str,
        more: &[&str],
    ) -> Result<Named> {
        let name = format!("{group}#{}", self.number());
        let mut options = vec!["--topic", topic, "--group", group];
        options.extend_from_slice(more);
        let options: Vec<_> = options.into_iter().map(str::to_owned).collect();
        let process = starter.start("life-member", &name, &options)?;
        Ok((name, process))
    }

    /// A member that starts at the tail and commits as rarely as possible, or soon.
    fn at_tail(&self, topic: &str, commits_soon: bool) -> Result<Named> {
        let every = if commits_soon { "500" } else { "60000" };
        self.member(topic, topic, &["--tail", "--commit-ms", every])
    }

    fn publisher(&self, topic: &str, pace_ms: u64, count: Option<u64>) -> Result<Named> {
        let count = count.map(|count| format!("--count={count}"));
        self.publisher_of(&self.starter, topic, pace_ms, count)
    }

    fn publisher_of(
        &self,
        starter: &Starter,
        topic: &str,
        pace_ms: u64,
        more: impl IntoIterator<Item = String>,
    ) -> Result<Named> {
        let number = self.number();
        let name = format!("publisher-{topic}#{number}");
        let mut options = vec![
            format!("--topic={topic}"),
            format!("--first={}", number * IDS),
            format!("--pace-ms={pace_ms}"),
        ];
        options.extend(more);
        let process = starter.start("life-publisher", &name, &options)?;
        Ok((name, process))
    }

    /// Publishes this many events and waits until they are stored.
    fn publish(&self, topic: &str, count: u64) -> Result<()> {
        let (name, mut process) = self.publisher(topic, 1, Some(count))?;
        let ended = eventually(&format!("{name} to end"), READY, || process.exit_status());
        let status = ended?;
        ensure!(status.success(), "{name} ended with {status}");
        Ok(())
    }

    fn wait_ready(&self, member: &Named) -> Result<()> {
        let name = &member.0;
        let path = self.starter.history().join(format!("{name}.ndjson"));
        eventually(&format!("{name} to be ready"), READY, || {
            let text = fs::read_to_string(&path).unwrap_or_default();
            Ok(text.contains("\"ready\":").then_some(()))
        })
    }

    /// Ends a process cleanly, once that is possible.
    fn end(&self, (name, process): Named) -> Result<()> {
        self.starter.wait_until_up(&name)?;
        end(process, &name)
    }

    fn deleted(&self, topic: &str, ends: impl IntoIterator<Item = Option<i64>>) -> Result<()> {
        for (partition, below) in (0..).zip(ends) {
            self.history.write(Event::Deleted(Deleted {
                topic,
                partition,
                below,
            }))?;
        }
        Ok(())
    }
}

/// A fault in progress.
struct Ongoing<'a> {
    world: &'a World,
    lives: &'a Lives,
    admin: &'a Admin,
    kind: Kind,
}

/// Runs one of these faults. No node is away during requests that need all of them.
pub(super) fn happen(world: &World, kind: Kind, random: &mut fastrand::Rng) -> Result<()> {
    let nodes = lock(&world.nodes);
    let fault = Ongoing {
        world,
        lives: &world.lives,
        admin: world.kafka.admin()?,
        kind,
    };
    match kind {
        Kind::TopicRemade => fault.remade(nodes, random),
        Kind::TopicOutgrown => fault.outgrown(nodes, random),
        Kind::TopicGrown => fault.grown(nodes, random),
        Kind::FreshTail => fault.fresh_tail(nodes),
        Kind::StartDelayed => fault.start_delayed(nodes, random),
        Kind::ShortLives => fault.short_lives(nodes, random),
        Kind::RightsWithdrawn => fault.rights_withdrawn(random),
        _ => fault.deleted(random),
    }
}

impl Ongoing<'_> {
    fn note(&self, target: &str, phase: Phase) -> Result<()> {
        // To all others it is as if nothing had happened.
        self.world.note(self.kind.word(), target, phase, true)
    }

    /// Waits until a group has committed the end of its topic. If it does not in this time, the checker reports it.
    fn caught_up(&self, topic: &str, group: &str) {
        caught_up(self.admin, topic, group);
    }
}

fn caught_up(admin: &Admin, topic: &str, group: &str) {
    let (topic, group) = (on_broker(topic), on_broker(group));
    let deadline = Instant::now() + CATCH_UP;
    while Instant::now() < deadline {
        // A broker that is unavailable is asked again.
        if let (Ok(ends), Ok(committed)) =
            (admin.end_offsets(&topic), admin.committed(&group, &topic))
        {
            let mut both = ends.iter().zip(&committed);
            if both.all(|((low, high), committed)| low == high || *committed == Some(*high)) {
                return;
            }
        }
        thread::sleep(Duration::from_millis(300));
    }
    eprintln!("{group} has not reached the end of {topic}");
}

/// Ends everything and reads the logs.
pub(super) fn end_all(lives: &Lives, admin: &Admin) -> Result<()> {
    let mut topics = std::mem::take(&mut *lock(&lives.past));
    if let Some(reborn) = lock(&lives.reborn).take() {
        topics.push(reborn.end(lives, admin)?);
    }
    if let Some(trimmed) = lock(&lives.trimmed).take() {
        topics.push(trimmed.end(lives, admin)?);
    }
    if let Some(guarding) = lock(&lives.guarding).take() {
        topics.push(guarding.end(lives, admin)?);
    }
    for topic in topics {
        for record in admin.read_all(&on_broker(&topic))? {
            lives.history.write(Event::Record(Record {
                topic: &topic,
                partition: record.partition,
                offset: record.offset,
                id: record.value.as_deref().and_then(super::reader::id_of),
                key: None,
            }))?;
        }
    }
    lives.history.ended()?;
    Ok(())
}

/// Waits until a member has died by itself, or the time is up.
fn wait_for_death(member: &mut Named, within: Duration) -> Result<()> {
    let deadline = Instant::now() + within;
    while Instant::now() < deadline && member.1.exit_status()?.is_none() {
        thread::sleep(LOOK);
    }
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn pause(random: &mut fastrand::Rng, ms: std::ops::Range<u64>) {
    thread::sleep(Duration::from_millis(random.u64(ms)));
}
