//! Draws the Grafana dashboard from a real run: a service publishes and handles while a broker is killed and comes back.
//! Prometheus scrapes it and evaluates the dashboard's own expressions.
//!
//! ```text
//! cargo xtask setup    # Kafka; `prometheus` has to be in PATH
//! cargo build --release --workspace --example dashboard && target/release/examples/dashboard
//! ```

mod draw;
mod load;
mod panels;
mod prometheus_server;

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use harness::Kafka;

use load::Service;
use panels::Board;
use prometheus_server::Prometheus;

/// The rates of the first seconds have nothing to compare with, and brokers and client are slow at first.
const WARM_UP: Duration = Duration::from_secs(30);
/// Before the outage, during it, and after it.
const CALM: Duration = Duration::from_secs(40);
const OUTAGE: Duration = Duration::from_secs(40);
const RECOVERY: Duration = Duration::from_secs(40);
const NODE: i32 = 2;

fn main() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let dashboard = root.join("observability/grafana-dashboard.json");
    let board = Board::read(&fs::read_to_string(&dashboard)?)?;
    let runtime = tokio::runtime::Runtime::new()?;

    let kafka = Kafka::builder().nodes(3).start()?;
    for topic in ["orders", "orders-dlq"] {
        let properties = [("min.insync.replicas", "2")];
        kafka.admin()?.create_topic(topic, 6, 3, &properties)?;
    }
    let service = Service::start(&runtime, &kafka.bootstrap())?;
    let prometheus = Prometheus::start(service.metrics())?;
    std::thread::sleep(WARM_UP);

    let start = panels::now()?;
    std::thread::sleep(CALM);
    let killed = panels::now()? - start;
    kafka.kill(NODE)?;
    println!("broker {NODE} is killed");
    std::thread::sleep(OUTAGE);
    kafka.restart(NODE)?;
    let back = panels::now()? - start;
    println!("broker {NODE} is back");
    std::thread::sleep(RECOVERY);
    let end = panels::now()?;

    let brokers = kafka.bootstrap();
    let brokers: Vec<_> = brokers.split(',').collect();
    let charts = board.evaluate(&prometheus, (start, end), &brokers)?;
    // Below the pages, as mdBook takes nothing from elsewhere.
    let path = root.join("docs/guide/src/pictures/dashboard.svg");
    fs::create_dir_all(path.parent().context("no folder")?)?;
    draw::draw(&path, &charts, (killed, back), end - start)
        .with_context(|| format!("drawing {}", path.display()))?;
    println!("{}", path.display());
    println!("{}", service.stop(&runtime)?);
    Ok(())
}
