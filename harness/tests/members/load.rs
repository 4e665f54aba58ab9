//! Events at a steady rate.

use std::time::{Duration, Instant};

use eventstream::{Client, Publish};

use crate::support::END;

/// What is published, and how fast.
pub(crate) struct Load {
    pub(crate) client: Client,
    pub(crate) topic: String,
    pub(crate) keys: usize,
    /// Events per second.
    pub(crate) rate: usize,
}

impl Load {
    /// Publishes events numbered from 0 while `goes_on` is true of the next number, and ends the client once they are
    /// stored. Returns how many.
    pub(crate) async fn publish(self, goes_on: impl Fn(usize) -> bool) -> usize {
        let rate = u32::try_from(self.rate).expect("small");
        let start = Instant::now();
        let mut n = 0;
        while goes_on(n) {
            let event = Publish::new(&self.topic, "e")
                .key(format!("k{}", n % self.keys))
                .payload(serde_json::json!({ "n": n }));
            drop(self.client.publish(event).await.expect("accepted"));
            n += 1;
            if n % 20 == 0 {
                let due = Duration::from_secs(1) * u32::try_from(n).expect("small") / rate;
                tokio::time::sleep_until((start + due).into()).await;
            }
        }
        self.client.flush(END).await.expect("stored");
        self.client.shutdown(END).await;
        n
    }
}
