use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, Opts};

use super::windows::Windows;

const PREFIX: &str = "ab_eventstream_kafka_";

const CLIENT: &[&str] = &["client"];
const KIND: &[&str] = &["client", "kind"];
const BROKER: &[&str] = &["client", "broker"];
const TOPIC: &[&str] = &["client", "topic"];
const STORED: &[&str] = &["client", "topic", "partition"];
const GROUP: &[&str] = &["client", "group"];
const GROUP_BROKER: &[&str] = &["client", "group", "broker"];
const GROUP_TOPIC: &[&str] = &["client", "group", "topic"];
const OUTCOME: &[&str] = &["client", "group", "topic", "outcome"];
const REASON: &[&str] = &["client", "group", "topic", "reason"];
const READ: &[&str] = &["client", "group", "topic", "partition"];

/// From half a millisecond, a handler that only computes, to half a minute.
const SECONDS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// Every metric, in a single list.
macro_rules! families {
    ($($field:ident: $type:ty = $make:ident($name:literal, $labels:expr, $help:literal);)*) => {
        pub(super) struct Families {
            $(pub(super) $field: $type,)*
        }

        impl Families {
            pub(super) fn new() -> Self {
                Self {
                    $($field: $make($name, $help, $labels),)*
                }
            }

            pub(super) fn desc(&self) -> Vec<&Desc> {
                let mut all = Vec::new();
                $(all.extend(self.$field.desc());)*
                all
            }

            pub(super) fn collect(&self) -> Vec<MetricFamily> {
                let mut all = Vec::new();
                $(all.extend(self.$field.collect());)*
                all
            }
        }
    };
}

families! {
    messages: IntCounterVec = counter("writer_messages", STORED,
        "Events that the broker acknowledged.");
    message_bytes: IntCounterVec = counter("writer_message_bytes", STORED,
        "Bytes of keys and values of the events that the broker acknowledged.");
    failures: IntCounterVec = counter("writer_failures_total", KIND,
        "Events that failed after they were accepted, by kind of error.");
    refused: IntCounterVec = counter("writer_refused_total", KIND,
        "Publish calls whose event was not accepted, by kind of error.");
    writer_rebuilt: IntCounterVec = counter("writer_rebuilt_total", CLIENT,
        "Replacements of the producer after a fatal error.");
    writes: IntCounterVec = counter("writer_writes", BROKER,
        "Requests sent to the broker by the producer.");
    writer_errors: IntCounterVec = counter("writer_errors", BROKER,
        "Requests of the producer that could not be sent.");
    writer_retries: IntCounterVec = counter("writer_retries_count_summary", BROKER,
        "Requests of the producer that were sent again. A counter, in spite of its name.");
    in_flight_events: GaugeVec = gauge("writer_in_flight_events", CLIENT,
        "Events in the buffer.");
    in_flight_bytes: GaugeVec = gauge("writer_in_flight_bytes", CLIENT,
        "Bytes of keys, values and headers of the events in the buffer.");
    capacity_events: GaugeVec = gauge("writer_buffer_capacity_events", CLIENT,
        "How many events may be in flight.");
    capacity_bytes: GaugeVec = gauge("writer_buffer_capacity_bytes", CLIENT,
        "How many bytes may be in flight.");
    waiting: GaugeVec = gauge("writer_waiting", CLIENT,
        "Publish calls that wait for room in the buffer.");
    write_seconds: Windows = summary("writer_write_seconds", BROKER,
        "How long requests waited to be sent to the broker.");
    queue_seconds: Windows = summary("writer_queue_seconds", BROKER,
        "How long events waited before their request was made.");
    request_seconds: Windows = summary("writer_request_seconds", BROKER,
        "From a request to the broker's answer.");
    batch_size: Windows = summary("writer_batch_size_summary", TOPIC,
        "Events in a batch.");
    batch_bytes: Windows = summary("writer_batch_bytes_summary", TOPIC,
        "Bytes in a batch.");

    read: IntCounterVec = counter("reader_messages", READ,
        "Records read, including those read again.");
    read_bytes: IntCounterVec = counter("reader_message_bytes", READ,
        "Bytes of keys and values of the records read.");
    outcomes: IntCounterVec = counter("reader_handler_outcomes_total", OUTCOME,
        "Handler calls by outcome: handled, failed, panicked or rejected.");
    handler_seconds: HistogramVec = histogram("reader_handler_seconds", GROUP_TOPIC,
        "How long handler calls took.");
    retries: IntCounterVec = counter("reader_retries_total", GROUP_TOPIC,
        "Handler calls with a record that had failed before.");
    dead_letters: IntCounterVec = counter("reader_dead_letters_total", REASON,
        "Records written to the dead-letter topic and acknowledged.");
    letter_failures: IntCounterVec = counter("reader_dead_letter_failures_total", GROUP_TOPIC,
        "Failed writes of dead letters, which are retried.");
    skipped: IntCounterVec = counter("reader_skipped_total", REASON,
        "Records skipped without being handled or dead-lettered, according to the policies.");
    deleted_unread: IntCounterVec = counter("reader_deleted_unread_total", GROUP_TOPIC,
        "Offsets whose records the broker deleted before the group read them.");
    pauses: IntCounterVec = counter("reader_pauses_total", GROUP_TOPIC,
        "How often a partition reached its limit of waiting records.");
    rebalances: IntCounterVec = counter("reader_rebalances", GROUP_TOPIC,
        "Rebalances: assignments received.");
    commits: IntCounterVec = counter("reader_commits_total", GROUP,
        "Successful offset commits.");
    commit_failures: IntCounterVec = counter("reader_commit_failures_total", GROUP,
        "Offset commits that failed, except those overtaken by a rebalance.");
    reader_rebuilt: IntCounterVec = counter("reader_rebuilt_total", GROUP,
        "Consumers lost to a fatal error and replaced.");
    dials: IntCounterVec = counter("reader_dials", GROUP_BROKER,
        "Connections to the broker that the consumer attempted.");
    timeouts: IntCounterVec = counter("reader_timeouts", GROUP_BROKER,
        "Requests of the consumer that timed out.");
    reader_errors: IntCounterVec = counter("reader_error", GROUP_BROKER,
        "Answers to the consumer that could not be received.");
    assigned: GaugeVec = gauge("reader_assigned_partitions", GROUP_TOPIC,
        "Partitions assigned.");
    paused: GaugeVec = gauge("reader_paused_partitions", GROUP_TOPIC,
        "Assigned partitions whose fetching is paused because their handlers are behind.");
    buffered: GaugeVec = gauge("reader_buffered", GROUP_TOPIC,
        "Records read but not done yet.");
    stalled: GaugeVec = gauge("reader_stalled_seconds", GROUP_TOPIC,
        "The longest time that a partition with waiting records has made no progress.");
    failing: GaugeVec = gauge("reader_failing_seconds", GROUP_TOPIC,
        "The longest time that the handler of a record has been failing and retried.");
    offset: GaugeVec = gauge("reader_offset", READ,
        "The committed offset of an assigned partition. Absent while unknown.");
    lag: GaugeVec = gauge("reader_lag", READ,
        "Records of an assigned partition that are not done yet. Absent while unknown.");
    queue_length: GaugeVec = gauge("reader_queue_length", READ,
        "Records of the partition that librdkafka has read ahead.");
    queue_capacity: GaugeVec = gauge("reader_queue_capacity", READ,
        "Bytes of the records that librdkafka has read ahead.");
}

impl Families {
    /// The gauges, which each scrape refills.
    pub(super) fn gauges(&self) -> [&GaugeVec; 14] {
        [
            &self.in_flight_events,
            &self.in_flight_bytes,
            &self.capacity_events,
            &self.capacity_bytes,
            &self.waiting,
            &self.assigned,
            &self.paused,
            &self.buffered,
            &self.stalled,
            &self.failing,
            &self.offset,
            &self.lag,
            &self.queue_length,
            &self.queue_capacity,
        ]
    }
}

const VALID: &str = "a literal that is a valid metric";

fn counter(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    IntCounterVec::new(Opts::new(format!("{PREFIX}{name}"), help), labels).expect(VALID)
}

fn gauge(name: &str, help: &str, labels: &[&str]) -> GaugeVec {
    GaugeVec::new(Opts::new(format!("{PREFIX}{name}"), help), labels).expect(VALID)
}

fn histogram(name: &str, help: &str, labels: &[&str]) -> HistogramVec {
    let options = HistogramOpts::new(format!("{PREFIX}{name}"), help).buckets(SECONDS.to_vec());
    HistogramVec::new(options, labels).expect(VALID)
}

fn summary(name: &str, help: &str, labels: &[&str]) -> Windows {
    let labels = labels.iter().map(|label| (*label).to_owned()).collect();
    let desc = Desc::new(
        format!("{PREFIX}{name}"),
        help.to_owned(),
        labels,
        std::collections::HashMap::new(),
    );
    Windows::new(desc.expect(VALID))
}
