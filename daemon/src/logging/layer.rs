//! Events become lines.

use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::fields::Fields;
use super::line::{self, FieldValue, Line};
use super::sink::Sink;
use super::{Format, audit};

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
        let file = format!("{}:{}", metadata.file().unwrap_or("?"), metadata.line().unwrap_or(0));
        let func = metadata.module_path().unwrap_or("?");
        let location = self.source_location.then_some(line::Location { file: &file, func });
        let shown: Vec<_> = fields.0.iter().map(|(name, value)| (*name, FieldValue::Json(value))).collect();
        let line = Line {
            time: &line::now(self.format),
            level: line::level_name(*metadata.level()),
            message: FieldValue::Json(&message),
            location,
            fields: &shown,
        };
        let mut text = String::new();
        line.push(self.format, &mut text);
        self.sink.write(text, audit::keep(metadata.target()));
    }
}

/// The line that tells how many others could not be written.
pub(super) fn lost_line(format: Format) -> fn(u64) -> String {
    fn render(format: Format, lost: u64) -> String {
        let mut text = String::new();
        let fields = [("lost", FieldValue::Number(lost))];
        let message = FieldValue::Text("Log lines could not be written and are lost");
        Line { time: &line::now(format), level: "warning", message, location: None, fields: &fields }
            .push(format, &mut text);
        text
    }
    match format {
        Format::Text => |lost| render(Format::Text, lost),
        Format::Json => |lost| render(Format::Json, lost),
    }
}
