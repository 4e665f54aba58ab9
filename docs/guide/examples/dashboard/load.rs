//! The service that is watched: it publishes orders and bills them.

use std::io::{BufRead, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Result, anyhow};
use eventstream::{
    Backoff, BrokerConfig, Client, Concurrency, Context, Exhausted, Metrics, Payload, Publish,
    Reject, Retry, Subscribe, Subscription,
};
use prometheus::{Registry, TextEncoder};
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

const SOON: Duration = Duration::from_secs(30);
/// Every 10 ms.
const ORDERS_AT_ONCE: u64 = 10;

#[derive(Serialize, Deserialize)]
struct Order {
    number: u64,
    gold: u64,
}

pub(super) struct Service {
    client: Client,
    _subscription: Subscription,
    publisher: JoinHandle<()>,
    metrics: SocketAddr,
}

impl Service {
    pub(super) fn start(runtime: &Runtime, brokers: &str) -> Result<Self> {
        let registry = Registry::new();
        let metrics = Metrics::new();
        registry.register(Box::new(metrics.clone()))?;
        let config = BrokerConfig::new()
            .client_id("shop")
            .statistics_interval(Duration::from_secs(1));
        let brokers = brokers.split(',');
        let client = Client::kafka(brokers)
            .config(config)
            .metrics(&metrics)
            .build()?;
        let retry =
            Retry::attempts(3).backoff(Backoff::default().initial(Duration::from_millis(200)));
        let billing = Subscribe::new("orders")
            .group_id("billing")
            .concurrency(Concurrency::PerKey(32))
            .retry(retry.then(Exhausted::DeadLetter))
            .on("ordered", bill);
        let subscription = runtime.block_on(async {
            let subscription = client.register(billing).await?;
            subscription.ready().await?;
            Ok::<_, eventstream::Error>(subscription)
        })?;
        let publisher = runtime.spawn(publish(client.clone()));
        Ok(Self {
            client,
            _subscription: subscription,
            publisher,
            metrics: serve(registry)?,
        })
    }

    /// Where the metrics are.
    pub(super) fn metrics(&self) -> SocketAddr {
        self.metrics
    }

    /// Ends it, and says what became of the orders.
    pub(super) fn stop(self, runtime: &Runtime) -> Result<String> {
        self.publisher.abort();
        runtime.block_on(async { self.client.shutdown(SOON).await });
        let stats = self.client.writer_stats();
        Ok(format!(
            "{} events accepted, dead letters included; {} stored, {} failed",
            stats.accepted, stats.stored, stats.failed
        ))
    }
}

async fn publish(client: Client) {
    let mut clock = tokio::time::interval(Duration::from_millis(10));
    clock.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for number in 0.. {
        if number % ORDERS_AT_ONCE == 0 {
            clock.tick().await;
        }
        let order = Order {
            number,
            gold: number % 90,
        };
        let event = Publish::new("orders", "ordered")
            .key(format!("player-{}", number % 997))
            .payload(&order);
        // The buffer's bound ends a publisher that finds no room for a minute.
        if client.publish(event).await.is_err() {
            break;
        }
    }
}

/// Most orders are billed in a millisecond or two. A few fail once, some always, and some make no sense.
async fn bill(Payload(order): Payload<Order>, cx: Context) -> Result<()> {
    tokio::time::sleep(Duration::from_millis(1 + order.gold % 4)).await;
    if order.number % 1009 == 0 {
        return Err(Reject::new("nobody sells that").into());
    }
    if order.number % 2003 == 0 || (order.number % 211 == 0 && cx.attempt() == 1) {
        return Err(anyhow!("the bank refused the connection"));
    }
    Ok(())
}

/// Answers every request with the metrics.
fn serve(registry: Registry) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A scraper that goes away asks again.
            let _ = answer(stream, &registry);
        }
    });
    Ok(address)
}

fn answer(mut stream: TcpStream, registry: &Registry) -> Result<()> {
    let request = BufReader::new(stream.try_clone()?);
    for line in request.lines() {
        if line?.is_empty() {
            break;
        }
    }
    let body = TextEncoder::new().encode_to_string(&registry.gather())?;
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )?;
    Ok(())
}
