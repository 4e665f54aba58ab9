use std::collections::BTreeMap;
use std::fmt;

use tokio_util::sync::CancellationToken;

use super::causes::{By, Causes};
use super::done::Done;
use super::ledger::Ledger;
use super::letter::Letter;
use super::stream::Letters;
use super::{DeadLetters, LEDGER_SUFFIX};
use crate::error::Result;
use crate::kafka::Bounds;
use crate::name::Topic;

/// How dead letters are replayed or parked.
///
/// ```
/// use eventstream::dead_letters::Replay;
///
/// let replay = Replay::new().rate(500).limit(10_000).max_replays(1);
/// let park = Replay::park("the players were deleted");
/// # drop((replay, park));
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Replay {
    pub(super) park: Option<String>,
    to: Option<String>,
    pub(super) rate: Option<u32>,
    limit: Option<u64>,
    max_replays: u32,
    pub(super) stop: CancellationToken,
}

impl Default for Replay {
    fn default() -> Self {
        Self::new()
    }
}

impl Replay {
    /// Back to the source topic, with the key, value, headers and timestamp they had before they were dead-lettered,
    /// and the header `eventstream-dead-letter-replays`.
    pub fn new() -> Self {
        Self {
            park: None,
            to: None,
            rate: None,
            limit: None,
            max_replays: 3,
            stop: CancellationToken::new(),
        }
    }

    /// Out of the way: unchanged, to the topic named after the source with `-parked`, and with the header
    /// `eventstream-dead-letter-parked`, which says why.
    pub fn park(reason: impl Into<String>) -> Self {
        Self {
            park: Some(reason.into()),
            ..Self::new()
        }
    }

    /// To this topic, given without the prefix. Required for dead letters that came from a topic other than the one
    /// they are looked up by, even if that is intended.
    pub fn to(mut self, topic: impl Into<String>) -> Self {
        self.to = Some(topic.into());
        self
    }

    /// At most this many records a second [default: as fast as the brokers accept them].
    pub fn rate(mut self, records: u32) -> Self {
        self.rate = Some(records);
        self
    }

    /// At most this many records, the first of each partition [default: all].
    pub fn limit(mut self, records: u64) -> Self {
        self.limit = Some(records);
        self
    }

    /// A record that comes back after this many replays is parked instead [default: 3]. 0 parks all.
    pub fn max_replays(mut self, replays: u32) -> Self {
        self.max_replays = replays;
        self
    }

    /// Ends the run gracefully once the token is cancelled: after the batch in flight.
    pub fn stop(mut self, token: CancellationToken) -> Self {
        self.stop = token;
        self
    }

    /// Why a dead letter is parked, if it is.
    pub(super) fn parks(&self, letter: &Letter) -> Option<String> {
        let replays = letter.replays();
        let worn_out =
            || (replays >= self.max_replays).then(|| format!("replayed {replays} times"));
        self.park.clone().or_else(worn_out)
    }
}

/// What a replay would do: created by [`DeadLetters::replay`], which writes nothing. [`run`](Self::run) executes it.
#[must_use]
pub struct Plan {
    pub(super) letters: DeadLetters,
    pub(super) options: Replay,
    pub(super) target: Topic,
    pub(super) bounds: Option<Bounds>,
    /// Bounds of the topic to which records that fail again are dead-lettered.
    pub(super) watched: Option<Bounds>,
    pub(super) chosen: Done,
    causes: Causes,
    to_park: u64,
    already: u64,
    foreign: BTreeMap<String, u64>,
}

impl DeadLetters {
    /// Plans a replay, and writes nothing.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Validation`](crate::ErrorKind::Validation) for a rate or a limit of 0 and for a target that is one
    /// of the dead letters' own topics; otherwise as [`causes`](Self::causes).
    pub async fn replay(&self, options: Replay) -> Result<Plan> {
        let target = self.target(&options)?;
        let Some(bounds) = self.bounds().await? else {
            return Ok(Plan::new(self, options, target));
        };
        let mut plan = Plan::new(self, options, target);
        let kafka = self.kafka()?;
        plan.watched = if plan.target == self.source {
            Some(bounds.clone())
        } else {
            let again = format!("{}{}", plan.target, kafka.dead_letter_suffix());
            kafka.bounds(&again, None, self.timeout).await?
        };
        let scan = kafka.scan(&self.topic, &self.filter.narrowed(&bounds.spans))?;
        let (done, _) = Ledger::new(self, &bounds)?.read().await?;
        plan.bounds = Some(bounds);
        let mut letters = Letters::new(scan, self.filter.clone(), done);
        while !plan.is_full()
            && let Some(letter) = letters.next().await
        {
            plan.take(&letter?);
        }
        plan.already = letters.passed();
        plan.causes = std::mem::take(&mut plan.causes).sorted();
        Ok(plan)
    }

    fn target(&self, options: &Replay) -> Result<Topic> {
        for (field, value) in [
            ("rate", options.rate.map(u64::from)),
            ("limit", options.limit),
        ] {
            if value == Some(0) {
                return Err(Self::refused(field, "0", "must be 1 or more"));
            }
        }
        let target = match &options.to {
            None => self.source.clone(),
            Some(to) => Topic::new(to)?,
        };
        let ledger = format!("{}{LEDGER_SUFFIX}", self.topic);
        let parked = self.parked()?;
        if [self.topic.as_str(), parked.as_str(), &ledger].contains(&target.as_str()) {
            let allowed = format!(
                "must be a topic of events, such as {}, not one of dead letters",
                self.source
            );
            return Err(Self::refused("to", target.as_str(), allowed));
        }
        Ok(target)
    }
}

impl Plan {
    fn new(letters: &DeadLetters, options: Replay, target: Topic) -> Self {
        Self {
            letters: letters.clone(),
            options,
            target,
            bounds: None,
            watched: None,
            chosen: Done::default(),
            causes: Causes::by(By::Cause),
            to_park: 0,
            already: 0,
            foreign: BTreeMap::new(),
        }
    }

    fn is_full(&self) -> bool {
        let limit = self.options.limit;
        limit.is_some_and(|limit| self.causes.count() >= limit)
    }

    fn take(&mut self, letter: &Letter) {
        let raw = letter.raw();
        self.chosen.insert(raw.source.partition, raw.offset);
        self.causes.add(letter);
        if self.options.parks(letter).is_some() {
            self.to_park += 1;
        } else if let Some(origin) = letter.origin()
            && origin.topic() != self.letters.source.as_str()
        {
            *self.foreign.entry(origin.topic().to_owned()).or_default() += 1;
        }
    }

    /// Where replayed records go, without prefix.
    pub fn target(&self) -> &Topic {
        &self.target
    }

    /// Where parked records go, without prefix.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Validation`](crate::ErrorKind::Validation) if that name is too long.
    pub fn parking(&self) -> Result<Topic> {
        self.letters.parked()
    }

    /// What would be replayed or parked, by cause.
    pub fn causes(&self) -> &Causes {
        &self.causes
    }

    /// How many would be replayed.
    pub fn to_replay(&self) -> u64 {
        self.causes.count() - self.to_park
    }

    /// How many would be parked.
    pub fn to_park(&self) -> u64 {
        self.to_park
    }

    /// How many more match the filter but were dealt with before.
    pub fn already_done(&self) -> u64 {
        self.already
    }

    /// The other topics that records to be replayed came from, by their headers, with the number from each. Unless
    /// [`Replay::to`] names the target, [`run`](Self::run) refuses them.
    pub fn foreign(&self) -> &BTreeMap<String, u64> {
        &self.foreign
    }

    /// Fails if the target must be named.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Validation`](crate::ErrorKind::Validation) with the topics the records came from.
    pub fn check(&self) -> Result<()> {
        if self.options.to.is_some() || self.foreign.is_empty() {
            return Ok(());
        }
        let topics = self.foreign.iter();
        let topics: Vec<_> = topics
            .map(|(topic, count)| format!("{count} from {topic}"))
            .collect();
        let allowed = format!(
            "must name the target, as some records came from topics other than {}: {}",
            self.letters.source,
            topics.join(", ")
        );
        Err(DeadLetters::refused("to", "", allowed))
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan")
            .field("target", &self.target)
            .field("to_replay", &self.to_replay())
            .field("to_park", &self.to_park)
            .field("already_done", &self.already)
            .finish_non_exhaustive()
    }
}
