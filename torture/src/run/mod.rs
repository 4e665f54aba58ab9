//! The process that starts the others, injects faults, observes, and has the history judged.

mod children;
mod fault;
mod lives;
mod observer;
mod poison;
mod reader;
mod recovery;
mod status;
mod storm;
mod world;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use checker::history::{Event, Run, Writer};
use clap::Args;
use harness::{FaultProxy, Guarded, Kafka, Signal, workspace};

use self::children::{Members, Starter, end};
use self::fault::Kind;
use self::lives::Lives;
use self::observer::Observer;
use self::poison::Poison;
use self::reader::Isolation;
use self::status::Status;
use self::storm::{Plan, Tally};
use self::world::World;
use crate::control::Moods;
use crate::layout::{
    COPY_PARTITIONS, GROUPS, REPLICAS, TOPICS, copies, dead_lettered, dead_letters_of, on_broker,
};
use crate::protection::Protection;
use crate::roles::lane;

/// How long the groups may take to catch up after the faults.
const DRAIN: Duration = Duration::from_secs(240);
/// The same where a protection is off, and a group may never catch up.
const DRAIN_WITHOUT: Duration = Duration::from_secs(30);
/// Members join before the load starts.
const JOIN: Duration = Duration::from_secs(30);

#[derive(Args)]
pub(crate) struct RunArgs {
    /// How long faults happen, or a soak lasts, in minutes. Default of a soak: 60
    #[arg(long, default_value_t = 2.0, default_value_if("soak", "true", "60"))]
    minutes: f64,
    /// What faults are drawn from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Events a second. Default of a soak: 1500
    #[arg(
        long,
        default_value_t = 12_000,
        default_value_if("soak", "true", "1500")
    )]
    rate: u32,
    /// No faults, and no growth: fails unless memory, threads, open files and lag are at the end as at the begin
    #[arg(long, conflicts_with_all = ["faults", "impatient", "one_by_one", "without"])]
    soak: bool,
    /// Each fault alone, then calm until events flow again: compares the recovery with bare librdkafka's
    #[arg(long)]
    one_by_one: bool,
    /// Let the events of one publisher time out after 8 s, under faults that take longer
    #[arg(long)]
    impatient: bool,
    /// Switch a protection off; the checker must then find something
    #[arg(long)]
    without: Option<Protection>,
    /// Only faults of these kinds; `none` for none. Default: all, those that miss the protection, or one by one those
    /// that reach the probes
    #[arg(long, value_delimiter = ',')]
    faults: Vec<String>,
    /// Where brokers keep their data and the history is written, 1 KB for each event; a folder in memory, such as
    /// /dev/shm, is fastest. Default: the temporary folder
    #[arg(long)]
    scratch: Option<PathBuf>,
    /// Keep the history; otherwise it is removed after a run without anomaly
    #[arg(long)]
    keep: bool,
}

impl RunArgs {
    fn scratch(&self) -> PathBuf {
        self.scratch.clone().unwrap_or_else(std::env::temp_dir)
    }
}

pub(crate) fn run(args: RunArgs) -> Result<()> {
    let mut words = args.faults.clone();
    if let (true, Some(off)) = (words.is_empty(), args.without) {
        words.extend(off.faults().iter().map(|word| (*word).to_owned()));
    }
    if args.soak {
        words.push("none".to_owned());
    }
    let kinds = kinds(&words, args.one_by_one)?;
    let directory = args
        .scratch()
        .join(format!("eventstream-torture-{}", std::process::id()));
    fs::create_dir_all(&directory).with_context(|| format!("making {}", directory.display()))?;
    println!("history in {}", directory.display());
    let started = Instant::now();
    let world = start(&args, &kinds, &directory)?;
    let tally = Tally::default();
    let report = torment(&args, kinds, &world, &tally)?;
    println!("{report}");
    println!("faults: {:?}", tally.counts());
    drop(world);
    if args.one_by_one {
        println!("{}", recovery::table(&directory)?);
    }
    println!("run of {:.0} s", started.elapsed().as_secs_f64());
    judge(&args, &directory)
}

/// The kinds of these names. Without names, all of them, or all that affect the probes.
fn kinds(words: &[String], for_probes: bool) -> Result<Vec<Kind>> {
    let all = Kind::all();
    if words == ["none"] {
        return Ok(Vec::new());
    }
    for word in words {
        let known = all.iter().any(|kind| kind.word() == word);
        ensure!(
            known,
            "there is no fault {word}; there are {}",
            all.map(Kind::word).join(", ")
        );
    }
    let wanted = |kind: &Kind| match words {
        [] if for_probes => kind.reaches_probes(),
        [] => true,
        words => words.iter().any(|word| word == kind.word()),
    };
    Ok(all.into_iter().filter(wanted).collect())
}

/// Brokers, topics, proxy and members.
fn start(args: &RunArgs, kinds: &[Kind], directory: &Path) -> Result<World> {
    let kafka = Kafka::builder()
        .nodes(3)
        // One for the load, one for the lives of topics.
        .proxied()
        .proxied()
        .authorizing()
        .user(lives::GUEST)
        .auto_create_topics(false)
        .data_under(args.scratch())
        // Leadership returns to nodes that come back, as in production, only sooner.
        .property("leader.imbalance.check.interval.seconds", "15")
        .property("leader.imbalance.per.broker.percentage", "0")
        // A topic whose records may be old is checked soon.
        .property("log.retention.check.interval.ms", "1000")
        .property("log.initial.task.delay.ms", "1000")
        .start()?;
    let admin = kafka.admin()?;
    for topic in &TOPICS {
        admin.create_topic(&on_broker(topic.name), topic.partitions, REPLICAS, &[])?;
    }
    for topic in dead_lettered() {
        let name = on_broker(&dead_letters_of(topic));
        admin.create_topic(&name, 3, REPLICAS, &[])?;
    }
    for topic in copies() {
        admin.create_topic(&on_broker(topic), COPY_PARTITIONS, REPLICAS, &[])?;
    }
    admin.create_topic(&on_broker(lane::TOPIC), lane::PARTITIONS, REPLICAS, &[])?;
    let proxy = FaultProxy::start(&kafka)?;
    let history = Writer::create(directory, "torture")?;
    history.write(Event::Run(Run {
        seed: args.seed,
        config: format!(
            "three brokers, {} events/s, {} for {} minutes",
            args.rate,
            if args.soak { "no faults" } else { "faults" },
            args.minutes
        )
        .into(),
        off: args.without.iter().map(|off| off.word().into()).collect(),
    }))?;
    let sabotage = args.without.and_then(Protection::sabotage);
    let starter = Starter::new(directory, proxy.bootstrap(), sabotage)?;
    Ok(World {
        lives: Lives::start(&kafka, &directory.join(checker::LIVES), sabotage, kinds)?,
        members: Members::start(starter, args.without.and_then(Protection::group))?,
        kafka,
        proxy,
        moods: Moods::default(),
        directory: directory.to_owned(),
        history,
        nodes: Mutex::new(()),
        dead_letters: Mutex::new(()),
        running: Mutex::new(Vec::new()),
    })
}

/// Load and faults, then calm until everything is handled; returns how it went.
fn torment(args: &RunArgs, kinds: Vec<Kind>, world: &World, tally: &Tally) -> Result<String> {
    wait_for_members(world)?;
    let bootstrap = world.kafka.bootstrap();
    let observer = Observer::start(&bootstrap, Writer::create(&world.directory, "observer")?)?;
    let lanes = lane::Kind::ALL.map(|kind| (kind, world.members.starter().lane(kind)));
    let mut publishers = start_publishers(args, world)?;
    let poison = Poison::start(&bootstrap)?;
    let began = Instant::now();
    let plan = Plan {
        seed: args.seed,
        kinds,
        until: began + Duration::from_secs_f64(args.minutes * 60.0),
        one_by_one: args.one_by_one,
    };
    let ended = AtomicBool::new(false);
    let status = Status::new(world, &observer, tally, began);
    let raged = thread::scope(|scope| {
        scope.spawn(|| status.show_until(&ended));
        let raged = storm::rage(world, &plan, tally);
        // Without faults, all of the time is left.
        let raged = raged.and_then(|()| world.members.watch_until(plan.until));
        ended.store(true, Ordering::Relaxed);
        raged
    });
    raged.context("a fault could not be done as it was drawn")?;
    let published_for = began.elapsed();
    // In parallel, as each waits for its last outcomes.
    for (_, publisher) in &mut publishers {
        publisher.signal(Signal::TERM)?;
    }
    for (name, publisher) in publishers {
        end(publisher, &name)?;
    }
    poison.stop()?;
    for (kind, lane) in lanes {
        end(lane?, kind.word())?;
    }
    let calm = Instant::now();
    match args.without {
        None => observer.wait_for_no_lag(DRAIN)?,
        // What is left behind is the checker's to find.
        Some(_) => observer.wait_for_no_lag(DRAIN_WITHOUT).unwrap_or_default(),
    }
    let drained = calm.elapsed();
    let stored = observer.stored();
    world.members.stop_all()?;
    observer.stop()?;
    lives::end_all(&world.lives, world.kafka.admin()?)?;
    let history = Writer::create(&world.directory, "reader")?;
    let isolation = match args.without {
        Some(Protection::ReadCommitted) => Isolation::Uncommitted,
        _ => Isolation::Committed,
    };
    let read = reader::read_all(&bootstrap, &history, isolation)?;
    history.ended()?;
    world.history.ended()?;
    let seconds = published_for.as_secs_f64();
    Ok(format!(
        "{stored} events in {seconds:.0} s, {:.0} a second, under {} faults; drained {:.1} s later; \
         read back: {} records, {} of them no events, {} dead letters, {} copies, {} more that were aborted",
        stored as f64 / seconds,
        tally.total(),
        drained.as_secs_f64(),
        read.records,
        read.no_events,
        read.dead_letters,
        read.outputs,
        read.with_aborted - read.outputs,
    ))
}

fn wait_for_members(world: &World) -> Result<()> {
    let admin = world.kafka.admin()?;
    for group in &GROUPS {
        // The list of groups does not show members of the new protocol.
        if group.assignment == eventstream::Assignment::Consumer {
            continue;
        }
        let name = on_broker(group.name);
        harness::eventually(&format!("the members of {name}"), JOIN, || {
            world.members.check()?;
            // A coordinator that is still loading returns an error.
            let there = admin
                .members(&name)
                .is_ok_and(|count| count == group.members);
            Ok(there.then_some(()))
        })?;
    }
    Ok(())
}

fn start_publishers(args: &RunArgs, world: &World) -> Result<Vec<(String, Guarded)>> {
    let timeouts = [60, if args.impatient { 8 } else { 60 }];
    let mut publishers = Vec::new();
    for (number, timeout) in timeouts.into_iter().enumerate() {
        let mut more = vec![
            format!("--number={number}"),
            format!("--of={}", timeouts.len()),
            format!("--rate={}", args.rate / 2),
            format!("--timeout={timeout}"),
        ];
        if args.without == Some(Protection::Idempotence) {
            more.push("--not-idempotent".to_owned());
        }
        let publisher = world.members.starter().publisher(number, &more)?;
        publishers.push((format!("publisher-{number}"), publisher));
    }
    Ok(publishers)
}

/// Has the history judged; an anomaly is an error, even with a protection disabled, and the history is then kept.
fn judge(args: &RunArgs, directory: &Path) -> Result<()> {
    let report = checker::check(directory, checker::SETTLE)?;
    println!("{report}");
    let pages = workspace().join("target").join("torture");
    fs::create_dir_all(&pages)?;
    let protection = args
        .without
        .map_or_else(String::new, |off| format!("-without-{}", off.word()));
    let name = if args.soak { "soak" } else { "seed" };
    let page = pages.join(format!("{name}-{}{protection}.html", args.seed));
    fs::write(&page, report.page())?;
    println!("page: {}", page.display());
    let anomalies = report.anomalies.total();
    ensure!(
        anomalies == 0,
        "{anomalies} anomalies; the history is in {}",
        directory.display()
    );
    if args.soak {
        let steadiness = report.steadiness.as_ref();
        let steadiness = steadiness.context("the run was too short to tell whether it was flat")?;
        ensure!(
            steadiness.load > args.minutes * 60.0 * 0.95,
            "the load lasted {:.0} s only; the history is in {}",
            steadiness.load,
            directory.display()
        );
        ensure!(
            steadiness.growths.is_empty(),
            "{} figures grew, see `not flat` above; the history is in {}",
            steadiness.growths.len(),
            directory.display()
        );
    }
    if !args.keep {
        fs::remove_dir_all(directory)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::{Parser, ValueEnum};

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: RunArgs,
    }

    fn read(words: &[&str]) -> (f64, u32) {
        let args = Line::parse_from([&["run"], words].concat()).args;
        (args.minutes, args.rate)
    }

    fn words(kinds: Result<Vec<Kind>>) -> Vec<&'static str> {
        let kinds = kinds.expect("they are known");
        kinds.into_iter().map(Kind::word).collect()
    }

    #[test]
    fn all_kinds_are_drawn_where_none_is_named() {
        assert_eq!(words(kinds(&[], false)), Kind::all().map(Kind::word));
        assert!(words(kinds(&["none".to_owned()], false)).is_empty());
        assert!(kinds(&["no-such-fault".to_owned()], false).is_err());
    }

    #[test]
    fn one_by_one_only_what_the_probes_feel_is_drawn() {
        let drawn = words(kinds(&[], true));
        assert!(drawn.contains(&"broker-killed") && !drawn.contains(&"topic-remade"));
    }

    #[test]
    fn what_finds_a_protection_off_is_a_kind_of_fault() {
        for off in Protection::value_variants() {
            let named: Vec<_> = off.faults().iter().map(|word| (*word).to_owned()).collect();
            assert_eq!(words(kinds(&named, false)).len(), named.len());
        }
    }

    #[test]
    fn a_soak_is_long_and_slow_unless_told_otherwise() {
        assert_eq!(read(&[]), (2.0, 12_000));
        assert_eq!(read(&["--soak"]), (60.0, 1_500));
        assert_eq!(read(&["--minutes", "4", "--rate", "9", "--soak"]), (4.0, 9));
    }
}
