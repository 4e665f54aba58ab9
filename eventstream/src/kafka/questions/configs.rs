//! The properties of topics and brokers.
//!
//! `unsafe`: librdkafka's descriptions are read in its own memory.

use std::collections::BTreeMap;
use std::ffi::CString;

use rdkafka::ClientContext;
use rdkafka_sys as sys;
use rdkafka_sys::RDKafkaErrorCode as Code;

use super::{Questions, code};
use crate::kafka::native::text;

/// Properties in effect, by name, except secret ones.
pub(crate) type Configs = BTreeMap<String, String>;

/// Whose properties to request.
#[derive(Clone, Copy)]
pub(in crate::kafka) enum ConfigsOf<'a> {
    Topic(&'a str),
    Broker(i32),
}

impl<C: ClientContext> Questions<'_, C> {
    /// Requests the properties of one topic or broker.
    pub(in crate::kafka) fn configs(&self, of: ConfigsOf<'_>, token: usize) {
        use sys::rd_kafka_ResourceType_t as Type;
        let (kind, name) = match of {
            ConfigsOf::Topic(name) => (Type::RD_KAFKA_RESOURCE_TOPIC, name.to_owned()),
            ConfigsOf::Broker(id) => (Type::RD_KAFKA_RESOURCE_BROKER, id.to_string()),
        };
        let name = CString::new(name).unwrap_or_default();
        let operation = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS;
        let options = self.options(operation, token);
        // SAFETY: client, queue and name are alive; the resource is owned by this scope and destroyed once;
        // librdkafka copies it and the options.
        unsafe {
            let mut resources = [sys::rd_kafka_ConfigResource_new(kind, name.as_ptr())];
            sys::rd_kafka_DescribeConfigs(
                self.client.native_ptr(),
                resources.as_mut_ptr(),
                resources.len(),
                options.0,
                self.queue,
            );
            sys::rd_kafka_ConfigResource_destroy(resources[0]);
        }
    }
}

/// The properties of each resource, or its error.
///
/// # Safety
///
/// `result` must be alive.
pub(super) unsafe fn all(
    result: *const sys::rd_kafka_DescribeConfigs_result_t,
) -> Vec<Result<Configs, Code>> {
    let mut count = 0;
    // SAFETY: by contract; the array is as long as said.
    unsafe {
        let resources = sys::rd_kafka_DescribeConfigs_result_resources(result, &mut count);
        let describe = |at: usize| {
            let resource = *resources.add(at);
            match code(sys::rd_kafka_ConfigResource_error(resource)) {
                Some(code) => Err(code),
                None => Ok(properties(resource)),
            }
        };
        (0..count).map(describe).collect()
    }
}

/// # Safety
///
/// `resource` must be alive.
unsafe fn properties(resource: *const sys::rd_kafka_ConfigResource_t) -> Configs {
    let mut count = 0;
    // SAFETY: by contract; the array is as long as said, and what is read of it is copied.
    unsafe {
        let entries = sys::rd_kafka_ConfigResource_configs(resource, &mut count);
        let read = |at: usize| {
            let entry = *entries.add(at);
            let value = sys::rd_kafka_ConfigEntry_value(entry);
            let is_secret = sys::rd_kafka_ConfigEntry_is_sensitive(entry) != 0;
            (!is_secret && !value.is_null()).then(|| {
                let name = text(sys::rd_kafka_ConfigEntry_name(entry));
                (name.into_owned(), text(value).into_owned())
            })
        };
        (0..count).filter_map(read).collect()
    }
}
