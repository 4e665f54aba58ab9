//! stub
use super::EmbeddedBroker;
use super::config::ClientConfigs;
use super::context::Reporter;
use super::producer::Producer;
use crate::config::BrokerConfig;
use crate::error::Result;
use crate::stats::ReaderStats;
use crate::subscribe::CheckedSubscribe;
use crate::subscription::{Health, Subscription};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
pub(crate) struct Consumers;
impl Consumers {
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn new(
        _n: Arc<str>,
        _p: Arc<str>,
        _c: BrokerConfig,
        _cc: Arc<ClientConfigs>,
        _pr: Arc<Producer>,
        _r: Arc<Reporter>,
        _e: Option<EmbeddedBroker>,
    ) -> Self {
        Self
    }
    pub(crate) fn register(&self, _s: CheckedSubscribe) -> Result<Subscription> {
        unimplemented!()
    }
    pub(crate) fn stats(&self) -> ReaderStats {
        ReaderStats::default()
    }
    pub(crate) fn health(&self) -> Health {
        Health::default()
    }
    pub(crate) async fn shutdown(&self, _d: Duration) {}
}
pub(crate) struct RegisteredRoutes;
impl RegisteredRoutes {
    pub(crate) async fn stop(self, _d: Duration) -> bool {
        true
    }
    pub(crate) fn stop_in_background(&self) {}
    pub(crate) fn pause(&self) {}
    pub(crate) fn resume(&self) {}
    pub(crate) fn health(&self) -> Health {
        Health::default()
    }
    pub(crate) fn ended(&self) -> CancellationToken {
        CancellationToken::new()
    }
}
