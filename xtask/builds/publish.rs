//! Publishes with each codec of this build, and checks that options without their feature are refused by name.

use std::collections::BTreeMap;
use std::error::Error;

use eventstream::{BrokerConfig, Client, Compression, Publish, Security};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let features: Vec<_> = std::env::args().skip(1).collect();
    let has = |feature: &str| features.iter().any(|it| it.starts_with(feature));
    for (compression, is_built_in) in [
        (Compression::None, true),
        (Compression::Snappy, true),
        (Compression::Lz4, true),
        (Compression::Gzip, has("gzip")),
        (Compression::Zstd, has("zstd")),
    ] {
        let config = BrokerConfig::new().compression(compression);
        let client = match Client::embedded().config(config).build() {
            Ok(client) if is_built_in => client,
            Err(error) if !is_built_in => {
                let text = error.to_string();
                let feature = format!("needs the feature `{compression}` of eventstream");
                assert!(text.contains(&feature), "{text}");
                continue;
            }
            Ok(_) => panic!("{compression} without its feature"),
            Err(error) => return Err(error.into()),
        };
        let levels = BTreeMap::from([("levels", "level ".repeat(1000))]);
        let event = Publish::new("player", "levelUp").payload(&levels);
        let receipt = client.publish(event).await?;
        println!("{compression}: stored at offset {}", receipt.await?.offset());
    }
    let config = BrokerConfig::new().security(Security::none().tls(true));
    // Nothing listens there: a client connects when it is used.
    match Client::kafka(["127.0.0.1:1"]).config(config).build() {
        Ok(_) => assert!(has("tls"), "TLS without its feature"),
        Err(error) => {
            let text = error.to_string();
            assert!(!has("tls") && text.contains("needs the feature `tls`"), "{text}");
        }
    }
    Ok(())
}
