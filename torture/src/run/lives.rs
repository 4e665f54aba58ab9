//! The lives of topics: topics that are deleted and made anew, trimmed, or new to a group that begins at the tail. They
//! have topics, groups and histories of their own, so that what befalls them excuses nothing elsewhere.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use checker::history::{Deleted, Event, Phase, Record, Writer};
use harness::{Admin, Guarded, Signal, eventually};

use super::children::{Starter, end};
use super::fault::{Came, Kind};
use super::world::{World, try_hold};
use crate::layout::{REPLICAS, on_broker};
use crate::roles::life::tell_incarnation;

const REBORN: &str = "reborn";
const TRIMMED: &str = "trimmed";
const PARTITIONS: i32 = 3;
/// Ids of one publisher after another.
const IDS: u64 = 1_000_000;
const READY: Duration = Duration::from_secs(60);
const CATCH_UP: Duration = Duration::from_secs(45);
const FRESH: u64 = 50;
/// How long an heir may take to see that its topic was made anew.
const HEIR: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(50);

/// What lives, and where it is written down.
pub(super) struct Lives {
    starter: Starter,
    history: Writer,
    /// How many names and ids were given out.
    names: AtomicU64,
    reborn: Mutex<Option<Reborn>>,
    trimmed: Mutex<Option<Trimmed>>,
    fresh: Mutex<Vec<String>>,
}

struct Reborn {
    incarnation: u64,
    publisher: (String, Guarded),
    /// Begins at the head and lives through it all.
    witness: (String, Guarded),
    /// Begins at the tail, and dies at the first event of a new incarnation.
    heir: (String, Guarded),
}

struct Trimmed {
    publisher: (String, Guarded),
    member: (String, Guarded),
}

impl Lives {
    /// Starts what the kinds need; the others are not there.
    pub(super) fn start(starter: Starter, admin: &Admin, kinds: &[Kind]) -> Result<Self> {
        let history = Writer::create(starter.history(), "lives")?;
        let lives = Self {
            starter,
            history,
            names: AtomicU64::new(0),
            reborn: Mutex::new(None),
            trimmed: Mutex::new(None),
            fresh: Mutex::new(Vec::new()),
        };
        if kinds.contains(&Kind::TopicRemade) {
            admin.create_topic(&on_broker(REBORN), PARTITIONS, REPLICAS, &[])?;
            let reborn = Reborn {
                incarnation: 0,
                witness: lives.member(REBORN, "witness", &[])?,
                heir: lives.heir()?,
                publisher: lives.publisher(REBORN, 5, None)?,
            };
            lives.wait_ready(&reborn.witness.0)?;
            lives.wait_ready(&reborn.heir.0)?;
            *lives.reborn.lock().unwrap_or_else(PoisonError::into_inner) = Some(reborn);
        }
        if kinds.contains(&Kind::RecordsDeleted) {
            admin.create_topic(&on_broker(TRIMMED), PARTITIONS, REPLICAS, &[])?;
            let trimmed = Trimmed {
                member: lives.member(TRIMMED, TRIMMED, &[])?,
                publisher: lives.publisher(TRIMMED, 5, None)?,
            };
            lives.wait_ready(&trimmed.member.0)?;
            *lives.trimmed.lock().unwrap_or_else(PoisonError::into_inner) = Some(trimmed);
        }
        Ok(lives)
    }

    fn member(&self, topic: &str, group: &str, more: &[&str]) -> Result<(String, Guarded)> {
        let name = format!("{group}#{}", self.names.fetch_add(1, Ordering::Relaxed));
        let mut options = vec!["--topic", topic, "--group", group];
        options.extend_from_slice(more);
        let options: Vec<_> = options.into_iter().map(str::to_owned).collect();
        let process = self.starter.start("life-member", &name, &options)?;
        Ok((name, process))
    }

    fn heir(&self) -> Result<(String, Guarded)> {
        self.member(REBORN, "heir", &["--tail", "--dies-of-anew"])
    }

    fn publisher(
        &self,
        topic: &str,
        pace_ms: u64,
        count: Option<u64>,
    ) -> Result<(String, Guarded)> {
        let number = self.names.fetch_add(1, Ordering::Relaxed);
        let name = format!("publisher-{topic}#{number}");
        let mut options = vec![
            format!("--topic={topic}"),
            format!("--first={}", number * IDS),
            format!("--pace-ms={pace_ms}"),
        ];
        options.extend(count.map(|count| format!("--count={count}")));
        let process = self.starter.start("life-publisher", &name, &options)?;
        Ok((name, process))
    }

    fn wait_ready(&self, name: &str) -> Result<()> {
        let path = self.starter.history().join(format!("{name}.ndjson"));
        eventually(&format!("{name} to be ready"), READY, || {
            let text = fs::read_to_string(&path).unwrap_or_default();
            Ok(text.contains("\"ready\":").then_some(()))
        })
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

/// Lets one of these faults happen.
pub(super) fn happen(world: &World, kind: Kind, random: &mut fastrand::Rng) -> Result<Came> {
    match kind {
        Kind::TopicRemade => remade(world, random),
        Kind::RecordsDeleted => trimmed(world, random),
        _ => fresh_tail(world),
    }
}

fn remade(world: &World, random: &mut fastrand::Rng) -> Result<Came> {
    let lives = &world.lives;
    let (Ok(mut reborn), Some(_nodes)) = (lives.reborn.try_lock(), try_hold(&world.nodes)) else {
        return Ok(Came::NotNow);
    };
    let Some(reborn) = reborn.as_mut() else {
        return Ok(Came::NotNow);
    };
    let admin = world.kafka.admin()?;
    let name = on_broker(REBORN);
    world.note(Kind::TopicRemade.word(), REBORN, Phase::Begin, true)?;
    admin.delete_topic(&name)?;
    if random.bool() {
        thread::sleep(Duration::from_millis(random.u64(0..3_000)));
    }
    lives.deleted(
        &format!("{REBORN}#{}", reborn.incarnation),
        vec![None; PARTITIONS as usize],
    )?;
    reborn.incarnation += 1;
    tell_incarnation(lives.starter.history(), REBORN, reborn.incarnation)?;
    admin.create_topic(&name, PARTITIONS, REPLICAS, &[])?;
    // One that does not see the new topic does not die of it.
    let deadline = Instant::now() + HEIR;
    while Instant::now() < deadline && reborn.heir.1.exit_status()?.is_none() {
        thread::sleep(LOOK);
    }
    reborn.heir.1.kill();
    reborn.heir = lives.heir()?;
    lives.wait_ready(&reborn.heir.0)?;
    thread::sleep(Duration::from_millis(random.u64(500..2_000)));
    world.note(Kind::TopicRemade.word(), REBORN, Phase::End, true)?;
    Ok(Came::Done)
}

fn trimmed(world: &World, random: &mut fastrand::Rng) -> Result<Came> {
    let lives = &world.lives;
    let (Ok(mut trimmed), Some(_nodes)) = (lives.trimmed.try_lock(), try_hold(&world.nodes)) else {
        return Ok(Came::NotNow);
    };
    let Some(trimmed) = trimmed.as_mut() else {
        return Ok(Came::NotNow);
    };
    let admin = world.kafka.admin()?;
    let name = on_broker(TRIMMED);
    world.note(Kind::RecordsDeleted.word(), TRIMMED, Phase::Begin, true)?;
    let member = &mut trimmed.member.1;
    member.signal(Signal::STOP)?;
    // Now and then beyond the session's end.
    thread::sleep(Duration::from_millis(random.u64(1_500..8_000)));
    let ends: Vec<_> = admin
        .end_offsets(&name)?
        .into_iter()
        .map(|(_, high)| high)
        .collect();
    for (partition, end) in (0..).zip(&ends) {
        admin.delete_records(&name, partition, *end)?;
    }
    lives.deleted(TRIMMED, ends.into_iter().map(Some))?;
    member.signal(Signal::CONT)?;
    thread::sleep(Duration::from_millis(random.u64(500..3_000)));
    world.note(Kind::RecordsDeleted.word(), TRIMMED, Phase::End, true)?;
    Ok(Came::Done)
}

fn fresh_tail(world: &World) -> Result<Came> {
    let lives = &world.lives;
    let Some(_nodes) = try_hold(&world.nodes) else {
        return Ok(Came::NotNow);
    };
    let admin = world.kafka.admin()?;
    let topic = format!("fresh-{}", lives.names.fetch_add(1, Ordering::Relaxed));
    world.note(Kind::FreshTail.word(), &topic, Phase::Begin, true)?;
    admin.create_topic(&on_broker(&topic), PARTITIONS, REPLICAS, &[])?;
    // What stands there before is not for the group.
    let (name, before) = lives.publisher(&topic, 2, Some(FRESH))?;
    finish(before, &name)?;
    let (name, mut first) = lives.member(&topic, &topic, &["--tail", "--commit-ms", "60000"])?;
    lives.wait_ready(&name)?;
    let (name, after) = lives.publisher(&topic, 2, Some(FRESH))?;
    finish(after, &name)?;
    first.signal(Signal::KILL)?;
    drop(first);
    let (name, second) = lives.member(&topic, &topic, &["--tail", "--commit-ms", "500"])?;
    lives.wait_ready(&name)?;
    caught_up(admin, &topic, &topic)?;
    end(second, &name)?;
    lives
        .fresh
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(topic.clone());
    world.note(Kind::FreshTail.word(), &topic, Phase::End, true)?;
    Ok(Came::Done)
}

/// Waits until a process has ended by itself.
fn finish(mut process: Guarded, name: &str) -> Result<()> {
    let status = eventually(&format!("{name} to end"), READY, || process.exit_status())?;
    ensure!(status.success(), "{name} ended with {status}");
    Ok(())
}

/// Waits until a group has committed the end of its topic. That it has not in this time is for the checker to say.
fn caught_up(admin: &Admin, topic: &str, group: &str) -> Result<()> {
    let (topic, group) = (on_broker(topic), on_broker(group));
    let deadline = Instant::now() + CATCH_UP;
    while Instant::now() < deadline {
        let ends = admin.end_offsets(&topic)?;
        let committed = admin.committed(&group, &topic)?;
        let mut both = ends.iter().zip(&committed);
        if both.all(|((low, high), committed)| low == high || *committed == Some(*high)) {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(300));
    }
    eprintln!("{group} has not reached the end of {topic}");
    Ok(())
}

/// Ends everything and reads what is in the logs.
pub(super) fn end_all(lives: &Lives, admin: &Admin) -> Result<()> {
    let mut topics =
        std::mem::take(&mut *lives.fresh.lock().unwrap_or_else(PoisonError::into_inner));
    if let Some(reborn) = lives
        .reborn
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take()
    {
        end(reborn.publisher.1, &reborn.publisher.0)?;
        for (group, (name, member)) in [("witness", reborn.witness), ("heir", reborn.heir)] {
            caught_up(admin, REBORN, group)?;
            end(member, &name)?;
        }
        topics.push(REBORN.to_owned());
    }
    if let Some(trimmed) = lives
        .trimmed
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take()
    {
        end(trimmed.publisher.1, &trimmed.publisher.0)?;
        caught_up(admin, TRIMMED, TRIMMED)?;
        end(trimmed.member.1, &trimmed.member.0)?;
        topics.push(TRIMMED.to_owned());
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
