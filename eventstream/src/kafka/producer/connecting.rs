use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaErrorCode as Code;

use super::instance::Instance;

/// How long a call waits for a connection: the delivery thread is deaf to wake-ups meanwhile.
const PATIENCE: Duration = Duration::from_millis(20);

/// After this time, and this many requests without an answer that helps, librdkafka's own timer has
/// to do.
const LONGEST: Duration = Duration::from_secs(10);
const MOST: u32 = 5;

/// Gets a new instance its producer id as soon as a broker is connected.
///
/// librdkafka looks for a broker to ask for the id whenever metadata arrives, and else twice a
/// second. But the first metadata makes it drop the bootstrap connection, so there is no broker to
/// ask, and the first event would take half a second. Metadata from the next connection makes it
/// look again.
pub(super) struct Connecting {
    until: Option<Instant>,
    requests: u32,
}

impl Connecting {
    pub(super) fn new(instance: &Instance) -> Self {
        Self {
            until: instance.needs_id.then(|| Instant::now() + LONGEST),
            requests: 0,
        }
    }

    /// Waits for a connection, but no longer than this. Returns how much of it is left.
    pub(super) fn wait(&mut self, instance: &Instance, at_most: Duration) -> Duration {
        let Some(until) = self.until else {
            return at_most;
        };
        let is_connected = match instance.native.ask_for_metadata(at_most.min(PATIENCE)) {
            Ok(from) if from >= 0 => true,
            Err(Code::BrokerTransportFailure) => false,
            // From the bootstrap connection, or not in time.
            Ok(_) | Err(_) => {
                self.requests += 1;
                false
            }
        };
        if is_connected || self.requests == MOST || Instant::now() >= until {
            self.until = None;
        }
        Duration::ZERO
    }
}
