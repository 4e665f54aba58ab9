use std::fmt;
use std::ops::Deref;

use serde::de::DeserializeOwned;

use super::listed;
use super::published::line;
use crate::guard::with_causes;
use crate::subscribe::DeadLetter;

/// The dead-lettered records of a topic, in the order in which the broker acknowledged them.
#[derive(Clone)]
pub struct DeadLetters {
    topic: String,
    letters: Vec<DeadLetter>,
    /// Those of other topics, to print.
    others: Vec<DeadLetter>,
}

impl DeadLetters {
    pub(super) fn new(topic: &str, all: Vec<DeadLetter>) -> Self {
        let of_topic = |letter: &DeadLetter| letter.context().topic().as_str() == topic;
        let (letters, others) = all.into_iter().partition(of_topic);
        Self {
            topic: topic.to_owned(),
            letters,
            others,
        }
    }

    /// The payloads.
    ///
    /// # Panics
    ///
    /// If a record is not an event, or its payload does not fit the type, with the dead letter.
    #[track_caller]
    pub fn payloads<T: DeserializeOwned>(&self) -> Vec<T> {
        let mut payloads = Vec::new();
        for letter in &self.letters {
            let event = letter.record().decode();
            match event.and_then(|event| event.payload().decode()) {
                Ok(payload) => payloads.push(payload),
                Err(error) => panic!("{}\n  {}", with_causes(&error), shown(letter)),
            }
        }
        payloads
    }

    /// The one dead letter.
    ///
    /// # Panics
    ///
    /// If there is none, or more than one, with all of them.
    #[track_caller]
    pub fn expect_one(mut self) -> DeadLetter {
        assert!(
            self.letters.len() == 1,
            "{}",
            self.instead("one dead letter")
        );
        self.letters.remove(0)
    }

    /// # Panics
    ///
    /// If there are any, with all of them.
    #[track_caller]
    pub fn expect_none(self) {
        assert!(
            self.letters.is_empty(),
            "{}",
            self.instead("no dead letter")
        );
    }

    fn instead(&self, expected: &str) -> String {
        format!(
            "expected {expected} of topic {}, found {}:{}\nof other topics:{}",
            self.topic,
            self.letters.len(),
            listed(self.letters.iter().map(shown)),
            listed(self.others.iter().map(shown))
        )
    }
}

impl Deref for DeadLetters {
    type Target = [DeadLetter];

    fn deref(&self) -> &[DeadLetter] {
        &self.letters
    }
}

impl fmt::Debug for DeadLetters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.letters.iter().map(shown))
            .finish()
    }
}

/// A dead letter as one line.
fn shown(letter: &DeadLetter) -> String {
    let (context, record) = (letter.context(), letter.record());
    let what = match record.decode() {
        Ok(event) => line(&event),
        Err(_) => {
            let value = String::from_utf8_lossy(record.value().unwrap_or_default());
            format!("{} no event: {value}", context.topic())
        }
    };
    format!(
        "{}: {} (partition {}, offset {}, attempt {}): {what}",
        letter.reason(),
        letter.error(),
        context.partition(),
        context.offset(),
        context.attempt()
    )
}
