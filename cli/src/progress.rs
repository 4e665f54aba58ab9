//! What standard error shows while a command works: a bar on a terminal, nothing elsewhere.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output;

/// A progress bar, hidden unless standard error is a terminal of its own.
#[derive(Clone)]
pub(crate) struct Progress {
    bar: ProgressBar,
}

const COUNTED: &str = "{bar:30} {human_pos}/{human_len} events  {per_sec}  {eta} left";
const UNCOUNTED: &str = "{spinner} {human_pos} events  {per_sec}  {elapsed}";

impl Progress {
    /// A bar towards `total` events, or a plain count where nobody knows how many come.
    ///
    /// `prints` says that the command writes lines to standard output: on the same terminal they
    /// would tear the bar.
    pub(crate) fn new(total: Option<u64>, prints: bool) -> Self {
        let hidden = prints && std::io::stdout().is_terminal();
        let target = if hidden {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr_with_hz(5)
        };
        let bar = ProgressBar::with_draw_target(total, target);
        let template = if total.is_some() { COUNTED } else { UNCOUNTED };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        if total.is_none() && !bar.is_hidden() {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        Self { bar }
    }

    pub(crate) fn inc(&self) {
        self.bar.inc(1);
    }

    pub(crate) fn inc_by(&self, events: u64) {
        self.bar.inc(events);
    }

    /// Guesses the total from the share of the input that has been read.
    pub(crate) fn estimate(&self, done: u64, of: u64) {
        let events = self.bar.position();
        if done > 0 && of > 0 && !self.bar.is_hidden() {
            let total = u128::from(events) * u128::from(of) / u128::from(done);
            self.bar
                .set_length(u64::try_from(total).unwrap_or(u64::MAX).max(events));
        }
    }

    /// A line on standard error, above the bar.
    pub(crate) fn say(&self, line: &str) {
        self.bar.suspend(|| output::say(line));
    }

    pub(crate) fn end(&self) {
        self.bar.finish_and_clear();
    }
}
