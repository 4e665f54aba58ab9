/// What the publishing side of a client has done since it was made. Reading changes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WriterStats {
    /// Events accepted into the buffer.
    pub accepted: u64,
    /// Events the broker acknowledged, before they had failed by their own timeout.
    pub stored: u64,
    /// Bytes of keys and values of the stored events.
    pub stored_bytes: u64,
    /// Events that failed after they were accepted.
    pub failed: u64,
    /// How often the producer was replaced after a fatal error.
    pub rebuilt: u64,
    /// Events accepted and without an outcome.
    pub in_flight: usize,
    /// Bytes of keys, values and headers in the buffer, those of events included that timed out and that librdkafka still
    /// has.
    pub in_flight_bytes: usize,
    /// Calls of `publish` that wait for room in the buffer.
    pub waiting: usize,
}

/// What the subscriptions of a client have done since it was made. Reading changes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReaderStats {
    /// Records read from the broker, those read again included.
    pub records: u64,
    /// Bytes of keys and values of the records read.
    pub bytes: u64,
    /// Handler calls that returned `Ok`.
    pub handled: u64,
    /// Handler calls that returned an error or panicked.
    pub failed_attempts: u64,
    /// Records no handler asked for.
    pub unmatched: u64,
    /// Records that are not an event envelope.
    pub undecodable: u64,
    /// Records written to a dead letter topic, acknowledged.
    pub dead_lettered: u64,
    /// Records skipped after their last attempt or as undecodable.
    pub skipped: u64,
    /// Successful offset commits.
    pub commits: u64,
    /// Assignments of partitions received, one for each rebalance that gave some.
    pub rebalances: u64,
    /// How often a partition's fetching was paused because its handlers were behind.
    pub pauses: u64,
    /// Partitions assigned now.
    pub partitions: usize,
    /// Records read and not done.
    pub buffered: usize,
}
