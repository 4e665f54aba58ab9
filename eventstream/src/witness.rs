//! What the test kit observes of its clients. Other clients have no witness, and only pay for checking a `None`.

use std::sync::Arc;

use crate::client::WeakClient;
use crate::error::Error;
use crate::record::Record;
use crate::subscribe::DeadLetter;

/// Observes the clients created with it. Called on the threads that do the work, so it must not block.
pub(crate) trait Witness: Send + Sync {
    /// A client was created.
    fn client(&self, client: WeakClient);

    /// The broker has stored a record. Called before the publisher, or a flush, can see it.
    fn stored(&self, wire_topic: &str, partition: i32, offset: i64);

    /// A registration was added or removed.
    fn changed(&self);

    /// A member of a group starts with a partition, everything before `position` being done. The returned witness
    /// observes the partition until it is dropped.
    fn assigned(
        &self,
        wire_group: &str,
        wire_topic: &str,
        partition: i32,
        position: i64,
    ) -> Box<dyn PartitionWitness>;
}

/// Observes the records of one partition in one group.
pub(crate) trait PartitionWitness: Send {
    /// A handler returned without an error.
    fn handled(&mut self, record: &Arc<Record>);

    /// A handler returned an error or panicked.
    fn failed(&mut self, offset: i64, attempt: u32, error: &Error);

    /// A dead letter was written.
    fn dead_lettered(&mut self, letter: DeadLetter);

    /// Everything before `position` is done; `in_hand` records were read but are not done.
    fn progress(&mut self, position: i64, in_hand: usize);
}
