//! One line on the terminal: progress, rate, and current faults.

use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::observer::Observer;
use super::storm::Tally;
use super::world::World;

const ON_TERMINAL: Duration = Duration::from_millis(500);
/// A log is read later, so fewer lines suffice.
const IN_LOG: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(100);

pub(super) struct Status<'a> {
    world: &'a World,
    observer: &'a Observer,
    tally: &'a Tally,
    began: Instant,
}

impl<'a> Status<'a> {
    pub(super) fn new(
        world: &'a World,
        observer: &'a Observer,
        tally: &'a Tally,
        began: Instant,
    ) -> Self {
        Self {
            world,
            observer,
            tally,
            began,
        }
    }

    pub(super) fn show_until(&self, ended: &AtomicBool) {
        let terminal = std::io::stdout().is_terminal();
        let every = if terminal { ON_TERMINAL } else { IN_LOG };
        let (mut shown, mut before) = (Instant::now(), self.observer.stored());
        while !ended.load(Ordering::Relaxed) {
            thread::sleep(LOOK);
            if shown.elapsed() < every {
                continue;
            }
            let stored = self.observer.stored();
            let rate = (stored - before) as f64 / shown.elapsed().as_secs_f64();
            (shown, before) = (Instant::now(), stored);
            let line = self.line(stored, rate);
            // A terminal that is gone is no reason to stop.
            let mut stdout = std::io::stdout();
            let _ = if terminal {
                write!(stdout, "\r\x1b[K{line}").and_then(|()| stdout.flush())
            } else {
                writeln!(stdout, "{line}")
            };
        }
        if terminal {
            println!();
        }
    }

    fn line(&self, stored: i64, rate: f64) -> String {
        let lags: Vec<_> = self
            .observer
            .lags()
            .iter()
            .map(|(group, lag)| format!("{group} {lag}"))
            .collect();
        let running = self.world.running();
        format!(
            "{:>4} s  {stored:>9} events  {rate:>6.0}/s  behind: {}  faults: {}  now: {}",
            self.began.elapsed().as_secs(),
            lags.join(", "),
            self.tally.total(),
            if running.is_empty() { "calm" } else { &running },
        )
    }
}
