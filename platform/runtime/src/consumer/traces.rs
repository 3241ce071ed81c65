//! What the spans of messages say.

use broker::{Stored, TopicPartition};
use telemetry::{Kind, Span};

use super::Consumer;
use crate::consumer::Handler;
use crate::message::Message;
use crate::traces::{Traces, partition_id};

impl<H: Handler> Consumer<H> {
    /// Begins the span of a message's handling, and has the message go on from it.
    pub(super) fn trace(
        &self,
        traces: &mut Traces,
        number: usize,
        (partition, stored): (&TopicPartition, &Stored),
        message: &mut Message,
    ) {
        if !traces.are_on() {
            return;
        }
        let name = ("process", &*partition.topic);
        let (id, message_type) = (message.id, &message.message_type);
        let say = |span: &mut Span| {
            if span.is_recorded() {
                self.place(span, partition, stored);
                span.set("messaging.message.id", id);
                span.set("cloudevents.event_type", message_type);
                span.set("aggregate.type", <H::Aggregate as cqrs_es::Aggregate>::TYPE);
            }
        };
        message.traceparent = traces.handle(number, Kind::Consumer, name, message.traceparent.as_deref(), say);
    }

    /// Tells of a record that is put aside, in the trace that it came with.
    pub(super) fn trace_refusal(
        &self,
        traces: &mut Traces,
        number: usize,
        (partition, stored): (&TopicPartition, &Stored),
        reason: &str,
    ) {
        if !traces.are_on() {
            return;
        }
        traces.forget(number);
        let traceparent = stored.record.headers.get("traceparent").and_then(|text| std::str::from_utf8(text).ok());
        traces.handle(number, Kind::Consumer, ("process", &*partition.topic), traceparent, |span| {
            span.fail(reason.to_owned());
            self.place(span, partition, stored);
        });
    }

    fn place(&self, span: &mut Span, partition: &TopicPartition, stored: &Stored) {
        span.set("messaging.system", self.broker.system());
        span.set("messaging.operation.name", "process");
        span.set("messaging.operation.type", "process");
        span.set("messaging.consumer.group.name", self.options.name);
        span.set("messaging.destination.name", &*partition.topic);
        span.set("messaging.destination.partition.id", partition_id(partition.partition));
        span.set("messaging.kafka.offset", stored.offset);
    }

    /// The name of a batch's span, and what it says.
    pub(super) fn tell(&self, traces: Traces, sequences: &[(usize, u64)], messages: usize) {
        if !traces.are_on() {
            return;
        }
        traces.committed(("process batch", self.options.name), sequences, |span| {
            span.set("messaging.system", self.broker.system());
            span.set("messaging.operation.name", "process");
            span.set("messaging.operation.type", "process");
            span.set("messaging.consumer.group.name", self.options.name);
            span.set("messaging.batch.message_count", i64::try_from(messages).unwrap_or(i64::MAX));
            span.set("db.system.name", "postgresql");
        });
    }
}
