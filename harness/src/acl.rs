//! Grants and withdraws rights on a cluster with an authorizer, with calls that `rdkafka` lacks.
//!
//! Every `unsafe` of the harness is here.

use std::ffi::{CStr, CString, c_char};
use std::ptr;

use anyhow::{Result, bail};
use rdkafka_sys as sys;

use crate::admin::{Admin, PATIENCE};
use crate::wait::eventually;

/// What a user may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Fetch from a topic; join a group and commit in it.
    Read,
    /// Publish to a topic.
    Write,
    /// Create topics.
    Create,
    /// Ask about a topic or a group. `Read` and `Write` imply it.
    Describe,
    /// Be an idempotent producer; `Write` on any topic implies it.
    IdempotentWrite,
    /// All of it.
    All,
}

/// What it may be done to, named as on the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource<'a> {
    /// A topic.
    Topic(&'a str),
    /// A consumer group.
    Group(&'a str),
    /// A transactional id.
    TransactionalId(&'a str),
    /// The cluster.
    Cluster,
}

impl Operation {
    fn native(self) -> sys::rd_kafka_AclOperation_t {
        use sys::rd_kafka_AclOperation_t as Native;
        match self {
            Self::Read => Native::RD_KAFKA_ACL_OPERATION_READ,
            Self::Write => Native::RD_KAFKA_ACL_OPERATION_WRITE,
            Self::Create => Native::RD_KAFKA_ACL_OPERATION_CREATE,
            Self::Describe => Native::RD_KAFKA_ACL_OPERATION_DESCRIBE,
            Self::IdempotentWrite => Native::RD_KAFKA_ACL_OPERATION_IDEMPOTENT_WRITE,
            Self::All => Native::RD_KAFKA_ACL_OPERATION_ALL,
        }
    }
}

impl Resource<'_> {
    fn native(&self) -> (sys::rd_kafka_ResourceType_t, &str) {
        use sys::rd_kafka_ResourceType_t as Native;
        match self {
            Self::Topic(name) => (Native::RD_KAFKA_RESOURCE_TOPIC, name),
            Self::Group(name) => (Native::RD_KAFKA_RESOURCE_GROUP, name),
            Self::TransactionalId(name) => (Native::RD_KAFKA_RESOURCE_TRANSACTIONAL_ID, name),
            // The protocol's number is that of the cluster; librdkafka has another name for it.
            Self::Cluster => (Native::RD_KAFKA_RESOURCE_BROKER, "kafka-cluster"),
        }
    }
}

impl Admin {
    /// Grants a user a right, and returns once the broker that is asked applies it.
    ///
    /// # Errors
    /// The cluster has no authorizer, or does not answer.
    pub fn allow(&self, user: &str, operation: Operation, on: Resource<'_>) -> Result<()> {
        let binding = Binding::new(user, operation, on)?;
        let result = self.call(|client, queue| {
            let mut bindings = [binding.0];
            // SAFETY: client, binding and queue are alive; librdkafka copies the binding.
            unsafe {
                sys::rd_kafka_CreateAcls(client, bindings.as_mut_ptr(), 1, ptr::null(), queue);
            }
        })?;
        // SAFETY: the event is alive; what it lends is read before it is dropped.
        unsafe {
            let result = sys::rd_kafka_event_CreateAcls_result(result.0);
            if result.is_null() {
                bail!("the answer is none to CreateAcls");
            }
            let mut count = 0;
            let results = sys::rd_kafka_CreateAcls_result_acls(result, &mut count);
            for i in 0..count {
                check(sys::rd_kafka_acl_result_error(*results.add(i)))?;
            }
        }
        self.heeds(&binding, true)
    }

    /// Withdraws a right, and returns once the broker that is asked applies that.
    ///
    /// # Errors
    /// The user does not have the right, the cluster has no authorizer, or it does not answer.
    pub fn withdraw(&self, user: &str, operation: Operation, on: Resource<'_>) -> Result<()> {
        let filter = Binding::new(user, operation, on)?;
        let result = self.call(|client, queue| {
            let mut filters = [filter.0];
            // SAFETY: client, filter and queue are alive; librdkafka copies the filter.
            unsafe {
                sys::rd_kafka_DeleteAcls(client, filters.as_mut_ptr(), 1, ptr::null(), queue);
            }
        })?;
        // SAFETY: the event is alive; what it lends is read before it is dropped.
        unsafe {
            let result = sys::rd_kafka_event_DeleteAcls_result(result.0);
            if result.is_null() {
                bail!("the answer is none to DeleteAcls");
            }
            let (mut count, mut deleted) = (0, 0);
            let responses = sys::rd_kafka_DeleteAcls_result_responses(result, &mut count);
            for i in 0..count {
                let response = *responses.add(i);
                check(sys::rd_kafka_DeleteAcls_result_response_error(response))?;
                let mut matching = 0;
                sys::rd_kafka_DeleteAcls_result_response_matching_acls(response, &mut matching);
                deleted += matching;
            }
            if deleted == 0 {
                bail!("{user} has no right to {operation:?} on {on:?}");
            }
        }
        self.heeds(&filter, false)
    }

    /// The controller has written the change by now; a broker learns of it from the metadata log.
    fn heeds(&self, binding: &Binding, there: bool) -> Result<()> {
        eventually("a change of rights", PATIENCE, || {
            let found = self.describe(binding)?;
            Ok((found == there).then_some(()))
        })
    }

    fn describe(&self, filter: &Binding) -> Result<bool> {
        let result = self.call(|client, queue| {
            // SAFETY: client, filter and queue are alive; librdkafka copies the filter.
            unsafe { sys::rd_kafka_DescribeAcls(client, filter.0, ptr::null(), queue) };
        })?;
        let mut count = 0;
        // SAFETY: the event is alive; what it lends is read before it is dropped.
        unsafe {
            let result = sys::rd_kafka_event_DescribeAcls_result(result.0);
            if result.is_null() {
                bail!("the answer is none to DescribeAcls");
            }
            sys::rd_kafka_DescribeAcls_result_acls(result, &mut count);
        }
        Ok(count > 0)
    }

    fn call(
        &self,
        ask: impl FnOnce(*mut sys::rd_kafka_t, *mut sys::rd_kafka_queue_t),
    ) -> Result<Event> {
        let client = self.client.inner().native_ptr();
        let millis = i32::try_from(PATIENCE.as_millis())?;
        // SAFETY: the client is alive; the queue is owned by this scope and destroyed once.
        let event = unsafe {
            let queue = sys::rd_kafka_queue_new(client);
            ask(client, queue);
            let event = sys::rd_kafka_queue_poll(queue, millis);
            sys::rd_kafka_queue_destroy(queue);
            event
        };
        if event.is_null() {
            bail!("no answer within {PATIENCE:?}");
        }
        let event = Event(event);
        // SAFETY: the event is alive.
        unsafe {
            if sys::rd_kafka_event_error(event.0)
                != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
            {
                bail!("{}", text(sys::rd_kafka_event_error_string(event.0)));
            }
        }
        Ok(event)
    }
}

/// A right, or a filter that matches only it: librdkafka has one type for both.
struct Binding(*mut sys::rd_kafka_AclBinding_t);

impl Binding {
    fn new(user: &str, operation: Operation, on: Resource<'_>) -> Result<Self> {
        let (kind, name) = on.native();
        let (name, principal) = (CString::new(name)?, CString::new(format!("User:{user}"))?);
        let mut message: [c_char; 256] = [0; 256];
        // SAFETY: the texts outlive the call, which copies them and writes a terminated message.
        let binding = unsafe {
            sys::rd_kafka_AclBinding_new(
                kind,
                name.as_ptr(),
                sys::rd_kafka_ResourcePatternType_t::RD_KAFKA_RESOURCE_PATTERN_LITERAL,
                principal.as_ptr(),
                c"*".as_ptr(),
                operation.native(),
                sys::rd_kafka_AclPermissionType_t::RD_KAFKA_ACL_PERMISSION_TYPE_ALLOW,
                message.as_mut_ptr(),
                message.len(),
            )
        };
        if binding.is_null() {
            // SAFETY: librdkafka has written it.
            bail!("{}", unsafe { text(message.as_ptr()) });
        }
        Ok(Self(binding))
    }
}

impl Drop for Binding {
    fn drop(&mut self) {
        // SAFETY: it is owned.
        unsafe { sys::rd_kafka_AclBinding_destroy(self.0) }
    }
}

struct Event(*mut sys::rd_kafka_event_t);

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: it is owned.
        unsafe { sys::rd_kafka_event_destroy(self.0) }
    }
}

/// # Safety
///
/// `error` must be null or alive.
unsafe fn check(error: *const sys::rd_kafka_error_t) -> Result<()> {
    if !error.is_null() {
        // SAFETY: by contract.
        bail!("{}", unsafe { text(sys::rd_kafka_error_string(error)) });
    }
    Ok(())
}

/// # Safety
///
/// `text` must be null or a terminated text.
unsafe fn text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: by contract.
    unsafe { CStr::from_ptr(text) }
        .to_string_lossy()
        .into_owned()
}
