//! The contract suite on Apache Kafka: the newest version, and the last one before Kafka 4.

use std::sync::OnceLock;

use eventstream_harness::contract::Setup;
use eventstream_harness::{Kafka, OLDER_VERSION, shared};

fn newest() -> Setup {
    Setup::kafka(shared().bootstrap(), shared().admin())
}

fn older() -> Setup {
    // The error is kept, so that a start that fails slowly is not tried again by each test.
    static OLDER: OnceLock<Result<Kafka, String>> = OnceLock::new();
    let kafka = OLDER.get_or_init(|| {
        let kafka = Kafka::builder().version(OLDER_VERSION).start();
        kafka.map_err(|error| format!("{error:#}"))
    });
    match kafka {
        Ok(kafka) => Setup::kafka(&kafka.bootstrap(), kafka.admin().expect("an admin client")),
        Err(error) => panic!("no Kafka {OLDER_VERSION} for this test: {error}"),
    }
}

mod kafka_4 {
    eventstream_harness::contract!(super::newest, kafka);
}

mod kafka_3 {
    eventstream_harness::contract!(super::older, kafka);
}
