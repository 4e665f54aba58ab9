//! Runs without faults, steady ones and others.
#![allow(clippy::unwrap_used, reason = "a failing step fails the test")]

mod story;

use eventstream_checker::history::{Order, Phase, Sample};
use eventstream_checker::{Spread, Steadiness};
use story::Story;

const MIB: u64 = 1_048_576;
/// The load lasts this many seconds: ten to settle, and two windows of twenty.
const LOAD: u64 = 120;

/// A publisher and a member that sample once a second.
fn run(publisher: impl Fn(u64) -> Sample, member: impl Fn(u64) -> Sample) -> Story {
    let mut story = Story::default();
    story.joined("m", "g", Order::Partition);
    for second in 0..=LOAD {
        story.now = second * 1_000;
        story.publish("p", second, None);
        story.sample("p", publisher(second));
        story.sample("m", member(second));
    }
    story
}

fn even(second: u64) -> Sample {
    Sample {
        published: second * 50,
        rss: 100 * MIB + second % 3 * MIB,
        threads: 9,
        fds: 20 + second % 2,
        in_flight: second % 5,
        ..Sample::default()
    }
}

fn even_member(second: u64) -> Sample {
    Sample {
        published: 0,
        handled: second * 50,
        lag: second % 7,
        ..even(second)
    }
}

#[track_caller]
fn steadiness(story: &Story) -> Steadiness {
    let report = story.is_clean();
    report.steadiness.unwrap()
}

#[track_caller]
fn grows(member: impl Fn(u64) -> Sample, what: &str) {
    let growths = steadiness(&run(even, member)).growths;
    let found: Vec<_> = growths.iter().map(ToString::to_string).collect();
    assert_eq!(found, [format!("m: {what}")]);
}

#[track_caller]
fn is_flat(member: impl Fn(u64) -> Sample) {
    let growths = steadiness(&run(even, member)).growths;
    assert!(growths.is_empty(), "{growths:?}");
}

#[test]
fn tells_the_figures_of_the_first_and_the_last_window() {
    let steadiness = steadiness(&run(even, even_member));
    let times = (steadiness.load, steadiness.settling, steadiness.window);
    assert_eq!(times, (120.0, 10.0, 20.0));
    assert!(steadiness.growths.is_empty());
    let [member, publisher] = &steadiness.processes[..] else {
        panic!("{steadiness}");
    };
    assert_eq!((&*member.process, &*publisher.process), ("m", "p"));
    let spread = |median, max| Spread { median, max };
    for figures in [member.first, member.last, publisher.first, publisher.last] {
        assert_eq!(figures.memory, spread(101 * MIB, 102 * MIB));
        assert_eq!(figures.threads, spread(9, 9));
        assert_eq!(figures.files.max, 21);
        assert_eq!(figures.in_flight, spread(2, 4));
        assert!((figures.rate - 50.0).abs() < 0.1);
    }
    assert_eq!(member.last.lag, Some(spread(3, 6)));
    assert_eq!(publisher.last.lag, None);
}

#[test]
fn a_long_load_has_windows_of_ten_minutes_after_one_that_settles() {
    let mut story = run(even, even_member);
    for second in (LOAD..=2 * 3_600).step_by(20) {
        story.now = second * 1_000;
        story.publish("p", 1_000 + second, None);
        story.sample("p", even(second));
    }
    let steadiness = steadiness(&story);
    assert_eq!((steadiness.settling, steadiness.window), (60.0, 600.0));
}

#[test]
fn finds_memory_that_grows() {
    let leak = |second| Sample {
        rss: (100 + second) * MIB,
        ..even_member(second)
    };
    grows(leak, "memory from 120.0 to 210.0 MiB in the median");
}

#[test]
fn a_little_more_memory_is_no_growth() {
    let more = |percent: u64, base: u64| {
        move |second| Sample {
            rss: base * MIB * (100 + percent * second / LOAD) / 100,
            ..even_member(second)
        }
    };
    // A tenth of a large value, and much more of a small one.
    is_flat(more(10, 500));
    is_flat(more(50, 15));
}

#[test]
fn what_grows_while_the_load_settles_is_left_out() {
    is_flat(|second| Sample {
        rss: if second < 10 { MIB } else { 100 * MIB },
        threads: if second < 10 { 1 } else { 9 },
        ..even_member(second)
    });
}

#[test]
fn finds_threads_and_files_that_stay() {
    let threads = |second| Sample {
        threads: 9 + second / 60,
        ..even_member(second)
    };
    grows(threads, "threads from at most 9 to 10 in the median");
    let files = |second| Sample {
        fds: 20 + second / 30,
        ..even_member(second)
    };
    grows(files, "open files from at most 20 to 23 in the median");
}

#[test]
fn a_file_that_is_closed_again_is_no_growth() {
    is_flat(|second| Sample {
        fds: 20 + u64::from(second == 115) * 5,
        ..even_member(second)
    });
}

#[test]
fn finds_a_member_that_falls_behind() {
    let behind = |second| Sample {
        lag: second * 2,
        ..even_member(second)
    };
    grows(
        behind,
        "lag of 220 records in the median, at 50.0 handled a second",
    );
}

#[test]
fn who_was_not_there_all_the_time_is_told_and_not_compared() {
    let mut story = run(even, even_member);
    let here = |seconds: std::ops::Range<u64>, story: &mut Story, name: &str| {
        for second in seconds {
            story.now = second * 1_000;
            story.sample(name, even(second));
        }
    };
    here(0..100, &mut story, "left");
    here(20..LOAD, &mut story, "late");
    let steadiness = steadiness(&story);
    let names: Vec<_> = steadiness.processes.iter().map(|it| &*it.process).collect();
    assert_eq!(names, ["m", "p"]);
    let mut missing: Vec<_> = steadiness.growths.iter().map(ToString::to_string).collect();
    missing.sort();
    let what = "no samples from the begin of the load to its end";
    assert_eq!(missing, [format!("late: {what}"), format!("left: {what}")]);
}

#[test]
fn finds_a_member_that_becomes_half_as_fast() {
    let tired = |second| Sample {
        handled: if second < LOAD / 2 {
            second * 50
        } else {
            LOAD * 25 + (second - LOAD / 2) * 20
        },
        ..even_member(second)
    };
    grows(tired, "50.0 events a second became 20.0");
}

#[test]
fn a_run_with_faults_is_not_meant_to_be_steady() {
    let mut story = run(even, even_member);
    story.fault("broker-killed", Phase::Begin, false);
    assert!(story.is_clean().steadiness.is_none());
}

#[test]
fn text_and_page_show_what_grew() {
    let leak = |second| Sample {
        rss: (100 + second) * MIB,
        ..even_member(second)
    };
    let report = run(even, leak).is_clean();
    let (text, page) = (report.to_string(), report.page());
    assert!(text.contains("\nnot flat: m: memory from"), "{text}");
    assert!(page.contains("<p class=\"bad\">m: memory from"), "{page}");
    let report = run(even, even_member).is_clean();
    assert!(report.to_string().contains("\nflat\n"), "{report}");
    assert!(report.page().contains("<h2>Steadiness</h2>"));
}
