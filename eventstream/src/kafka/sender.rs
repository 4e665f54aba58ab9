//! Publishing, from an event to what the producer sends.

use std::cell::RefCell;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::producer::{Outgoing, Producer};
use crate::error::{Error, ErrorKind, Result};
use crate::name::{Topic, check_whole_topic};
use crate::observe::metrics::ClientMeter;
use crate::observe::trace::{self, Labels, Publishing, ToPublish};
use crate::publish::receipt::{EventId, Receipt};
use crate::publish::{AuditLog, KEPT, MakesOutputs, Output, Publish, PublishRaw, Publisher};

/// Publishes events: those of the client, and those of its handlers.
pub(crate) struct Sender {
    pub(super) producer: Arc<Producer>,
    pub(super) prefix: Arc<str>,
    pub(super) labels: Labels,
    pub(super) strict: bool,
    pub(super) meter: ClientMeter,
}

thread_local! {
    /// The buffer for envelopes. librdkafka copies them, so one buffer per thread suffices.
    static ENCODED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Sender {
    pub(crate) async fn publish(&self, event: &Publish) -> Result<Receipt> {
        self.check(event)?;
        let id = event.assign_id();
        let traced = &self.traced(event, &id);
        let headers = traced.headers(event.headers());
        let receipt = match self.encoded(event, &id, traced, |value| {
            let record = outgoing(event, &id, value, &headers, traced);
            match self
                .producer
                .try_publish(event.topic_name(), record, id.clone())
            {
                // No room: the event needs its own copy of the bytes while it waits.
                Err(e) if e.kind() == ErrorKind::BufferFull => Err(value.to_vec()),
                receipt => Ok(receipt),
            }
        }) {
            Ok(receipt) => receipt,
            Err(value) => {
                let record = outgoing(event, &id, &value, &headers, traced);
                self.producer
                    .publish(event.topic_name(), record, id.clone())
                    .await
            }
        };
        self.told(traced, receipt)
    }

    pub(crate) fn try_publish(&self, event: &Publish) -> Result<Receipt> {
        self.check(event)?;
        let id = event.assign_id();
        let traced = &self.traced(event, &id);
        let headers = traced.headers(event.headers());
        let receipt = self.encoded(event, &id, traced, |value| {
            let record = outgoing(event, &id, value, &headers, traced);
            self.producer
                .try_publish(event.topic_name(), record, id.clone())
        });
        self.told(traced, receipt)
    }

    pub(crate) async fn publish_audit_log(&self, topic: &Topic, log: &AuditLog) -> Result<Receipt> {
        log.validate()
            .and_then(|()| self.fits("publish", topic.as_str(), ""))
            .map_err(|e| self.refused(e))?;
        let mut value = Vec::new();
        let id = log.encode_now(&mut value);
        let traced = trace::publish(
            &self.labels,
            &ToPublish {
                topic: topic.as_str(),
                name: "",
                id: id.as_str(),
                span_context: "",
            },
        );
        let headers = traced.headers(&[]);
        let outgoing = Outgoing {
            key: Some(log.record_key().as_bytes()),
            value: Some(&value),
            headers: &headers,
            span: traced.span(),
            ..Outgoing::default()
        };
        let receipt = self.producer.publish(topic.as_str(), outgoing, id).await;
        self.told(&traced, receipt)
    }

    pub(crate) async fn publish_raw(&self, record: &PublishRaw) -> Result<Receipt> {
        let topic = Topic::new(&record.topic)
            .and_then(|topic| self.fits("publish", topic.as_str(), "").map(|()| topic))
            .map_err(|e| self.refused(e))?;
        let outgoing = Outgoing {
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: &record.headers,
            timestamp_ms: record.timestamp_ms,
            partition: record.partition,
            ..Outgoing::default()
        };
        let receipt = self.publish_record(topic.as_str(), outgoing).await;
        receipt.map_err(|error| self.refused(error))
    }

    fn traced(&self, event: &Publish, id: &EventId) -> Publishing {
        let event = ToPublish {
            topic: event.topic_name(),
            name: event.event_name(),
            id: id.as_str(),
            span_context: event.given_span_context(),
        };
        trace::publish(&self.labels, &event)
    }

    fn encoded<T>(
        &self,
        event: &Publish,
        id: &EventId,
        traced: &Publishing,
        send: impl FnOnce(&[u8]) -> T,
    ) -> T {
        let write = |out: &mut _| event.encode(id.as_str(), traced.span_context(), out);
        encoded(write, send)
    }

    fn check(&self, event: &Publish) -> Result<()> {
        event
            .validate(self.strict)
            .and_then(|()| self.fits("publish", event.topic_name(), ""))
            .map_err(|e| self.refused(e))
    }

    /// Whether the topic's full name is within Kafka's limit.
    pub(crate) fn fits(&self, doing: &str, topic: &str, suffix: &str) -> Result<()> {
        match check_whole_topic(&self.prefix, topic, suffix) {
            None => Ok(()),
            Some(fault) => Err(Error::from_faults(
                ErrorKind::Validation,
                doing,
                vec![fault],
            )),
        }
    }

    /// A record with bytes of its own, to be published later.
    pub(super) fn kept(&self, topic: &str, record: &Outgoing<'_>) -> Result<Output> {
        let output = Output {
            topic: Topic::new(topic)?,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: record.headers.to_vec(),
            timestamp_ms: record.timestamp_ms,
            partition: record.partition,
        };
        self.sized(&output)?;
        Ok(output)
    }

    fn sized(&self, output: &Output) -> Result<()> {
        let outgoing = Outgoing {
            key: output.key.as_deref(),
            value: output.value.as_deref(),
            headers: &output.headers,
            ..Outgoing::default()
        };
        self.producer.check_size(output.topic.as_str(), &outgoing)
    }

    /// Counts a rejected publish call.
    fn refused(&self, error: Error) -> Error {
        self.meter.refused(error.kind());
        error
    }

    fn told<T>(&self, traced: &Publishing, result: Result<T>) -> Result<T> {
        result.map_err(|error| {
            traced.refused(&error);
            self.refused(error)
        })
    }

    /// Publishes a record unchanged, to a topic without prefix.
    pub(crate) async fn publish_record(
        &self,
        topic: &str,
        record: Outgoing<'_>,
    ) -> Result<Receipt> {
        self.producer.publish(topic, record, EventId::none()).await
    }
}

/// For handlers, which know no backend.
impl Publisher for Sender {
    fn publish(
        &self,
        event: Publish,
    ) -> Pin<Box<dyn Future<Output = Result<Receipt>> + Send + '_>> {
        Box::pin(async move { Self::publish(self, &event).await })
    }

    fn try_publish(&self, event: Publish) -> Result<Receipt> {
        Self::try_publish(self, &event)
    }

    fn flush(&self, timeout: Duration) -> Pin<Box<dyn Future<Output = Result<()>> + Send + '_>> {
        Box::pin(self.producer.flush(timeout))
    }
}

/// For handlers whose events go out in transactions.
impl MakesOutputs for Sender {
    fn output(&self, event: &Publish) -> Result<(Output, EventId)> {
        self.check(event)?;
        let id = event.assign_id();
        let traced = &self.traced(event, &id);
        let headers = traced.headers(event.headers());
        let output = self.encoded(event, &id, traced, |value| {
            self.kept(
                event.topic_name(),
                &outgoing(event, &id, value, &headers, traced),
            )
        });
        Ok((self.told(traced, output)?, id))
    }

    fn raw_output(&self, record: PublishRaw) -> Result<Output> {
        let topic = Topic::new(&record.topic)
            .and_then(|topic| self.fits("publish", topic.as_str(), "").map(|()| topic))
            .map_err(|e| self.refused(e))?;
        let output = Output {
            topic,
            key: record.key,
            value: record.value,
            headers: record.headers,
            timestamp_ms: record.timestamp_ms,
            partition: record.partition,
        };
        self.sized(&output).map_err(|error| self.refused(error))?;
        Ok(output)
    }
}

fn outgoing<'a>(
    event: &'a Publish,
    id: &'a EventId,
    value: &'a [u8],
    headers: &'a trace::Headers,
    traced: &'a Publishing,
) -> Outgoing<'a> {
    Outgoing {
        key: Some(event.key_or(id)),
        value: Some(value),
        headers,
        timestamp_ms: None,
        partition: None,
        timeout: event.own_timeout(),
        span: traced.span(),
    }
}

/// Encodes into the thread's buffer and passes it to `send`.
fn encoded<T>(write: impl FnOnce(&mut Vec<u8>), send: impl FnOnce(&[u8]) -> T) -> T {
    ENCODED.with(|buffer| {
        // Taken, not borrowed: an `on_error` callback that publishes runs on its own thread, but a
        // serialiser could publish too.
        let mut out = buffer.take();
        out.clear();
        write(&mut out);
        let sent = send(&out);
        if out.capacity() <= KEPT {
            buffer.replace(out);
        }
        sent
    })
}
