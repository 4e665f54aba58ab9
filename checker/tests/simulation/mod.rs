//! A small model of publishers, a log and groups that makes no mistakes.

use std::collections::{BTreeMap, BTreeSet};

use eventstream_checker::history::{Entry, Event, Order, Outcome};

use crate::story::Story;

/// Simulates the run of a seed: some publishing, then groups whose members fail, stop and are
/// killed. With `told`, the history reports assignments.
pub(crate) fn simulate(seed: u64, told: bool) -> Story {
    let mut random = Random(seed);
    let mut story = Story::default();
    let partitions = 1 + random.below(3);
    let log = publish(&mut story, &mut random, partitions);
    let orders = [Order::Partition, Order::Key, Order::None];
    for number in 0..1 + random.below(2) {
        let order = orders[random.below(3)];
        let mut group = Group::new(format!("g{number}"), order, &log, told);
        group.copies = random.chance(50);
        group.run(&mut story, &mut random);
    }
    for (partition, records) in log.iter().enumerate() {
        for (offset, record) in records.iter().enumerate() {
            story.record(partition as i32, offset as i64, Some(record.id), record.key);
        }
    }
    story
}

/// What a group of a story keeps in order, and whether it copies.
pub(crate) fn kind_of(story: &Story, group: &str) -> (Order, bool) {
    for line in story.files.values().flatten() {
        let entry: Entry<'_> = serde_json::from_str(line).unwrap();
        if let Event::Joined(joined) = entry.event
            && joined.group == group
        {
            return (joined.order, joined.output.is_some());
        }
    }
    unreachable!("a group of the story")
}

/// xorshift64*
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((word ^ (word >> 31)) % bound as u64) as usize
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

#[derive(Clone, Copy)]
struct Logged {
    id: u64,
    key: Option<u64>,
}

type Log = Vec<Vec<Logged>>;

/// Two publishers, of which the second is killed.
fn publish(story: &mut Story, random: &mut Random, partitions: usize) -> Log {
    let mut log: Log = vec![Vec::new(); partitions];
    for id in 0..5 + random.below(40) as u64 {
        let publisher = ["p1", "p2"][random.below(2)];
        let key = random.chance(80).then(|| random.below(4) as u64);
        let partition =
            key.map_or_else(|| random.below(partitions), |key| key as usize % partitions);
        story.publish(publisher, id, key);
        if random.chance(5) {
            story.refused(publisher, id);
            continue;
        }
        story.accepted(publisher, id);
        let fails = random.chance(10);
        let untold = publisher == "p2" && random.chance(10);
        if !fails || random.chance(50) {
            log[partition].push(Logged { id, key });
        }
        let offset = log[partition].len() as i64 - 1;
        match (untold, fails) {
            (true, _) => {}
            (false, true) => story.failed(publisher, id),
            (false, false) => story.stored(publisher, id, partition as i32, offset),
        }
    }
    if story.files.contains_key("p1") {
        story.ended("p1");
    }
    log
}

/// The state of a partition in the member that holds it.
#[derive(Default)]
struct Held {
    done: BTreeSet<usize>,
    /// Running attempts by offset.
    running: BTreeMap<usize, u32>,
    /// The attempts so far of records that wait for a retry.
    waiting: BTreeMap<usize, u32>,
}

struct Group<'a> {
    name: String,
    order: Order,
    log: &'a Log,
    told: bool,
    members: Vec<String>,
    joined: usize,
    /// By partition: the member, and its state.
    held: Vec<(usize, Held)>,
    committed: Vec<usize>,
    dead: Vec<BTreeSet<usize>>,
    /// Whether what it commits has outputs.
    copies: bool,
    /// By partition of its outputs: the records that they are of.
    outputs: [Vec<(i32, i64)>; 2],
}

impl<'a> Group<'a> {
    fn new(name: String, order: Order, log: &'a Log, told: bool) -> Self {
        Self {
            name,
            order,
            log,
            told,
            members: Vec::new(),
            joined: 0,
            held: log.iter().map(|_| (0, Held::default())).collect(),
            committed: vec![0; log.len()],
            dead: vec![BTreeSet::new(); log.len()],
            copies: false,
            outputs: Default::default(),
        }
    }

    fn run(mut self, story: &mut Story, random: &mut Random) {
        self.join(story);
        self.join(story);
        self.rebalance(story, random);
        let mut quiet = 400;
        while (0..self.log.len())
            .any(|partition| self.committed[partition] < self.log[partition].len())
        {
            let partition = random.below(self.log.len());
            // Towards the end there are no more disturbances, so that the end is reached.
            quiet -= i32::from(quiet > 0);
            match random.below(100) {
                0..3 if quiet > 0 => self.stop(story, random),
                3..6 if quiet > 0 => self.kill(story, random),
                6..15 => self.commit(story, partition),
                15..60 => self.start(story, random, partition),
                _ => self.finish(story, random, partition),
            }
        }
        for (partition, dead) in self.dead.iter().enumerate() {
            for offset in dead {
                let id = self.log[partition][*offset].id;
                story.dead_letter(&self.name, partition as i32, *offset as i64, Some(id));
            }
        }
        for (to, outputs) in (0..).zip(&self.outputs) {
            // A marker after each.
            for (of, at) in outputs.iter().zip((0..).step_by(2)) {
                let key = self.log[of.0 as usize][of.1 as usize].key;
                story.output(&self.name, *of, key, (to, at));
            }
        }
        for member in &self.members {
            story.left(member);
        }
    }

    fn join(&mut self, story: &mut Story) {
        let member = format!("{}-m{}", self.name, self.joined);
        self.joined += 1;
        if self.copies {
            story.joined_to_copy(&member, &self.name, self.order);
        } else {
            story.joined(&member, &self.name, self.order);
        }
        self.members.push(member);
    }

    /// Assigns the partitions to members, which know only what is committed.
    fn rebalance(&mut self, story: &mut Story, random: &mut Random) {
        for (partition, held) in (0..).zip(&mut self.held) {
            *held = (random.below(self.members.len()), Held::default());
            if self.told {
                story.assigned(&self.members[held.0], partition);
            }
        }
    }

    /// A live member gives a partition up: everything running ends, and what may be committed is.
    fn revoke(&mut self, story: &mut Story, random: &mut Random, partition: usize) {
        while !self.held[partition].1.running.is_empty() {
            self.finish(story, random, partition);
        }
        self.commit(story, partition);
        if self.told {
            story.revoked(&self.members[self.held[partition].0], partition as i32);
        }
    }

    /// A member stops cleanly.
    fn stop(&mut self, story: &mut Story, random: &mut Random) {
        for partition in 0..self.log.len() {
            self.revoke(story, random, partition);
        }
        let stops = random.below(self.members.len());
        let member = self.members.remove(stops);
        story.left(&member);
        self.join(story);
        self.rebalance(story, random);
    }

    /// A member is killed: what it runs and has not committed is lost. The others drain.
    fn kill(&mut self, story: &mut Story, random: &mut Random) {
        let killed = random.below(self.members.len());
        for partition in 0..self.log.len() {
            if self.held[partition].0 != killed {
                self.revoke(story, random, partition);
            }
        }
        self.members.remove(killed);
        self.join(story);
        self.rebalance(story, random);
    }

    fn commit(&mut self, story: &mut Story, partition: usize) {
        let held = &self.held[partition].1;
        let committed = &mut self.committed[partition];
        while held.done.contains(committed) {
            if self.copies && !self.dead[partition].contains(committed) {
                let key = self.log[partition][*committed].key;
                let to = key.map_or(*committed, |key| key as usize) % self.outputs.len();
                self.outputs[to].push((partition as i32, *committed as i64));
            }
            *committed += 1;
        }
        let offset = *committed as i64;
        story.committed(&self.name, partition as i32, offset);
    }

    fn start(&mut self, story: &mut Story, random: &mut Random, partition: usize) {
        let candidates = self.startable(partition);
        if candidates.is_empty() {
            return;
        }
        let offset = candidates[random.below(candidates.len())];
        let (member, held) = &mut self.held[partition];
        let attempt = held.waiting.remove(&offset).unwrap_or(0) + 1;
        held.running.insert(offset, attempt);
        let record = self.log[partition][offset];
        let place = (partition as i32, offset as i64);
        story.handle(
            &self.members[*member],
            place,
            record.id,
            record.key,
            attempt,
        );
    }

    /// The offsets that may start now.
    fn startable(&self, partition: usize) -> Vec<usize> {
        let held = &self.held[partition].1;
        let open = (self.committed[partition]..self.log[partition].len())
            .filter(|offset| !held.done.contains(offset));
        let mut blocked = BTreeSet::new();
        let mut startable = Vec::new();
        for offset in open {
            let key = self.log[partition][offset].key;
            let free = match (self.order, key) {
                (Order::Partition, _) => blocked.insert(None),
                (Order::Key, Some(key)) => blocked.insert(Some(key)),
                _ => true,
            };
            if free && !held.running.contains_key(&offset) {
                startable.push(offset);
            }
        }
        startable
    }

    fn finish(&mut self, story: &mut Story, random: &mut Random, partition: usize) {
        let (member, held) = &mut self.held[partition];
        let running: Vec<usize> = held.running.keys().copied().collect();
        if running.is_empty() {
            return;
        }
        let offset = running[random.below(running.len())];
        let attempt = held.running.remove(&offset).unwrap();
        let member = &self.members[*member];
        let place = (partition as i32, offset as i64);
        // Its dead letter may have been aborted. It fails again, or it would have an output as well.
        let given_up = self.copies && self.dead[partition].contains(&offset);
        if random.chance(75) && !given_up {
            story.handled(member, place, Outcome::Ok);
            held.done.insert(offset);
            return;
        }
        let outcome = if random.chance(50) {
            Outcome::Error
        } else {
            Outcome::Panic
        };
        story.handled(member, place, outcome);
        if attempt == 3 {
            held.done.insert(offset);
            self.dead[partition].insert(offset);
        } else {
            held.waiting.insert(offset, attempt);
        }
    }
}
