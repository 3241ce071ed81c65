//! The spans of what is published.

use event_store::RecordedEvent;
use telemetry::{Kind, Span, Tracer};

use crate::message::{Outgoing, derived_id};
use crate::traces::partition_id;

/// One round's spans: a producer a message, and the batch that they were sent in.
pub(super) struct Publishing {
    tracer: Tracer,
    system: &'static str,
    messages: Vec<Span>,
    batch: Option<std::time::SystemTime>,
}

impl Publishing {
    pub(super) fn begin(tracer: Tracer, system: &'static str) -> Self {
        let batch = tracer.is_on().then(std::time::SystemTime::now);
        Self { tracer, system, messages: Vec::new(), batch }
    }

    /// Begins a message's span: what consumers do is below it. Its id follows from the message, so that one that is
    /// published again, after a crash, has the same producer.
    pub(super) fn message(
        &mut self,
        event: &RecordedEvent,
        index: usize,
        outgoing: &Outgoing,
        partition: i32,
    ) -> Option<String> {
        if !self.tracer.is_on() {
            return None;
        }
        let derived = derived_id(event.metadata.event_id, index);
        let (_, id) = derived.as_u64_pair();
        let name = ("publish", outgoing.topic);
        let mut span = self.tracer.resume_as(id, Kind::Producer, name, event.metadata.traceparent.as_deref());
        if span.is_recorded() {
            span.set("messaging.system", self.system);
            span.set("messaging.operation.name", "publish");
            span.set("messaging.operation.type", "send");
            span.set("messaging.destination.name", outgoing.topic);
            span.set("messaging.destination.partition.id", partition_id(partition));
            span.set("messaging.message.id", outgoing.id.unwrap_or(derived));
            span.set("messaging.kafka.message.key", &outgoing.key);
            span.set("cloudevents.event_type", outgoing.message_type);
            span.set("aggregate.type", &event.aggregate_type);
            span.set("event.sequence", i64::try_from(event.sequence).unwrap_or(i64::MAX));
        }
        let traceparent = span.traceparent();
        self.messages.push(span);
        traceparent
    }

    /// The broker has them.
    pub(super) fn published(mut self) {
        let Some(began) = self.batch else { return };
        let messages = std::mem::take(&mut self.messages);
        let of = messages.iter().filter_map(Span::at);
        let mut batch = self.tracer.batch(Kind::Client, "publish batch", of).begun_at(began);
        batch.set("messaging.system", self.system);
        batch.set("messaging.operation.name", "publish");
        batch.set("messaging.operation.type", "send");
        batch.set("messaging.batch.message_count", i64::try_from(messages.len()).unwrap_or(i64::MAX));
        for mut span in messages {
            if let Some(at) = batch.at() {
                span.link(at);
            }
        }
    }
}

impl Drop for Publishing {
    /// What the broker did not take is tried again.
    fn drop(&mut self) {
        std::mem::take(&mut self.messages).into_iter().for_each(Span::forget);
    }
}
