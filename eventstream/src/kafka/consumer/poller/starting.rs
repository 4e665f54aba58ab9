//! Partitions between assignment and reading: the brokers are asked in the background where each
//! starts, and librdkafka gets a partition only once that is known. A partition whose offsets come
//! into doubt while it is read is treated in the same way.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{Consumer, RebalanceProtocol};
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::topic_partition_list::Offset;

use super::{Assigned, Poller};
use crate::error::{Error, ErrorKind};
use crate::guard::tracing;
use crate::kafka::consumer::assignment::{
    self, Cause, Commit, Decision, PartitionView, Start, TopicView,
};
use crate::kafka::error::{classify, from_code};
use crate::kafka::questions::{
    self, Answer, Committed, Refused, TopicFacts, TopicId, TopicPartition, Which,
};
use crate::observe::health::Problem;
use crate::subscribe::StartOffset;

/// How long a request may take before it is repeated; and those about offsets, whose answers others wait for: a leader
/// that is gone is replaced after a while.
const PATIENCE: Duration = Duration::from_secs(5);
const PATIENCE_FOR_OFFSETS: Duration = Duration::from_secs(2);
/// How long the polling thread first waits for commits before it does anything else.
const PATIENCE_FOR_COMMITS: Duration = Duration::from_millis(500);
/// How often to check whether a broker can be asked, and for how long.
const CONNECTS: Duration = Duration::from_millis(20);
const CONNECTED: Duration = Duration::from_secs(3);
/// The wait between rounds of requests, doubling up to a limit.
const AGAIN_MIN: Duration = Duration::from_millis(100);
const AGAIN_MAX: Duration = Duration::from_secs(1);
/// How often to check the topics for a recreated one.
pub(super) const LOOK: Duration = Duration::from_secs(5);
/// Transient conditions, such as an election, are waited out silently for this long.
const QUIET: Duration = Duration::from_secs(5);
/// A result about commits that is older says too little about what others have committed since.
const FRESH: Duration = Duration::from_secs(5);

const TOPICS: usize = 0;
const EARLIEST: usize = 1;
const LATEST: usize = 2;
const AT_TIME: usize = 3;
/// Tokens of a round: its number, and which of its requests.
const QUESTIONS: usize = 8;

/// A topic as this group's consumer first met it.
#[derive(Clone, Copy)]
pub(super) struct Met {
    id: Option<TopicId>,
    /// Partitions added later are read from their head, as the group cannot have been there before
    /// their first record. A topic that did not exist had none.
    partitions: i32,
    /// How many it had when it was last seen.
    seen: i32,
    /// How many an earlier topic of the same name had.
    former: i32,
}

#[derive(Default)]
pub(super) struct Starting {
    /// Outlives the consumer: a new one has met nothing.
    pub(super) met: HashMap<String, Met>,
    waiting: Vec<Waiting>,
    round: Option<Round>,
    rounds: usize,
    next: Option<Instant>,
    backoff: Duration,
    next_look: Option<Instant>,
    /// By topic.
    births: HashMap<String, Vec<Birth>>,
    /// Topics that this consumer met before they were recreated.
    pub(super) remade: HashSet<String>,
    /// Topics that did not exist at the last check.
    absent: HashSet<String>,
    /// Since when there is no broker to ask; `None` once there is one.
    connecting: Option<Instant>,
    /// It was told that this broker finds no offset by time.
    is_timeless: bool,
}

struct Waiting {
    partition: TopicPartition,
    since: Instant,
    cause: Cause,
    why: Option<Error>,
    is_told: bool,
    /// It starts where the subscription says, although other partitions of its topic now have commits: this member
    /// fixed them when this partition had no leader.
    is_born: bool,
}

/// The start of another member's partition, fixed by the owner of the first partition.
pub(super) struct Birth {
    pub(super) partition: TopicPartition,
    pub(super) offset: i64,
    pub(super) id: Option<TopicId>,
    looked: Instant,
}

/// Related requests, and their answers so far.
struct Round {
    number: usize,
    began: Instant,
    open: usize,
    step: Step,
    failed: Option<Refused>,
    /// Why a leader did not answer.
    silent: Option<Code>,
    topics: HashMap<String, TopicFacts>,
    commits: HashMap<String, BTreeMap<i32, Result<Commit, Code>>>,
    offsets: [HashMap<TopicPartition, Result<i64, Code>>; 3],
}

/// The requests of a round, one after the other.
#[derive(Clone, Copy)]
enum Step {
    Topics,
    /// Until then; it goes on without the answers that are still open.
    Offsets(Instant),
}

/// A placed partition, its start, and its topic's id.
struct Placed {
    partition: TopicPartition,
    cause: Cause,
    start: Start,
    id: Option<TopicId>,
}

impl Starting {
    pub(super) fn new(met: HashMap<String, Met>) -> Self {
        Self {
            met,
            backoff: AGAIN_MIN,
            connecting: Some(Instant::now()),
            ..Self::default()
        }
    }

    fn add(&mut self, partition: TopicPartition, cause: Cause) {
        self.waiting.push(Waiting {
            partition,
            since: Instant::now(),
            cause,
            why: None,
            is_told: false,
            is_born: false,
        });
        self.at_once();
    }

    /// What waits, if it is one partition, waits a little longer.
    fn not_at_once(&mut self) {
        if self.waiting.len() == 1 {
            self.next = Some(Instant::now() + AGAIN_MAX);
        }
    }

    fn at_once(&mut self) {
        self.backoff = AGAIN_MIN;
        self.next = None;
    }

    pub(super) fn look_now(&mut self) {
        self.next_look = None;
    }

    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn is_absent(&self, topic: &str) -> bool {
        self.absent.contains(topic)
    }

    pub(super) fn has_met(&self, topics: &[String]) -> bool {
        topics.iter().all(|topic| self.met.contains_key(topic))
    }

    pub(super) fn remove(&mut self, partitions: &HashSet<TopicPartition>) {
        self.waiting.retain(|w| !partitions.contains(&w.partition));
        let firsts = |topic: &String, _: &mut _| !partitions.contains(&(topic.clone(), 0));
        self.births.retain(firsts);
    }

    pub(super) fn clear(&mut self) {
        self.waiting.clear();
        self.births.clear();
    }

    /// What to commit with the first start in this topic, lest another member sees some of them and takes the
    /// partitions without one for new.
    pub(super) fn births_with(&mut self, topic: &str) -> &[Birth] {
        match self.births.get_mut(topic) {
            Some(births) => {
                births.retain(|birth| birth.looked.elapsed() < FRESH);
                births
            }
            None => &[],
        }
    }

    pub(super) fn born(&mut self, partition: &TopicPartition) {
        if let Some(births) = self.births.get_mut(&partition.0) {
            births.retain(|birth| birth.partition != *partition);
        }
    }
}

impl Poller {
    pub(super) fn find_starts(&mut self, partitions: &[TopicPartition]) {
        for partition in partitions {
            if self.group.env.topic(&partition.0).is_none() {
                tracing::error!(topic = partition.0, "assigned and not subscribed to");
                continue;
            }
            self.starting.add(partition.clone(), Cause::Assigned);
        }
    }

    /// A partition's offsets are in doubt: its records are discarded until that is resolved.
    pub(super) fn interrupt(&mut self, name: &TopicPartition, cut: Option<i64>) {
        let Some(assigned) = self.assigned.named(name) else {
            return;
        };
        assigned.unheard = None;
        if std::mem::replace(&mut assigned.in_doubt, true) {
            return;
        }
        let cause = Cause::Interrupted {
            position: assigned.next,
            cut,
            id: assigned.topic_id,
        };
        self.starting.add(name.clone(), cause);
    }

    /// After a wrong checksum, librdkafka reads on in the middle of the batch. What follows is discarded, and the
    /// partition is read again until it can be, or the group is moved past it.
    pub(super) fn unreadable(&mut self, name: &TopicPartition, code: Code, reason: &str) {
        let Some(assigned) = self.assigned.iter_mut().find(|a| a.name == *name) else {
            return;
        };
        if assigned.in_doubt {
            return;
        }
        let (topic, partition) = name;
        let offset = assigned.next;
        let doing = format!("consume {topic}/{partition} offset {offset}: {reason}");
        let error = from_code(doing, code).with_remedy(match code {
            Code::NotImplemented => {
                "if it is a codec that this build is without, add the feature `gzip` or `zstd` of eventstream"
            }
            _ => {
                "check the brokers' disks; another replica, made the leader, may have an intact copy; \
                 `eventstream group seek` moves the group past it"
            }
        });
        assigned.unreadable = Some(offset);
        let mut progress = assigned.shared.progress.lock();
        let problem = Problem::after(progress.unreadable.as_ref(), error.clone());
        progress.unreadable = Some(problem);
        drop(progress);
        if self.repeats.is_new(code, reason, Instant::now()) {
            tracing::error!(group = &*self.group.env.wire_group, %error, "cannot be read");
            self.group.tell_topic(topic, &error);
        }
        self.interrupt(name, None);
        self.starting.not_at_once();
    }

    /// When to send the next request, or to go on without an answer; `None` if an answer comes first, or nothing is to
    /// be asked.
    pub(super) fn next_question(&self, now: Instant) -> Option<Instant> {
        let starting = &self.starting;
        if let Some(round) = &starting.round {
            return round.until();
        }
        if self.rejoin_at.is_some() {
            return None;
        }
        if starting.connecting.is_some() {
            return Some(now + CONNECTS);
        }
        if !starting.is_idle() || !starting.has_met(&self.subscribed) {
            return Some(starting.next.unwrap_or(now));
        }
        let looks = !self.assigned.is_empty()
            || !starting.absent.is_empty()
            || self.group.env.groupless.is_some()
            || !self.group.env.wire_instance.is_empty();
        looks.then(|| starting.next_look.unwrap_or(now))
    }

    /// Starts a round of requests if one is due.
    pub(super) fn ask(&mut self, now: Instant) {
        let is_over = |round: &mut Round| round.until().is_some_and(|at| at <= now);
        if let Some(mut round) = self.starting.round.take_if(is_over) {
            round.silent = Some(Code::OperationTimedOut);
            self.decide(&round);
        }
        let questions = self.queue.questions(self.consumer.client(), PATIENCE);
        let waits = |since: &Instant| since.elapsed() < CONNECTED && !questions.is_connected();
        self.starting.connecting = self.starting.connecting.filter(waits);
        if self.next_question(now).is_none_or(|at| now < at) {
            return;
        }
        let waiting = self.starting.waiting.iter().map(|w| &w.partition.0);
        let mut names: Vec<&str> = waiting
            .chain(self.assigned.topics())
            .chain(&self.subscribed)
            .map(String::as_str)
            .collect();
        names.sort_unstable();
        names.dedup();
        let number = self.starting.rounds.wrapping_add(1);
        questions.topics(&names, number * QUESTIONS + TOPICS);
        self.starting.rounds = number;
        self.starting.round = Some(Round::new(number));
        self.starting.next_look = Some(now + self.look_again_after());
    }

    pub(super) fn answered(&mut self, token: usize, answer: Answer) {
        let Some(round) = &mut self.starting.round else {
            return;
        };
        if token / QUESTIONS != round.number {
            return;
        }
        round.take(token % QUESTIONS, answer);
        if round.open > 0 {
            return;
        }
        if let Some(refused) = round.failed.take() {
            self.starting.round = None;
            self.asked_in_vain(&refused);
            return;
        }
        let asked = match round.step {
            Step::Topics => {
                self.look_at_topics();
                self.take_all();
                if let Err(refused) = self.read_commits() {
                    self.starting.round = None;
                    self.asked_in_vain(&refused);
                    return;
                }
                self.ask_for_offsets()
            }
            Step::Offsets(_) => false,
        };
        if asked {
            return;
        }
        let Some(round) = self.starting.round.take() else {
            return;
        };
        self.decide(&round);
    }

    fn asked_in_vain(&mut self, refused: &Refused) {
        let error = from_code(
            format!("ask where to start: {}", refused.reason),
            refused.code,
        );
        tracing::debug!(group = &*self.group.env.wire_group, %error, "asking again");
        for waiting in &mut self.starting.waiting {
            waiting.why = Some(error.clone());
        }
        self.wait_again();
    }

    fn wait_again(&mut self) {
        let starting = &mut self.starting;
        starting.next = Some(Instant::now() + starting.backoff);
        starting.backoff = (starting.backoff * 2).min(AGAIN_MAX);
        let mut told = Vec::new();
        for waiting in &mut starting.waiting {
            // A missing right is not transient.
            let quiet = match &waiting.why {
                Some(error) if error.kind() == ErrorKind::Unauthorized => Duration::ZERO,
                Some(_) => QUIET,
                None => continue,
            };
            if !waiting.is_told && waiting.since.elapsed() >= quiet {
                waiting.is_told = true;
                told.extend(waiting.why.clone());
            }
        }
        for error in &told {
            tracing::warn!(group = &*self.group.env.wire_group, %error, "cannot be read yet");
            self.group.tell_all(error);
        }
        self.show_waiting();
    }

    fn show_waiting(&self) {
        let told = self.starting.waiting.iter().filter(|w| w.is_told);
        let problems = told.filter_map(|w| Some(Problem::since_instant(w.why.clone()?, w.since)));
        self.group.set_waiting(problems.collect());
    }

    /// Meets topics for the first time, and finds recreated ones.
    fn look_at_topics(&mut self) {
        let Some(round) = &self.starting.round else {
            return;
        };
        let (mut remade, mut has_come) = (Vec::new(), false);
        for facts in round.topics.values() {
            let absent = matches!(
                facts.error,
                Some(Code::UnknownTopicOrPartition | Code::UnknownTopic)
            );
            let seen = i32::try_from(facts.partitions.len()).unwrap_or(i32::MAX);
            let size = match facts.error {
                None => Some(seen),
                _ => absent.then_some(0),
            };
            self.coverage.looked(&facts.name, size);
            if size.is_none() {
                continue;
            }
            let met = self.starting.met.entry(facts.name.clone());
            let met = met.or_insert(Met {
                id: facts.id,
                partitions: seen,
                seen,
                former: 0,
            });
            if absent {
                met.partitions = 0;
                self.starting.absent.insert(facts.name.clone());
                continue;
            }
            has_come |= self.starting.absent.remove(&facts.name);
            if met.id.is_some() && facts.id.is_some() && met.id != facts.id {
                met.partitions = 0;
                met.former = met.seen;
                self.starting.remade.insert(facts.name.clone());
            }
            met.id = facts.id.or(met.id);
            met.seen = seen;
            self.assigned.each_of(&facts.name, |assigned| {
                assigned.topic_id = assigned.topic_id.or(facts.id);
                if facts.id.is_some() && assigned.topic_id != facts.id {
                    // What is before that offset is not of this topic, so it is not certain any more.
                    assigned.is_readable();
                    remade.push(assigned.name.clone());
                }
            });
        }
        if has_come {
            // librdkafka only refreshes it after minutes. It takes in the answer, which is not
            // waited for.
            let _ = (self.consumer).fetch_metadata(None, Duration::from_millis(1));
        }
        if delivers_what_was_remade() {
            return;
        }
        for name in remade {
            self.interrupt(&name, None);
        }
    }

    /// Reads the commits in the topics of what was assigned. Waits briefly for the answer, as a request that nobody
    /// waits for must not time out (see [`questions`](crate::kafka::questions)).
    fn read_commits(&mut self) -> Result<(), Refused> {
        let Some(round) = &mut self.starting.round else {
            return Ok(());
        };
        if let Some(memory) = &self.group.env.groupless {
            for ((topic, partition), commit) in &*memory.lock() {
                let topic = round.commits.entry(topic.clone()).or_default();
                topic.insert(*partition, Ok(*commit));
            }
            return Ok(());
        }
        let mut asked = BTreeSet::new();
        for waiting in self.starting.waiting.iter().filter(|w| round.is_for(w)) {
            let topic = &waiting.partition.0;
            if matches!(waiting.cause, Cause::Assigned)
                && let Some(facts) = round.topics.get(topic)
            {
                let all = facts.partitions.keys();
                asked.extend(all.map(|partition| (topic.clone(), *partition)));
            }
        }
        if asked.is_empty() {
            return Ok(());
        }
        let patience = patience_for_commits(self.starting.backoff);
        for some in by_topics(asked) {
            let found = questions::committed_now(self.consumer.client(), &some, patience);
            round.take_commits(found.map_err(|code| Refused {
                code,
                reason: "what the group has committed".to_owned(),
            })?);
        }
        Ok(())
    }

    /// The topics as described by the brokers in this round.
    pub(super) fn described(&self) -> impl Iterator<Item = &TopicFacts> {
        let round = self.starting.round.iter();
        round.flat_map(|round| round.topics.values())
    }

    /// Whether this partition is being read, or going to be.
    pub(super) fn has(&self, name: &TopicPartition) -> bool {
        self.assigned.position(&name.0, name.1).is_some()
            || self.starting.waiting.iter().any(|w| w.partition == *name)
    }

    pub(super) fn all_names(&self) -> Vec<TopicPartition> {
        let waiting = self.starting.waiting.iter().map(|w| &w.partition);
        let all = waiting.chain(self.assigned.iter().map(|a| &a.name));
        let mut all: Vec<_> = all.cloned().collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Requests the ends of waiting partitions that can be asked about; `false` if there are none.
    fn ask_for_offsets(&mut self) -> bool {
        let Some(round) = &self.starting.round else {
            return false;
        };
        let firsts = self.firsts();
        let mut born_here = HashMap::new();
        let mut wanted = BTreeSet::new();
        for waiting in self.starting.waiting.iter().filter(|w| round.is_for(w)) {
            let (topic, number) = &waiting.partition;
            let Some(facts) = round.topics.get(topic) else {
                continue;
            };
            if !matches!(waiting.cause, Cause::Assigned) {
                wanted.insert((topic, *number));
                continue;
            }
            // Once for each topic, as it looks at all partitions.
            let all = born_here.entry(topic).or_insert_with(|| {
                let all = self.view(round, facts, &firsts).is_born_here();
                wanted.extend(facts.partitions.keys().filter(|_| all).map(|n| (topic, *n)));
                all
            });
            if !*all {
                wanted.insert((topic, *number));
            }
        }
        let mut asked: BTreeMap<i32, BTreeSet<TopicPartition>> = BTreeMap::new();
        for (topic, number) in wanted {
            let leader = round.topics.get(topic);
            let leader = leader.and_then(|facts| *facts.partitions.get(&number)?);
            if let Some(leader) = leader {
                let of_leader = asked.entry(leader).or_default();
                of_leader.insert((topic.clone(), number));
            }
        }
        if asked.is_empty() {
            return false;
        }
        let token = round.number * QUESTIONS;
        let client = self.consumer.client();
        let questions_of = self.queue.questions(client, PATIENCE);
        let time = assignment::time_of(&self.group.env.start);
        if time.is_some() && !self.starting.is_timeless && questions::is_embedded(client) {
            self.starting.is_timeless = true;
            let text =
                "the embedded broker finds no offset by time: new topics are read from the tail";
            self.group
                .tell_all(&Error::new(ErrorKind::Unsupported, text));
        }
        let mut open = 0;
        for of_leader in asked.values() {
            let ends = [(Which::Earliest, EARLIEST), (Which::Latest, LATEST)];
            let time = time.map(|which| (which, AT_TIME));
            let of_leader: Vec<_> = of_leader.iter().collect();
            for (which, question) in ends.into_iter().chain(time) {
                for some in of_leader.chunks(questions::AT_ONCE) {
                    questions_of.offsets(some.iter().copied(), which, token + question);
                    open += 1;
                }
            }
        }
        if let Some(round) = &mut self.starting.round {
            round.open = open;
            let patience = patience_for_offsets(self.starting.backoff);
            round.step = Step::Offsets(Instant::now() + patience);
        }
        true
    }

    /// The topics whose first partition this member has.
    fn firsts(&self) -> HashSet<String> {
        let waiting = self.starting.waiting.iter().map(|w| &w.partition);
        let all = waiting.chain(self.assigned.iter().map(|a| &a.name));
        let firsts = all.filter(|(_, partition)| *partition == 0);
        firsts.map(|(topic, _)| topic.clone()).collect()
    }

    fn view(&self, round: &Round, facts: &TopicFacts, firsts: &HashSet<String>) -> TopicView {
        let met = self.starting.met.get(&facts.name);
        TopicView {
            id: facts.id,
            met: met.map_or(0, |met| met.partitions),
            former: met.map_or(0, |met| met.former),
            commits: round.commits.get(&facts.name).cloned().unwrap_or_default(),
            has_first: firsts.contains(&facts.name),
        }
    }

    fn decide(&mut self, round: &Round) {
        let env = Arc::clone(&self.group.env);
        let policy = &env.start;
        let firsts = self.firsts();
        let (mut placed, mut births, mut kept) = (Vec::new(), Vec::new(), Vec::new());
        let mut views: HashMap<String, (TopicView, TopicView)> = HashMap::new();
        for mut waiting in std::mem::take(&mut self.starting.waiting) {
            let (topic, number) = &waiting.partition;
            let facts = round.topics.get(topic).filter(|_| round.is_for(&waiting));
            // It started to wait while this round was in flight.
            let Some(facts) = facts else {
                kept.push(waiting);
                continue;
            };
            // Once for each topic, as it looks at all partitions.
            let (met, unborn) = views.entry(topic.clone()).or_insert_with(|| {
                let view = self.view(round, facts, &firsts);
                let unborn = view.without_commits();
                (view, unborn)
            });
            let is_assigned = matches!(waiting.cause, Cause::Assigned);
            waiting.is_born |= is_assigned && met.is_born_here();
            let topic = if waiting.is_born && !met.commits.contains_key(number) {
                unborn
            } else {
                met
            };
            let waited = waiting.since.elapsed();
            let decision = round.view_of(facts, &waiting.partition).map(|view| {
                assignment::decide(topic, *number, view, waiting.cause, policy, waited)
            });
            match decision {
                Ok(Decision::Start(start)) => {
                    if *number == 0 && is_assigned && topic.is_born_here() {
                        births.extend(round.births(facts, policy));
                    }
                    placed.push(Placed {
                        partition: waiting.partition,
                        cause: waiting.cause,
                        start,
                        id: facts.id,
                    });
                    continue;
                }
                Ok(Decision::Wait) => waiting.why = topic.unknown_commit(&waiting.partition),
                Err(error) => waiting.why = Some(error),
            }
            kept.push(waiting);
        }
        self.starting.waiting.extend(kept);
        let mine: HashSet<_> = placed.iter().map(|placed| &placed.partition).collect();
        let others = births.into_iter().filter(|b| !mine.contains(&b.partition));
        for birth in others {
            let of_topic = self.starting.births.entry(birth.partition.0.clone());
            of_topic.or_default().push(birth);
        }
        self.place(placed);
        // A topic that may not be described is never met, so it must not be asked about without a
        // pause.
        if self.starting.is_idle() && self.starting.has_met(&self.subscribed) {
            self.starting.at_once();
            self.show_waiting();
        } else {
            self.wait_again();
        }
    }

    /// Passes partitions to librdkafka, and creates their tasks.
    fn place(&mut self, placed: Vec<Placed>) {
        if placed.is_empty() {
            return;
        }
        let mut again = HashSet::new();
        let names: HashSet<_> = placed.iter().map(|p| p.partition.clone()).collect();
        for one in placed {
            self.tell_start(&one);
            match one.cause {
                Cause::Assigned => self.start_partition(one.partition, &one.start, one.id),
                Cause::Interrupted { .. } => {
                    if let Some(at) = self.assigned.position(&one.partition.0, one.partition.1) {
                        self.assigned.go_on(at, &one.start, one.id);
                        self.transact_for_topic(at);
                    }
                    again.insert(one.partition);
                }
            }
        }
        let now = Instant::now();
        let remade = &self.starting.remade;
        let of_remade = |a: &&mut Assigned| remade.contains(&a.name.0) && names.contains(&a.name);
        for assigned in self.assigned.iter_mut().filter(of_remade) {
            assigned.unheard = Some(now);
        }
        self.flush();
        self.group.set_assigned(self.shared());
        if let Err(error) = self.read_from(&names, &again) {
            self.fatal = Some(crate::kafka::error::from_kafka(
                "read the assigned partitions",
                error,
            ));
        }
    }

    fn tell_start(&self, placed: &Placed) {
        let Some(told) = placed.start.told else {
            return;
        };
        let env = &self.group.env;
        let error = told.error(&placed.partition);
        tracing::warn!(group = &*env.wire_group, "{error}");
        env.meter.unread(&placed.partition.0, told.unread());
        self.group.notice(&placed.partition.0, &error);
    }

    /// Makes librdkafka read these partitions from their starts. `again`: those among them that it
    /// already reads, elsewhere.
    fn read_from(
        &mut self,
        names: &HashSet<TopicPartition>,
        again: &HashSet<TopicPartition>,
    ) -> rdkafka::error::KafkaResult<()> {
        let place = |a: &mut Assigned| {
            a.is_resumed();
            (a.name.clone(), Offset::Offset(a.next))
        };
        match self.consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => {
                // So is what is read again after an abort.
                let has = assignment::names(&self.consumer.assignment()?);
                let is_read = |name: &&TopicPartition| again.contains(*name) || has.contains(*name);
                let again: Vec<_> = names.iter().filter(is_read).collect();
                if !again.is_empty() {
                    let list = again.into_iter().map(|name| (name, Offset::Invalid));
                    let list = assignment::list(list);
                    self.consumer.incremental_unassign(&list)?;
                }
                let new = self.assigned.iter_mut();
                let new = new.filter(|a| names.contains(&a.name));
                let new: Vec<_> = new.map(place).collect();
                let list = assignment::list(new.iter().map(|(name, offset)| (name, *offset)));
                self.consumer.incremental_assign(&list)
            }
            // It is only possible for all of them at once: each continues where it is.
            RebalanceProtocol::Eager | RebalanceProtocol::None => {
                let all = self.assigned.iter_mut().filter(|a| !a.in_doubt);
                let all: Vec<_> = all.map(place).collect();
                let list = assignment::list(all.iter().map(|(name, offset)| (name, *offset)));
                self.consumer.assign(&list)
            }
        }
    }
}

/// Divides sorted partitions among requests, each topic in one: what another member commits for a topic meanwhile is
/// seen for all of its partitions or for none.
fn by_topics(partitions: impl IntoIterator<Item = TopicPartition>) -> Vec<Vec<TopicPartition>> {
    let mut parts: Vec<Vec<TopicPartition>> = Vec::new();
    for partition in partitions {
        match parts.last_mut() {
            Some(part) if part.len() < questions::AT_ONCE => part.push(partition),
            Some(part) if part.last().is_some_and(|(topic, _)| *topic == partition.0) => {
                part.push(partition);
            }
            _ => parts.push(vec![partition]),
        }
    }
    parts
}

/// A coordinator that has not answered in time gets more of it, as a distant one would never answer otherwise; but
/// not so much that the thread's other work stalls.
fn patience_for_commits(backoff: Duration) -> Duration {
    PATIENCE_FOR_COMMITS.max(backoff * 2)
}

/// Likewise for leaders, which the partitions of the others wait for.
fn patience_for_offsets(backoff: Duration) -> Duration {
    PATIENCE_FOR_OFFSETS.max(backoff * 4)
}

fn delivers_what_was_remade() -> bool {
    crate::delivery::chosen_sabotage() == Some(crate::delivery::Sabotage::IgnoreTopicId)
}

impl Round {
    fn new(number: usize) -> Self {
        Self {
            number,
            began: Instant::now(),
            open: 1,
            step: Step::Topics,
            failed: None,
            silent: None,
            topics: HashMap::new(),
            commits: HashMap::new(),
            offsets: Default::default(),
        }
    }

    /// When it goes on without an answer, if it does.
    fn until(&self) -> Option<Instant> {
        match self.step {
            Step::Topics => None,
            Step::Offsets(until) => Some(until),
        }
    }

    /// Whether it was asked for this partition.
    fn is_for(&self, waiting: &Waiting) -> bool {
        waiting.since <= self.began
    }

    fn take(&mut self, question: usize, answer: Answer) {
        self.open = self.open.saturating_sub(1);
        match answer {
            Answer::Topics(Ok(topics)) => {
                let by_name = topics.into_iter().map(|facts| (facts.name.clone(), facts));
                self.topics.extend(by_name);
            }
            Answer::Offsets(Ok(offsets)) => {
                if let Some(kind) = question
                    .checked_sub(EARLIEST)
                    .and_then(|kind| self.offsets.get_mut(kind))
                {
                    kind.extend(offsets);
                }
            }
            Answer::Topics(Err(refused)) => self.failed = Some(refused),
            // It concerns one leader.
            Answer::Offsets(Err(refused)) => self.silent = Some(refused.code),
            // Requested elsewhere.
            Answer::Committed(_) | Answer::Group(_) | Answer::Configs(_) => {}
        }
    }

    fn take_commits(&mut self, commits: Vec<Committed>) {
        for found in commits {
            let (topic, partition) = found.partition;
            let commit = match found.error {
                Some(code) => Err(code),
                None if found.offset < 0 => continue,
                None => Ok(Commit::new(found.offset, &found.metadata)),
            };
            let topic = self.commits.entry(topic).or_default();
            topic.insert(partition, commit);
        }
    }

    /// What the brokers report about a partition, or why they do not.
    fn view_of(
        &self,
        facts: &TopicFacts,
        partition: &TopicPartition,
    ) -> Result<PartitionView, Error> {
        let (topic, number) = partition;
        if let Some(code) = facts.error {
            return Err(from_code(
                format!("{topic}/{number}: describe its topic"),
                code,
            ));
        }
        if facts.partitions.get(number).copied().flatten().is_none() {
            let text =
                format!("{topic}/{number}: the partition has no leader, so it cannot be read");
            return Err(Error::new(ErrorKind::Broker, text).with_retriable(true));
        }
        let find = |kind: usize| match self.offsets[kind - EARLIEST].get(partition) {
            Some(Ok(offset)) => Ok(*offset),
            Some(Err(code)) => {
                let (kind, _) = classify(*code);
                let passes = kind != ErrorKind::Unauthorized;
                let doing = format!("{topic}/{number}: ask where it begins and ends");
                Err(from_code(doing, *code).with_retriable(passes))
            }
            None => {
                let code = self.silent.unwrap_or(Code::LeaderNotAvailable);
                let doing = format!("{topic}/{number}: ask its leader where it begins and ends");
                Err(from_code(doing, code).with_retriable(true))
            }
        };
        let at_time = match self.offsets[AT_TIME - EARLIEST].is_empty() {
            true => None,
            false => Some(find(AT_TIME)?),
        };
        Ok(PartitionView {
            low: find(EARLIEST)?,
            high: find(LATEST)?,
            at_time,
        })
    }

    /// Where the group starts in the other partitions of a topic that is new to it.
    fn births<'a>(
        &'a self,
        facts: &'a TopicFacts,
        policy: &'a StartOffset,
    ) -> impl Iterator<Item = Birth> + 'a {
        facts.partitions.keys().filter_map(move |number| {
            let partition = (facts.name.clone(), *number);
            let view = self.view_of(facts, &partition).ok()?;
            let (offset, _) = assignment::by_policy(*number, view, policy);
            Some(Birth {
                partition,
                offset,
                id: facts.id,
                looked: self.began,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_asked_about_in_one_request() {
        let of = |topic: &'static str, count| (0..count).map(move |n| (topic.to_owned(), n));
        let large = i32::try_from(questions::AT_ONCE).expect("a number") + 50;
        let parts = by_topics(
            of("a", 300)
                .chain(of("b", 300))
                .chain(of("c", large))
                .chain(of("d", 1)),
        );
        let topics = |part: &Vec<TopicPartition>| {
            let topics: BTreeSet<_> = part.iter().map(|(topic, _)| topic.clone()).collect();
            (topics.into_iter().collect::<String>(), part.len())
        };
        let parts: Vec<_> = parts.iter().map(topics).collect();
        let (ab, c) = (600, questions::AT_ONCE + 50);
        assert_eq!(
            parts,
            [
                ("ab".to_owned(), ab),
                ("c".to_owned(), c),
                ("d".to_owned(), 1)
            ]
        );
    }

    #[test]
    fn brokers_get_more_time_after_each_round_in_vain() {
        assert_eq!(patience_for_commits(AGAIN_MIN), PATIENCE_FOR_COMMITS);
        assert_eq!(patience_for_commits(AGAIN_MAX), Duration::from_secs(2));
        assert_eq!(patience_for_offsets(AGAIN_MIN), PATIENCE_FOR_OFFSETS);
        assert_eq!(patience_for_offsets(AGAIN_MAX), Duration::from_secs(4));
    }
}
