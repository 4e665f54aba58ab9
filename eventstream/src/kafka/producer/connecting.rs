use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaErrorCode as Code;

use super::Inner;
use super::delivery::round_up;
use super::instance::Instance;

/// How long a call waits for a connection: the delivery thread is deaf to wake-ups meanwhile.
const PATIENCE: Duration = Duration::from_millis(20);

/// After this time, or this many requests that did not help, only librdkafka's own timer is left.
const LONGEST: Duration = Duration::from_secs(10);
const MOST: u32 = 5;

/// The pause after the first such request, which doubles: a late answer helps too.
const PAUSE: Duration = Duration::from_millis(10);

/// Gets a new instance its producer id as soon as a broker is connected.
///
/// librdkafka looks for a broker to ask for the id whenever metadata arrives, and else twice a
/// second. But the first metadata makes it drop the bootstrap connection, so there is no broker to
/// ask, and the first event would take half a second. Metadata from the next connection makes it
/// look again.
pub(super) struct Connecting {
    /// `None` once it is done.
    until: Option<Instant>,
    next: Instant,
    requests: u32,
}

impl Connecting {
    pub(super) fn new(instance: &Instance) -> Self {
        let now = Instant::now();
        Self {
            until: instance.needs_id.then(|| now + LONGEST),
            next: now,
            requests: 0,
        }
    }

    /// Waits for a connection, but no longer than this. Returns how long to wait for events then.
    pub(super) fn wait(
        &mut self,
        inner: &Inner,
        instance: &Instance,
        at_most: Duration,
    ) -> Duration {
        let Some(until) = self.until else {
            return at_most;
        };
        let now = Instant::now();
        if now >= until || self.requests == MOST {
            self.until = None;
            return at_most;
        }
        let patience = at_most.min(PATIENCE);
        if now < self.next {
            return patience.min(self.next - now);
        }
        // What is queued comes first. Without a topic, the request would be for those of the cluster.
        if patience.is_zero()
            || instance.queue.has_events()
            || inner.is_purging()
            || !inner.current.has_topics()
        {
            return patience;
        }
        match instance.native.ask_for_metadata(round_up(patience)) {
            Ok(from) if from >= 0 => self.until = None,
            Err(Code::BrokerTransportFailure) => {}
            // From the bootstrap connection, or not in time.
            Ok(_) | Err(_) => {
                self.next = Instant::now() + PAUSE * (1 << self.requests);
                self.requests += 1;
            }
        }
        Duration::ZERO
    }
}
