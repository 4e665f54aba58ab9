//! Causes as a table.

use std::io::IsTerminal;
use std::time::SystemTime;

use eventstream::dead_letters::{By, Cause, Causes};
use terminal_size::{Width, terminal_size_of};

use crate::escape;

/// Where a table is shown.
#[derive(Clone, Copy)]
pub(super) struct Look {
    /// Includes the counts over time.
    sparkline: bool,
    /// In characters; longer errors are cut.
    width: usize,
}

impl Look {
    /// For a stream: a terminal's width and a sparkline; elsewhere complete texts and no sparkline.
    pub(super) fn of<S: IsTerminal + std::os::fd::AsFd>(stream: &S) -> Self {
        let width = terminal_size_of(stream).map(|(Width(width), _)| usize::from(width));
        Self {
            sparkline: stream.is_terminal(),
            width: width.filter(|_| stream.is_terminal()).unwrap_or(usize::MAX),
        }
    }
}

/// The number of time slots shown.
const PARTS: usize = 16;
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// One line for each cause, below a heading.
pub(super) fn table(causes: &Causes, by: By, look: Look) -> String {
    let now = SystemTime::now();
    let mut rows = vec![head(by, look)];
    rows.extend(
        causes
            .list()
            .iter()
            .map(|cause| row(causes, cause, by, look, now)),
    );
    let columns = rows[0].len();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<_> = (0..columns)
        .map(|column| width(column).unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            // Numbers and ages are aligned to the right.
            line += &match column {
                0..=2 => format!("{cell:>width$}  "),
                _ => format!("{cell:<width$}  "),
            };
        }
        text += &cut(line.trim_end(), look.width);
        text.push('\n');
    }
    if causes.others() > 0 {
        text += &format!(
            "{} more, with causes not listed separately\n",
            causes.others()
        );
    }
    text
}

fn head(by: By, look: Look) -> Vec<String> {
    let mut cells = vec!["count", "oldest", "newest"];
    if look.sparkline {
        cells.push("over time");
    }
    cells.extend(match by {
        By::Reason => &["reason"][..],
        By::Name => &["event"],
        By::Error => &["error"],
        By::Group => &["group"],
        By::Key => &["key"],
        By::Hour => &["hour"],
        _ => &["reason", "event", "group", "error"],
    });
    cells.into_iter().map(str::to_owned).collect()
}

fn row(causes: &Causes, cause: &Cause, by: By, look: Look, now: SystemTime) -> Vec<String> {
    let reason = || {
        cause
            .reason()
            .map_or("-", |reason| reason.as_str())
            .to_owned()
    };
    let name = || shown(cause.name().unwrap_or("-").as_bytes());
    let group = || shown(cause.group().unwrap_or("-").as_bytes());
    let error = || match cause.error() {
        "" => "-".to_owned(),
        error => shown(error.as_bytes()),
    };
    let mut cells = vec![
        grouped(cause.count()),
        age(cause.oldest(), now),
        age(cause.newest(), now),
    ];
    if look.sparkline {
        cells.push(sparkline(&causes.over_time(cause, PARTS)));
    }
    match by {
        By::Reason => cells.push(reason()),
        By::Name => cells.push(name()),
        By::Error => cells.push(error()),
        By::Group => cells.push(group()),
        By::Key => cells.push(cause.key().map_or_else(|| "-".to_owned(), shown)),
        By::Hour => cells.push(cause.hour().map_or_else(|| "-".to_owned(), hour)),
        _ => cells.extend([reason(), name(), group(), error()]),
    }
    cells
}

/// A record's text, escaped for a terminal.
fn shown(bytes: &[u8]) -> String {
    let mut out = Vec::new();
    escape::push_bytes(bytes, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

fn cut(line: &str, width: usize) -> String {
    if line.chars().count() <= width {
        return line.to_owned();
    }
    let start: String = line.chars().take(width.saturating_sub(1)).collect();
    start + "…"
}

fn sparkline(counts: &[u64]) -> String {
    let most = counts.iter().max().copied().unwrap_or(0).max(1);
    let bar = |count: &u64| match count {
        0 => ' ',
        // Even the smallest count is visible.
        count => {
            BARS[usize::try_from((count * 8).div_ceil(most))
                .unwrap_or(8)
                .clamp(1, 8)
                - 1]
        }
    };
    counts.iter().map(bar).collect()
}

/// 1234567 as 1,234,567.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// How long ago, in its two largest units.
fn age(time: Option<SystemTime>, now: SystemTime) -> String {
    let Some(time) = time else {
        return "-".to_owned();
    };
    let seconds = now.duration_since(time).unwrap_or_default().as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{:02}s", seconds % 60),
        (0, _, _) => format!("{hours}h{minutes:02}m"),
        _ => format!("{days}d{hours:02}h"),
    }
}

fn hour(time: SystemTime) -> String {
    let time = jiff::Timestamp::try_from(time);
    time.map_or_else(
        |_| "-".to_owned(),
        |time| time.strftime("%Y-%m-%d %H:00Z").to_string(),
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn numbers_ages_and_bars_read_at_a_glance() {
        assert_eq!(grouped(7), "7");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(grouped(123_456), "123,456");
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(10 * 86_400);
        let before = |seconds| age(now.checked_sub(Duration::from_secs(seconds)), now);
        assert_eq!(before(5), "5s");
        assert_eq!(before(65), "1m05s");
        assert_eq!(before(3 * 3600 + 60), "3h01m");
        assert_eq!(before(2 * 86_400 + 3600), "2d01h");
        assert_eq!(age(now.checked_add(Duration::from_secs(5)), now), "0s");
        assert_eq!(sparkline(&[0, 1, 400, 800]), " ▁▄█");
        assert_eq!(sparkline(&[0, 0]), "  ");
    }

    #[test]
    fn a_line_ends_at_the_edge() {
        assert_eq!(cut("grün ist es", 5), "grün…");
        assert_eq!(cut("grün", 4), "grün");
    }
}
