//! Batches that are damaged on a broker's disk.

use std::fs::{self, OpenOptions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use eventstream::{
    Assignment, BrokerConfig, Client, Event, Publish, StartOffset, Subscribe, Subscription,
};
use eventstream_harness::{Kafka, unique_topic};
use tempfile::TempDir;

use super::support::{END, client_of, number, publish, until, wire};

/// Where the attributes are in a batch, counted from its start: the codec is in the last three bits.
const ATTRIBUTES: usize = 22;
const ZSTD: u8 = 4;

/// A file of the broker, one byte of which is changed and later restored.
struct Damage {
    file: PathBuf,
    at: u64,
    intact: u8,
}

impl Damage {
    fn write(&self, byte: u8) {
        let mut file = OpenOptions::new()
            .write(true)
            .open(&self.file)
            .expect("a segment");
        file.seek(SeekFrom::Start(self.at)).expect("a place");
        file.write_all(&[byte]).expect("written");
    }

    fn repair(&self) {
        self.write(self.intact);
    }
}

/// The segment of a topic's only partition.
fn segment(folder: &Path, topic: &str) -> Option<PathBuf> {
    let name = format!("{topic}-0");
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() && path.ends_with(&name) {
                return Some(path.join("00000000000000000000.log"));
            }
            if path.is_dir() {
                folders.push(path);
            }
        }
    }
    None
}

/// Where the batch with this offset starts, if each batch has one record.
fn batch(bytes: &[u8], offset: usize) -> usize {
    let mut start = 0;
    for _ in 0..offset {
        let length = bytes[start + 8..start + 12].try_into().expect("four bytes");
        start += 12 + usize::try_from(u32::from_be_bytes(length)).expect("a length");
    }
    start
}

/// Damages what is at offset 5. `of_batch`: which byte of the batch, and what becomes of it.
fn damage(folder: &Path, topic: &str, of_batch: impl Fn(&[u8]) -> (usize, u8)) -> Damage {
    let file = segment(folder, topic).expect("a segment");
    let bytes = fs::read(&file).expect("its bytes");
    let (start, end) = (batch(&bytes, 5), batch(&bytes, 6));
    let (at, byte) = of_batch(&bytes[start..end]);
    let damage = Damage {
        file,
        at: (start + at) as u64,
        intact: bytes[start + at],
    };
    damage.write(byte);
    damage
}

/// A subscription that stands still before offset 5 of its topic, and says why.
struct Halted {
    kafka: Kafka,
    topic: String,
    damage: Damage,
    client: Client,
    subscription: Subscription,
    seen: Arc<Mutex<Vec<usize>>>,
    _folder: TempDir,
}

impl Halted {
    fn committed(&self) -> Vec<Option<i64>> {
        let admin = self.kafka.admin().expect("an admin");
        admin
            .committed(&wire("g"), &wire(&self.topic))
            .expect("an answer")
    }

    /// Waits until these are all that was handled, and there is no problem left.
    async fn ends_with(&self, numbers: impl IntoIterator<Item = usize>) {
        let numbers: Vec<_> = numbers.into_iter().collect();
        until("the rest", END, || {
            self.seen.lock().expect("a lock").len() >= numbers.len()
        })
        .await;
        assert_eq!(*self.seen.lock().expect("a lock"), numbers);
        until("healthy", END, || self.subscription.health().is_healthy()).await;
        assert!(self.client.shutdown(END).await.is_empty());
    }
}

async fn halted(
    config: BrokerConfig,
    of_batch: impl Fn(&[u8]) -> (usize, u8),
    expected: &str,
) -> Halted {
    let folder = tempfile::tempdir().expect("a folder");
    let kafka = Kafka::builder()
        .data_under(folder.path())
        .auto_create_topics(false)
        .start()
        .expect("Kafka");
    let topic = unique_topic("damaged");
    let admin = kafka.admin().expect("an admin");
    admin
        .create_topic(&wire(&topic), 1, 1, &[])
        .expect("a topic");
    let client: Client = client_of(&kafka.bootstrap(), config);
    // One by one, so that each is a batch of its own.
    for n in 0..10 {
        let event = Publish::new(&topic, "numbered").payload(serde_json::json!({ "n": n }));
        client.publish_sync(event).await.expect("stored");
    }
    let damage = damage(folder.path(), &wire(&topic), of_batch);

    let (seen, told) = (
        Arc::<Mutex<Vec<usize>>>::default(),
        Arc::<Mutex<Vec<String>>>::default(),
    );
    let (into, heard) = (Arc::clone(&seen), Arc::clone(&told));
    let subscribe = Subscribe::new(&topic)
        .group_id("g")
        .offset(StartOffset::Head)
        .on_error(move |error| heard.lock().expect("a lock").push(error.to_string()))
        .on_any(move |event: Event| {
            into.lock().expect("a lock").push(number(&event));
            std::future::ready(())
        });
    let subscription = client.register(subscribe).await.expect("registered");
    let place = format!("{}/0 offset 5", wire(&topic));
    let is_shown = || {
        let health = subscription.health();
        let mut problems = health.problems.iter();
        problems.any(|problem| {
            let text = problem.to_string();
            text.contains(&place) && text.contains(expected) && !problem.remedy().is_empty()
        })
    };
    until("a problem", END, is_shown).await;
    // It is told right after it is shown.
    let is_told = || {
        let told = told.lock().expect("a lock");
        told.iter().any(|text| text.contains(&place))
    };
    until("the error", END, is_told).await;
    let halted = Halted {
        kafka,
        topic,
        damage,
        client,
        subscription,
        seen,
        _folder: folder,
    };
    until("what is before it is committed", END, || {
        halted.committed() == [Some(5)]
    })
    .await;
    assert_eq!(*halted.seen.lock().expect("a lock"), [0, 1, 2, 3, 4]);
    halted
}

async fn is_read_again_until_it_can_be(
    config: BrokerConfig,
    of_batch: impl Fn(&[u8]) -> (usize, u8),
    expected: &str,
) {
    let halted = halted(config, of_batch, expected).await;
    halted.damage.repair();
    halted.ends_with(0..10).await;
}

fn in_its_text(batch: &[u8]) -> (usize, u8) {
    let text = b"\"n\":5";
    let at = batch.windows(text.len()).position(|window| window == text);
    (at.expect("the text") + text.len() - 1, b'7')
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_with_a_wrong_checksum_is_not_passed_over() {
    for assignment in [Assignment::Eager, Assignment::CooperativeSticky] {
        let config = BrokerConfig::new()
            .assignment(assignment)
            .base_config("check.crcs", true);
        is_read_again_until_it_can_be(config, in_its_text, "failed CRC32C check").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_cannot_be_decompressed_is_shown() {
    let config = BrokerConfig::new();
    let to_zstd = |batch: &[u8]| (ATTRIBUTES, batch[ATTRIBUTES] | ZSTD);
    is_read_again_until_it_can_be(config, to_zstd, "Decompression (codec 0x4)").await;
}

/// The new topic ends before the offset at which the old one could not be read.
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_recreated_while_it_cannot_be_read_is_read_and_healthy() {
    for assignment in [Assignment::Eager, Assignment::CooperativeSticky] {
        let config = BrokerConfig::new()
            .assignment(assignment)
            .base_config("check.crcs", true)
            .base_config("topic.metadata.refresh.interval.ms", 500);
        let halted = halted(config, in_its_text, "failed CRC32C check").await;
        let (topic, admin) = (wire(&halted.topic), halted.kafka.admin());
        let admin = admin.expect("an admin");
        admin.delete_topic(&topic).expect("deleted");
        admin.create_topic(&topic, 1, 1, &[]).expect("created");
        publish(&halted.client, &halted.topic, "numbered", 100..103).await;
        until("what is new is committed", END, || {
            halted.committed() == [Some(3)]
        })
        .await;
        halted.ends_with((0..5).chain(100..103)).await;
    }
}
