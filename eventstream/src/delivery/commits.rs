use super::config::CommitMode;
use super::events::Ticket;

/// Which commit is due, and which are in flight.
pub(super) struct Commits {
    mode: CommitMode,
    /// How often the offsets restarted; answers to earlier commits mean nothing.
    history: u32,
    /// Where the current history begins, until that is committed.
    start: Option<i64>,
    /// The highest offset passed to the driver, and the highest confirmed.
    sent: Option<i64>,
    confirmed: Option<i64>,
    /// The commit in flight, in the modes that wait for the answer; with the record that it
    /// releases, at most once.
    outstanding: Option<(i64, Option<Ticket>)>,
    /// Waiting to retry a failed commit.
    backing_off: bool,
    failures: u32,
}

/// The meaning of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It belongs to no commit that matters.
    Ignored,
    /// The start of the history is confirmed.
    Started,
    /// Confirmed; the record that waited for it may run.
    Confirmed(Option<Ticket>),
    /// Failed this many times in a row: retry after a wait.
    Failed {
        failures: u32,
        released: Option<Ticket>,
    },
}

impl Commits {
    pub(super) fn new(mode: CommitMode) -> Self {
        Self {
            mode,
            history: 0,
            start: None,
            sent: None,
            confirmed: None,
            outstanding: None,
            backing_off: false,
            failures: 0,
        }
    }

    /// The commit of `start` precedes all others.
    pub(super) fn start_at(&mut self, start: i64) {
        self.start = Some(start);
    }

    /// The offsets restart. Returns the record whose release was in flight.
    pub(super) fn begin(&mut self, start: i64) -> Option<Ticket> {
        let releasing = self.take_releasing();
        let history = self.history.wrapping_add(1);
        *self = Self::new(self.mode);
        self.history = history;
        self.start = Some(start);
        releasing
    }

    pub(super) fn history(&self) -> u32 {
        self.history
    }

    pub(super) fn mode(&self) -> CommitMode {
        self.mode
    }

    /// Whether a commit may be sent now.
    pub(super) fn is_idle(&self) -> bool {
        self.outstanding.is_none() && !self.backing_off
    }

    /// Whether everything done is committed.
    pub(super) fn is_settled(&self, watermark: Option<i64>) -> bool {
        watermark <= self.confirmed
    }

    /// The commit that the watermark requires.
    pub(super) fn due(&mut self, watermark: Option<i64>) -> Option<i64> {
        if let Some(start) = self.start {
            return self.is_idle().then(|| self.send(start, None));
        }
        let up_to = watermark?;
        match self.mode {
            CommitMode::Auto => None,
            CommitMode::AsyncEach => {
                if self.backing_off || self.sent >= Some(up_to) {
                    return None;
                }
                self.sent = Some(up_to);
                Some(up_to)
            }
            CommitMode::AfterEach | CommitMode::BeforeProcessing => {
                // A failed commit may have arrived all the same: never commit below it.
                if !self.is_idle() || self.confirmed >= Some(up_to) || self.sent > Some(up_to) {
                    return None;
                }
                Some(self.send(up_to, None))
            }
        }
    }

    /// Sends the commit that releases `record`.
    pub(super) fn send(&mut self, up_to: i64, record: Option<Ticket>) -> i64 {
        self.outstanding = Some((up_to, record));
        self.sent = self.sent.max(Some(up_to));
        up_to
    }

    pub(super) fn answered(&mut self, history: u32, up_to: i64, ok: bool) -> Answer {
        if history != self.history {
            return Answer::Ignored;
        }
        if self.start.is_some() {
            if self.outstanding != Some((up_to, None)) {
                return Answer::Ignored;
            }
            self.outstanding = None;
            if !ok {
                return self.failed(None);
            }
            self.start = None;
            self.failures = 0;
            self.confirmed = Some(up_to);
            return Answer::Started;
        }
        let released = match self.mode {
            CommitMode::Auto => return Answer::Ignored,
            CommitMode::AsyncEach if self.sent < Some(up_to) => return Answer::Ignored,
            CommitMode::AsyncEach => None,
            CommitMode::AfterEach | CommitMode::BeforeProcessing => match self.outstanding {
                Some((sent, record)) if sent == up_to => record,
                _ => return Answer::Ignored,
            },
        };
        self.outstanding = None;
        if ok {
            self.failures = 0;
            self.confirmed = self.confirmed.max(Some(up_to));
            return Answer::Confirmed(released);
        }
        // Asynchronous: a later commit in flight covers this one.
        if self.mode == CommitMode::AsyncEach && (self.backing_off || self.sent > Some(up_to)) {
            return Answer::Ignored;
        }
        self.failed(released)
    }

    fn failed(&mut self, released: Option<Ticket>) -> Answer {
        self.failures = self.failures.saturating_add(1);
        self.backing_off = true;
        Answer::Failed {
            failures: self.failures,
            released,
        }
    }

    /// The wait after a failed commit is over.
    pub(super) fn wake(&mut self) {
        self.backing_off = false;
        // Nothing was sent during the wait, so the latest watermark is sent next.
        if self.mode == CommitMode::AsyncEach {
            self.sent = self.confirmed;
        }
    }

    /// The record whose release is in flight.
    pub(super) fn releasing(&self) -> Option<Ticket> {
        self.outstanding.and_then(|(_, record)| record)
    }

    /// The record whose release was in flight.
    pub(super) fn take_releasing(&mut self) -> Option<Ticket> {
        self.outstanding.take().and_then(|(_, record)| record)
    }
}
