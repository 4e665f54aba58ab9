//! What a coordinator reports about a group.
//!
//! `unsafe`: librdkafka's descriptions are read in its own memory.

use std::collections::BTreeSet;

use rdkafka_sys as sys;
use rdkafka_sys::RDKafkaErrorCode as Code;

use super::{TopicPartition, elements, error_code, rights};
use crate::kafka::native::text;

/// A group as its coordinator describes it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Described {
    /// Whether this client may read in it; `None` if the broker does not report it.
    pub(crate) may_read: Option<bool>,
    /// Whether the broker assigns (KIP-848); `None` if it does not report it.
    pub(crate) broker_assigns: Option<bool>,
    pub(crate) assignor: String,
    /// It has, or had, members of a kind that can be described.
    pub(crate) exists: bool,
    /// The client id and the host of each member.
    pub(crate) members: Vec<(String, String)>,
    /// As Kafka names it, such as `Stable`.
    pub(crate) state: String,
    /// The partitions that members have.
    pub(crate) assigned: BTreeSet<TopicPartition>,
}

/// The only group in an answer about one.
///
/// # Safety
///
/// `result` must be alive.
pub(super) unsafe fn first(
    result: *const sys::rd_kafka_DescribeConsumerGroups_result_t,
) -> Result<Described, Code> {
    let mut count = 0;
    // SAFETY: by contract; the array is as long as said.
    unsafe {
        let groups = sys::rd_kafka_DescribeConsumerGroups_result_groups(result, &mut count);
        if count == 0 {
            return Err(Code::InvalidArgument);
        }
        let group = *groups;
        error_code(sys::rd_kafka_ConsumerGroupDescription_error(group))
            .map_or_else(|| Ok(describe(group)), Err)
    }
}

/// # Safety
///
/// `group` must be alive.
unsafe fn describe(group: *const sys::rd_kafka_ConsumerGroupDescription_t) -> Described {
    use sys::rd_kafka_consumer_group_type_t as Type;
    // SAFETY: by contract; everything read lives as long as the group, and is copied.
    unsafe {
        let mut allowed = 0;
        let operations =
            sys::rd_kafka_ConsumerGroupDescription_authorized_operations(group, &mut allowed);
        let mut assigned = BTreeSet::new();
        let members = 0..sys::rd_kafka_ConsumerGroupDescription_member_count(group);
        let members = members.map(|i| {
            let member = sys::rd_kafka_ConsumerGroupDescription_member(group, i);
            assigned.extend(partitions_of(member));
            (
                text(sys::rd_kafka_MemberDescription_client_id(member)).into_owned(),
                text(sys::rd_kafka_MemberDescription_host(member)).into_owned(),
            )
        });
        let members = members.collect();
        let state = sys::rd_kafka_ConsumerGroupDescription_state(group);
        Described {
            may_read: (!operations.is_null()).then(|| rights(operations, allowed).read),
            broker_assigns: match sys::rd_kafka_ConsumerGroupDescription_type(group) {
                Type::RD_KAFKA_CONSUMER_GROUP_TYPE_CONSUMER => Some(true),
                Type::RD_KAFKA_CONSUMER_GROUP_TYPE_CLASSIC => Some(false),
                _ => None,
            },
            exists: state
                != sys::rd_kafka_consumer_group_state_t::RD_KAFKA_CONSUMER_GROUP_STATE_DEAD,
            assignor: text(sys::rd_kafka_ConsumerGroupDescription_partition_assignor(
                group,
            ))
            .into_owned(),
            members,
            state: text(sys::rd_kafka_consumer_group_state_name(state)).into_owned(),
            assigned,
        }
    }
}

/// The partitions that a member has.
///
/// # Safety
///
/// `member` must be alive.
pub(in crate::kafka) unsafe fn partitions_of(
    member: *const sys::rd_kafka_MemberDescription_t,
) -> impl Iterator<Item = TopicPartition> {
    // SAFETY: by contract; the list lives as long as the member, and is copied.
    let has = unsafe {
        let assignment = sys::rd_kafka_MemberDescription_assignment(member);
        if assignment.is_null() {
            Vec::new()
        } else {
            elements(sys::rd_kafka_MemberAssignment_partitions(assignment))
        }
    };
    has.into_iter().map(|element| element.partition)
}
