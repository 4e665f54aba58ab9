//! What a test kit hears of what its clients do. Other clients have no witness, and pay for a look at `None`.

use std::sync::Arc;

use crate::client::WeakClient;
use crate::error::Error;
use crate::record::Record;
use crate::subscribe::DeadLetter;

/// Hears of the clients that were made with it. Called on the threads that do the work: must not block.
pub(crate) trait Witness: Send + Sync {
    /// A client was made.
    fn client(&self, client: WeakClient);

    /// The broker has stored a record. Heard before anybody who waits for it: who publishes, or flushes.
    fn stored(&self, wire_topic: &str, partition: i32, offset: i64);

    /// A registration came or went.
    fn changed(&self);

    /// A member of a group begins with a partition, and has done all before `position`. Until it is dropped, what is
    /// returned hears of the partition.
    fn assigned(
        &self,
        wire_group: &str,
        wire_topic: &str,
        partition: i32,
        position: i64,
    ) -> Box<dyn PartitionWitness>;
}

/// Hears what becomes of the records of one partition in one group.
pub(crate) trait PartitionWitness: Send {
    /// A handler took a record and returned no error.
    fn handled(&mut self, record: &Arc<Record>);

    /// A handler returned an error or panicked.
    fn failed(&mut self, offset: i64, attempt: u32, error: &Error);

    /// A dead letter was written.
    fn dead_lettered(&mut self, letter: DeadLetter);

    /// All before `position` is done, and so many records that were read are not.
    fn progress(&mut self, position: i64, in_hand: usize);
}
