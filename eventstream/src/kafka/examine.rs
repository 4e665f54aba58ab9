//! What a cluster reports about itself, topics and a group, for the doctor: everything that can be requested at once
//! is.

mod canary;
mod offsets;

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer as _;
use rdkafka::error::RDKafkaErrorCode as Code;

use super::config::{self, ClientConfigs};
use super::context::Reporter;
use super::error::from_kafka;
use super::inspect::{Asker, Asking, described, fetch, is_passing, until_passed};
use super::list_offsets::answers;
use super::questions::{Answer, ConfigsOf, Described, Questions};
use crate::config::BrokerConfig;
use crate::deadline;
use crate::doctor::facts::{self, Asked, Cluster, Group, Partition, Rights, Topic, TopicRole};
use crate::error::Result;

pub(crate) use self::canary::round_trip;

/// The time limit of one round of requests.
const ROUND: Duration = Duration::from_secs(2);
const EMBEDDED: &str = "the embedded broker does not report it";

/// What to examine, named as on the broker.
#[derive(Clone)]
pub(crate) struct Examination {
    pub(crate) config: BrokerConfig,
    pub(crate) brokers: Vec<String>,
    pub(crate) is_embedded: bool,
    pub(crate) topics: Vec<(TopicRole, String)>,
    pub(crate) group: Option<String>,
}

/// A client that the brokers have accepted.
pub(crate) struct Examiner {
    client: Asker,
    reporter: Arc<Reporter>,
    what: Examination,
    brokers: Vec<(i32, String)>,
}

impl Examiner {
    /// Logs in.
    pub(crate) fn start(what: Examination, deadline: Instant) -> Result<Self> {
        let reporter = Reporter::new("doctor".into(), &what.config).of_brokers(&what.brokers);
        let reporter = Arc::new(reporter);
        let presets = if what.is_embedded {
            config::EMBEDDED
        } else {
            &[]
        };
        let configs = ClientConfigs::new(&what.config, &what.brokers, presets)?;
        reporter.asks_with(&configs.admin);
        let mut properties = configs.admin;
        if let Some(group) = &what.group {
            properties.set("group.id", group);
        }
        let client =
            Asker::new(&properties, &reporter).map_err(|e| from_kafka("create a client", e))?;
        let first = what.topics.first().map(|(_, name)| name.as_str());
        let found = fetch(&client, &reporter, first, deadline)?;
        let found = described(&reporter, &found, first);
        let brokers = found.brokers.into_iter();
        let brokers = brokers.map(|broker| (broker.id, address(&broker.host, broker.port)));
        Ok(Self {
            client,
            reporter,
            what,
            brokers: brokers.collect(),
        })
    }

    /// The brokers that the cluster names.
    pub(crate) fn brokers(&self) -> &[(i32, String)] {
        &self.brokers
    }

    pub(crate) fn examine(&self, deadline: Instant) -> Cluster {
        let mut topics: Vec<_> = self
            .what
            .topics
            .iter()
            .map(|(role, name)| self.topic(*role, name, deadline))
            .collect();
        let mut broker_configs = Err("no broker answered in time".to_owned());
        let mut group = self.what.group.as_ref().map(|name| Group {
            name: name.clone(),
            described: Err("its coordinator did not answer in time".to_owned()),
            no_offsets: None,
        });
        self.describe(&mut topics, &mut broker_configs, group.as_mut(), deadline);
        let mut cluster = Cluster {
            brokers: self.brokers.clone(),
            broker_configs,
            topics,
            group,
            round_trip: None,
        };
        self.offsets(&mut cluster, deadline);
        cluster
    }

    fn topic(&self, role: TopicRole, name: &str, deadline: Instant) -> Topic {
        let found = fetch(&self.client, &self.reporter, Some(name), deadline);
        let partitions = found.and_then(|found| {
            let mut topics = described(&self.reporter, &found, Some(name)).topics;
            let topic = topics.pop().filter(|topic| topic.name == name);
            let topic = topic.ok_or_else(|| {
                super::error::from_code(format!("metadata of topic {name}"), Code::UnknownTopic)
            })?;
            match topic.error {
                Some(error) => Err(error),
                None => Ok(topic.partitions.into_iter().map(partition).collect()),
            }
        });
        Topic {
            name: name.to_owned(),
            role,
            partitions,
            rights: Err("the brokers did not answer in time".to_owned()),
            configs: Err("the brokers did not answer in time".to_owned()),
        }
    }

    /// Rights, properties and the group, in one round.
    fn describe(
        &self,
        topics: &mut [Topic],
        broker_configs: &mut Asked<facts::Configs>,
        group: Option<&mut Group>,
        deadline: Instant,
    ) {
        let timeout = deadline::left(deadline).min(ROUND);
        let names: Vec<String> = topics.iter().map(|topic| topic.name.clone()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        // Tokens: the rights, the group, a broker's properties, and those of each topic.
        let (rights, of_group, of_broker, of_topics) = (0, 1, 2, 3);
        let is_embedded = self.what.is_embedded;
        if is_embedded {
            *broker_configs = Err(EMBEDDED.to_owned());
            topics
                .iter_mut()
                .for_each(|topic| topic.configs = Err(EMBEDDED.to_owned()));
        }
        let mut count = usize::from(!names.is_empty());
        if !is_embedded {
            count += 1 + names.len() + usize::from(group.is_some());
        }
        let group_name = group.as_ref().map(|group| group.name.clone());
        let broker = self.brokers.first().map_or(0, |(id, _)| *id);
        let ask = |questions: &Questions<'_, Asking>| {
            if !names.is_empty() {
                questions.rights_on(&names, rights);
            }
            if is_embedded {
                return;
            }
            questions.configs(ConfigsOf::Broker(broker), of_broker);
            for (at, name) in names.iter().enumerate() {
                questions.configs(ConfigsOf::Topic(name), of_topics + at);
            }
            if let Some(group) = &group_name {
                questions.group(group, of_group);
            }
        };
        let mut found_group = is_embedded.then(|| Err(EMBEDDED.to_owned()));
        let until = Instant::now() + timeout;
        let found = until_passed(
            &self.client,
            until,
            || answers(self.client.client(), deadline::left(until), count, ask),
            |answers| answers.iter().any(|(_, answer)| is_loading(answer)),
        );
        for (token, answer) in found {
            match answer {
                Answer::Topics(Ok(described)) => {
                    for found in described {
                        let its = topics.iter_mut().filter(|topic| topic.name == found.name);
                        for topic in its {
                            topic.rights = match found.error {
                                // Whoever learns of a topic may describe it.
                                None if !found.rights.describe => {
                                    Err("the broker does not report rights".to_owned())
                                }
                                None => Ok(Rights {
                                    read: found.rights.read,
                                    write: found.rights.write,
                                }),
                                Some(code) => Err(code.to_string()),
                            };
                        }
                    }
                }
                Answer::Configs(found) => {
                    let found = match found.map(|mut found| found.pop()) {
                        Ok(Some(Ok(found))) => Ok(found),
                        Ok(Some(Err(code))) => Err(not_told(code)),
                        Ok(None) => Err("the broker did not answer".to_owned()),
                        Err(refused) => Err(not_told(refused.code)),
                    };
                    match token
                        .checked_sub(of_topics)
                        .and_then(|at| topics.get_mut(at))
                    {
                        Some(topic) => topic.configs = found,
                        None => *broker_configs = found,
                    }
                }
                Answer::Group(found) => {
                    found_group = Some(match found {
                        Ok(Ok(group)) => Ok(of(group)),
                        Ok(Err(code)) => Err(code.to_string()),
                        Err(refused) => Err(refused.code.to_string()),
                    });
                }
                _ => {}
            }
        }
        if let (Some(group), Some(found)) = (group, found_group) {
            group.described = found;
        }
    }
}

/// Whether the group's coordinator is still loading its groups.
fn is_loading(answer: &Answer) -> bool {
    match answer {
        Answer::Group(Ok(Err(code))) => is_passing(*code),
        Answer::Group(Err(refused)) => is_passing(refused.code),
        _ => false,
    }
}

fn not_told(code: Code) -> String {
    if super::denied::is_denied(code) {
        return "this client has no DescribeConfigs permission".to_owned();
    }
    code.to_string()
}

fn of(group: Described) -> facts::Described {
    facts::Described {
        may_read: group.may_read,
        broker_assigns: group.broker_assigns,
        assignor: group.assignor,
        state: group.state,
        members: group.members.len(),
        assigned: group.assigned.into_iter().map(|(topic, _)| topic).collect(),
    }
}

fn partition(found: crate::metadata::PartitionMetadata) -> Partition {
    Partition {
        id: found.id,
        leader: found.leader,
        replicas: found.replicas.len(),
        in_sync: found.in_sync.len(),
        ..Partition::default()
    }
}

fn address(host: &str, port: u16) -> String {
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}
