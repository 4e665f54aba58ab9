//! Progress on standard error: a bar on a terminal, nothing elsewhere.

use std::fmt::Write;
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::output;

/// Events per second since the start; at these speeds a recent window would be noise.
fn rate(state: &ProgressState) -> f64 {
    state.pos() as f64 / state.elapsed().as_secs_f64().max(0.001)
}

fn push_rate(state: &ProgressState, out: &mut dyn Write) {
    // Writing to a string cannot fail.
    let _ = write!(out, "{:.0}/s", rate(state));
}

fn push_left(state: &ProgressState, out: &mut dyn Write) {
    let events = state.len().unwrap_or(0).saturating_sub(state.pos());
    let seconds = events as f64 / rate(state).max(0.001);
    let left = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
    let _ = write!(out, "{:#}", HumanDuration(left));
}

/// A progress bar, hidden unless standard error is a terminal.
#[derive(Clone)]
pub(crate) struct Progress {
    bar: ProgressBar,
}

const COUNTED: &str = "{bar:30} {human_pos}/{human_len} events  {rate}  {left} left";
const UNCOUNTED: &str = "{spinner} {human_pos} events  {rate}  {elapsed}";

impl Progress {
    /// A bar towards `total` events, or a plain count if the total is unknown.
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
            bar.set_style(
                style
                    .with_key("rate", push_rate)
                    .with_key("left", push_left),
            );
        }
        if total.is_none() && !bar.is_hidden() {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        Self { bar }
    }

    pub(crate) fn inc(&self) {
        self.bar.inc(1);
    }

    pub(crate) fn position(&self) -> u64 {
        self.bar.position()
    }

    pub(crate) fn inc_by(&self, events: u64) {
        self.bar.inc(events);
    }

    /// Estimates the total from the share of the input that has been read.
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
