//! Blocking calls about groups, each one request to the group's coordinator.
//!
//! `unsafe`: librdkafka calls that `rdkafka` lacks, and their results in librdkafka's memory.

use std::collections::BTreeMap;
use std::ffi::{CString, c_char};
use std::time::{Duration, Instant};

use rdkafka::client::Client;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka_sys as sys;
use rdkafka_sys::RDKafkaErrorCode as Code;

use super::super::inspect::Asking;
use super::super::native::text;
use super::super::questions::{
    Committed, TO_COORDINATOR, TopicPartition, elements, error_code, list_of, partitions_of,
};
use crate::groups::{GroupListing, GroupMember, GroupProtocol, GroupState};

type Operation = sys::rd_kafka_admin_op_t;

/// A group as its coordinator describes it.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) name: String,
    pub(super) state: GroupState,
    pub(super) protocol: GroupProtocol,
    pub(super) assignor: String,
    pub(super) members: Vec<GroupMember>,
}

/// An offset to commit.
pub(super) struct ToCommit {
    pub(super) partition: TopicPartition,
    pub(super) offset: i64,
    pub(super) metadata: String,
}

/// What group calls need. The client ends with the call: see [`TO_COORDINATOR`].
pub(super) struct Calls<'a> {
    pub(super) client: &'a Client<Asking>,
    pub(super) deadline: Instant,
}

impl Calls<'_> {
    /// All consumer groups, without their members.
    pub(super) fn list(&self) -> Result<Vec<GroupListing>, Code> {
        let timeout = self.left();
        let ask = |client, options, queue| {
            // SAFETY: all three are alive.
            unsafe { sys::rd_kafka_ListConsumerGroups(client, options, queue) }
        };
        self.call(
            Operation::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPS,
            timeout,
            ask,
            |event| {
                // SAFETY: the event is alive; the arrays are as long as said.
                unsafe {
                    let result = sys::rd_kafka_event_ListConsumerGroups_result(event);
                    let mut count = 0;
                    let errors = sys::rd_kafka_ListConsumerGroups_result_errors(result, &mut count);
                    if count > 0
                        && let Some(code) = error_code(*errors)
                    {
                        // A list without one broker's groups would look complete.
                        return Err(code);
                    }
                    let groups = sys::rd_kafka_ListConsumerGroups_result_valid(result, &mut count);
                    Ok((0..count).map(|at| listing(*groups.add(at))).collect())
                }
            },
        )
    }

    /// Describes each group, or returns its coordinator's error.
    pub(super) fn describe(&self, names: &[&str]) -> Result<Vec<Result<Facts, Code>>, Code> {
        let names: Vec<CString> = names.iter().filter_map(|n| CString::new(*n).ok()).collect();
        let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
        let ask = |client, options, queue| {
            // SAFETY: all are alive; librdkafka copies names and options.
            unsafe {
                sys::rd_kafka_DescribeConsumerGroups(
                    client,
                    pointers.as_mut_ptr(),
                    pointers.len(),
                    options,
                    queue,
                );
            }
        };
        self.call(
            Operation::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS,
            TO_COORDINATOR,
            ask,
            |event| {
                // SAFETY: the event is alive; the array is as long as said.
                unsafe {
                    let result = sys::rd_kafka_event_DescribeConsumerGroups_result(event);
                    let mut count = 0;
                    let groups =
                        sys::rd_kafka_DescribeConsumerGroups_result_groups(result, &mut count);
                    Ok((0..count).map(|at| facts(*groups.add(at))).collect())
                }
            },
        )
    }

    /// All committed offsets of the group.
    pub(super) fn committed(&self, group: &str) -> Result<Vec<Committed>, Code> {
        let group = CString::new(group).unwrap_or_default();
        let ask = |client, options, queue| {
            // SAFETY: all are alive; the request is owned by this scope and destroyed once. Without a
            // list all partitions are asked for.
            unsafe {
                let mut request =
                    sys::rd_kafka_ListConsumerGroupOffsets_new(group.as_ptr(), std::ptr::null());
                sys::rd_kafka_ListConsumerGroupOffsets(client, &mut request, 1, options, queue);
                sys::rd_kafka_ListConsumerGroupOffsets_destroy(request);
            }
        };
        self.call(
            Operation::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS,
            TO_COORDINATOR,
            ask,
            |event| {
                // SAFETY: the event is alive; the array is as long as said.
                unsafe {
                    let result = sys::rd_kafka_event_ListConsumerGroupOffsets_result(event);
                    let mut count = 0;
                    let groups =
                        sys::rd_kafka_ListConsumerGroupOffsets_result_groups(result, &mut count);
                    of_one_group(groups, count)
                }
            },
        )
    }

    /// Commits for a group without members; the coordinator rejects it if it has any.
    pub(super) fn commit(&self, group: &str, offsets: &[ToCommit]) -> Result<Vec<Committed>, Code> {
        let group = CString::new(group).unwrap_or_default();
        let mut list = TopicPartitionList::with_capacity(offsets.len());
        for offset in offsets {
            let (topic, partition) = &offset.partition;
            let mut element = list.add_partition(topic, *partition);
            if element.set_offset(Offset::Offset(offset.offset)).is_err() {
                return Err(Code::InvalidArgument);
            }
            element.set_metadata(&offset.metadata);
        }
        let ask = |client, options, queue| {
            // SAFETY: all are alive; the request, which copies the list, is owned by this scope and
            // destroyed once.
            unsafe {
                let mut request =
                    sys::rd_kafka_AlterConsumerGroupOffsets_new(group.as_ptr(), list.ptr());
                sys::rd_kafka_AlterConsumerGroupOffsets(client, &mut request, 1, options, queue);
                sys::rd_kafka_AlterConsumerGroupOffsets_destroy(request);
            }
        };
        self.call(
            Operation::RD_KAFKA_ADMIN_OP_ALTERCONSUMERGROUPOFFSETS,
            TO_COORDINATOR,
            ask,
            |event| {
                // SAFETY: the event is alive; the array is as long as said.
                unsafe {
                    let result = sys::rd_kafka_event_AlterConsumerGroupOffsets_result(event);
                    let mut count = 0;
                    let groups =
                        sys::rd_kafka_AlterConsumerGroupOffsets_result_groups(result, &mut count);
                    of_one_group(groups, count)
                }
            },
        )
    }

    /// Deletes the group's committed offsets of these partitions.
    pub(super) fn delete_offsets(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<Vec<Committed>, Code> {
        let group = CString::new(group).unwrap_or_default();
        let ask = |client, options, queue| {
            // SAFETY: all are alive; list and request are owned by this scope and destroyed once.
            unsafe {
                let list = list_of(partitions, None);
                let mut request =
                    sys::rd_kafka_DeleteConsumerGroupOffsets_new(group.as_ptr(), list);
                sys::rd_kafka_topic_partition_list_destroy(list);
                sys::rd_kafka_DeleteConsumerGroupOffsets(client, &mut request, 1, options, queue);
                sys::rd_kafka_DeleteConsumerGroupOffsets_destroy(request);
            }
        };
        self.call(
            Operation::RD_KAFKA_ADMIN_OP_DELETECONSUMERGROUPOFFSETS,
            TO_COORDINATOR,
            ask,
            |event| {
                // SAFETY: the event is alive; the array is as long as said.
                unsafe {
                    let result = sys::rd_kafka_event_DeleteConsumerGroupOffsets_result(event);
                    let mut count = 0;
                    let groups =
                        sys::rd_kafka_DeleteConsumerGroupOffsets_result_groups(result, &mut count);
                    of_one_group(groups, count)
                }
            },
        )
    }

    /// Deletes a group without members.
    pub(super) fn delete(&self, group: &str) -> Result<(), Code> {
        let group = CString::new(group).unwrap_or_default();
        let ask = |client, options, queue| {
            // SAFETY: all are alive; the request is owned by this scope and destroyed once.
            unsafe {
                let mut request = sys::rd_kafka_DeleteGroup_new(group.as_ptr());
                sys::rd_kafka_DeleteGroups(client, &mut request, 1, options, queue);
                sys::rd_kafka_DeleteGroup_destroy(request);
            }
        };
        self.call(
            Operation::RD_KAFKA_ADMIN_OP_DELETEGROUPS,
            TO_COORDINATOR,
            ask,
            |event| {
                // SAFETY: the event is alive; the array is as long as said.
                unsafe {
                    let result = sys::rd_kafka_event_DeleteGroups_result(event);
                    let mut count = 0;
                    let groups = sys::rd_kafka_DeleteGroups_result_groups(result, &mut count);
                    of_one_group(groups, count).map(drop)
                }
            },
        )
    }

    /// Sends a request, and reads the response if it arrives in time.
    fn call<T>(
        &self,
        operation: Operation,
        timeout: Duration,
        ask: impl FnOnce(
            *mut sys::rd_kafka_t,
            *const sys::rd_kafka_AdminOptions_t,
            *mut sys::rd_kafka_queue_t,
        ),
        read: impl FnOnce(*mut sys::rd_kafka_event_t) -> Result<T, Code>,
    ) -> Result<T, Code> {
        let client = self.client.native_ptr();
        let millis = |time: Duration| i32::try_from(time.as_millis()).unwrap_or(i32::MAX);
        let mut reason: [c_char; 256] = [0; 256];
        // SAFETY: the client is alive, the buffer as long as said. Options, queue and event are owned by
        // this scope and destroyed once; librdkafka copies the options, and holds the queue for as long
        // as the question is open.
        unsafe {
            let options = sys::rd_kafka_AdminOptions_new(client, operation);
            // Rejected only if out of range, and then the default applies.
            sys::rd_kafka_AdminOptions_set_request_timeout(
                options,
                millis(timeout).max(1),
                reason.as_mut_ptr(),
                reason.len(),
            );
            let queue = sys::rd_kafka_queue_new(client);
            ask(client, options, queue);
            sys::rd_kafka_AdminOptions_destroy(options);
            let event = sys::rd_kafka_queue_poll(queue, millis(self.left()));
            sys::rd_kafka_queue_destroy(queue);
            if event.is_null() {
                return Err(Code::OperationTimedOut);
            }
            let answer = match sys::rd_kafka_event_error(event).into() {
                Code::NoError => read(event),
                code => Err(code),
            };
            sys::rd_kafka_event_destroy(event);
            answer
        }
    }

    fn left(&self) -> Duration {
        self.deadline
            .saturating_duration_since(Instant::now())
            .max(Duration::from_millis(100))
    }
}

/// What was said of the only group of an answer, and of its partitions.
///
/// # Safety
///
/// `groups` must have so many elements, alive.
unsafe fn of_one_group(
    groups: *mut *const sys::rd_kafka_group_result_t,
    count: usize,
) -> Result<Vec<Committed>, Code> {
    if count == 0 {
        return Err(Code::InvalidArgument);
    }
    // SAFETY: by contract.
    unsafe {
        let group = *groups;
        match error_code(sys::rd_kafka_group_result_error(group)) {
            Some(code) => Err(code),
            None => Ok(elements(sys::rd_kafka_group_result_partitions(group))),
        }
    }
}

/// # Safety
///
/// `group` must be alive.
unsafe fn listing(group: *const sys::rd_kafka_ConsumerGroupListing_t) -> GroupListing {
    // SAFETY: by contract; the name is copied.
    unsafe {
        let protocol = protocol(sys::rd_kafka_ConsumerGroupListing_type(group));
        GroupListing {
            name: text(sys::rd_kafka_ConsumerGroupListing_group_id(group)).into_owned(),
            state: state(sys::rd_kafka_ConsumerGroupListing_state(group), protocol),
            protocol,
            members: 0,
        }
    }
}

/// # Safety
///
/// `group` must be alive.
unsafe fn facts(group: *const sys::rd_kafka_ConsumerGroupDescription_t) -> Result<Facts, Code> {
    // SAFETY: by contract; everything read lives as long as the group, and is copied.
    unsafe {
        if let Some(code) = error_code(sys::rd_kafka_ConsumerGroupDescription_error(group)) {
            return Err(code);
        }
        let protocol = protocol(sys::rd_kafka_ConsumerGroupDescription_type(group));
        let members = 0..sys::rd_kafka_ConsumerGroupDescription_member_count(group);
        let assignor = sys::rd_kafka_ConsumerGroupDescription_partition_assignor(group);
        Ok(Facts {
            name: text(sys::rd_kafka_ConsumerGroupDescription_group_id(group)).into_owned(),
            state: state(
                sys::rd_kafka_ConsumerGroupDescription_state(group),
                protocol,
            ),
            protocol,
            assignor: text(assignor).into_owned(),
            members: members
                .map(|at| member(sys::rd_kafka_ConsumerGroupDescription_member(group, at)))
                .collect(),
        })
    }
}

/// # Safety
///
/// `member` must be alive.
unsafe fn member(member: *const sys::rd_kafka_MemberDescription_t) -> GroupMember {
    // SAFETY: by contract; everything read lives as long as the member, and is copied.
    unsafe {
        let instance = sys::rd_kafka_MemberDescription_group_instance_id(member);
        let mut partitions: BTreeMap<String, Vec<i32>> = BTreeMap::new();
        for (topic, partition) in partitions_of(member) {
            partitions.entry(topic).or_default().push(partition);
        }
        partitions.values_mut().for_each(|ids| ids.sort_unstable());
        GroupMember {
            id: text(sys::rd_kafka_MemberDescription_consumer_id(member)).into_owned(),
            instance_id: (!instance.is_null()).then(|| text(instance).into_owned()),
            client_id: text(sys::rd_kafka_MemberDescription_client_id(member)).into_owned(),
            host: text(sys::rd_kafka_MemberDescription_host(member))
                .trim_start_matches('/')
                .to_owned(),
            partitions,
        }
    }
}

fn state(state: sys::rd_kafka_consumer_group_state_t, protocol: GroupProtocol) -> GroupState {
    use sys::rd_kafka_consumer_group_state_t as Native;
    match state {
        Native::RD_KAFKA_CONSUMER_GROUP_STATE_STABLE => GroupState::Stable,
        Native::RD_KAFKA_CONSUMER_GROUP_STATE_EMPTY => GroupState::Empty,
        Native::RD_KAFKA_CONSUMER_GROUP_STATE_DEAD => GroupState::Dead,
        Native::RD_KAFKA_CONSUMER_GROUP_STATE_PREPARING_REBALANCE
        | Native::RD_KAFKA_CONSUMER_GROUP_STATE_COMPLETING_REBALANCE => GroupState::Rebalancing,
        // `Assigning` and `Reconciling`, for which librdkafka has no names.
        _ if protocol == GroupProtocol::Consumer => GroupState::Rebalancing,
        _ => GroupState::Unknown,
    }
}

fn protocol(kind: sys::rd_kafka_consumer_group_type_t) -> GroupProtocol {
    use sys::rd_kafka_consumer_group_type_t as Native;
    match kind {
        Native::RD_KAFKA_CONSUMER_GROUP_TYPE_CONSUMER => GroupProtocol::Consumer,
        Native::RD_KAFKA_CONSUMER_GROUP_TYPE_CLASSIC => GroupProtocol::Classic,
        _ => GroupProtocol::Unknown,
    }
}
