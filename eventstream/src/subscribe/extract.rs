//! The arguments of handlers.

use std::convert::Infallible;
use std::error::Error as StdError;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::str::FromStr;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::context::Context;
use super::handler::{BoxError, all_arities};
use super::reject::Reject;
use crate::error::Error;
use crate::event::Event;
use crate::event::EventType;
use crate::record::{self, RawRecord, Record};

/// An argument of a [`Handler`](crate::Handler), extracted from the record and the subscription's state `S`.
///
/// An error fails the attempt, just as an error of the handler would; [`Reject`] says that no retry
/// can fix it.
///
/// ```
/// use eventstream::{Context, FromRecord, Reject, Subscribe};
///
/// /// The player's id, which is the key of every record of this topic.
/// struct Player(u64);
///
/// impl<S> FromRecord<S> for Player {
///     type Error = Reject;
///
///     fn from_record(context: &Context, _: &S) -> Result<Self, Reject> {
///         let key = std::str::from_utf8(context.key().unwrap_or_default()).map_err(Reject::new)?;
///         key.parse().map(Player).map_err(Reject::new)
///     }
/// }
///
/// let subscribe = Subscribe::new("player").on("levelUp", async |Player(id)| println!("{id}"));
/// # drop(subscribe);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an argument of a handler of a subscription with state `{S}`",
    label = "cannot be extracted from a record",
    note = "arguments are `Event`, `Payload<T>` (`T: DeserializeOwned`), `State<T>` (`T: FromRef<{S}>`), `Context`, \
            `Key<T>`, `Headers`, `RawRecord`, and types that implement `FromRecord<{S}>`"
)]
pub trait FromRecord<S>: Sized {
    /// Why it could not be extracted.
    type Error: Into<Box<dyn StdError + Send + Sync>>;

    /// Accepts records that are not events, if no other argument needs an event.
    #[doc(hidden)]
    const IS_RAW: bool = false;
    /// Cannot be extracted from a record that is not an event.
    #[doc(hidden)]
    const NEEDS_EVENT: bool = false;

    /// Extracts the argument. Called once per attempt, before the handler.
    ///
    /// # Errors
    ///
    /// If the record or the state does not have it.
    fn from_record(context: &Context, state: &S) -> Result<Self, Self::Error>;
}

/// The payload of the event, as a `T`. If it does not fit, the event is dead-lettered at the first
/// attempt, without calling the handler: no retry can fix it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Payload<T>(pub T);

/// The state of the subscription, set with [`Subscribe::state`](crate::Subscribe::state), or a part of
/// it that implements [`FromRef`]. Cloned for each attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct State<T>(pub T);

/// The record's key, parsed from its text. A record without a key, or whose key does not parse, is
/// dead-lettered at the first attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Key<T>(pub T);

/// The headers of the record in order; names may repeat, values may be null.
#[derive(Clone)]
pub struct Headers(Arc<Record>);

/// A part of a state, taken by [`State`].
///
/// ```
/// use eventstream::{FromRef, State, Subscribe};
///
/// #[derive(Clone)] struct Db;
/// #[derive(Clone)] struct Mailer;
/// struct App { db: Db, mailer: Mailer }
///
/// impl FromRef<App> for Db {
///     fn from_ref(app: &App) -> Self { app.db.clone() }
/// }
/// # impl FromRef<App> for Mailer { fn from_ref(app: &App) -> Self { app.mailer.clone() } }
///
/// let subscribe = Subscribe::new("player")
///     .state(App { db: Db, mailer: Mailer })
///     .on("levelUp", async |State(db): State<Db>| drop(db));
/// # drop(subscribe);
/// ```
pub trait FromRef<S> {
    /// The part.
    fn from_ref(state: &S) -> Self;
}

impl<T: Clone> FromRef<T> for T {
    fn from_ref(state: &T) -> Self {
        state.clone()
    }
}

impl<S, T: DeserializeOwned> FromRecord<S> for Payload<T> {
    type Error = Error;
    const NEEDS_EVENT: bool = true;

    fn from_record(context: &Context, _: &S) -> Result<Self, Error> {
        match &context.record.event {
            Some(event) => event.payload().decode(),
            None => record::decode(&context.record)?.payload().decode(),
        }
        .map(Self)
    }
}

impl<S> FromRecord<S> for Event {
    type Error = Error;
    const NEEDS_EVENT: bool = true;

    fn from_record(context: &Context, _: &S) -> Result<Self, Error> {
        match &context.record.event {
            Some(event) => Ok(event.clone()),
            // The topic's other handlers were all raw when the record arrived.
            None => record::decode(&context.record),
        }
    }
}

impl<S> FromRecord<S> for Context {
    type Error = Infallible;

    fn from_record(context: &Context, _: &S) -> Result<Self, Infallible> {
        Ok(context.clone())
    }
}

impl<S> FromRecord<S> for RawRecord {
    type Error = Infallible;
    const IS_RAW: bool = true;

    fn from_record(context: &Context, _: &S) -> Result<Self, Infallible> {
        Ok(Self::new(Arc::clone(&context.record)))
    }
}

impl<S, T: FromRef<S>> FromRecord<S> for State<T> {
    type Error = Infallible;

    fn from_record(_: &Context, state: &S) -> Result<Self, Infallible> {
        Ok(Self(T::from_ref(state)))
    }
}

impl<S, T> FromRecord<S> for Key<T>
where
    T: FromStr<Err: Into<Box<dyn StdError + Send + Sync>>>,
{
    type Error = Reject;

    fn from_record(context: &Context, _: &S) -> Result<Self, Reject> {
        let key = context
            .key()
            .ok_or_else(|| Reject::new("the record has no key"))?;
        let key = std::str::from_utf8(key).map_err(Reject::new)?;
        key.parse().map(Self).map_err(Reject::new)
    }
}

impl<S> FromRecord<S> for Headers {
    type Error = Infallible;

    fn from_record(context: &Context, _: &S) -> Result<Self, Infallible> {
        Ok(Self(Arc::clone(&context.record)))
    }
}

impl Headers {
    /// Each header, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Option<&[u8]>)> {
        self.0.header_values()
    }

    /// The value of the last header with this name: `None` if there is none, or its value is null.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        let mut headers = self.0.headers().iter().rev();
        headers.find(|(n, _)| n == name)?.1.as_deref()
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values may be private.
        f.debug_list()
            .entries(self.iter().map(|(name, _)| name))
            .finish()
    }
}

macro_rules! tuple {
    ($($part:ident)*) => {
        /// Several at once, for the items of a batch.
        impl<S, $($part: FromRecord<S>),*> FromRecord<S> for ($($part,)*) {
            type Error = BoxError;
            const IS_RAW: bool = (false $(|| $part::IS_RAW)*) && !(false $(|| $part::NEEDS_EVENT)*);
            const NEEDS_EVENT: bool = false $(|| $part::NEEDS_EVENT)*;

            fn from_record(context: &Context, state: &S) -> Result<Self, BoxError> {
                Ok(($($part::from_record(context, state).map_err(Into::into)?,)*))
            }
        }
    };
}

tuple!(A1 A2);
tuple!(A1 A2 A3);
tuple!(A1 A2 A3 A4);

/// All arguments of a handler.
pub(crate) trait Arguments<S>: Sized {
    /// Whether an argument needs the raw record and none needs an event.
    const IS_RAW: bool;

    fn take(context: &Context, state: &S) -> Result<Self, BoxError>;
}

macro_rules! arguments {
    ($($arg:ident)*) => {
        #[allow(unused_variables, reason = "one of the arities takes nothing")]
        impl<S, $($arg: FromRecord<S>),*> Arguments<S> for ($($arg,)*) {
            const IS_RAW: bool =
                (false $(|| $arg::IS_RAW)*) && !(false $(|| $arg::NEEDS_EVENT)*);

            fn take(context: &Context, state: &S) -> Result<Self, BoxError> {
                Ok(($($arg::from_record(context, state).map_err(Into::into)?,)*))
            }
        }
    };
}

all_arities!(arguments);

/// The arguments of a handler whose first one determines its events: `Payload<T>` of an
/// [`EventType`].
#[diagnostic::on_unimplemented(
    message = "the first argument of a handler for `on_event` is `Payload<T>` of an `EventType`",
    note = "use `on` with the event's name if the payload has no such type"
)]
pub trait TypedArgs {
    /// The type of the event.
    type Type: EventType;
}

macro_rules! typed_args {
    () => {};
    ($first:ident $($arg:ident)*) => {
        impl<$first: EventType, $($arg),*> TypedArgs for (Payload<$first>, $($arg,)*) {
            type Type = $first;
        }
    };
}

all_arities!(typed_args);

macro_rules! wrapper {
    ($name:ident) => {
        impl<T> Deref for $name<T> {
            type Target = T;

            fn deref(&self) -> &T {
                &self.0
            }
        }

        impl<T> DerefMut for $name<T> {
            fn deref_mut(&mut self) -> &mut T {
                &mut self.0
            }
        }
    };
}

wrapper!(Payload);
wrapper!(State);
wrapper!(Key);
