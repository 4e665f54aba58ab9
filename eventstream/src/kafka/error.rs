use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use crate::error::{Error, ErrorKind};

/// The class of a librdkafka or broker error, and whether retrying can help.
pub(crate) fn classify(code: Code) -> (ErrorKind, bool) {
    use ErrorKind as K;
    match code {
        Code::MessageTimedOut
        | Code::OperationTimedOut
        | Code::TimedOutQueue
        | Code::RequestTimedOut => (K::Timeout, true),
        Code::PurgeQueue | Code::PurgeInflight => (K::Closed, true),
        Code::QueueFull => (K::BufferFull, true),
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize => {
            (K::TooLarge, false)
        }
        Code::InvalidRecord
        | Code::InvalidDifferentRecord
        | Code::InvalidTimestamp
        | Code::UnsupportedForMessageFormat => (K::InvalidRecord, false),
        Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition => {
            (K::UnknownTopic, false)
        }
        Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed => (K::Unauthorized, false),
        Code::Authentication
        | Code::SSL
        | Code::UnsupportedSASLMechanism
        | Code::IllegalSASLState => (K::Authentication, false),
        Code::BrokerTransportFailure
        | Code::AllBrokersDown
        | Code::Resolve
        | Code::NetworkException
        | Code::BrokerNotAvailable
        | Code::WaitingForCoordinator
        | Code::CoordinatorNotAvailable => (K::Unreachable, true),
        Code::Fatal
        | Code::Fenced
        | Code::OutOfOrderSequenceNumber
        | Code::InvalidProducerEpoch
        | Code::UnknownProducerId => (K::Fatal, true),
        Code::InvalidTopic => (K::Validation, false),
        Code::NotEnoughReplicas
        | Code::NotEnoughReplicasAfterAppend
        | Code::LeaderNotAvailable
        | Code::NotLeaderForPartition
        | Code::ISRInsufficient => (K::Broker, true),
        _ => (K::Broker, false),
    }
}

/// An error of this crate from a librdkafka one: the operation, with the cause as source.
pub(crate) fn from_code(doing: impl Into<String>, code: Code) -> Error {
    let (kind, retriable) = classify(code);
    Error::new(kind, doing)
        .with_retriable(retriable)
        .with_source(KafkaError::Global(code))
}

pub(crate) fn from_kafka(doing: impl Into<String>, error: KafkaError) -> Error {
    let (kind, retriable) = match &error {
        KafkaError::ClientConfig(..) | KafkaError::ClientCreation(_) => (ErrorKind::Config, false),
        other => other
            .rdkafka_error_code()
            .map_or((ErrorKind::Broker, false), classify),
    };
    Error::new(kind, doing)
        .with_retriable(retriable)
        .with_source(error)
}

/// The code that an error was made from.
pub(crate) fn code_of(error: &Error) -> Option<Code> {
    let cause = std::error::Error::source(error)?;
    cause.downcast_ref::<KafkaError>()?.rdkafka_error_code()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_refusal_of_the_record_blames_it() {
        let of_record = [
            Code::InvalidRecord,
            Code::InvalidDifferentRecord,
            Code::InvalidTimestamp,
        ];
        for code in of_record {
            assert_eq!(classify(code).0, ErrorKind::InvalidRecord, "{code}");
        }
        let of_broker = [
            Code::Unknown,
            Code::KafkaStorageError,
            Code::UnsupportedCompressionType,
        ];
        for code in of_broker {
            assert_eq!(classify(code).0, ErrorKind::Broker, "{code}");
        }
    }
}
