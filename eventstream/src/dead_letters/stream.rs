use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::Stream;

use super::done::Done;
use super::filter::Filter;
use super::letter::Letter;
use crate::error::Result;
use crate::kafka::Scan;

/// The dead letters that existed when it was created, in order within each partition. Created by
/// [`DeadLetters::letters`](super::DeadLetters::letters).
///
/// As a `Stream` it yields each, or the error that ends it; [`next`](Self::next) needs no trait.
pub struct Letters {
    /// `None` at its end.
    scan: Option<Scan>,
    filter: Filter,
    done: Done,
    ready: VecDeque<Letter>,
    passed: u64,
}

impl Letters {
    pub(super) fn new(scan: Scan, filter: Filter, done: Done) -> Self {
        Self {
            scan: Some(scan),
            filter,
            done,
            ready: VecDeque::new(),
            passed: 0,
        }
    }

    pub(super) fn empty() -> Self {
        Self {
            scan: None,
            filter: Filter::new(),
            done: Done::default(),
            ready: VecDeque::new(),
            passed: 0,
        }
    }

    /// The next dead letter; `None` at the end. Cancel-safe.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Timeout`](crate::ErrorKind::Timeout) if the brokers send nothing for 30 s, or whatever
    /// error they return. Nothing follows it.
    pub async fn next(&mut self) -> Option<Result<Letter>> {
        std::future::poll_fn(|cx| self.poll_letter(cx)).await
    }

    /// Records that arrived together; `None` at the end.
    pub(super) async fn batch(&mut self) -> Result<Option<VecDeque<Letter>>> {
        match self.next().await.transpose()? {
            Some(letter) => {
                let mut batch = std::mem::take(&mut self.ready);
                batch.push_front(letter);
                Ok(Some(batch))
            }
            None => Ok(None),
        }
    }

    /// How many records matched the filter but were skipped because they are already done.
    pub(super) fn passed(&self) -> u64 {
        self.passed
    }

    fn poll_letter(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Letter>>> {
        loop {
            if let Some(letter) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(letter)));
            }
            let Some(scan) = &mut self.scan else {
                return Poll::Ready(None);
            };
            match ready!(scan.poll_next(cx)) {
                Some(Ok(records)) => {
                    let letters = records.iter().map(Letter::new);
                    for letter in letters.filter(|letter| self.filter.lets(letter)) {
                        let record = letter.raw();
                        if self.done.contains(record.source.partition, record.offset) {
                            self.passed += 1;
                        } else {
                            self.ready.push_back(letter);
                        }
                    }
                }
                Some(Err(error)) => {
                    self.scan = None;
                    return Poll::Ready(Some(Err(error)));
                }
                None => self.scan = None,
            }
        }
    }
}

impl Stream for Letters {
    type Item = Result<Letter>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_letter(cx)
    }
}

impl fmt::Debug for Letters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Letters").finish_non_exhaustive()
    }
}
