//! Members that are processes: they join, leave and are killed at random under load.
//!
//! Each kind runs for 20 s. For five minutes each, one after another:
//!
//! ```console
//! $ cargo test --release -p eventstream-harness --test storms rebalances:: -- --ignored --nocapture --test-threads 1
//! ```

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering as Atomic};
use std::time::{Duration, Instant};

use eventstream::BrokerConfig;
use eventstream_harness::{Kafka, eventually, unique_topic};

use crate::members::Member;
use crate::members::history::{Fate, Handled, Outcome, Run, judge};
use crate::members::load::Load;
use crate::support::{PREFIX, client_of, wire};

const SHORT: Duration = Duration::from_secs(20);
const LONG: Duration = Duration::from_secs(300);
const PARTITIONS: i32 = 12;
const SLOTS: usize = 3;

/// A Kafka that notices a killed member after six seconds in each protocol.
fn kafka() -> &'static Kafka {
    static KAFKA: OnceLock<Kafka> = OnceLock::new();
    KAFKA.get_or_init(|| {
        Kafka::builder()
            .property("group.consumer.session.timeout.ms", "6000")
            .property("group.consumer.min.session.timeout.ms", "6000")
            .property("group.consumer.heartbeat.interval.ms", "1000")
            .property("group.consumer.min.heartbeat.interval.ms", "1000")
            .start()
            .expect("Kafka")
    })
}

/// A random generator with a printed seed, which repeats the schedule if not the timing.
struct Dice(u64);

impl Dice {
    fn new(kind: &str) -> Self {
        let seed = std::env::var("EVENTSTREAM_MEMBERS_SEED").ok();
        let seed = seed.and_then(|seed| seed.parse().ok());
        let seed =
            seed.unwrap_or_else(|| u64::try_from(crate::members::now() >> 10).unwrap_or(1) | 1);
        println!("{kind}: EVENTSTREAM_MEMBERS_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % n as u64).expect("small")
    }
}

/// The current members, and how to start the next one.
struct Crowd {
    folder: tempfile::TempDir,
    topic: String,
    assignment: &'static str,
    is_static: bool,
    slots: [Option<Member>; SLOTS],
    started: usize,
    runs: Vec<Run>,
}

impl Crowd {
    fn join(&mut self, slot: usize) {
        self.started += 1;
        let name = format!("{}-{slot}", self.started);
        let instance = if self.is_static {
            format!("slot-{slot}")
        } else {
            String::new()
        };
        let arguments = [
            ("brokers", &*kafka().bootstrap()),
            ("prefix", PREFIX),
            ("topic", &self.topic),
            ("group", &self.topic),
            ("assignment", self.assignment),
            ("instance", &instance),
        ];
        self.slots[slot] = Some(Member::start(self.folder.path(), &name, &arguments));
    }

    /// All remaining members leave.
    fn end(mut self) -> Vec<Run> {
        let left = self.slots.into_iter().flatten().map(Member::leave);
        self.runs.extend(left);
        self.runs
    }

    fn step(&mut self, dice: &mut Dice) {
        let slot = dice.below(SLOTS);
        let present = self.slots.iter().flatten().count();
        match self.slots[slot].take() {
            None => self.join(slot),
            Some(last) if present == 1 => {
                self.slots[slot] = Some(last);
                self.join((slot + 1) % SLOTS);
            }
            Some(member) => {
                let run = if dice.below(2) == 0 {
                    member.leave()
                } else {
                    member.kill()
                };
                self.runs.push(run);
            }
        }
    }
}

fn join_leave_and_die(assignment: &'static str, is_static: bool, time: Duration) {
    let kind = format!("{assignment}{}", if is_static { ", static" } else { "" });
    let topic = unique_topic("members");
    let admin = kafka().admin().expect("admin");
    let created = admin.create_topic(&wire(&topic), PARTITIONS, 1, &[]);
    created.expect("a topic");
    let (done, mut dice) = (Arc::new(AtomicBool::new(false)), Dice::new(&kind));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let load = Load {
        client: client_of(&kafka().bootstrap(), BrokerConfig::new()),
        topic: topic.clone(),
        keys: 200,
        rate: 1_000,
    };
    let loading = runtime.spawn({
        let done = Arc::clone(&done);
        load.publish(move |_| !done.load(Atomic::SeqCst))
    });
    let mut crowd = Crowd {
        folder: tempfile::tempdir().expect("a folder"),
        topic: topic.clone(),
        assignment,
        is_static,
        slots: [const { None }; SLOTS],
        started: 0,
        runs: Vec::new(),
    };
    (0..SLOTS).for_each(|slot| crowd.join(slot));
    let until = Instant::now() + time;
    while Instant::now() < until {
        std::thread::sleep(Duration::from_millis(500 + 250 * dice.below(12) as u64));
        crowd.step(&mut dice);
    }
    done.store(true, Atomic::SeqCst);
    let published = runtime.block_on(loading).expect("published");
    eventually("all committed", Duration::from_secs(60), || {
        let committed = admin.committed(&wire(&topic), &wire(&topic))?;
        let sum: i64 = committed.into_iter().flatten().sum();
        Ok((usize::try_from(sum)? == published).then_some(()))
    })
    .expect("all committed");
    let verdict = judge(published, &crowd.end());
    println!("{kind}, {time:?}: {verdict}");
    assert_eq!(verdict.missing, [0; 0]);
    assert_eq!(verdict.again_without_reason, [""; 0]);
    assert_eq!(verdict.at_once, [""; 0]);
    assert_eq!(verdict.out_of_order, [""; 0]);
    assert_eq!(verdict.overtaken, [""; 0]);
}

macro_rules! kinds {
    ($($short:ident, $long:ident: $assignment:literal, $is_static:literal;)*) => {$(
        #[test]
        fn $short() {
            join_leave_and_die($assignment, $is_static, SHORT);
        }

        #[test]
        #[ignore = "takes five minutes; the head of this file has the command"]
        fn $long() {
            join_leave_and_die($assignment, $is_static, LONG);
        }
    )*};
}

kinds! {
    eager_members_live_and_die, eager_members_for_five_minutes: "eager", false;
    cooperative_members_live_and_die, cooperative_members_for_five_minutes: "cooperative-sticky", false;
    members_of_the_new_protocol_live_and_die, members_of_the_new_protocol_for_five_minutes: "consumer", false;
    static_members_live_and_die, static_members_for_five_minutes: "eager", true;
}

/// The judge would see it.
#[test]
fn each_fault_is_seen_in_the_logs() {
    let call = |number: usize, start, end| Handled {
        start,
        end,
        partition: 0,
        offset: i64::try_from(number).expect("small"),
        number,
        key: format!("k{}", number % 2),
        outcome: Outcome::Done,
    };
    let run = |member: &str, fate, handled| Run {
        member: member.to_owned(),
        fate,
        handled,
    };
    let killed = vec![
        call(0, 10, Some(20)),
        call(1, 20, Some(30)),
        call(2, 30, None),
    ];
    let next = |handled| {
        let killed = run("a", Fate::Killed(40), killed.clone());
        judge(4, &[killed, run("b", Fate::Left, handled)])
    };
    let verdict = next(vec![
        call(1, 50, Some(60)),
        call(2, 60, Some(70)),
        call(3, 70, Some(80)),
    ]);
    assert!(verdict.missing.is_empty() && verdict.again_without_reason.is_empty());
    assert!(verdict.at_once.is_empty() && verdict.out_of_order.is_empty());
    assert_eq!((verdict.handled, verdict.again_after_kill), (5, 1));
    assert_eq!(verdict.oldest_uncommitted, Duration::from_nanos(10));
    let verdict = next(vec![call(3, 50, Some(60))]);
    assert_eq!(verdict.missing, [2]);
    let verdict = next(vec![call(2, 35, Some(36)), call(3, 36, Some(37))]);
    assert_eq!(verdict.at_once.len(), 1, "while the killed one still ran");
    let verdict = next(vec![call(3, 50, Some(60)), call(1, 60, Some(70))]);
    assert_eq!(verdict.out_of_order.len(), 1);
    assert_eq!(verdict.overtaken.len(), 0, "it was done before");
    let late = vec![call(3, 50, Some(60)), call(2, 60, Some(70))];
    assert_eq!(next(late).overtaken.len(), 0, "of another key");
    let killed = run(
        "a",
        Fate::Killed(40),
        vec![call(0, 10, Some(20)), call(3, 30, Some(35))],
    );
    let verdict = judge(
        4,
        &[killed, run("b", Fate::Left, vec![call(1, 50, Some(60))])],
    );
    assert_eq!(verdict.overtaken.len(), 1);
    // Failed events must be retried before the ones that follow.
    let mut failed = call(2, 60, Some(70));
    failed.outcome = Outcome::Failed;
    let verdict = next(vec![
        failed.clone(),
        call(2, 70, Some(80)),
        call(3, 80, Some(90)),
    ]);
    assert!(verdict.missing.is_empty() && verdict.out_of_order.is_empty());
    let verdict = next(vec![failed, call(3, 80, Some(90))]);
    assert_eq!(verdict.missing, [2]);
    let clean = run(
        "c",
        Fate::Left,
        vec![call(0, 1, Some(2)), call(0, 3, Some(4))],
    );
    assert_eq!(judge(1, &[clean]).again_without_reason.len(), 1);
}
