//! The log: `tracing` events of the library, on standard error.

use std::io;

use eventstream::LogMode;
use tracing_subscriber::filter::LevelFilter;

/// Starts the log.
pub(crate) fn start(mode: LogMode) {
    let level = match mode {
        LogMode::Off => return,
        LogMode::Error => LevelFilter::ERROR,
        LogMode::Warn => LevelFilter::WARN,
        LogMode::Info => LevelFilter::INFO,
        _ => LevelFilter::DEBUG,
    };
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_max_level(level)
        .with_ansi(false)
        .with_target(false)
        .init();
}
