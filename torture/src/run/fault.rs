//! The faults: each starts, lasts, ends, and is written to the history.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use checker::history::Phase;
use harness::{Direction, Signal};

use super::children::Taken;
use super::lives;
use super::world::{World, try_hold};
use crate::control::Mood;
use crate::layout::{MOST_PARTITIONS, TOPICS, on_broker, stored};
use crate::roles::lane;

/// The kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    BrokerKilled,
    BrokerPaused,
    LeaderMoved,
    ConnectionsCut,
    ConnectionsRefused,
    NetworkDelayed,
    NetworkHeld,
    HalfOpen,
    PartitionsAdded,
    MemberKilled,
    MemberPaused,
    MemberReplaced,
    MemberStopped,
    HandlersSlow,
    HandlersFailing,
    HandlersPanicking,
    DeadLettersRefused,
    WorkersChanged,
    TopicRemade,
    TopicOutgrown,
    TopicGrown,
    RecordsDeleted,
    RecordsAged,
    FreshTail,
    StartDelayed,
    ShortLives,
    RightsWithdrawn,
}

impl Kind {
    /// How often each kind is in a deck.
    pub(super) const DECK: [(Self, usize); 27] = [
        (Self::BrokerKilled, 2),
        (Self::BrokerPaused, 2),
        (Self::LeaderMoved, 1),
        (Self::ConnectionsCut, 2),
        (Self::ConnectionsRefused, 1),
        (Self::NetworkDelayed, 1),
        (Self::NetworkHeld, 2),
        (Self::HalfOpen, 2),
        (Self::PartitionsAdded, 1),
        (Self::MemberKilled, 3),
        (Self::MemberPaused, 2),
        (Self::MemberReplaced, 1),
        (Self::MemberStopped, 2),
        (Self::HandlersSlow, 1),
        (Self::HandlersFailing, 1),
        (Self::HandlersPanicking, 1),
        (Self::DeadLettersRefused, 1),
        (Self::WorkersChanged, 2),
        (Self::TopicRemade, 1),
        (Self::TopicOutgrown, 1),
        (Self::TopicGrown, 1),
        (Self::RecordsDeleted, 1),
        (Self::RecordsAged, 1),
        (Self::FreshTail, 1),
        (Self::StartDelayed, 1),
        (Self::ShortLives, 1),
        (Self::RightsWithdrawn, 2),
    ];

    pub(super) fn all() -> [Self; 27] {
        Self::DECK.map(|(kind, _)| kind)
    }

    /// Its name in the history.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::BrokerKilled => "broker-killed",
            Self::BrokerPaused => "broker-paused",
            Self::LeaderMoved => "leader-moved",
            Self::ConnectionsCut => "connections-cut",
            Self::ConnectionsRefused => "connections-refused",
            Self::NetworkDelayed => "network-delayed",
            Self::NetworkHeld => "network-held",
            Self::HalfOpen => "half-open",
            Self::PartitionsAdded => "partitions-added",
            Self::MemberKilled => "member-killed",
            Self::MemberPaused => "member-paused",
            Self::MemberReplaced => "member-replaced",
            Self::MemberStopped => "member-stopped",
            Self::HandlersSlow => "handlers-slow",
            Self::HandlersFailing => "handlers-failing",
            Self::HandlersPanicking => "handlers-panicking",
            Self::DeadLettersRefused => "dead-letters-refused",
            Self::WorkersChanged => "workers-changed",
            Self::TopicRemade => "topic-remade",
            Self::TopicOutgrown => "topic-outgrown",
            Self::TopicGrown => "topic-grown",
            Self::RecordsDeleted => "records-deleted",
            Self::RecordsAged => "records-aged",
            Self::FreshTail => "fresh-tail",
            Self::StartDelayed => "start-delayed",
            Self::ShortLives => "short-lives",
            Self::RightsWithdrawn => "rights-withdrawn",
        }
    }

    /// Whether it excuses no record handled twice.
    fn clean(self) -> bool {
        matches!(
            self,
            Self::LeaderMoved
                | Self::PartitionsAdded
                | Self::MemberStopped
                | Self::HandlersSlow
                | Self::WorkersChanged
        )
    }

    /// Whether it can affect the probes; faults of members and handlers do not.
    pub(super) fn reaches_probes(self) -> bool {
        matches!(
            self,
            Self::BrokerKilled
                | Self::BrokerPaused
                | Self::LeaderMoved
                | Self::ConnectionsCut
                | Self::ConnectionsRefused
                | Self::NetworkDelayed
                | Self::NetworkHeld
                | Self::HalfOpen
        )
    }

    /// Whether it is one of the lives of topics, which have their own publishers and members.
    pub(super) fn is_of_a_topic_s_life(self) -> bool {
        matches!(
            self,
            Self::TopicRemade
                | Self::TopicOutgrown
                | Self::TopicGrown
                | Self::RecordsDeleted
                | Self::RecordsAged
                | Self::FreshTail
                | Self::StartDelayed
                | Self::ShortLives
                | Self::RightsWithdrawn
        )
    }

    fn mood(self) -> Option<Mood> {
        match self {
            Self::HandlersSlow => Some(Mood::Slow),
            Self::HandlersFailing => Some(Mood::Failing),
            Self::HandlersPanicking => Some(Mood::Panicking),
            Self::WorkersChanged => Some(Mood::Changing),
            _ => None,
        }
    }
}

/// The outcome of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Came {
    Done,
    /// What it needs is already broken.
    NotNow,
}

/// Runs a fault of this kind from start to end. With `for_probes`, a fault of a partition hits one of theirs.
pub(super) fn happen(
    world: &World,
    kind: Kind,
    for_probes: bool,
    random: &mut fastrand::Rng,
) -> Result<Came> {
    let fault = Ongoing { world, kind };
    match kind {
        Kind::BrokerKilled | Kind::BrokerPaused | Kind::ConnectionsRefused | Kind::NetworkHeld => {
            fault.node_away(random)
        }
        Kind::LeaderMoved if for_probes => fault.move_leader(lane::TOPIC, random),
        Kind::LeaderMoved => {
            let topic = random.choice(stored().collect::<Vec<_>>());
            fault.move_leader(topic.context("no topic")?, random)
        }
        Kind::PartitionsAdded => fault.add_partition(random),
        Kind::ConnectionsCut | Kind::HalfOpen | Kind::NetworkDelayed => {
            fault.connections(random).map(|()| Came::Done)
        }
        Kind::MemberKilled | Kind::MemberPaused | Kind::MemberReplaced | Kind::MemberStopped => {
            fault.member(random)
        }
        Kind::HandlersSlow
        | Kind::HandlersFailing
        | Kind::HandlersPanicking
        | Kind::WorkersChanged => fault.handlers(random).map(|()| Came::Done),
        Kind::DeadLettersRefused => fault.dead_letters(random),
        Kind::TopicRemade
        | Kind::TopicOutgrown
        | Kind::TopicGrown
        | Kind::RecordsDeleted
        | Kind::RecordsAged
        | Kind::FreshTail
        | Kind::StartDelayed
        | Kind::ShortLives
        | Kind::RightsWithdrawn => lives::happen(world, kind, random).map(|()| Came::Done),
    }
}

struct Ongoing<'a> {
    world: &'a World,
    kind: Kind,
}

impl Ongoing<'_> {
    fn note(&self, target: &str, phase: Phase) -> Result<()> {
        self.world
            .note(self.kind.word(), target, phase, self.kind.clean())
    }

    fn node_away(&self, random: &mut fastrand::Rng) -> Result<Came> {
        let world = self.world;
        let Some(_nodes) = try_hold(&world.nodes) else {
            return Ok(Came::NotNow);
        };
        let node = random.i32(1..=3);
        let target = format!("broker-{node}");
        let directions: &[Direction] = match random.u8(0..4) {
            0 => &[Direction::Requests],
            1 => &[Direction::Responses],
            _ => &[Direction::Requests, Direction::Responses],
        };
        let hold = |hold| -> Result<()> {
            for direction in directions {
                world.proxy.hold(node, *direction, hold)?;
            }
            Ok(())
        };
        self.note(&target, Phase::Begin)?;
        match self.kind {
            Kind::BrokerKilled => world.kafka.kill(node)?,
            Kind::BrokerPaused => world.kafka.pause(node)?,
            Kind::ConnectionsRefused => world.proxy.refuse(node, true)?,
            _ => hold(true)?,
        }
        thread::sleep(between(random, 1_500, 9_000));
        match self.kind {
            Kind::BrokerKilled => world.kafka.restart(node)?,
            Kind::BrokerPaused => world.kafka.resume(node)?,
            Kind::ConnectionsRefused => world.proxy.refuse(node, false)?,
            _ => hold(false)?,
        }
        self.note(&target, Phase::End)?;
        world.wait_in_sync()?;
        Ok(Came::Done)
    }

    fn move_leader(&self, topic: &str, random: &mut fastrand::Rng) -> Result<Came> {
        let Some(_nodes) = try_hold(&self.world.nodes) else {
            return Ok(Came::NotNow);
        };
        let topic = on_broker(topic);
        let admin = self.world.kafka.admin()?;
        let partition = random.i32(0..admin.partitions(&topic)?);
        let leader = admin.leader(&topic, partition)?;
        let mut replicas = admin.replicas(&topic, partition)?;
        replicas.retain(|node| Some(*node) != leader);
        let node = random.choice(replicas).context("one replica only")?;
        let target = format!("{topic}-{partition}");
        self.note(&target, Phase::Begin)?;
        self.world.kafka.move_leader(&topic, partition, node)?;
        self.note(&target, Phase::End)?;
        Ok(Came::Done)
    }

    fn add_partition(&self, random: &mut fastrand::Rng) -> Result<Came> {
        let Some(_nodes) = try_hold(&self.world.nodes) else {
            return Ok(Came::NotNow);
        };
        let topic = on_broker(TOPICS[random.usize(..TOPICS.len())].name);
        let admin = self.world.kafka.admin()?;
        let partitions = admin.partitions(&topic)?;
        if partitions >= MOST_PARTITIONS {
            return Ok(Came::NotNow);
        }
        self.note(&topic, Phase::Begin)?;
        admin.add_partitions(&topic, partitions + 1)?;
        self.note(&topic, Phase::End)?;
        Ok(Came::Done)
    }

    fn connections(&self, random: &mut fastrand::Rng) -> Result<()> {
        let proxy = &self.world.proxy;
        let nodes = match random.i32(0..=3) {
            0 => vec![1, 2, 3],
            node => vec![node],
        };
        let names: Vec<_> = nodes.iter().map(|node| format!("broker-{node}")).collect();
        let target = names.join("+");
        self.note(&target, Phase::Begin)?;
        let direction = if random.bool() {
            Direction::Requests
        } else {
            Direction::Responses
        };
        let delay = between(random, 50, 300);
        for node in &nodes {
            match self.kind {
                Kind::ConnectionsCut => {
                    proxy.cut(*node)?;
                }
                Kind::HalfOpen => {
                    proxy.swallow(*node, direction)?;
                }
                _ => proxy.delay(*node, delay)?,
            }
        }
        if self.kind == Kind::NetworkDelayed {
            thread::sleep(between(random, 2_000, 6_000));
            for node in &nodes {
                proxy.delay(*node, Duration::ZERO)?;
            }
        }
        self.note(&target, Phase::End)
    }

    fn member(&self, random: &mut fastrand::Rng) -> Result<Came> {
        let Some(taken) = self.world.members.take(random) else {
            return Ok(Came::NotNow);
        };
        let target = self.world.members.name(taken);
        self.note(&target, Phase::Begin)?;
        self.torment(taken, random)?;
        self.note(&target, Phase::End)?;
        self.world.members.give_back(taken);
        Ok(Came::Done)
    }

    fn torment(&self, taken: Taken, random: &mut fastrand::Rng) -> Result<()> {
        let members = &self.world.members;
        match self.kind {
            Kind::MemberKilled => {
                members.kill(taken);
                thread::sleep(between(random, 0, 4_000));
                members.replace(taken)
            }
            Kind::MemberStopped => {
                members.stop(taken)?;
                thread::sleep(between(random, 0, 1_000));
                members.replace(taken)
            }
            // Usually beyond the session's end: it returns as a member that the group has evicted.
            Kind::MemberPaused => {
                members.signal(taken, Signal::STOP)?;
                thread::sleep(between(random, 2_000, 14_000));
                members.signal(taken, Signal::CONT)
            }
            // Its place is taken while it sleeps; when it wakes, it notices, and then exits.
            _ => {
                members.signal(taken, Signal::STOP)?;
                thread::sleep(between(random, 0, 2_000));
                let asleep = members.set_aside(taken);
                members.replace(taken)?;
                thread::sleep(between(random, 4_000, 9_000));
                if let Some(mut process) = asleep {
                    process.signal(Signal::CONT)?;
                    thread::sleep(between(random, 500, 3_000));
                }
                Ok(())
            }
        }
    }

    fn handlers(&self, random: &mut fastrand::Rng) -> Result<()> {
        let (world, mood) = (self.world, self.kind.mood().context("not of handlers")?);
        let target = match self.kind {
            Kind::WorkersChanged => "workers",
            _ => "handlers",
        };
        self.note(target, Phase::Begin)?;
        world.moods.set(mood, true);
        world.moods.publish(&world.directory)?;
        thread::sleep(between(random, 3_000, 7_000));
        world.moods.set(mood, false);
        world.moods.publish(&world.directory)?;
        self.note(target, Phase::End)
    }

    fn dead_letters(&self, random: &mut fastrand::Rng) -> Result<Came> {
        let Some(_held) = try_hold(&self.world.dead_letters) else {
            return Ok(Came::NotNow);
        };
        let topic = "parcels";
        self.note(topic, Phase::Begin)?;
        self.world.refuse_dead_letters(topic, true)?;
        thread::sleep(between(random, 3_000, 9_000));
        self.world.refuse_dead_letters(topic, false)?;
        self.note(topic, Phase::End)?;
        Ok(Came::Done)
    }
}

fn between(random: &mut fastrand::Rng, from_ms: u64, to_ms: u64) -> Duration {
    Duration::from_millis(random.u64(from_ms..=to_ms))
}
