//! Handlers of several events at once.

use std::collections::BTreeMap;
use std::fmt;
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;

use super::context::Context;
use super::extract::{FromRecord, FromRef, State};
use super::handler::BoxError;
use super::reject::Reject;

/// The results of a batch: every event is handled except those listed here, by position in the
/// batch, from 0.
///
/// ```
/// use eventstream::{BatchResult, Event, Reject};
///
/// async fn write_all(events: Vec<Event>) -> BatchResult {
///     let mut result = BatchResult::handled();
///     for (position, event) in events.iter().enumerate() {
///         match event.user_id() {
///             "" => result.reject(position, "no user"),
///             id if id.len() > 64 => result.fail(position, "the user is not known yet"),
///             _ => {}
///         }
///     }
///     result
/// }
/// # drop(write_all);
/// ```
///
/// It can be collected from one result per event, in order.
#[derive(Default)]
#[must_use = "it says which events were not handled"]
pub struct BatchResult {
    failed: BTreeMap<usize, BoxError>,
}

impl BatchResult {
    /// All events are handled.
    pub fn handled() -> Self {
        Self::default()
    }

    /// The event at this position has failed: it is retried alone. A [`Reject`] in the error's
    /// chain of sources says that no retry can fix it.
    pub fn fail(
        &mut self,
        position: usize,
        error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) {
        self.failed.insert(position, error.into());
    }

    /// No retry can fix the event at this position: it is dead-lettered with this reason.
    pub fn reject(
        &mut self,
        position: usize,
        reason: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) {
        self.fail(position, Reject::new(reason));
    }

    /// The positions of the events that were not handled, in order.
    pub fn failed(&self) -> impl Iterator<Item = usize> {
        self.failed.keys().copied()
    }
}

impl<E: Into<BoxError>> FromIterator<Result<(), E>> for BatchResult {
    fn from_iter<I: IntoIterator<Item = Result<(), E>>>(results: I) -> Self {
        let results = results.into_iter().enumerate();
        let failed = results.filter_map(|(at, result)| Some((at, result.err()?.into())));
        Self {
            failed: failed.collect(),
        }
    }
}

impl fmt::Debug for BatchResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchResult")
            .field("failed", &self.failed)
            .finish()
    }
}

/// The result of a call: for all events that are not listed, and for those that are.
pub(crate) struct BatchAnswer {
    pub(crate) rest: Result<(), BoxError>,
    pub(crate) failed: BTreeMap<usize, BoxError>,
}

impl BatchAnswer {
    fn of(rest: Result<(), BoxError>) -> Self {
        Self {
            rest,
            failed: BTreeMap::new(),
        }
    }
}

/// What a batch handler may return: `()`, [`BatchResult`], or a `Result` of either with any error
/// that converts into a boxed one, which then counts for each event of the batch.
#[diagnostic::on_unimplemented(
    message = "a batch handler cannot return `{Self}`",
    note = "it returns `()`, `BatchResult`, `Result<(), E>` or `Result<BatchResult, E>` \
            where `E: Into<Box<dyn Error + Send + Sync>>`"
)]
pub trait BatchHandlerResult: Sized {
    /// As the result of the call.
    #[doc(hidden)]
    fn into_answer(self) -> Answer;
}

/// What came of a call.
#[doc(hidden)]
pub struct Answer(BatchAnswer);

impl BatchHandlerResult for () {
    fn into_answer(self) -> Answer {
        Answer(BatchAnswer::of(Ok(())))
    }
}

impl BatchHandlerResult for BatchResult {
    fn into_answer(self) -> Answer {
        Answer(BatchAnswer {
            rest: Ok(()),
            failed: self.failed,
        })
    }
}

impl<T: BatchHandlerResult, E: Into<BoxError>> BatchHandlerResult for Result<T, E> {
    fn into_answer(self) -> Answer {
        match self {
            Ok(result) => result.into_answer(),
            Err(error) => Answer(BatchAnswer::of(Err(error.into()))),
        }
    }
}

pub(crate) type BatchHandled = Pin<Box<dyn Future<Output = BatchAnswer> + Send>>;

/// A batch handler: an async function or closure whose first argument is a `Vec` of what it takes from
/// each event: anything that implements [`FromRecord`], or a tuple of up to four. After it there
/// may be up to three [`State`]s.
///
/// An event from which that cannot be extracted, such as one whose payload does not fit, is not in
/// the `Vec`: it fails or is rejected by itself. If none is left, the handler is not called.
///
/// It returns `()`, [`BatchResult`], or a `Result` of either.
///
/// ```
/// use std::time::Duration;
///
/// use eventstream::{Batch, Key, Payload, State, Subscribe};
///
/// #[derive(serde::Deserialize)]
/// struct LevelUp { level: u32 }
/// #[derive(Clone)]
/// struct Db;
/// # impl Db { async fn insert(&self, _: &[(Key<String>, Payload<LevelUp>)]) -> Result<(), String> { Ok(()) } }
///
/// async fn write_all(rows: Vec<(Key<String>, Payload<LevelUp>)>, State(db): State<Db>) -> Result<(), String> {
///     db.insert(&rows).await
/// }
///
/// let subscribe = Subscribe::new("player")
///     .group_id("warehouse")
///     .state(Db)
///     .on_batch("levelUp", Batch::up_to(500).within(Duration::from_secs(1)), write_all);
/// # drop(subscribe);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a batch handler for a subscription with state `{S}`",
    label = "not a batch handler",
    note = "a batch handler is an async function or closure whose first argument is `Vec<T>` where \
            `T: FromRecord<{S}>`, followed by up to three `State<_>`",
    note = "it returns `()`, `BatchResult`, or a `Result` of either, and its future is `Send`"
)]
pub trait BatchHandler<Args, S = ()>: Send + Sync + 'static {
    /// Whether it accepts records that are not events.
    #[doc(hidden)]
    const IS_RAW: bool;

    /// Extracts its arguments and runs.
    #[doc(hidden)]
    fn call(&self, contexts: &[Context], state: &S) -> Call;
}

/// A handler that runs.
#[doc(hidden)]
pub struct Call(BatchHandled);

/// The items extracted from a batch: the positions of records that gave one, and the errors of the others.
struct Taken<T> {
    items: Vec<T>,
    positions: Vec<usize>,
    failed: BTreeMap<usize, BoxError>,
}

impl<T> Taken<T> {
    fn of<S>(contexts: &[Context], state: &S) -> Self
    where
        T: FromRecord<S>,
    {
        let mut taken = Self {
            items: Vec::with_capacity(contexts.len()),
            positions: Vec::with_capacity(contexts.len()),
            failed: BTreeMap::new(),
        };
        for (position, context) in contexts.iter().enumerate() {
            match T::from_record(context, state) {
                Ok(item) => {
                    taken.items.push(item);
                    taken.positions.push(position);
                }
                Err(error) => _ = taken.failed.insert(position, error.into()),
            }
        }
        taken
    }
}

/// Maps an answer by positions in the handler's `Vec` to one by positions in the batch.
fn answer(
    answer: BatchAnswer,
    positions: &[usize],
    mut failed: BTreeMap<usize, BoxError>,
) -> BatchAnswer {
    let mut rest = answer.rest;
    for (at, error) in answer.failed {
        match positions.get(at) {
            Some(position) => _ = failed.insert(*position, error),
            None => {
                let count = positions.len();
                rest = Err(format!(
                    "the handler reported position {at} of a batch of {count} events: {error}"
                )
                .into());
            }
        }
    }
    BatchAnswer { rest, failed }
}

macro_rules! batch_handler {
    ($($state:ident)*) => {
        #[allow(non_snake_case, reason = "arguments are named as their types")]
        impl<F, Fut, Out, S, T, $($state,)*> BatchHandler<(Vec<T>, $(State<$state>,)*), S> for F
        where
            F: Fn(Vec<T>, $(State<$state>),*) -> Fut + Send + Sync + 'static,
            Fut: Future<Output = Out> + Send + 'static,
            Out: BatchHandlerResult,
            T: FromRecord<S>,
            $($state: FromRef<S>,)*
        {
            const IS_RAW: bool = T::IS_RAW && !T::NEEDS_EVENT;

            fn call(&self, contexts: &[Context], state: &S) -> Call {
                let Taken { items, positions, failed } = Taken::of(contexts, state);
                if items.is_empty() {
                    let nothing = BatchAnswer { rest: Ok(()), failed };
                    return Call(Box::pin(ready(nothing)));
                }
                let running = self(items, $(State($state::from_ref(state))),*);
                Call(Box::pin(async move {
                    let Answer(answered) = running.await.into_answer();
                    answer(answered, &positions, failed)
                }))
            }
        }
    };
}

batch_handler!();
batch_handler!(S1);
batch_handler!(S1 S2);
batch_handler!(S1 S2 S3);

type DynBatchHandler = dyn Fn(&[Context]) -> BatchHandled + Send + Sync;

/// A batch handler with its types erased.
#[derive(Clone)]
pub(crate) struct BoxBatchHandler {
    call: Arc<DynBatchHandler>,
    is_raw: bool,
}

impl BoxBatchHandler {
    pub(crate) fn new<H, Args, S>(handler: H, state: &Arc<S>) -> Self
    where
        H: BatchHandler<Args, S>,
        S: Send + Sync + 'static,
    {
        let state = Arc::clone(state);
        Self {
            call: Arc::new(move |contexts| handler.call(contexts, &state).0),
            is_raw: H::IS_RAW,
        }
    }

    /// Calls it, which may already panic.
    pub(crate) fn call(&self, contexts: &[Context]) -> BatchHandled {
        (self.call)(contexts)
    }

    /// Whether it accepts records that are not events.
    pub(crate) fn is_raw(&self) -> bool {
        self.is_raw
    }
}
