//! Texts that recur in spans, such as the names of topics, allocated once for all spans.
//!
//! A recorded span is made by the thread that publishes, ended by a second and exported by a third.
//! Texts that one thread allocates and another frees are a large part of what it costs, and texts
//! with a shared count are no cheaper, as the count goes from core to core. So these are never
//! freed. Their number is bounded: texts beyond it are allocated for each span.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::thread::LocalKey;

use opentelemetry::StringValue;
use parking_lot::Mutex;

/// The most texts that are kept of either kind, and the most bytes of each.
const MOST: usize = 1024;
const LONGEST: usize = 512;

/// The texts that the process keeps. Events have their own, as a service may give each another name.
static KEPT: Kept = Kept(Mutex::new(BTreeSet::new()));
static KEPT_EVENTS: Kept = Kept(Mutex::new(BTreeSet::new()));

struct Kept(Mutex<BTreeSet<&'static str>>);

thread_local! {
    static KNOWN: RefCell<Known> = const { RefCell::new(Known::new(&KEPT)) };
    static KNOWN_EVENTS: RefCell<Known> = const { RefCell::new(Known::new(&KEPT_EVENTS)) };
}

/// What a thread knows of the kept texts, to find them without a lock.
struct Known {
    kept: &'static Kept,
    texts: BTreeSet<&'static str>,
    /// No text will be added.
    is_complete: bool,
    /// A name, while it is put together.
    name: String,
    /// The name that was found last: most events go where the one before went.
    last: &'static str,
}

impl Known {
    const fn new(kept: &'static Kept) -> Self {
        Self {
            kept,
            texts: BTreeSet::new(),
            is_complete: false,
            name: String::new(),
            last: "",
        }
    }

    fn find(&mut self, text: &str) -> Option<&'static str> {
        match self.texts.get(text) {
            Some(found) => Some(found),
            None if self.is_complete || text.len() > LONGEST => None,
            None => self.learn(text),
        }
    }

    #[cold]
    fn learn(&mut self, text: &str) -> Option<&'static str> {
        let mut kept = self.kept.0.lock();
        let found = match kept.get(text) {
            Some(found) => found,
            None if kept.len() >= MOST => {
                self.texts.clone_from(&kept);
                self.is_complete = true;
                return None;
            }
            None => {
                let new: &'static str = Box::leak(text.into());
                kept.insert(new);
                new
            }
        };
        self.texts.insert(found);
        Some(found)
    }

    #[inline]
    fn find_name(&mut self, parts: &Parts<'_>) -> Option<&'static str> {
        match parts.make_up(self.last) {
            true => Some(self.last),
            false => self.find_other_name(parts),
        }
    }

    fn find_other_name(&mut self, parts: &Parts<'_>) -> Option<&'static str> {
        let mut name = std::mem::take(&mut self.name);
        name.clear();
        name.extend(parts.texts());
        let found = self.find(&name);
        self.name = name;
        self.last = found.unwrap_or_default();
        found
    }
}

/// What the name of a span consists of.
struct Parts<'a> {
    operation: &'static str,
    prefix: &'a str,
    topic: &'a str,
}

impl<'a> Parts<'a> {
    fn texts(&self) -> [&'a str; 5] {
        let dot = if self.prefix.is_empty() { "" } else { "." };
        [self.operation, " ", self.prefix, dot, self.topic]
    }

    /// Whether this name consists of them, found out without putting it together.
    #[inline]
    fn make_up(&self, name: &str) -> bool {
        let wire = || name.strip_prefix(self.operation)?.strip_prefix(" ");
        let topic = || match self.prefix {
            "" => wire(),
            prefix => wire()?.strip_prefix(prefix)?.strip_prefix("."),
        };
        topic() == Some(self.topic)
    }
}

/// The name of a client or a group.
pub(super) fn recurring(text: &str) -> StringValue {
    text_of(&KNOWN, text)
}

/// The name of an event.
pub(super) fn event_name(text: &str) -> StringValue {
    text_of(&KNOWN_EVENTS, text)
}

fn text_of(known: &'static LocalKey<RefCell<Known>>, text: &str) -> StringValue {
    match known.try_with(|known| known.borrow_mut().find(text)) {
        Ok(Some(kept)) => kept.into(),
        _ => text.to_owned().into(),
    }
}

/// The name of a span, and the topic in it as on the broker.
#[derive(Clone)]
pub(super) struct Named {
    pub(super) name: Cow<'static, str>,
    pub(super) topic: StringValue,
}

/// Names the span of an operation on a topic. Inline, so that comparing a constant operation is a
/// few instructions.
#[inline]
pub(super) fn named(operation: &'static str, prefix: &str, topic: &str) -> Named {
    let parts = Parts {
        operation,
        prefix,
        topic,
    };
    let topic_at = operation.len() + 1;
    match KNOWN.try_with(|known| known.borrow_mut().find_name(&parts)) {
        Ok(Some(name)) => Named {
            name: name.into(),
            topic: name[topic_at..].into(),
        },
        _ => {
            let name = parts.texts().concat();
            Named {
                topic: name[topic_at..].to_owned().into(),
                name: name.into(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing_kept() -> &'static Kept {
        Box::leak(Box::new(Kept(Mutex::default())))
    }

    #[test]
    fn a_text_is_allocated_once_for_all_threads() {
        let kept = nothing_kept();
        let first = Known::new(kept).find("orders").unwrap();
        let of_another_thread = std::thread::spawn(|| Known::new(kept).find("orders").unwrap());
        assert_eq!(first.as_ptr(), of_another_thread.join().unwrap().as_ptr());
        assert_eq!(kept.0.lock().len(), 1);
    }

    #[test]
    fn the_texts_are_bounded_in_number_and_length() {
        let kept = nothing_kept();
        let mut known = Known::new(kept);
        let mut early = Known::new(kept);
        assert_eq!(early.find("0"), Some("0"));
        assert_eq!(known.find(&"x".repeat(LONGEST + 1)), None);
        for number in 0..2 * MOST {
            let text = number.to_string();
            let expected = (number < MOST).then_some(text.as_str());
            assert_eq!(known.find(&text), expected);
        }
        assert_eq!(kept.0.lock().len(), MOST);
        // A thread that knew only one finds the others too, and no more.
        assert_eq!(early.find("new"), None);
        assert!((0..MOST).all(|number| early.find(&number.to_string()).is_some()));
    }

    #[test]
    fn a_name_ends_with_the_topic_as_on_the_broker() {
        let topics = [("", "orders"), ("dev", "dev.orders"), ("de", "de.orders")];
        // One after the other, again and again, and the other way round, as the last is remembered.
        for (prefix, topic) in topics.iter().chain(&topics).chain(topics.iter().rev()) {
            let named = named("publish", prefix, "orders");
            assert_eq!(named.name, format!("publish {topic}"));
            assert_eq!(named.topic.as_str(), *topic);
        }
        assert_eq!(named("handle", "", "dev.orders").name, "handle dev.orders");
        assert_eq!(
            named("publish", "", "dev.orders").topic.as_str(),
            "dev.orders"
        );
        assert_eq!(
            named("publish", "", "dev.order").topic.as_str(),
            "dev.order"
        );
        assert_eq!(
            named("publish", "", "dev.orders2").topic.as_str(),
            "dev.orders2"
        );
        // One that is too long to be kept.
        let long = "t".repeat(LONGEST);
        let named = named("handle", "dev", &long);
        assert_eq!(named.name, format!("handle dev.{long}"));
        assert_eq!(named.topic.as_str(), format!("dev.{long}"));
    }
}
