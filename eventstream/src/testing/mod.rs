//! The test kit: what a service publishes and handles, tested without Kafka.
//!
//! | to test | use | costs |
//! |---|---|---|
//! | a handler alone | [`Consumed`] | microseconds, no broker |
//! | what a service publishes, and what it does when that fails | [`Recorder`], as its [`Publisher`](crate::Publisher) | microseconds, no broker |
//! | a service's subscriptions: retries, dead letters, rebalances, outages | [`TestBroker`] | a tenth of a second or so, a broker in the process |
//!
//! Nothing here needs a test to sleep. Every wait has a bound, 30 s by default, and panics with what is still
//! outstanding. A failed expectation panics with what was found instead.
//!
//! ```
//! use eventstream::testing::Recorder;
//! use eventstream::{EventType, Publish, Publisher};
//!
//! #[derive(serde::Serialize, serde::Deserialize)]
//! struct LevelUp { level: u32 }
//!
//! impl EventType for LevelUp {
//!     const TOPIC: &'static str = "player";
//!     const NAME: &'static str = "levelUp";
//! }
//!
//! async fn level_up(publisher: &dyn Publisher) -> eventstream::Result<()> {
//!     publisher.publish(Publish::of(&LevelUp { level: 12 })).await?.await?;
//!     Ok(())
//! }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), eventstream::Error> {
//! let recorder = Recorder::new();
//! level_up(&recorder).await?;
//! assert_eq!(recorder.expect_one::<LevelUp>().level, 12);
//! # Ok(()) }
//! ```

mod broker;
mod changes;
mod consumed;
mod dead_letters;
mod handled;
mod ledger;
mod published;
mod recorder;

use std::time::Duration;

pub use self::broker::{Member, TestBroker};
pub use self::consumed::{Consumed, Outcome};
pub use self::dead_letters::DeadLetters;
pub use self::handled::HandledEvents;
pub use self::published::Published;
pub use self::recorder::Recorder;
use crate::error::{Error, ErrorKind};
pub use crate::kafka::Refusal;

/// The default time limit of every wait.
const BOUND: Duration = Duration::from_secs(30);

/// An error of this kind, for failures that a test asks for.
impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Self {
        Self::new(
            kind,
            format!("publish: {}, as the test asked", kind.as_str()),
        )
    }
}

/// Texts, each on its own line.
fn listed(lines: impl IntoIterator<Item = String>) -> String {
    let lines: String = lines
        .into_iter()
        .map(|line| format!("\n  {line}"))
        .collect();
    if lines.is_empty() {
        "\n  (nothing)".to_owned()
    } else {
        lines
    }
}
