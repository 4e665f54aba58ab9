//! A Kafka with TLS, SASL and rights.

mod authorization;
mod broker;
mod oauth;
mod publish_rights;
mod security;
mod support;
