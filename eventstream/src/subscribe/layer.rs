//! Handlers inside tower layers.

use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use tower_layer::Layer;
use tower_service::Service;

use super::context::Context;
use super::extract::FromRecord;
use super::handler::{BoxError, BoxHandler, Handled, Handler};

/// A handler as a tower [`Service`]: what a layer wraps. The request is the record's [`Context`], the
/// response `()`, the error that of the handler, boxed.
#[derive(Clone)]
pub struct HandlerService(BoxHandler);

impl Service<Context> for HandlerService {
    type Response = ();
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = Handled;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, context: Context) -> Handled {
        self.0.call(context)
    }
}

impl fmt::Debug for HandlerService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HandlerService")
    }
}

/// A tower [`Layer`] for handlers, given to [`Subscribe::layer`](crate::Subscribe::layer) or
/// [`Handler::layer`]: middleware that sees each call, for metrics, limits or the like.
///
/// Its service takes the record's [`Context`] and returns `()` or an error. The handler's error keeps its meaning if
/// the layer passes it on, directly or in its chain: a [`Reject`](crate::Reject), or a payload that does not fit, is
/// dead-lettered at the first attempt. The layer's own errors are retried like any other.
///
/// The trait is implemented for every layer whose service is [`Clone`], `Send` and `Sync`. Each call gets
/// a clone of the service, once it is ready.
///
/// ```
/// use std::task::{Context as TaskContext, Poll};
/// use std::time::Instant;
///
/// use eventstream::{Context, Event, Handler, Subscribe};
/// use tower_layer::{Layer, layer_fn};
/// use tower_service::Service;
///
/// /// Says which event is called.
/// #[derive(Clone)]
/// struct Told<S>(S);
///
/// impl<S: Service<Context>> Service<Context> for Told<S> {
///     type Response = S::Response;
///     type Error = S::Error;
///     type Future = S::Future;
///
///     fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), S::Error>> {
///         self.0.poll_ready(cx)
///     }
///
///     fn call(&mut self, context: Context) -> S::Future {
///         println!("{:?} at offset {}", context.event().map(Event::name), context.offset());
///         self.0.call(context)
///     }
/// }
///
/// async fn level_up(_: Event) {}
///
/// let subscribe = Subscribe::new("player").on("levelUp", level_up.layer(layer_fn(Told)));
/// # drop(subscribe);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a layer for handlers",
    label = "not a layer for handlers",
    note = "a layer is a `tower::Layer<HandlerService>` whose service is a `Service<Context, Response = ()>`, `Clone`, \
            `Send` and `Sync`",
    note = "its error converts into a boxed error, and its future is `Send`"
)]
pub trait HandlerLayer: Send + Sync + 'static {
    /// Wraps a handler.
    #[doc(hidden)]
    fn wrap(&self, handler: BoxHandler) -> BoxHandler;
}

impl<L> HandlerLayer for L
where
    L: Layer<HandlerService> + Send + Sync + 'static,
    L::Service: Service<Context, Response = (), Error: Into<BoxError>, Future: Send + 'static>
        + Clone
        + Send
        + Sync
        + 'static,
{
    fn wrap(&self, handler: BoxHandler) -> BoxHandler {
        let service = self.layer(HandlerService(handler.clone()));
        handler.called(move |context| {
            let mut service = service.clone();
            Box::pin(async move {
                let ready = poll_fn(|cx| service.poll_ready(cx)).await;
                ready.map_err(Into::into)?;
                service.call(context).await.map_err(Into::into)
            })
        })
    }
}

/// A handler inside a layer: made by [`Handler::layer`].
pub struct Layered<H, L, Args, S> {
    handler: H,
    layer: L,
    /// Determines the handler's types; the compiler cannot infer them otherwise.
    of: PhantomData<fn(Args, S)>,
}

impl<H, L, Args, S> Layered<H, L, Args, S> {
    pub(super) fn new(handler: H, layer: L) -> Self {
        Self {
            handler,
            layer,
            of: PhantomData,
        }
    }
}

#[diagnostic::do_not_recommend]
impl<H, L, Args, S> Handler<Args, S> for Layered<H, L, Args, S>
where
    H: Handler<Args, S>,
    L: HandlerLayer,
    Args: 'static,
    S: 'static,
{
    fn erase(self, state: &Arc<S>) -> BoxHandler
    where
        S: Send + Sync + 'static,
    {
        self.layer.wrap(self.handler.erase(state))
    }
}

impl<H: Clone, L: Clone, Args, S> Clone for Layered<H, L, Args, S> {
    fn clone(&self) -> Self {
        Self::new(self.handler.clone(), self.layer.clone())
    }
}

impl<H, L, Args, S> fmt::Debug for Layered<H, L, Args, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Layered")
    }
}

/// A handler argument: a clone of the value that a layer passed with [`Context::insert_extension`].
/// If no layer did, the attempt fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Extension<T>(pub T);

impl<S, T: Clone + Send + Sync + 'static> FromRecord<S> for Extension<T> {
    type Error = String;

    fn from_record(context: &Context, _: &S) -> Result<Self, String> {
        context.extension::<T>().cloned().map(Self).ok_or_else(|| {
            let name = std::any::type_name::<T>();
            format!("no layer has inserted an extension of type {name}")
        })
    }
}
