//! Events become lines.

use std::fmt::Write as _;

use time::OffsetDateTime;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::Format;
use super::fields::Fields;
use super::line::{self, Line};
use super::sink::Sink;

/// Writes each event as one line.
pub(super) struct LineLayer {
    sink: Sink,
    format: Format,
    source_location: bool,
}

impl LineLayer {
    pub(super) fn new(sink: Sink, format: Format, source_location: bool) -> Self {
        Self { sink, format, source_location }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for LineLayer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(outer) = span.extensions().get::<Fields>() {
                fields.0.extend(outer.0.clone());
            }
        }
        event.record(&mut fields);
        let message = fields.0.remove("message").unwrap_or_default();
        let metadata = event.metadata();
        let mut location = String::new();
        if self.source_location {
            // Writing to a String can't fail.
            let _ = write!(location, "{}:{}", metadata.file().unwrap_or("?"), metadata.line().unwrap_or(0));
        }
        let line = Line {
            time: OffsetDateTime::now_utc(),
            level: line::level_name(*metadata.level()),
            message: &message,
            location: &location,
            fields: &fields.0,
        };
        self.sink.write(&match self.format {
            Format::Text => line.text(),
            Format::Json => line.json(),
        });
    }
}
