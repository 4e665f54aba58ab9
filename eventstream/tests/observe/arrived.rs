//! What a collector was sent, as a test reads it.

use std::collections::{BTreeMap, BTreeSet};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Wire;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span};

/// The spans, in the order of their starts, and the services that they are of.
#[derive(Debug, Default)]
pub(crate) struct Arrived {
    pub(crate) spans: Vec<Span>,
    pub(crate) services: BTreeSet<String>,
}

impl Arrived {
    /// All of each trace that has a span like this.
    pub(crate) fn of(requests: &[ExportTraceServiceRequest], like: impl Fn(&Span) -> bool) -> Self {
        let resources = || requests.iter().flat_map(|request| &request.resource_spans);
        let spans_of = |of: &ResourceSpans| {
            let scopes = of.scope_spans.iter();
            let spans: Vec<_> = scopes.flat_map(|scope| scope.spans.clone()).collect();
            spans
        };
        let all = resources().flat_map(spans_of);
        let traces: BTreeSet<_> = all.filter(&like).map(|span| span.trace_id).collect();
        let mut arrived = Self::default();
        for of in resources() {
            let mut spans = spans_of(of);
            spans.retain(|span| traces.contains(&span.trace_id));
            if !spans.is_empty() {
                let resource = attributes(&of.resource.as_ref().unwrap().attributes);
                arrived.services.insert(resource["service.name"].clone());
                arrived.spans.append(&mut spans);
            }
        }
        arrived.spans.sort_by_key(|span| span.start_time_unix_nano);
        arrived
    }

    /// The first of this name.
    pub(crate) fn first(&self, name: &str) -> &Span {
        let found = self.spans.iter().find(|span| span.name == name);
        found.unwrap_or_else(|| panic!("no span {name}:\n{}", self.picture()))
    }

    pub(crate) fn all(&self, name: &str) -> Vec<&Span> {
        self.spans.iter().filter(|span| span.name == name).collect()
    }

    /// A sorted line for each span: kind, name, parent, what it is linked to, status.
    pub(crate) fn picture(&self) -> String {
        let mut lines: Vec<_> = self.spans.iter().map(|span| self.line(span)).collect();
        lines.sort();
        lines.join("\n")
    }

    fn line(&self, span: &Span) -> String {
        let kind = span.kind().as_str_name();
        let kind = kind.trim_start_matches("SPAN_KIND_").to_lowercase();
        let mut line = format!("{kind} {}", self.name(&span.span_id));
        if !span.parent_span_id.is_empty() {
            line += &format!(" < {}", self.name(&span.parent_span_id));
        }
        for link in &span.links {
            line += &format!(" ~ {}", self.name(&link.span_id));
        }
        if let Some(error) = error(span) {
            line += &format!(": {error}");
        }
        line
    }

    /// A span's name, with its number if there are several of that name.
    fn name(&self, id: &[u8]) -> String {
        let Some(of) = self.spans.iter().find(|span| span.span_id == id) else {
            return format!("{id:x?}, which did not arrive");
        };
        let same = self.spans.iter().filter(|span| span.name == of.name);
        let same: Vec<_> = same.map(|span| &*span.span_id).collect();
        match same.iter().position(|same| *same == id) {
            Some(at) if same.len() > 1 => format!("{} #{}", of.name, at + 1),
            _ => of.name.clone(),
        }
    }
}

/// Why it failed.
fn error(span: &Span) -> Option<&str> {
    let status = span.status.as_ref()?;
    (status.code() == StatusCode::Error).then_some(&status.message)
}

/// What the library says of a span. The bridge of `tracing` adds its own.
pub(crate) fn said(span: &Span) -> BTreeMap<String, String> {
    let mut all = attributes(&span.attributes);
    let ours = ["messaging.", "eventstream.", "error."];
    all.retain(|name, _| ours.iter().any(|ours| name.starts_with(ours)));
    all
}

/// By name. A number is told from a text by its type.
fn attributes(all: &[KeyValue]) -> BTreeMap<String, String> {
    let value = |value: &KeyValue| match value.value.as_ref()?.value.as_ref()? {
        Wire::StringValue(text) => Some(text.clone()),
        Wire::IntValue(number) => Some(format!("{number} (int)")),
        other => Some(format!("{other:?}")),
    };
    let all = all.iter();
    all.map(|one| (one.key.clone(), value(one).unwrap_or_default()))
        .collect()
}
