//! Records everything that this process writes to `tracing` and `log`.

use std::fmt::{Debug, Write as _};
use std::sync::{Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// An event of `tracing`, or a line of `log` with neither client nor facility.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) level: Level,
    pub(crate) client: Option<String>,
    /// Set if the line is librdkafka's.
    pub(crate) facility: Option<String>,
    pub(crate) text: String,
}

static LINES: Mutex<Vec<Line>> = Mutex::new(Vec::new());

/// Records everything from now on. A process has one recorder.
pub(crate) fn start() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        tracing::subscriber::set_global_default(Recorder).expect("the first subscriber");
        log::set_logger(&Recorder).expect("the first logger");
        log::set_max_level(log::LevelFilter::Trace);
    });
}

pub(crate) fn lines() -> Vec<Line> {
    LINES.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn keep(line: Line) {
    LINES
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(line);
}

struct Recorder;

#[derive(Default)]
struct Fields {
    client: Option<String>,
    facility: Option<String>,
    text: String,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "client" => self.client = Some(value.to_owned()),
            "facility" => self.facility = Some(value.to_owned()),
            _ => {}
        }
        self.record_debug(field, &value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.text, "{field}={value:?} ").expect("a string takes all");
    }
}

impl Subscriber for Recorder {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut fields = Fields::default();
        span.record(&mut fields);
        keep(Line {
            level: *span.metadata().level(),
            client: None,
            facility: None,
            text: fields.text,
        });
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        let mut fields = Fields::default();
        values.record(&mut fields);
        keep(Line {
            level: Level::TRACE,
            client: None,
            facility: None,
            text: fields.text,
        });
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        keep(Line {
            level: *event.metadata().level(),
            client: fields.client,
            facility: fields.facility,
            text: fields.text,
        });
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

impl log::Log for Recorder {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        keep(Line {
            level: Level::TRACE,
            client: None,
            facility: None,
            text: record.args().to_string(),
        });
    }

    fn flush(&self) {}
}
