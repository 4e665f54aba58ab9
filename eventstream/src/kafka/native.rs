//! librdkafka calls that its Rust binding lacks, or offers at a measurable cost: topic handles,
//! delivery reports in batches, a poll that can be woken.
//!
//! Every `unsafe` of the producer is here. It relies on librdkafka's rules: any thread may use a
//! handle; topic and queue handles must be destroyed before the client.

use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::client::Client;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka_sys as sys;
use rdkafka_sys::RDKafkaErrorCode;

use super::{Outgoing, verify};
use crate::publish::receipt::SlotRef;

/// librdkafka's `RD_KAFKA_PARTITION_UA`: the partitioner chooses.
const UNASSIGNED: i32 = -1;

/// Callbacks of a producer that [`ClientContext`] lacks.
pub(crate) trait Throttled {
    /// A quota: how long the broker delays requests. Zero means that it no longer does.
    fn throttled(&self, broker: &str, wait: Duration);
}

/// A librdkafka producer.
pub(crate) struct NativeProducer<C: ClientContext> {
    client: Client<C>,
}

/// The delivery report of one event.
pub(crate) struct Report<'a> {
    pub(crate) error: Option<RDKafkaErrorCode>,
    pub(crate) maybe_stored: bool,
    pub(crate) topic: ReportedTopic<'a>,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) timestamp_ms: i64,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) slot: SlotRef,
    message: &'a sys::rd_kafka_message_t,
}

/// The topic in a delivery report.
#[derive(Clone, Copy)]
pub(crate) struct ReportedTopic<'a>(&'a sys::rd_kafka_topic_t);

impl<'a> ReportedTopic<'a> {
    /// The same for all events of a topic, as long as the client has a handle for it.
    pub(crate) fn key(self) -> usize {
        ptr::from_ref(self.0).addr()
    }

    /// Its name on the broker.
    pub(crate) fn name(self) -> &'a str {
        // SAFETY: a topic's name lives as long as the topic.
        unsafe { CStr::from_ptr(sys::rd_kafka_topic_name(self.0)) }
            .to_str()
            .unwrap_or_default()
    }
}

impl Report<'_> {
    pub(crate) fn headers(&self) -> Vec<(String, Option<Vec<u8>>)> {
        // SAFETY: the message is alive.
        unsafe { headers(self.message) }
    }

    pub(crate) fn size(&self) -> usize {
        self.key.map_or(0, <[u8]>::len) + self.value.map_or(0, <[u8]>::len)
    }
}

impl<C: ClientContext + Throttled> NativeProducer<C> {
    pub(crate) fn new(config: &ClientConfig, context: C) -> KafkaResult<Self> {
        let native = config.create_native_config()?;
        // SAFETY: the configuration is alive; librdkafka copies the mask.
        unsafe {
            sys::rd_kafka_conf_set_events(
                native.ptr(),
                sys::RD_KAFKA_EVENT_DR
                    | sys::RD_KAFKA_EVENT_ERROR
                    | sys::RD_KAFKA_EVENT_STATS
                    | sys::RD_KAFKA_EVENT_OAUTHBEARER_TOKEN_REFRESH,
            );
        }
        // SAFETY: the configuration is alive. The callback's opaque is the context: see `throttled`.
        unsafe { sys::rd_kafka_conf_set_throttle_cb(native.ptr(), Some(throttled::<C>)) };
        verify::explain(config, &native);
        let client = Client::new(
            config,
            native,
            sys::rd_kafka_type_t::RD_KAFKA_PRODUCER,
            context,
        )?;
        Ok(Self { client })
    }

    pub(crate) fn client(&self) -> &Client<C> {
        &self.client
    }

    pub(crate) fn topic(&self, name: &str) -> KafkaResult<TopicHandle> {
        let name = CString::new(name)?;
        // SAFETY: client and name are alive; without a configuration the client's default applies.
        let handle = unsafe {
            sys::rd_kafka_topic_new(self.client.native_ptr(), name.as_ptr(), ptr::null_mut())
        };
        if handle.is_null() {
            // SAFETY: reads the calling thread's last error.
            let code = unsafe { sys::rd_kafka_last_error() };
            return Err(KafkaError::MessageProduction(code.into()));
        }
        Ok(TopicHandle(handle))
    }

    /// Passes one event to librdkafka, which copies it. On an error, the slot is returned.
    pub(crate) fn produce(
        &self,
        topic: &TopicHandle,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        slot: SlotRef,
    ) -> Result<(), (RDKafkaErrorCode, SlotRef)> {
        let (key_ptr, key_len) = parts(key);
        let (value_ptr, value_len) = parts(value);
        let opaque = slot.into_raw();
        // SAFETY: pointers and lengths belong together; with F_COPY nothing is kept of them. The
        // opaque is returned once: in the delivery report, or here on an error.
        unsafe {
            let failed = sys::rd_kafka_produce(
                topic.0,
                UNASSIGNED,
                sys::RD_KAFKA_MSG_F_COPY,
                value_ptr.cast_mut(),
                value_len,
                key_ptr,
                key_len,
                ptr::with_exposed_provenance_mut(opaque),
            ) != 0;
            if failed {
                let code = sys::rd_kafka_last_error();
                return Err((code.into(), SlotRef::from_raw(opaque)));
            }
        }
        Ok(())
    }

    /// Like [`produce`](Self::produce), with headers, timestamp and partition.
    pub(crate) fn produce_with(
        &self,
        topic: &TopicHandle,
        record: &Outgoing<'_>,
        slot: SlotRef,
    ) -> Result<(), (RDKafkaErrorCode, SlotRef)> {
        let (key_ptr, key_len) = parts(record.key);
        let (value_ptr, value_len) = parts(record.value);
        let headers = NativeHeaders::new(record.headers);
        let opaque = slot.into_raw();
        // SAFETY: as in `produce`. librdkafka takes ownership of the headers only if it accepts the
        // event.
        unsafe {
            let code = sys::rd_kafka_producev(
                self.client.native_ptr(),
                sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_RKT,
                topic.0,
                sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_MSGFLAGS,
                sys::RD_KAFKA_MSG_F_COPY,
                sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_VALUE,
                value_ptr,
                value_len,
                sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_KEY,
                key_ptr,
                key_len,
                sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_OPAQUE,
                ptr::with_exposed_provenance_mut::<c_void>(opaque),
                sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_TIMESTAMP,
                record.timestamp_ms.unwrap_or(0),
                sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_PARTITION,
                record.partition.unwrap_or(UNASSIGNED),
                sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_HEADERS,
                headers.0,
                sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_END,
            );
            if code != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                return Err((code.into(), SlotRef::from_raw(opaque)));
            }
        }
        std::mem::forget(headers);
        Ok(())
    }

    /// Sets the level of what is logged from now on.
    pub(crate) fn log_level(&self, level: RDKafkaLogLevel) {
        // SAFETY: the client is alive.
        unsafe { sys::rd_kafka_set_log_level(self.client.native_ptr(), level as i32) }
    }

    /// Whether a broker has sent this client metadata, and so accepted it.
    pub(crate) fn has_metadata(&self) -> bool {
        let client = self.client.native_ptr();
        // SAFETY: the client is alive; the text is owned, and freed by librdkafka.
        unsafe {
            let cluster = sys::rd_kafka_clusterid(client, 0);
            if !cluster.is_null() {
                sys::rd_kafka_mem_free(client, cluster.cast());
            }
            !cluster.is_null()
        }
    }

    /// Asks a broker for the metadata of the topics that there are handles of, or of all if there are
    /// none. Returns the id of the one that answered, which is negative for a bootstrap connection;
    /// `BrokerTransportFailure` if none was connected in time. It may take twice this time if a broker
    /// goes meanwhile.
    pub(crate) fn ask_for_metadata(&self, patience: Duration) -> Result<i32, RDKafkaErrorCode> {
        let patience = i32::try_from(patience.as_millis()).unwrap_or(i32::MAX);
        let mut metadata = ptr::null();
        // SAFETY: the client is alive; what it returns with success is owned.
        unsafe {
            let code = sys::rd_kafka_metadata(
                self.client.native_ptr(),
                0,
                ptr::null_mut(),
                &mut metadata,
                patience,
            );
            if code != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                return Err(code.into());
            }
            let from = (*metadata).orig_broker_id;
            sys::rd_kafka_metadata_destroy(metadata);
            Ok(from)
        }
    }

    /// Fails everything queued or in flight; the reports follow.
    pub(crate) fn purge(&self) {
        // SAFETY: the client is alive; both flags are valid.
        unsafe {
            sys::rd_kafka_purge(
                self.client.native_ptr(),
                sys::RD_KAFKA_PURGE_F_QUEUE | sys::RD_KAFKA_PURGE_F_INFLIGHT,
            );
        }
    }

    /// Events without a delivery report.
    pub(crate) fn outstanding(&self) -> usize {
        // SAFETY: the client is alive.
        let count = unsafe { sys::rd_kafka_outq_len(self.client.native_ptr()) };
        usize::try_from(count).unwrap_or(0)
    }

    /// The reason of the fatal error that ended this client, if any.
    pub(crate) fn fatal_error(&self) -> Option<(RDKafkaErrorCode, String)> {
        let mut text = [0; 512];
        // SAFETY: the buffer has the given length, and librdkafka terminates the text.
        unsafe {
            let code =
                sys::rd_kafka_fatal_error(self.client.native_ptr(), text.as_mut_ptr(), text.len());
            (code != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR).then(|| {
                let text = CStr::from_ptr(text.as_ptr()).to_string_lossy();
                (code.into(), text.into_owned())
            })
        }
    }

    /// Injects a fatal error, as librdkafka's own tests do.
    #[cfg(test)]
    pub(crate) fn inject_fatal(&self) {
        // SAFETY: the client is alive, the text is static.
        unsafe {
            sys::rd_kafka_test_fatal_error(
                self.client.native_ptr(),
                sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER,
                c"injected".as_ptr(),
            );
        }
    }
}

/// # Safety
///
/// For librdkafka, which gives a terminated name, and the opaque that `Client::new` sets: its context, which the client
/// keeps alive.
unsafe extern "C" fn throttled<C: Throttled>(
    _: *mut sys::rd_kafka_t,
    broker: *const c_char,
    _: i32,
    millis: i32,
    opaque: *mut c_void,
) {
    // SAFETY: by contract.
    let (context, broker) = unsafe { (&*opaque.cast_const().cast::<C>(), text(broker)) };
    let wait = Duration::from_millis(u64::try_from(millis).unwrap_or(0));
    context.throttled(&broker, wait);
}

fn parts(bytes: Option<&[u8]>) -> (*const c_void, usize) {
    bytes.map_or((ptr::null(), 0), |b| (b.as_ptr().cast(), b.len()))
}

/// A record's headers, owned until librdkafka takes them.
struct NativeHeaders(*mut sys::rd_kafka_headers_t);

impl NativeHeaders {
    fn new(headers: &[(String, Option<Vec<u8>>)]) -> Self {
        // SAFETY: librdkafka copies names and values, whose lengths are given. It fails only for
        // read-only headers, which these are not.
        unsafe {
            let native = sys::rd_kafka_headers_new(headers.len());
            for (name, value) in headers {
                let (value_ptr, value_len) = parts(value.as_deref());
                sys::rd_kafka_header_add(
                    native,
                    name.as_ptr().cast(),
                    name.len().cast_signed(),
                    value_ptr,
                    value_len.cast_signed(),
                );
            }
            Self(native)
        }
    }
}

impl Drop for NativeHeaders {
    fn drop(&mut self) {
        // SAFETY: owned; forgotten if librdkafka took them.
        unsafe { sys::rd_kafka_headers_destroy(self.0) }
    }
}

/// A topic of one client. Must be dropped before it.
pub(crate) struct TopicHandle(*mut sys::rd_kafka_topic_t);

// SAFETY: topic handles may be used from any thread.
unsafe impl Send for TopicHandle {}
// SAFETY: as above.
unsafe impl Sync for TopicHandle {}

impl Drop for TopicHandle {
    fn drop(&mut self) {
        // SAFETY: the handle is owned, and its client alive (see `TopicHandle`).
        unsafe { sys::rd_kafka_topic_destroy(self.0) }
    }
}

/// A client's queue of events. Must be dropped before the client.
pub(crate) struct Queue(*mut sys::rd_kafka_queue_t);

// SAFETY: queues may be used from any thread.
unsafe impl Send for Queue {}
// SAFETY: as above.
unsafe impl Sync for Queue {}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: the reference is owned.
        unsafe { sys::rd_kafka_queue_destroy(self.0) }
    }
}

impl Queue {
    pub(crate) fn main<C: ClientContext>(client: &Client<C>) -> Self {
        // SAFETY: the client is alive; its main queue always exists.
        Self(unsafe { sys::rd_kafka_queue_get_main(client.native_ptr()) })
    }

    /// Makes a blocking poll on this queue, or the next one, return at once.
    pub(crate) fn wake(&self) {
        // SAFETY: the reference is owned.
        unsafe { sys::rd_kafka_queue_yield(self.0) }
    }

    pub(crate) fn has_events(&self) -> bool {
        // SAFETY: the reference is owned.
        unsafe { sys::rd_kafka_queue_length(self.0) > 0 }
    }

    /// Waits for one event of a producer and passes it to `sink` or the client's context.
    pub(crate) fn serve<C: ClientContext>(
        &self,
        client: &Client<C>,
        timeout: Duration,
        sink: &mut dyn FnMut(Report<'_>),
    ) {
        let millis = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the queue is alive; the event is owned by this scope and destroyed once.
        unsafe {
            let event = sys::rd_kafka_queue_poll(self.0, millis);
            if event.is_null() {
                return;
            }
            let context: &Arc<C> = client.context();
            match sys::rd_kafka_event_type(event) {
                sys::RD_KAFKA_EVENT_DR => reports(event, sink),
                sys::RD_KAFKA_EVENT_ERROR => {
                    // A fatal error has the code of its cause.
                    let code = if sys::rd_kafka_event_error_is_fatal(event) != 0 {
                        sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__FATAL
                    } else {
                        sys::rd_kafka_event_error(event)
                    };
                    let text = text(sys::rd_kafka_event_error_string(event));
                    context.error(KafkaError::Global(code.into()), text.trim());
                }
                sys::RD_KAFKA_EVENT_LOG => log(event, context),
                sys::RD_KAFKA_EVENT_STATS => {
                    let json = sys::rd_kafka_event_stats(event);
                    if !json.is_null() {
                        context.stats_raw(CStr::from_ptr(json).to_bytes());
                    }
                }
                _ => {}
            }
            sys::rd_kafka_event_destroy(event);
        }
    }
}

/// # Safety
///
/// `event` must be a live delivery report event.
unsafe fn reports(event: *mut sys::rd_kafka_event_t, sink: &mut dyn FnMut(Report<'_>)) {
    // SAFETY: messages and what they point to live as long as the event. Each message's opaque is
    // the word that `produce` gave, and comes back in this report only.
    unsafe {
        loop {
            let message = sys::rd_kafka_event_message_next(event);
            if message.is_null() {
                return;
            }
            let m = &*message;
            let failed = m.err != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;
            let status = || sys::rd_kafka_message_status(message);
            sink(Report {
                error: failed.then(|| m.err.into()),
                maybe_stored: failed
                    && status() != sys::rd_kafka_msg_status_t::RD_KAFKA_MSG_STATUS_NOT_PERSISTED,
                topic: ReportedTopic(&*m.rkt),
                partition: m.partition,
                offset: m.offset,
                timestamp_ms: sys::rd_kafka_message_timestamp(message, ptr::null_mut()),
                key: slice(m.key, m.key_len),
                value: slice(m.payload, m.len),
                slot: SlotRef::from_raw(m._private.expose_provenance()),
                message: m,
            });
        }
    }
}

/// The headers of a message, copied.
///
/// # Safety
///
/// The message must be one of librdkafka's, and alive.
pub(crate) unsafe fn headers(message: &sys::rd_kafka_message_t) -> Vec<(String, Option<Vec<u8>>)> {
    let mut native = ptr::null_mut();
    let mut headers = Vec::new();
    // SAFETY: by contract; the headers stay the message's, names and values are copied.
    unsafe {
        if sys::rd_kafka_message_headers(message, &mut native)
            != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
        {
            return headers;
        }
        let (mut name, mut value, mut len) = (ptr::null(), ptr::null(), 0);
        while sys::rd_kafka_header_get_all(native, headers.len(), &mut name, &mut value, &mut len)
            == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
        {
            headers.push((
                CStr::from_ptr(name).to_string_lossy().into_owned(),
                slice(value, len).map(<[u8]>::to_vec),
            ));
        }
    }
    headers
}

/// # Safety
///
/// `data` must be null or point to `len` bytes that outlive the result.
pub(crate) unsafe fn slice<'a>(data: *const c_void, len: usize) -> Option<&'a [u8]> {
    // SAFETY: by contract.
    (!data.is_null()).then(|| unsafe { std::slice::from_raw_parts(data.cast(), len) })
}

/// # Safety
///
/// `event` must be a live log event.
pub(crate) unsafe fn log<C: ClientContext>(event: *mut sys::rd_kafka_event_t, context: &Arc<C>) {
    let (mut facility, mut message, mut level) = (ptr::null(), ptr::null(), 0);
    // SAFETY: the strings live as long as the event.
    unsafe {
        if sys::rd_kafka_event_log(event, &mut facility, &mut message, &mut level) == 0 {
            context.log(
                log_level(level),
                text(facility).trim(),
                text(message).trim(),
            );
        }
    }
}

fn log_level(syslog: i32) -> RDKafkaLogLevel {
    match syslog {
        0 => RDKafkaLogLevel::Emerg,
        1 => RDKafkaLogLevel::Alert,
        2 => RDKafkaLogLevel::Critical,
        3 => RDKafkaLogLevel::Error,
        4 => RDKafkaLogLevel::Warning,
        5 => RDKafkaLogLevel::Notice,
        6 => RDKafkaLogLevel::Info,
        _ => RDKafkaLogLevel::Debug,
    }
}

/// # Safety
///
/// `s` must be null or a terminated string that outlives the result.
pub(crate) unsafe fn text<'a>(s: *const c_char) -> std::borrow::Cow<'a, str> {
    if s.is_null() {
        return "".into();
    }
    // SAFETY: by contract.
    unsafe { CStr::from_ptr(s) }.to_string_lossy()
}
