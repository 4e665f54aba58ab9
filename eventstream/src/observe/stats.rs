/// What the publishing side of a client has done since it was created. Reading changes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WriterStats {
    /// Events accepted into the buffer.
    pub accepted: u64,
    /// Events the broker acknowledged before they timed out.
    pub stored: u64,
    /// Bytes of keys and values of the stored events.
    pub stored_bytes: u64,
    /// Events that failed after they were accepted.
    pub failed: u64,
    /// How often the producer was replaced after a fatal error.
    pub rebuilt: u64,
    /// Events accepted but without an outcome yet.
    pub in_flight: usize,
    /// Bytes of keys, values and headers in the buffer, including those of events that timed out
    /// but that librdkafka still holds.
    pub in_flight_bytes: usize,
    /// Calls of `publish` waiting for room in the buffer.
    pub waiting: usize,
}

/// What the subscriptions of a client have done since it was created. Reading changes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReaderStats {
    /// Records read from the broker, including those read again.
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
    /// Records written to a dead-letter topic and acknowledged.
    pub dead_lettered: u64,
    /// Records skipped after their last attempt or as undecodable.
    pub skipped: u64,
    /// Successful offset commits.
    pub commits: u64,
    /// Partition assignments received, one for each rebalance that gave some.
    pub rebalances: u64,
    /// How often fetching a partition was paused because its handlers were behind.
    pub pauses: u64,
    /// Partitions currently assigned.
    pub partitions: usize,
    /// Records read but not done.
    pub buffered: usize,
}
