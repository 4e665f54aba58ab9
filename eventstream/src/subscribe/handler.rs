//! Handlers: async functions, and their erased form.

use std::error::Error as StdError;
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;

use super::context::Context;
use super::extract::{Arguments, FromRecord};
#[cfg(feature = "tower")]
use super::layer::{HandlerLayer, Layered};
use super::tuned::Tuned;
use crate::delivery::Retry;

/// An error of a handler, of any type.
pub(crate) type BoxError = Box<dyn StdError + Send + Sync>;

pub(crate) type Handled = Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>>;

/// A handler: an async function or closure of up to eight arguments, each taken from the record or
/// from the subscription's state by its [`FromRecord`].
///
/// | argument | what it is |
/// |---|---|
/// | [`Payload<T>`](crate::Payload) | the payload as a `T` |
/// | [`Event`](crate::Event) | the envelope |
/// | [`State<T>`](crate::State) | the value given to [`Subscribe::state`](crate::Subscribe::state), or a part of it |
/// | [`Context`] | topic, partition, offset, attempt, timestamp, cancellation |
/// | [`Key<T>`](crate::Key), [`Headers`](crate::Headers) | the record's key and headers |
/// | [`RawRecord`](crate::RawRecord) | the record before decoding |
///
/// It returns `()`, or `Result<(), E>` for any `E` that boxes: a `thiserror` enum, `anyhow::Error`, a
/// `String`. An error is retried as [`Subscribe::retry`](crate::Subscribe::retry) says, unless no
/// retry can fix it: see [`Reject`](crate::Reject).
///
/// The trait is implemented for all such functions; do not implement it by hand.
///
/// ```
/// use eventstream::{Context, Payload, State, Subscribe};
///
/// #[derive(serde::Deserialize)]
/// struct LoggedIn { platform: String }
/// #[derive(Clone)]
/// struct Db;
///
/// async fn logged_in(Payload(login): Payload<LoggedIn>, State(db): State<Db>, cx: Context) -> Result<(), String> {
///     println!("{} at offset {}", login.platform, cx.offset());
///     # drop(db);
///     Ok(())
/// }
///
/// let subscribe = Subscribe::new("userAuthentication").state(Db).on("userLoggedIn", logged_in);
/// # drop(subscribe);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a handler for a subscription with state `{S}`",
    label = "not a handler",
    note = "a handler is an async function or closure of up to eight arguments that implement `FromRecord<{S}>`: \
            `Event`, `Payload<T>`, `State<T>`, `Context`, `Key<T>`, `Headers`, `RawRecord`",
    note = "it returns `()` or `Result<(), E>` where `E: Into<Box<dyn Error + Send + Sync>>`, and its future is `Send`",
    note = "`State<T>` needs `.state(..)` before the handler, and `T: FromRef<{S}>`"
)]
pub trait Handler<Args, S = ()>: Sized + Send + Sync + 'static {
    /// Erases its types.
    #[doc(hidden)]
    fn erase(self, state: &Arc<S>) -> BoxHandler
    where
        S: Send + Sync + 'static;

    /// The handler with its own retry policy, in place of
    /// [`Subscribe::retry`](crate::Subscribe::retry). Order between names is kept: while an event of this
    /// handler waits for its next attempt, so do later events in its partition or key.
    ///
    /// ```
    /// use eventstream::{Event, Exhausted, Handler, Retry, Subscribe};
    ///
    /// async fn logged_in(_: Event) -> Result<(), String> { Ok(()) }
    /// async fn paid(_: Event) -> Result<(), String> { Ok(()) }
    ///
    /// let subscribe = Subscribe::new("player")
    ///     .on("loggedIn", logged_in.retry(Retry::attempts(3).then(Exhausted::Skip)))
    ///     .on("paid", paid);
    /// # drop(subscribe);
    /// ```
    fn retry(self, retry: Retry) -> Tuned<Self, Args, S> {
        Tuned::new(self).with_retry(retry)
    }

    /// The handler with its own time limit for each call, in place of
    /// [`Subscribe::handler_timeout`](crate::Subscribe::handler_timeout).
    fn timeout(self, timeout: Duration) -> Tuned<Self, Args, S> {
        Tuned::new(self).with_timeout(timeout)
    }

    /// The handler inside a [`tower`](https://docs.rs/tower) layer, which sees each of its calls: see
    /// [`HandlerLayer`](crate::HandlerLayer).
    #[cfg(feature = "tower")]
    fn layer<L: HandlerLayer>(self, layer: L) -> Layered<Self, L, Args, S> {
        Layered::new(self, layer)
    }
}

/// What a handler may return: `()`, or `Result<(), E>` for any error that converts into a boxed
/// one.
#[diagnostic::on_unimplemented(
    message = "a handler cannot return `{Self}`",
    note = "it returns `()` or `Result<(), E>` where `E: Into<Box<dyn Error + Send + Sync>>`"
)]
pub trait HandlerResult: 'static {
    /// As the result of the attempt.
    #[doc(hidden)]
    fn into_result(self) -> Result<(), BoxError>;
}

impl HandlerResult for () {
    fn into_result(self) -> Result<(), BoxError> {
        Ok(())
    }
}

impl<E: Into<BoxError> + 'static> HandlerResult for Result<(), E> {
    fn into_result(self) -> Result<(), BoxError> {
        self.map_err(Into::into)
    }
}

/// Calls a macro with the argument names of each arity.
macro_rules! all_arities {
    ($each:ident) => {
        $each!();
        $each!(A1);
        $each!(A1 A2);
        $each!(A1 A2 A3);
        $each!(A1 A2 A3 A4);
        $each!(A1 A2 A3 A4 A5);
        $each!(A1 A2 A3 A4 A5 A6);
        $each!(A1 A2 A3 A4 A5 A6 A7);
        $each!(A1 A2 A3 A4 A5 A6 A7 A8);
    };
}
pub(crate) use all_arities;

macro_rules! handler {
    ($($arg:ident)*) => {
        #[allow(non_snake_case, reason = "arguments are named as their types")]
        impl<F, Fut, Out, S, $($arg,)*> Handler<($($arg,)*), S> for F
        where
            F: Fn($($arg),*) -> Fut + Send + Sync + 'static,
            Fut: Future<Output = Out> + Send + 'static,
            Out: HandlerResult,
            $($arg: FromRecord<S>,)*
        {
            fn erase(self, state: &Arc<S>) -> BoxHandler
            where
                S: Send + Sync + 'static,
            {
                BoxHandler::of(state, move |($($arg,)*)| {
                    // Not an async block, which would contain the handler's future twice.
                    Box::pin(self($($arg),*).map(HandlerResult::into_result))
                })
            }
        }
    };
}

all_arities!(handler);

/// A handler with its types erased.
#[derive(Clone)]
pub struct BoxHandler {
    call: Arc<dyn Fn(Context) -> Handled + Send + Sync>,
    is_raw: bool,
    retry: Option<Retry>,
    timeout: Option<Duration>,
}

impl BoxHandler {
    /// A handler with these arguments.
    pub(crate) fn of<Args, S>(
        state: &Arc<S>,
        call: impl Fn(Args) -> Handled + Send + Sync + 'static,
    ) -> Self
    where
        Args: Arguments<S>,
        S: Send + Sync + 'static,
    {
        let state = Arc::clone(state);
        Self {
            call: Arc::new(move |context| match Args::take(&context, &state) {
                Ok(arguments) => call(arguments),
                Err(error) => Box::pin(ready(Err(error))),
            }),
            is_raw: Args::IS_RAW,
            retry: None,
            timeout: None,
        }
    }

    /// The handler of pulled events, which is never called.
    pub(super) fn pulled() -> Self {
        Self::of(&Arc::new(()), |()| -> Handled {
            Box::pin(ready(Err("its events are pulled".into())))
        })
    }

    /// The same handler, called differently.
    #[cfg(feature = "tower")]
    pub(super) fn called(&self, call: impl Fn(Context) -> Handled + Send + Sync + 'static) -> Self {
        Self {
            call: Arc::new(call),
            ..self.clone()
        }
    }

    pub(super) fn tuned(mut self, retry: Option<Retry>, timeout: Option<Duration>) -> Self {
        self.retry = retry.or(self.retry);
        self.timeout = timeout.or(self.timeout);
        self
    }

    /// Calls it, which may already panic.
    pub(crate) fn call(&self, context: Context) -> Handled {
        (self.call)(context)
    }

    /// Whether it accepts records that are not events.
    pub(crate) fn is_raw(&self) -> bool {
        self.is_raw
    }

    /// Its own retry policy.
    pub(crate) fn retry(&self) -> Option<Retry> {
        self.retry
    }

    /// Its own time limit.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        self.timeout
    }
}
