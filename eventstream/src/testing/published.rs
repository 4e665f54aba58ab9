use std::fmt;

use serde::de::DeserializeOwned;

use super::Consumed;
use crate::event::Event;

/// An event that a [`Recorder`](super::Recorder) was given, as a consumer would read it.
#[derive(Clone)]
pub struct Published {
    consumed: Consumed,
    event: Event,
}

impl Published {
    pub(super) fn new(consumed: Consumed) -> Self {
        let event = match consumed.event() {
            Ok(event) => event,
            Err(error) => panic!("an event that was just encoded does not decode: {error}"),
        };
        Self { consumed, event }
    }

    /// The topic, without the client's prefix.
    pub fn topic(&self) -> &str {
        self.event.topic()
    }

    /// The event's name.
    pub fn name(&self) -> &str {
        self.event.name()
    }

    /// The record's key: the given one, or the event's id.
    pub fn key(&self) -> &str {
        self.event.key().unwrap_or_default()
    }

    /// The event.
    pub fn event(&self) -> &Event {
        &self.event
    }

    /// The payload.
    ///
    /// # Panics
    ///
    /// If it does not fit the type, with the payload.
    #[track_caller]
    pub fn payload<T: DeserializeOwned>(&self) -> T {
        match self.event.payload().decode() {
            Ok(payload) => payload,
            Err(error) => panic!(
                "the payload does not fit {}: {}\n  {self}",
                std::any::type_name::<T>(),
                crate::guard::with_causes(&error)
            ),
        }
    }

    /// The record, to call a handler with; its headers are in the [`context`](Consumed::context).
    pub fn consumed(&self) -> Consumed {
        self.consumed.clone()
    }
}

/// Topic, name, key and payload on one line.
impl fmt::Display for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(&self.event, f)
    }
}

impl fmt::Debug for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Published").field(&self.to_string()).finish()
    }
}

/// An event as one line.
pub(super) fn line(event: &Event) -> String {
    struct Line<'a>(&'a Event);
    impl fmt::Display for Line<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            show(self.0, f)
        }
    }
    Line(event).to_string()
}

fn show(event: &Event, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let key = event.key().unwrap_or_default();
    write!(
        f,
        "{} {} key {key:?} {}",
        event.topic(),
        event.name(),
        event.payload()
    )
}
