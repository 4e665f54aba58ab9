//! The anomalies of a history.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

/// The number of examples kept for each class.
const EXAMPLES: u64 = 10;
/// The number of times kept for the page.
const MARKS: usize = 5_000;

/// The kinds of anomaly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Class {
    /// Acknowledged but not in the log, or in the log but skipped by a group.
    LostWrite,
    /// Published once, but twice in the log.
    DuplicateStored,
    /// `publish` returned an error, but the event is in the log.
    RefusedYetStored,
    /// In the log, but never published.
    Phantom,
    /// Two reads disagree about what is at an offset.
    InconsistentOffset,
    /// Within one assignment a member went back in a partition.
    NonMonotonicPoll,
    /// Within one assignment a member skipped a record.
    SkippedPoll,
    /// The log has a publisher's events of a key in another order than that of publishing.
    PublishOrder,
    /// Handlers of a key or a partition overlapped, or ran in another order than that of the log.
    HandleOrder,
    /// In the log, but beyond the group's position at the end.
    Unseen,
    /// A group's committed offset was above a record that was not done.
    CommittedUnhandled,
    /// Handled twice, and nothing explains it.
    DuplicateHandled,
    /// Accepted, but its publisher exited cleanly without an outcome for it.
    SilentFailure,
    /// An event had a second outcome.
    SecondOutcome,
    /// Stored and deleted, and a group neither handled it nor was notified of the loss.
    SilentGap,
    /// A group that copies records in transactions has neither a committed output nor a dead letter of one.
    OutputLost,
    /// It has two.
    OutputTwice,
    /// Its outputs have a key's records in another order than the log.
    OutputOrder,
    /// Its outputs have one of a record that the log does not have.
    OutputFromNothing,
}

impl Class {
    /// The name in a report.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LostWrite => "lost write",
            Self::DuplicateStored => "duplicate stored",
            Self::RefusedYetStored => "refused yet stored",
            Self::Phantom => "phantom",
            Self::InconsistentOffset => "inconsistent offset",
            Self::NonMonotonicPoll => "non-monotonic poll",
            Self::SkippedPoll => "skipped poll",
            Self::PublishOrder => "publish order",
            Self::HandleOrder => "handle order",
            Self::Unseen => "unseen",
            Self::CommittedUnhandled => "committed unhandled",
            Self::DuplicateHandled => "duplicate handled",
            Self::SilentFailure => "silent failure",
            Self::SecondOutcome => "second outcome",
            Self::SilentGap => "silent gap",
            Self::OutputLost => "output lost",
            Self::OutputTwice => "output twice",
            Self::OutputOrder => "output order",
            Self::OutputFromNothing => "output from nothing",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

/// One anomaly, with as much as is known of where and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Anomaly {
    /// Its kind.
    pub class: Class,
    /// When, in nanoseconds since the Unix epoch; absent for what only the end shows.
    pub at: Option<u64>,
    /// The event.
    pub id: Option<u64>,
    /// The group, for what consumers do.
    pub group: Option<String>,
    /// The topic.
    pub topic: Option<String>,
    /// The partition.
    pub partition: Option<i32>,
    /// The offset.
    pub offset: Option<i64>,
    /// What happened.
    pub detail: String,
}

impl Anomaly {
    pub(crate) fn new(class: Class, detail: impl Into<String>) -> Self {
        Self {
            class,
            at: None,
            id: None,
            group: None,
            topic: None,
            partition: None,
            offset: None,
            detail: detail.into(),
        }
    }
}

/// The anomalies of a history: all counted, the first of each class kept.
#[derive(Debug, Default, Serialize)]
pub struct Findings {
    /// How many of each class.
    pub counts: BTreeMap<Class, u64>,
    /// The first ten of each class.
    pub examples: Vec<Anomaly>,
    /// When they happened.
    #[serde(skip)]
    pub(crate) marks: Vec<(u64, Class)>,
}

impl Findings {
    pub(crate) fn add(
        &mut self,
        class: Class,
        at: Option<u64>,
        describe: impl FnOnce() -> Anomaly,
    ) {
        let count = self.counts.entry(class).or_default();
        *count += 1;
        if *count <= EXAMPLES {
            self.examples.push(Anomaly {
                class,
                at,
                ..describe()
            });
        }
        if let Some(at) = at
            && self.marks.len() < MARKS
        {
            self.marks.push((at, class));
        }
    }

    /// How many anomalies there are.
    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }
}
