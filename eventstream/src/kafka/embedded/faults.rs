//! Requests that the embedded broker rejects on command.

use rdkafka_sys as sys;
use sys::rd_kafka_resp_err_t as Code;

use super::EmbeddedBroker;
use crate::error::Result;

/// What a broker answers to a request that it refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// Too few replicas are in sync. Passes: clients try again.
    NotEnoughReplicas,
    /// The broker no longer leads the partition. Passes: clients look for the leader and try again.
    NotLeader,
    /// The client may not do this with the topic. It asks again only after a while, and until then refuses such events by
    /// itself.
    Unauthorized,
    /// The event is larger than the topic's `max.message.bytes`.
    TooLarge,
}

impl Refusal {
    fn code(self) -> Code {
        match self {
            Self::NotEnoughReplicas => Code::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
            Self::NotLeader => Code::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
            Self::Unauthorized => Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
            Self::TooLarge => Code::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
        }
    }
}

/// The numbers of requests in Kafka's protocol.
const PRODUCE: i16 = 0;
const FETCH: i16 = 1;
const FIND_COORDINATOR: i16 = 10;
/// Requests that go to a group's coordinator: commits, and those of members.
const TO_COORDINATOR: [i16; 5] = [8, 9, 11, 12, 14];

/// More requests than any test sends.
const FOR_LONG: usize = 10_000;

impl EmbeddedBroker {
    /// Rejects the next requests to store events.
    pub(crate) fn refuse_produce(&self, times: usize, refusal: Refusal) -> Result<()> {
        self.refuse(PRODUCE, times, refusal.code())
    }

    /// Rejects the next requests for records.
    pub(crate) fn refuse_fetch(&self, times: usize, refusal: Refusal) -> Result<()> {
        self.refuse(FETCH, times, refusal.code())
    }

    /// Has no coordinator for any group.
    pub(crate) fn lose_coordinator(&self) -> Result<()> {
        let unavailable = Code::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE;
        self.refuse(FIND_COORDINATOR, FOR_LONG, unavailable)?;
        for request in TO_COORDINATOR {
            self.refuse(request, FOR_LONG, Code::RD_KAFKA_RESP_ERR_NOT_COORDINATOR)?;
        }
        Ok(())
    }

    /// Has a coordinator again.
    pub(crate) fn restore_coordinator(&self) -> Result<()> {
        self.accept(FIND_COORDINATOR)?;
        TO_COORDINATOR
            .into_iter()
            .try_for_each(|request| self.accept(request))
    }

    /// Fails the next requests to store events with this code.
    #[cfg(test)]
    pub(crate) fn refuse_to_store(&self, code: Code, times: usize) {
        self.refuse(PRODUCE, times, code)
            .expect("the cluster lives");
    }

    fn refuse(&self, request: i16, times: usize, code: Code) -> Result<()> {
        self.run(move |cluster| {
            let codes = vec![code; times];
            // SAFETY: the cluster is alive on this thread, and copies the codes.
            unsafe {
                sys::rd_kafka_mock_push_request_errors_array(
                    cluster.handle,
                    request,
                    times,
                    codes.as_ptr(),
                );
            }
        })
    }

    /// Stops rejecting requests of this kind.
    fn accept(&self, request: i16) -> Result<()> {
        self.run(move |cluster| {
            // SAFETY: the cluster is alive on this thread.
            unsafe { sys::rd_kafka_mock_clear_request_errors(cluster.handle, request) }
        })
    }
}
