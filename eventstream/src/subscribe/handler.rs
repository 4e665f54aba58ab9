//! Handlers: async functions, and what is made of one.

use std::error::Error as StdError;
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;

use super::context::Context;
use super::extract::{Arguments, FromRecord};

/// An error of a handler, of any type.
pub(crate) type BoxError = Box<dyn StdError + Send + Sync>;

pub(crate) type Handled = Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>>;

/// A handler: an async function or closure of up to eight arguments, each taken from the record or
/// from the subscription's state by its [`FromRecord`].
///
/// | argument | what |
/// |---|---|
/// | [`Payload<T>`](crate::Payload) | the payload as a `T` |
/// | [`Event`](crate::Event) | the envelope |
/// | [`State<T>`](crate::State) | what [`Subscribe::state`](crate::Subscribe::state) was given, or a part of it |
/// | [`Context`] | topic, partition, offset, attempt, timestamp, cancellation |
/// | [`Key<T>`](crate::Key), [`Headers`](crate::Headers) | the record's key and headers |
/// | [`RawRecord`](crate::RawRecord) | the record before decoding |
///
/// It returns `()`, or `Result<(), E>` for any `E` that boxes: a `thiserror` enum, `anyhow::Error`, a
/// `String`. An error is retried as [`Subscribe::retry`](crate::Subscribe::retry) says, unless no
/// retry can mend it: see [`Reject`](crate::Reject).
///
/// The trait is implemented for all such functions, and is not for implementing by hand.
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
    message = "`{Self}` is no handler for a subscription with state `{S}`",
    label = "not a handler",
    note = "a handler is an async function or closure of up to eight arguments that implement `FromRecord<{S}>`: \
            `Event`, `Payload<T>`, `State<T>`, `Context`, `Key<T>`, `Headers`, `RawRecord`",
    note = "it returns `()` or `Result<(), E>` where `E: Into<Box<dyn Error + Send + Sync>>`, and its future is `Send`",
    note = "`State<T>` needs `.state(..)` before the handler, and `T: FromRef<{S}>`"
)]
pub trait Handler<Args, S = ()>: Send + Sync + 'static {
    /// Whether it takes records that are no event.
    #[doc(hidden)]
    const IS_RAW: bool;

    /// Takes its arguments, and runs.
    #[doc(hidden)]
    fn call(&self, context: Context, state: &S) -> Handled;
}

/// What a handler may return: `()`, or `Result<(), E>` for any error that boxes.
#[diagnostic::on_unimplemented(
    message = "a handler cannot return `{Self}`",
    note = "it returns `()` or `Result<(), E>` where `E: Into<Box<dyn Error + Send + Sync>>`"
)]
pub trait HandlerResult {
    /// As the result of the attempt.
    #[doc(hidden)]
    fn into_result(self) -> Result<(), BoxError>;
}

impl HandlerResult for () {
    fn into_result(self) -> Result<(), BoxError> {
        Ok(())
    }
}

impl<E: Into<BoxError>> HandlerResult for Result<(), E> {
    fn into_result(self) -> Result<(), BoxError> {
        self.map_err(Into::into)
    }
}

/// Calls a macro with the names of the arguments of each arity.
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
            const IS_RAW: bool = <($($arg,)*) as Arguments<S>>::IS_RAW;

            fn call(&self, context: Context, state: &S) -> Handled {
                let ($($arg,)*) = match Arguments::take(&context, state) {
                    Ok(arguments) => arguments,
                    Err(error) => return Box::pin(ready(Err(error))),
                };
                let handled = self($($arg),*);
                Box::pin(async move { handled.await.into_result() })
            }
        }
    };
}

all_arities!(handler);

/// A handler with its types erased.
#[derive(Clone)]
pub(crate) struct BoxHandler {
    call: Arc<dyn Fn(Context) -> Handled + Send + Sync>,
    is_raw: bool,
}

impl BoxHandler {
    pub(crate) fn new<H, Args, S>(handler: H, state: &Arc<S>) -> Self
    where
        H: Handler<Args, S>,
        S: Send + Sync + 'static,
    {
        let state = Arc::clone(state);
        Self {
            call: Arc::new(move |context| handler.call(context, &state)),
            is_raw: H::IS_RAW,
        }
    }

    /// Calls it, which may panic already here.
    pub(crate) fn call(&self, context: Context) -> Handled {
        (self.call)(context)
    }

    /// Whether it takes records that are no event.
    pub(crate) fn is_raw(&self) -> bool {
        self.is_raw
    }
}
