//! Refused rights: which is missing on what, for whom, and how to grant it.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use crate::config::Principal;
use crate::error::{Error, ErrorKind};

/// The operations of a right, as Kafka names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Operation {
    Read,
    Write,
    Create,
    Describe,
    Delete,
    IdempotentWrite,
}

/// The resource of a right, named as on the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Resource<'a> {
    Topic(&'a str),
    Group(&'a str),
    Cluster,
}

/// Whether this code from a broker reports a missing right.
pub(crate) fn is_denied(code: Code) -> bool {
    matches!(
        code,
        Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed
    )
}

/// The error for a missing right: principal, operation and resource, and the command that grants
/// it.
pub(crate) fn denied(
    principal: &Principal,
    doing: &str,
    operation: Operation,
    on: Resource<'_>,
    code: Code,
) -> Error {
    let what = match on {
        Resource::Topic(topic) => format!("topic {topic}"),
        Resource::Group(group) => {
            // Groups have the dot even without a prefix, unlike topics.
            let where_from = group.strip_prefix('.').map_or(String::new(), |name| {
                format!(" ({name:?} of a client without a prefix)")
            });
            format!("group {group}{where_from}")
        }
        Resource::Cluster => "the cluster".to_owned(),
    };
    let remedy = right_remedy(principal, operation, on);
    let text = format!("{doing}: {principal} has no right to {operation:?} on {what}; {remedy}");
    Error::new(ErrorKind::Unauthorized, text)
        .with_retriable(false)
        .with_remedy(remedy)
        .with_source(KafkaError::Global(code))
}

/// How to grant a right.
pub(crate) fn right_remedy(
    principal: &Principal,
    operation: Operation,
    on: Resource<'_>,
) -> String {
    let flag = match on {
        Resource::Topic(topic) => format!("--topic {}", word(topic)),
        Resource::Group(group) => format!("--group {}", word(group)),
        Resource::Cluster => "--cluster".to_owned(),
    };
    format!(
        "to grant it: kafka-acls --add --allow-principal {} --operation {operation:?} {flag}",
        word(principal.name())
    )
}

/// A word quoted for a shell.
fn word(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b".:_-/@=,".contains(&b);
    if !text.is_empty() && text.bytes().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;
    use crate::config::{BrokerConfig, SaslMechanism, Security};

    fn told(operation: Operation, on: Resource<'_>) -> Error {
        let security = Security::sasl(SaslMechanism::Plain, "reader", "x");
        let principal = BrokerConfig::new().security(security).principal();
        let code = Code::GroupAuthorizationFailed;
        denied(&principal, "consume", operation, on, code)
    }

    #[test]
    fn who_lacks_what_and_how_it_is_given() {
        let error = told(Operation::Read, Resource::Group(".billing"));
        assert_eq!(
            error.to_string(),
            "consume: User:reader has no right to Read on group .billing (\"billing\" of a client \
             without a prefix); to grant it: kafka-acls --add --allow-principal User:reader --operation Read \
             --group .billing"
        );
        assert_eq!(error.kind(), ErrorKind::Unauthorized);
        assert_eq!(
            error.remedy(),
            "to grant it: kafka-acls --add --allow-principal User:reader --operation Read --group .billing"
        );
        assert!(!error.is_retriable() && error.is_final());
        let source = error.source().expect("the broker's words").to_string();
        assert!(source.contains("Group authorization failed"), "{source}");
        for (operation, on, end) in [
            (
                Operation::Write,
                Resource::Topic("env.t"),
                "--operation Write --topic env.t",
            ),
            (
                Operation::IdempotentWrite,
                Resource::Cluster,
                "--operation IdempotentWrite --cluster",
            ),
            (
                Operation::Read,
                Resource::Group("env.a b's"),
                r"--group 'env.a b'\''s'",
            ),
        ] {
            let text = told(operation, on).to_string();
            assert!(text.ends_with(end), "{text}");
        }
    }
}
