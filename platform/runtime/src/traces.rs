//! Spans of what is handled in batches: begun with the batch, and told only once its effects are committed.

use std::collections::BTreeMap;
use std::time::SystemTime;

use telemetry::trace::{Name, Value};
use telemetry::{Kind, Span, SpanRef, Tracer};

/// The partitions that most topics have, as the conventions want them: as texts. These cost nothing.
const PARTITIONS: [&str; 12] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11"];

/// A partition's number, for a span.
pub(crate) fn partition_id(partition: i32) -> Value<'static> {
    let usual = usize::try_from(partition).ok().and_then(|number| PARTITIONS.get(number).copied());
    usual.map_or_else(|| partition.to_string().into(), Value::from)
}

/// Something that an event has others do: it has a span of its own, and what they do is below it.
#[derive(Debug, Clone)]
pub struct Step<'a> {
    /// The span's name.
    pub name: Name<'a>,
    /// Why it is recorded even in a trace that is not, if it is.
    pub kept: Option<&'static str>,
    /// What it is about.
    pub attributes: Vec<(&'static str, Value<'a>)>,
}

/// The spans of one batch.
pub(crate) struct Traces {
    tracer: Tracer,
    began: SystemTime,
    handled: BTreeMap<usize, Handled>,
    steps: Vec<Span>,
}

struct Handled {
    span: Span,
    /// What it goes on with.
    of: Option<SpanRef>,
}

impl Traces {
    pub(crate) fn begin(tracer: Tracer) -> Self {
        Self { tracer, began: SystemTime::now(), handled: BTreeMap::new(), steps: Vec::new() }
    }

    pub(crate) fn are_on(&self) -> bool {
        self.tracer.is_on()
    }

    /// Begins the span of the batch's item of this number; what it decides goes on from the `traceparent` returned.
    pub(crate) fn handle(
        &mut self,
        number: usize,
        kind: Kind,
        name: (&str, &str),
        traceparent: Option<&str>,
        say: impl FnOnce(&mut Span),
    ) -> Option<String> {
        let of = traceparent.and_then(SpanRef::parse);
        let mut span = self.tracer.start(kind, name, of).begun_at(self.began);
        say(&mut span);
        let traceparent = span.traceparent();
        self.handled.insert(number, Handled { span, of });
        traceparent
    }

    /// Says more about an item's span.
    pub(crate) fn say(&mut self, number: usize, say: impl FnOnce(&mut Span)) {
        if let Some(handled) = self.handled.get_mut(&number) {
            say(&mut handled.span);
        }
    }

    /// The item was none of the consumer's business.
    pub(crate) fn forget(&mut self, number: usize) {
        if let Some(handled) = self.handled.remove(&number) {
            handled.span.forget();
        }
    }

    /// The span of what an event has others do, below what decided it.
    pub(crate) fn step(&mut self, traceparent: Option<&str>, step: Step<'_>) -> Option<String> {
        let mut span = self.tracer.resume(Kind::Internal, step.name, traceparent);
        if let Some(why) = step.kept {
            span.keep(why);
        }
        for (name, value) in step.attributes {
            span.set(name, value);
        }
        let traceparent = span.traceparent();
        self.steps.push(span);
        traceparent
    }

    /// The batch is committed: its spans have happened, each linked to the batch's own, and that to what they go on
    /// with. `sequences` are those of the last events that an item led to.
    pub(crate) fn committed(mut self, name: (&str, &str), sequences: &[(usize, u64)], say: impl FnOnce(&mut Span)) {
        for (number, sequence) in sequences {
            let sequence = i64::try_from(*sequence).unwrap_or(i64::MAX);
            self.say(*number, |span| span.set("event.sequence", sequence));
        }
        let handled = std::mem::take(&mut self.handled);
        let of = handled.values().filter_map(|handled| handled.of.or_else(|| handled.span.at()));
        let mut batch = self.tracer.batch(Kind::Consumer, name, of).begun_at(self.began);
        say(&mut batch);
        for Handled { mut span, .. } in handled.into_values() {
            if let Some(at) = batch.at() {
                span.link(at);
            }
        }
        self.steps.clear();
    }
}

impl Drop for Traces {
    /// What was not committed has not happened: it is begun again.
    fn drop(&mut self) {
        std::mem::take(&mut self.handled).into_values().for_each(|handled| handled.span.forget());
        std::mem::take(&mut self.steps).into_iter().for_each(Span::forget);
    }
}
