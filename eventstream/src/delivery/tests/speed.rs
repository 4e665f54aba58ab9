//! What the machine costs for each record. Run with `--ignored --nocapture`, in release.

use std::hint::black_box;
use std::time::Instant;

use super::*;

/// Keeps `buffered` records in the machine and runs `count` through it.
fn measure<R: Clone>(body: &R, name: &str, concurrency: Concurrency, buffered: i64, keys: u64) {
    const COUNT: i64 = 5_000_000;
    let mut m: Partition<R> = Partition::new(PartitionConfig::default());
    m.add_route(
        A,
        RouteOptions {
            concurrency,
            retry: Retry::forever(),
            ..RouteOptions::default()
        },
    );
    let record = |m: &mut Partition<R>, offset: i64| {
        let key = Some((offset as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) % keys);
        m.handle(Input::Record {
            offset,
            key,
            size: 500,
            body: body.clone(),
            plan: Plan::One(A),
        });
    };
    for offset in 0..buffered {
        record(&mut m, offset);
    }
    let start = Instant::now();
    let mut offset = buffered;
    while offset < COUNT {
        while let Some(action) = black_box(m.poll()) {
            if let Action::Run { ticket, route, .. } = action {
                m.handle(Input::Outcome {
                    ticket,
                    route,
                    result: Outcome::Handled,
                });
                record(&mut m, offset);
                offset += 1;
                if offset >= COUNT {
                    break;
                }
            }
        }
    }
    let each = start.elapsed().as_nanos() as f64 / (COUNT - buffered) as f64;
    println!("{name}, {buffered} buffered: {each:.1} ns for each record");
}

#[test]
#[ignore = "a measurement: run it by name, in release"]
fn measures_the_fast_path() {
    for buffered in [1, 1_000] {
        measure(
            &0u64,
            "per partition, plain body",
            Concurrency::PerPartition,
            buffered,
            100,
        );
        let body = Arc::new(());
        measure(
            &body,
            "per partition, counted body",
            Concurrency::PerPartition,
            buffered,
            100,
        );
        measure(
            &body,
            "per key, 100 keys",
            Concurrency::PerKey(64),
            buffered,
            100,
        );
        measure(
            &body,
            "per key, a million keys",
            Concurrency::PerKey(64),
            buffered,
            1_000_000,
        );
    }
}
