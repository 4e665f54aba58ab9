use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::Publish;
use crate::client::Client;
use crate::error::Result;
#[cfg(any(test, feature = "testing"))]
use crate::error::{Error, ErrorKind};
use crate::publish::receipt::Receipt;

/// What services publish through: a [`Client`], or the test kit's `Recorder`.
///
/// Object safe, so that a service holds an `Arc<dyn Publisher>` and its tests decide what that is:
///
/// ```
/// use std::sync::Arc;
///
/// use eventstream::{Client, Publish, Publisher};
///
/// struct Shop {
///     publisher: Arc<dyn Publisher>,
/// }
///
/// impl Shop {
///     async fn sell(&self, item: &str) -> eventstream::Result<()> {
///         let receipt = self.publisher.publish(Publish::new("shop", "itemSold").key(item)).await?;
///         receipt.await?;
///         Ok(())
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), eventstream::Error> {
/// let shop = Shop { publisher: Arc::new(Client::none().build()?) };
/// shop.sell("sword").await?;
/// # Ok(()) }
/// ```
///
/// Each call costs one allocation more than [`Client`]'s methods of the same name.
pub trait Publisher: Send + Sync {
    /// Publishes an event. Returns once it is accepted into the bounded buffer, waiting for room if it is full;
    /// awaiting the receipt tells where the broker stored it.
    ///
    /// # Errors
    ///
    /// As [`Client::publish`].
    fn publish(&self, event: Publish) -> Boxed<'_, Result<Receipt>>;

    /// As [`publish`](Self::publish), without waiting.
    ///
    /// # Errors
    ///
    /// As [`Client::try_publish`].
    fn try_publish(&self, event: Publish) -> Result<Receipt>;

    /// Waits until every event accepted before this call is stored or has failed.
    ///
    /// # Errors
    ///
    /// As [`Client::flush`].
    fn flush(&self, timeout: Duration) -> Boxed<'_, Result<()>>;
}

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

impl Publisher for Client {
    fn publish(&self, event: Publish) -> Boxed<'_, Result<Receipt>> {
        Box::pin(Self::publish(self, event))
    }

    fn try_publish(&self, event: Publish) -> Result<Receipt> {
        Self::try_publish(self, event)
    }

    fn flush(&self, timeout: Duration) -> Boxed<'_, Result<()>> {
        Box::pin(Self::flush(self, timeout))
    }
}

impl<P: Publisher + ?Sized> Publisher for &P {
    fn publish(&self, event: Publish) -> Boxed<'_, Result<Receipt>> {
        (**self).publish(event)
    }

    fn try_publish(&self, event: Publish) -> Result<Receipt> {
        (**self).try_publish(event)
    }

    fn flush(&self, timeout: Duration) -> Boxed<'_, Result<()>> {
        (**self).flush(timeout)
    }
}

impl<P: Publisher + ?Sized> Publisher for Arc<P> {
    fn publish(&self, event: Publish) -> Boxed<'_, Result<Receipt>> {
        (**self).publish(event)
    }

    fn try_publish(&self, event: Publish) -> Result<Receipt> {
        (**self).try_publish(event)
    }

    fn flush(&self, timeout: Duration) -> Boxed<'_, Result<()>> {
        (**self).flush(timeout)
    }
}

/// Of a record without a client, as in tests.
#[cfg(any(test, feature = "testing"))]
pub(crate) struct NoPublisher;

#[cfg(any(test, feature = "testing"))]
impl NoPublisher {
    fn error() -> Error {
        Error::new(
            ErrorKind::Unsupported,
            "publish in a handler: this record has no publisher",
        )
        .with_remedy("give it one with `Consumed::publisher`")
    }
}

#[cfg(any(test, feature = "testing"))]
impl Publisher for NoPublisher {
    fn publish(&self, _: Publish) -> Boxed<'_, Result<Receipt>> {
        Box::pin(std::future::ready(Err(Self::error())))
    }

    fn try_publish(&self, _: Publish) -> Result<Receipt> {
        Err(Self::error())
    }

    fn flush(&self, _: Duration) -> Boxed<'_, Result<()>> {
        Box::pin(std::future::ready(Ok(())))
    }
}
