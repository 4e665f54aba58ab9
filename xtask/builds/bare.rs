//! A producer of `rdkafka` alone, for comparison.

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, Producer as _};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut config = ClientConfig::new();
    config.set("test.mock.num.brokers", "1").set("compression.type", "zstd");
    let producer: BaseProducer = config.create()?;
    let record = rdkafka::producer::BaseRecord::<str, str>::to("player").payload("{}");
    producer.send(record).map_err(|(error, _)| error)?;
    producer.flush(std::time::Duration::from_secs(10))?;
    println!("stored");
    Ok(())
}
