//! Real Kafka for tests and benches.
