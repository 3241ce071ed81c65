use opentelemetry::trace::Status;
use opentelemetry_sdk::trace::{Sampler, SpanData};
use tokio::sync::mpsc;

use super::pipeline::Pipeline;
use super::sampling::Sampling;
use super::tracer::Role;
use super::*;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const UNRECORDED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

struct Ended(mpsc::Receiver<(&'static Role, SpanData)>);

impl Ended {
    fn all(&mut self) -> Vec<SpanData> {
        std::iter::from_fn(|| self.0.try_recv().ok()).map(|(_, span)| span).collect()
    }
}

fn tracer() -> (Tracer, Ended) {
    let (queue, ended) = mpsc::channel(16);
    let sampling = Sampling::by(Sampler::ParentBased(Box::new(Sampler::AlwaysOn)));
    (Tracer::on(Pipeline::into(sampling, queue)), Ended(ended))
}

#[test]
fn a_span_goes_on_with_the_trace_that_it_was_given() {
    let (tracer, mut ended) = tracer();
    let mut span = tracer.resume(Kind::Consumer, "process", Some(PARENT));
    span.set("messaging.operation.name", "process");
    let own = span.traceparent().unwrap();
    assert!(own.starts_with("00-0af7651916cd43dd8448eb211c80319c-") && own.ends_with("-01"), "{own}");
    assert_ne!(own, PARENT);
    drop(span);
    let [span] = ended.all().try_into().unwrap();
    assert_eq!(span.parent_span_id.to_string(), "b7ad6b7169203331");
    assert!(span.parent_span_is_remote);
    assert_eq!((span.name.as_ref(), span.attributes.len()), ("process", 1));
}

#[test]
fn what_is_malformed_begins_a_trace() {
    let (tracer, mut ended) = tracer();
    drop(tracer.resume(Kind::Server, "GET /", Some("nonsense")));
    let [span] = ended.all().try_into().unwrap();
    assert_eq!(span.parent_span_id, opentelemetry::trace::SpanId::INVALID);
}

#[test]
fn what_is_done_again_is_the_same_span() {
    let (tracer, mut ended) = tracer();
    drop(tracer.resume_as(7, Kind::Producer, "publish", Some(PARENT)));
    drop(tracer.resume_as(7, Kind::Producer, "publish", Some(PARENT)));
    let [first, again] = ended.all().try_into().unwrap();
    assert_eq!(first.span_context.span_id(), again.span_context.span_id());
}

#[test]
fn an_unrecorded_trace_is_carried_on_and_shows_only_what_fails() {
    let (tracer, mut ended) = tracer();
    let quiet = tracer.resume(Kind::Server, "GET /", Some(UNRECORDED));
    assert!(!quiet.is_recorded());
    assert!(quiet.traceparent().unwrap().ends_with("-00"));
    drop(quiet);
    assert!(ended.all().is_empty());

    let mut failed = tracer.resume(Kind::Server, "GET /", Some(UNRECORDED));
    failed.fail("the store is away");
    assert!(failed.traceparent().unwrap().ends_with("-01"), "what follows from it is recorded as well");
    drop(failed);
    let [span] = ended.all().try_into().unwrap();
    assert_eq!(span.status, Status::error("the store is away"));
    assert_eq!(span.span_context.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(span.parent_span_id, opentelemetry::trace::SpanId::INVALID, "nobody would find its parent");
}

#[test]
fn a_batch_is_a_trace_of_its_own_linked_to_what_it_is_made_of() {
    let (tracer, mut ended) = tracer();
    let (one, two) = (SpanRef::parse(PARENT).unwrap(), SpanRef::parse(UNRECORDED).unwrap());
    drop(tracer.batch(Kind::Client, "commit", [one, two]));
    let [span] = ended.all().try_into().unwrap();
    assert_ne!(span.span_context.trace_id(), one.trace_id);
    assert_eq!(span.links.len(), 1);
    assert_eq!(span.links[0].span_context.span_id(), one.span_id);
    drop(tracer.batch(Kind::Client, "commit", [two]));
    assert!(ended.all().is_empty(), "of nothing recorded there is nothing to tell");
}

#[test]
fn what_is_forgotten_has_not_happened() {
    let (tracer, mut ended) = tracer();
    tracer.start(Kind::Internal, "try", None).forget();
    assert!(ended.all().is_empty());
    assert!(Span::none().at().is_none());
    assert!(Tracer::off().start(Kind::Internal, "nothing", None).at().is_none());
}

#[test]
fn a_full_queue_keeps_nobody_waiting() {
    let (queue, mut ended) = mpsc::channel(1);
    let sampling = Sampling::by(Sampler::AlwaysOn);
    let tracer = Tracer::on(Pipeline::into(sampling, queue));
    let before = super::pipeline::DROPPED.with(&["queue_full"]).get();
    for _ in 0..3 {
        drop(tracer.start(Kind::Internal, "work", None));
    }
    assert!(ended.try_recv().is_ok() && ended.try_recv().is_err());
    assert!(super::pipeline::DROPPED.with(&["queue_full"]).get() >= before + 2);
}
