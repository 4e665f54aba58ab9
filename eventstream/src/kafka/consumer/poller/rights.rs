//! Refusals that last until somebody acts: rights on topics and the group, and groups of another kind. Each is
//! reported once, and the brokers are asked until it is over; then reading resumes.

use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::Poller;
use crate::error::{Error, ErrorKind};
use crate::kafka::consumer::inquiry::Answer;
use crate::kafka::consumer::refusals::Cause;
use crate::kafka::denied::{Operation, Resource, is_denied};
use crate::kafka::questions::Described;

/// How often the brokers are asked whether a refusal is over.
const AGAIN: Duration = Duration::from_secs(2);
/// A member that has no place in its group after this long asks what kind of group it is.
const OUTSIDE: Duration = Duration::from_secs(6);

/// librdkafka's prefix for a topic that is not in its metadata.
const NOT_AVAILABLE: &str = "Subscribed topic not available: ";

const NO_CONSUMERS: &str = "it is not a group of consumers (a share group, for instance)";

/// What to ask for, besides known refusals.
pub(super) struct Questions {
    next: Instant,
    /// Since when this member has no place in its group.
    outside: Instant,
    /// Some topic may not be read, but it was not reported which.
    unnamed: bool,
    /// The group has refused this member with this code.
    kept_out: Option<Code>,
}

impl Default for Questions {
    fn default() -> Self {
        let now = Instant::now();
        Self {
            next: now,
            outside: now,
            unnamed: false,
            kept_out: None,
        }
    }
}

impl Poller {
    /// Handles an error about a lasting refusal; `None` for any other error.
    pub(super) fn refused(
        &mut self,
        code: Code,
        reason: &str,
        topic: Option<&str>,
    ) -> Option<Error> {
        if is_denied(code) {
            // A broker that refuses has answered.
            self.group.env.reporter.heard();
        }
        match code {
            Code::TopicAuthorizationFailed => {
                let told = reason.strip_prefix(NOT_AVAILABLE);
                let named = topic.or_else(|| Some(told?.split_once(": ")?.0));
                let only = self
                    .subscribed
                    .first()
                    .filter(|_| self.subscribed.len() == 1);
                let Some(topic) = named.or(only.map(String::as_str)) else {
                    self.questions.unnamed = true;
                    return Some(self.denied_some_topic(code));
                };
                Some(self.deny_topic(topic, code))
            }
            Code::GroupAuthorizationFailed => Some(self.deny_group(code)),
            Code::InconsistentGroupProtocol
            | Code::GroupIdNotFound
            | Code::UnsupportedAssignor
            | Code::InvalidGroupId => {
                self.questions.kept_out = Some(code);
                let group = &self.group.env.wire_group;
                let text = format!("consume: group {group} does not admit this client");
                let error = Error::new(ErrorKind::Unsupported, text);
                Some(error.with_source(KafkaError::Global(code)))
            }
            _ => None,
        }
    }

    fn denied_some_topic(&self, code: Code) -> Error {
        let topics = self.subscribed.join(" or ");
        let reporter = &self.group.env.reporter;
        reporter.denied("consume", Operation::Read, Resource::Topic(&topics), code)
    }

    fn deny_topic(&self, topic: &str, code: Code) -> Error {
        let on = Resource::Topic(topic);
        let reporter = &self.group.env.reporter;
        let error = reporter.denied("consume", Operation::Read, on, code);
        // The answer may come after the topic was left.
        if self.rejoin_at.is_some() || self.subscribed.iter().any(|one| one == topic) {
            self.group.refuse(Cause::Topic(topic.to_owned()), &error);
        }
        error
    }

    pub(super) fn deny_group(&self, code: Code) -> Error {
        let env = &self.group.env;
        let on = Resource::Group(&env.wire_group);
        let error = env.reporter.denied("consume", Operation::Read, on, code);
        self.group.refuse(Cause::Group, &error);
        error
    }

    /// A commit was refused for some topic; asks which.
    pub(super) fn ask_all_topics(&mut self) {
        self.questions.unnamed = true;
    }

    /// The group has admitted this member.
    pub(super) fn has_place(&mut self) {
        self.group.allow(&Cause::Group);
        self.group.allow(&Cause::Membership);
        self.questions.kept_out = None;
    }

    /// Asks about refusals, and acts on the answers.
    pub(super) fn follow_up(&mut self, now: Instant) {
        while let Some(answer) = self.inquiry.answer() {
            if matches!(answer, Answer::Topics(_) | Answer::Group(Ok(_))) {
                self.group.env.reporter.heard();
            }
            match answer {
                Answer::Topics(topics) => self.heed_topics(topics),
                Answer::Group(group) => self.heed_group(group),
                Answer::Failed(code) => self.heed_group(Err(code)),
            }
        }
        if self.inquiry.is_overdue(now) {
            let text = "consume: the coordinator of the group does not answer";
            self.fatal = Some(Error::new(ErrorKind::Fatal, text));
            return;
        }
        if now < self.questions.next || self.inquiry.is_waiting() {
            return;
        }
        self.questions.next = now + AGAIN;
        let topics = if self.questions.unnamed {
            self.subscribed.clone()
        } else {
            self.group.refusals.topics()
        };
        if !topics.is_empty() {
            self.inquiry.ask_topics(self.consumer.client(), &topics);
        }
        let is_in = self.has_joined();
        if is_in {
            self.questions.outside = now;
            self.group.allow(&Cause::Membership);
        }
        // A reader without a group has no place to wait for.
        let has_group = self.group.env.groupless.is_none();
        let is_out = has_group && !is_in && !self.subscribed.is_empty();
        let long_out = is_out && now.duration_since(self.questions.outside) >= OUTSIDE;
        let may_not = self.group.refusals.has(&Cause::Group);
        let asks = (is_in && may_not)
            || self.questions.kept_out.is_some()
            || (long_out && !may_not)
            || self.doubts_coverage(now);
        if asks {
            let group = &self.group.env.wire_group;
            self.inquiry.ask_group(self.consumer.client(), group);
        }
    }

    fn heed_topics(&mut self, topics: Vec<(String, Result<bool, Code>)>) {
        let unnamed = std::mem::take(&mut self.questions.unnamed);
        let mut back = false;
        for (topic, answer) in topics {
            match answer {
                Ok(true) => back |= self.may_read(topic),
                Err(Code::UnknownTopicOrPartition) => _ = self.may_read(topic),
                Ok(false) | Err(Code::TopicAuthorizationFailed) if unnamed => {
                    self.deny_topic(&topic, Code::TopicAuthorizationFailed);
                }
                Ok(false) | Err(_) => {}
            }
        }
        if back {
            // Otherwise librdkafka would only look for it at its next full metadata refresh.
            self.subscribed.clear();
            self.subscribe();
        }
    }

    /// Whether the topic was refused before, and is not read yet.
    fn may_read(&self, topic: String) -> bool {
        let assigned = self.assigned.iter().any(|a| a.name.0 == topic);
        self.group.allow(&Cause::Topic(topic)) && !assigned
    }

    fn heed_group(&mut self, group: Result<Described, Code>) {
        self.heed_coverage(group.as_ref().ok());
        if let Ok(Described {
            may_read: Some(true),
            ..
        }) = group
        {
            self.group.allow(&Cause::Group);
        }
        if self.has_joined() {
            return;
        }
        let kept_out = self.questions.kept_out.take();
        if let Some(error) = self.outside(kept_out, group) {
            self.group.refuse(Cause::Membership, &error);
        }
    }

    /// Why the group does not admit this member, if known.
    fn outside(&self, refused: Option<Code>, group: Result<Described, Code>) -> Option<Error> {
        let env = &self.group.env;
        let name = &env.wire_group;
        let broker_assigns = env.broker_assigns();
        let (why, remedy, code) = match group {
            Ok(group) => {
                let other = group.broker_assigns.is_some_and(|it| it != broker_assigns);
                // With KIP-848, a member is in its group from the first heartbeat, which librdkafka silently repeats
                // if the group is of another kind. The classic protocol reports that.
                let strange = broker_assigns && !group.exists && !self.group.is_refused();
                if group.members.is_empty() && (refused.is_some() || strange) {
                    (NO_CONSUMERS.to_owned(), "use another group", refused)
                } else if group.members.is_empty() || (refused.is_none() && !other) {
                    return None;
                } else {
                    let (of, remedy) = kind(&group, broker_assigns);
                    let why = format!("its members ({}) use {of}", members(&group.members));
                    (why, remedy, refused)
                }
            }
            Err(code) if is_of_group(code) => {
                (NO_CONSUMERS.to_owned(), "use another group", Some(code))
            }
            Err(_) => (
                "its members use another protocol or assignor".to_owned(),
                "set `assignment` to match theirs, or use another group",
                Some(refused?),
            ),
        };
        let text = format!("consume: group {name} does not admit this client: {why}; {remedy}");
        let error = Error::new(ErrorKind::Unsupported, text);
        Some(match code {
            Some(code) => error.with_source(KafkaError::Global(code)),
            None => error,
        })
    }
}

/// Codes about the group itself, not about reaching it.
fn is_of_group(code: Code) -> bool {
    matches!(
        code,
        Code::GroupIdNotFound | Code::InconsistentGroupProtocol
    )
}

/// What the group's members use and this one does not, and the remedy.
fn kind(group: &Described, broker_assigns: bool) -> (String, &'static str) {
    if group.broker_assigns == Some(true) && !broker_assigns {
        let of = "the group protocol of KIP-848".to_owned();
        return (of, "set `assignment` to consumer, or use another group");
    }
    let of = match &*group.assignor {
        "" => "the classic group protocol".to_owned(),
        assignor => format!("the classic group protocol with the assignor {assignor}"),
    };
    let remedy = match &*group.assignor {
        "cooperative-sticky" => "set `assignment` to cooperative-sticky, or use another group",
        "range" | "roundrobin" => "set `assignment` to eager, or use another group",
        _ => "use another group: no `assignment` uses this assignor",
    };
    (of, remedy)
}

/// The members as text, only the first of many.
fn members(members: &[(String, String)]) -> String {
    const SHOWN: usize = 5;
    let shown = members.iter().take(SHOWN);
    let mut texts: Vec<_> = shown
        .map(|(client, host)| format!("{client} at {}", host.trim_start_matches('/')))
        .collect();
    if members.len() > SHOWN {
        texts.push(format!("{} more", members.len() - SHOWN));
    }
    texts.join(", ")
}
