use std::sync::Arc;

use parking_lot::Mutex;

use crate::error::{Error, ErrorKind, Result};
use crate::publish::receipt::EventId;
use crate::publish::{MakesOutputs, Output, Publish, PublishRaw, Receipt};

/// What one attempt at a record publishes in an exactly-once group. It is kept here until the attempt
/// succeeds; anything published later is refused.
pub(crate) struct Staging {
    maker: Arc<dyn MakesOutputs>,
    /// `None`: the attempt is over.
    outputs: Mutex<Option<Vec<Output>>>,
}

impl Staging {
    pub(crate) fn new(maker: &Arc<dyn MakesOutputs>) -> Arc<Self> {
        Arc::new(Self {
            maker: Arc::clone(maker),
            outputs: Mutex::new(Some(Vec::new())),
        })
    }

    pub(super) fn publish(&self, event: &Publish) -> Result<Receipt> {
        let (output, id) = self.maker.output(event)?;
        let receipt = output.receipt(id);
        self.keep(output).map(|()| receipt)
    }

    pub(super) fn publish_raw(&self, record: PublishRaw) -> Result<Receipt> {
        let output = self.maker.raw_output(record)?;
        let receipt = output.receipt(EventId::none());
        self.keep(output).map(|()| receipt)
    }

    fn keep(&self, output: Output) -> Result<()> {
        match &mut *self.outputs.lock() {
            Some(outputs) => {
                outputs.push(output);
                Ok(())
            }
            None => Err(Error::new(
                ErrorKind::Closed,
                "publish in a handler: its attempt is over, so this would not be part of its transaction",
            )
            .with_remedy("await everything that publishes before the handler returns")),
        }
    }

    /// Ends the attempt; returns what it published.
    pub(crate) fn close(&self) -> Vec<Output> {
        self.outputs.lock().take().unwrap_or_default()
    }
}
