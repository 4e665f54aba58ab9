//! The contract suite on Apache Kafka: the newest version, the last one before Kafka 4, and the
//! oldest, which has ZooKeeper.

use std::sync::OnceLock;

use eventstream_harness::contract::Setup;
use eventstream_harness::{Kafka, OLDER_VERSION, OLDEST_VERSION, shared};

/// A node that the tests of this version share. The error is kept, so that a slow failing start is
/// not repeated by each test.
type Node = OnceLock<Result<Kafka, String>>;

fn newest() -> Setup {
    Setup::kafka(shared().bootstrap(), shared().admin())
}

fn older() -> Setup {
    static NODE: Node = OnceLock::new();
    setup(&NODE, OLDER_VERSION)
}

fn oldest() -> Setup {
    static NODE: Node = OnceLock::new();
    setup(&NODE, OLDEST_VERSION)
}

fn setup(node: &'static Node, version: &str) -> Setup {
    let kafka = node.get_or_init(|| {
        let kafka = Kafka::builder().version(version).start();
        kafka.map_err(|error| format!("{error:#}"))
    });
    match kafka {
        Ok(kafka) => Setup::kafka(&kafka.bootstrap(), kafka.admin().expect("an admin client")),
        Err(error) => panic!("no Kafka {version} for this test: {error}"),
    }
}

mod kafka_4 {
    eventstream_harness::contract!(super::newest, kafka);
}

mod kafka_3 {
    eventstream_harness::contract!(super::older, kafka);
}

mod kafka_2 {
    eventstream_harness::contract!(super::oldest, kafka);
}
