use std::collections::HashMap;

use crate::history::Phase;

/// A fault from start to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) kind: String,
    pub(crate) target: String,
    pub(crate) begin: u64,
    /// `None` if the history ended before.
    pub(crate) end: Option<u64>,
    /// Whether it excuses no duplicates.
    pub(crate) clean: bool,
}

/// A line about a fault.
#[derive(Debug)]
pub(super) struct Mark {
    pub(super) at: u64,
    pub(super) kind: String,
    pub(super) target: String,
    pub(super) phase: Phase,
    pub(super) clean: bool,
}

/// Pairs starts and ends.
pub(super) fn windows(mut marks: Vec<Mark>) -> Vec<Window> {
    marks.sort_by_key(|mark| mark.at);
    let mut windows: Vec<Window> = Vec::new();
    let mut open: HashMap<(String, String), Vec<usize>> = HashMap::new();
    for mark in marks {
        let key = (mark.kind.clone(), mark.target.clone());
        let begun = match mark.phase {
            Phase::Begin => None,
            Phase::End => open.get_mut(&key).and_then(Vec::pop),
        };
        if let Some(index) = begun {
            windows[index].end = Some(mark.at);
            continue;
        }
        if mark.phase == Phase::Begin {
            open.entry(key).or_default().push(windows.len());
        }
        windows.push(Window {
            kind: mark.kind,
            target: mark.target,
            begin: mark.at,
            end: (mark.phase == Phase::End).then_some(mark.at),
            clean: mark.clean,
        });
    }
    windows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(at: u64, target: &str, phase: Phase) -> Mark {
        let (kind, target) = ("killed".to_owned(), target.to_owned());
        Mark {
            at,
            kind,
            target,
            phase,
            clean: false,
        }
    }

    #[test]
    fn pairs_begin_and_end_of_the_same_target() {
        let marks = vec![
            mark(9, "b", Phase::End),
            mark(1, "a", Phase::Begin),
            mark(2, "b", Phase::Begin),
            mark(5, "a", Phase::End),
            mark(7, "a", Phase::Begin),
        ];
        let windows: Vec<_> = windows(marks).iter().map(|w| (w.begin, w.end)).collect();
        assert_eq!(windows, [(1, Some(5)), (2, Some(9)), (7, None)]);
    }
}
