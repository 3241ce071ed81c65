//! The log: a line an event, on standard error.
//!
//! Within a request or a message ([`scope`]) each line has its `trace.id` and `correlation.id`, whether spans are
//! exported or not. What is logged can be changed while the process runs ([`set_filter`]).

mod filter;
mod ids;
mod json;
mod text;

use std::io::Write;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

pub(crate) use filter::reloadable;
pub use filter::{BadFilter, filter, set_filter};
pub use ids::{Ids, in_scope, scope, traceparent};

use crate::init::Format;
use crate::metrics::{Counters, IntCounter, Label};
use text::Colours;

pub(crate) static LINES: Counters =
    Counters::new("log_lines_total", "Lines of the log.", &[Label::one_of("level", LEVELS)]);
const LEVELS: &[&str] = &["error", "warn", "info", "debug", "trace"];
const TRACE_ID: &str = "trace.id";
const CORRELATION_ID: &str = "correlation.id";

/// Writes events as lines.
pub(crate) struct Lines {
    service: String,
    format: Format,
    colours: Colours,
    counts: [IntCounter; LEVELS.len()],
}

impl Lines {
    pub(crate) fn new(service: &str, format: Format) -> Self {
        let counts = std::array::from_fn(|n| LINES.with(&[LEVELS[n]]));
        Self { service: service.to_owned(), format, colours: Colours::of_terminal(), counts }
    }

    fn count(&self, level: Level) {
        let place = match level {
            Level::ERROR => 0,
            Level::WARN => 1,
            Level::INFO => 2,
            Level::DEBUG => 3,
            Level::TRACE => 4,
        };
        self.counts[place].inc();
    }

    /// The line of an event, with its end.
    fn line(&self, event: &Event<'_>) -> String {
        let mut said = Said { ids: ids::current(), ..Said::default() };
        event.record(&mut said);
        match self.format {
            Format::Json => json::line(&self.service, event.metadata(), &said),
            Format::Pretty => text::line(self.colours, event.metadata(), &said),
        }
    }
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.count(*event.metadata().level());
        let line = self.line(event);
        // One write a line; nobody can be told that it failed.
        let _ = std::io::stderr().lock().write_all(line.as_bytes());
    }
}

/// What an event says.
#[derive(Default)]
struct Said {
    message: String,
    /// Its other fields, in their order.
    fields: Vec<(&'static str, Value)>,
    ids: Option<Ids>,
}

enum Value {
    Text(String),
    /// A number or a truth, as JSON has it.
    Plain(String),
}

impl Said {
    fn add(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::Text(text) | Value::Plain(text)) => self.message = text,
            (name, value) => self.fields.push((name, value)),
        }
    }

    /// The ids of the request or message, unless the event names them itself.
    fn ids(&self) -> impl Iterator<Item = (&'static str, String)> + '_ {
        let ids =
            self.ids.into_iter().flat_map(|ids| [(TRACE_ID, ids.trace_id()), (CORRELATION_ID, ids.correlation_id())]);
        ids.filter(|(name, _)| self.fields.iter().all(|(said, _)| said != name))
    }
}

impl Visit for Said {
    fn record_f64(&mut self, field: &Field, value: f64) {
        let value = if value.is_finite() { Value::Plain(format!("{value}")) } else { Value::Text(value.to_string()) };
        self.add(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, Value::Plain(value.to_string()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, Value::Plain(value.to_string()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, Value::Plain(value.to_string()));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, Value::Text(value.to_owned()));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.add(field, Value::Text(value.to_string()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.add(field, Value::Text(format!("{value:?}")));
    }
}

#[cfg(test)]
mod tests;
