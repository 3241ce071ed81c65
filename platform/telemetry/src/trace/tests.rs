use std::time::{Duration, SystemTime};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::Span as Told;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::Sampler;
use prost::Message;
use uuid::Uuid;

use super::otlp::Origin;
use super::pipeline::Pipeline;
use super::sampling::Sampling;
use super::*;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const UNRECORDED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

/// What the collector would be told, as the messages of OTLP that others have made of its definition.
struct Ended(&'static Pipeline);

impl Ended {
    fn requests(&self) -> Vec<ExportTraceServiceRequest> {
        let resource = Resource::builder_empty().with_service_name("test").build();
        let origin = Origin::of(&resource, "1.2.3");
        let waiting = self.0.role("test").pending.lock().take();
        let request = |bytes: Vec<u8>| [origin.head(bytes.len()), bytes].concat();
        let read = |bytes: Vec<u8>| ExportTraceServiceRequest::decode(request(bytes).as_slice()).unwrap();
        waiting.into_iter().map(|spans| read(spans.bytes)).collect()
    }

    fn all(&self) -> Vec<Told> {
        let resources = self.requests().into_iter().flat_map(|request| request.resource_spans);
        resources.flat_map(|of| of.scope_spans).flat_map(|of| of.spans).collect()
    }
}

fn tracer_with(queue_spans_max: usize, batch_spans_max: usize) -> (Tracer, Ended) {
    let sampling = Sampling::by(Sampler::ParentBased(Box::new(Sampler::AlwaysOn)));
    let (pipeline, _) = Pipeline::new(sampling, queue_spans_max, batch_spans_max);
    (Tracer::of_role(pipeline.role("test")), Ended(pipeline))
}

fn tracer() -> (Tracer, Ended) {
    tracer_with(1_000, 1_000)
}

fn said<'a>(attributes: &'a [KeyValue], name: &str) -> &'a Any {
    let mut of_name = attributes.iter().filter(|attribute| attribute.key == name);
    let (Some(attribute), None) = (of_name.next(), of_name.next()) else { panic!("{name} is not said once") };
    attribute.value.as_ref().unwrap().value.as_ref().unwrap()
}

#[test]
fn a_span_goes_on_with_the_trace_that_it_was_given() {
    let (tracer, ended) = tracer();
    let mut span = tracer.resume(Kind::Consumer, "process", Some(PARENT));
    span.set("messaging.operation.name", "process");
    let own = span.traceparent().unwrap();
    assert!(own.starts_with("00-0af7651916cd43dd8448eb211c80319c-") && own.ends_with("-01"), "{own}");
    assert_ne!(own, PARENT);
    drop(span);
    let [span] = ended.all().try_into().unwrap();
    assert_eq!(span.parent_span_id, 0xb7ad_6b71_6920_3331_u64.to_be_bytes());
    assert_eq!(span.trace_id, 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128.to_be_bytes());
    assert!(own.contains(&span.span_id.iter().map(|byte| format!("{byte:02x}")).collect::<String>()));
    // Sampled, the parent is known to be remote or not, and is remote.
    assert_eq!(span.flags, 0x301);
    assert_eq!((span.name.as_str(), span.attributes.len()), ("process", 1));
}

#[test]
fn everything_that_a_span_says_is_told() {
    let (tracer, ended) = tracer();
    let began = SystemTime::UNIX_EPOCH + Duration::from_nanos(1_700_000_000_123_456_789);
    let id = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_00ff);
    let (linked, quiet) = (SpanRef::parse(PARENT).unwrap(), SpanRef::parse(UNRECORDED).unwrap());
    let mut span = tracer.start(Kind::Producer, ("publish", "order_events"), None).begun_at(began);
    span.set("text", "Öl");
    span.set("owned", "text".to_owned());
    span.set("empty", "");
    span.set("id", id);
    span.set("zero", 0);
    span.set("negative", -1);
    span.set("large", i64::MAX);
    span.set("number", 0.25);
    span.set("yes", true);
    span.set("no", false);
    span.link(linked);
    span.set("after", "the link");
    span.link(quiet);
    span.fail("the broker is away");
    drop(span);

    let [span] = ended.all().try_into().unwrap();
    assert_eq!(span.name, "publish order_events");
    assert_eq!(span.kind, SpanKind::Producer as i32);
    assert_eq!(span.start_time_unix_nano, 1_700_000_000_123_456_789);
    assert!(span.end_time_unix_nano > span.start_time_unix_nano);
    assert!(span.parent_span_id.is_empty());
    assert_eq!(span.flags, 0x101);
    let text = |text: &str| Any::StringValue(text.to_owned());
    for (name, value) in [
        ("text", text("Öl")),
        ("owned", text("text")),
        ("empty", text("")),
        ("id", text("01900000-0000-7000-8000-0000000000ff")),
        ("zero", Any::IntValue(0)),
        ("negative", Any::IntValue(-1)),
        ("large", Any::IntValue(i64::MAX)),
        ("number", Any::DoubleValue(0.25)),
        ("yes", Any::BoolValue(true)),
        ("no", Any::BoolValue(false)),
        ("after", text("the link")),
    ] {
        assert_eq!(*said(&span.attributes, name), value, "{name}");
    }
    assert_eq!(span.attributes.len(), 11);
    let flags: Vec<u32> = span.links.iter().map(|link| link.flags).collect();
    assert_eq!(flags, [0x301, 0x300]);
    assert!(span.links.iter().all(|link| link.trace_id == linked.trace_id.to_bytes()));
    assert!(span.links.iter().all(|link| link.span_id == linked.span_id.to_bytes()));
    let status = span.status.unwrap();
    assert_eq!((status.code, status.message.as_str()), (StatusCode::Error as i32, "the broker is away"));
}

#[test]
fn each_kind_is_told_as_what_it_is() {
    let (tracer, ended) = tracer();
    let kinds = [
        (Kind::Internal, SpanKind::Internal),
        (Kind::Server, SpanKind::Server),
        (Kind::Client, SpanKind::Client),
        (Kind::Producer, SpanKind::Producer),
        (Kind::Consumer, SpanKind::Consumer),
    ];
    kinds.iter().for_each(|(kind, _)| drop(tracer.start(*kind, "work", None)));
    let told: Vec<i32> = ended.all().iter().map(|span| span.kind).collect();
    assert_eq!(told, kinds.map(|(_, kind)| kind as i32));
    let (tracer, ended) = self::tracer();
    drop(tracer.start(Kind::Internal, "work", None));
    assert!(ended.all()[0].status.is_none(), "what went well has no status");
}

#[test]
fn long_texts_end_between_letters() {
    let (tracer, ended) = tracer();
    let mut span = tracer.start(Kind::Internal, "work", None);
    span.set("long", format!("x{}", "ö".repeat(4_000)));
    span.set("short", "ö");
    span.fail("ß".repeat(10_000));
    drop(span);
    let [span] = ended.all().try_into().unwrap();
    let Any::StringValue(long) = said(&span.attributes, "long") else { panic!("no text") };
    assert_eq!(long.len(), 4_095);
    assert_eq!(*said(&span.attributes, "short"), Any::StringValue("ö".to_owned()));
    assert_eq!(span.status.unwrap().message.len(), 4_096);
}

#[test]
fn requests_name_their_role_and_hold_so_many_spans() {
    let (tracer, ended) = tracer_with(100, 3);
    (0..8).for_each(|_| drop(tracer.start(Kind::Internal, "work", None)));
    let requests = ended.requests();
    let counts: Vec<usize> =
        requests.iter().map(|request| request.resource_spans[0].scope_spans[0].spans.len()).collect();
    assert_eq!(counts, [3, 3, 2]);
    for request in requests {
        let [of] = request.resource_spans.try_into().unwrap();
        let resource = of.resource.unwrap();
        assert_eq!(*said(&resource.attributes, "service.name"), Any::StringValue("test".to_owned()));
        let scope = of.scope_spans[0].scope.as_ref().unwrap();
        assert_eq!((scope.name.as_str(), scope.version.as_str()), ("sagashop", "1.2.3"));
    }
    assert!(ended.requests().is_empty());
}

#[test]
fn a_request_stays_below_what_collectors_take() {
    let (tracer, ended) = tracer();
    for _ in 0..900 {
        let mut span = tracer.start(Kind::Internal, "work", None);
        span.set("long", "x".repeat(4_000));
    }
    let sizes: Vec<usize> = ended.requests().iter().map(Message::encoded_len).collect();
    assert_eq!(sizes.len(), 4);
    assert!(sizes.iter().all(|size| *size < (1 << 20) + 8_192), "{sizes:?}");
}

#[test]
fn what_is_malformed_begins_a_trace() {
    let (tracer, ended) = tracer();
    drop(tracer.resume(Kind::Server, "GET /", Some("nonsense")));
    let [span] = ended.all().try_into().unwrap();
    assert!(span.parent_span_id.is_empty());
}

#[test]
fn what_is_done_again_is_the_same_span() {
    let (tracer, ended) = tracer();
    drop(tracer.resume_as(7, Kind::Producer, "publish", Some(PARENT)));
    drop(tracer.resume_as(7, Kind::Producer, "publish", Some(PARENT)));
    let [first, again] = ended.all().try_into().unwrap();
    assert_eq!(first.span_id, again.span_id);
    assert_eq!(first.span_id, 7_u64.to_be_bytes());
}

#[test]
fn an_unrecorded_trace_is_carried_on_and_shows_only_what_fails() {
    let (tracer, ended) = tracer();
    let mut quiet = tracer.resume(Kind::Server, "GET /", Some(UNRECORDED));
    quiet.set("http.route", "/");
    assert!(!quiet.is_recorded());
    assert!(quiet.traceparent().unwrap().ends_with("-00"));
    drop(quiet);
    assert!(ended.all().is_empty());

    let mut failed = tracer.resume(Kind::Server, "GET /", Some(UNRECORDED));
    failed.fail("the store is away");
    assert!(failed.traceparent().unwrap().ends_with("-01"), "what follows from it is recorded as well");
    drop(failed);
    let [span] = ended.all().try_into().unwrap();
    assert_eq!(span.status.as_ref().unwrap().message, "the store is away");
    assert_eq!(*said(&span.attributes, "sagashop.kept"), Any::StringValue("error".to_owned()));
    assert_eq!(span.name, "GET /");
    assert_eq!(span.trace_id, SpanRef::parse(PARENT).unwrap().trace_id.to_bytes());
    assert!(span.parent_span_id.is_empty(), "nobody would find its parent");
}

#[test]
fn a_batch_is_a_trace_of_its_own_linked_to_what_it_is_made_of() {
    let (tracer, ended) = tracer();
    let (one, two) = (SpanRef::parse(PARENT).unwrap(), SpanRef::parse(UNRECORDED).unwrap());
    drop(tracer.batch(Kind::Client, "commit", [one, two]));
    let [span] = ended.all().try_into().unwrap();
    assert_ne!(span.trace_id, one.trace_id.to_bytes());
    assert_eq!(span.links.len(), 1);
    assert_eq!(span.links[0].span_id, one.span_id.to_bytes());
    drop(tracer.batch(Kind::Client, "commit", [two]));
    assert!(ended.all().is_empty(), "of nothing recorded there is nothing to tell");

    let mut large = tracer.batch(Kind::Client, "commit", std::iter::repeat_n(one, 1_000));
    large.link(one);
    drop(large);
    assert_eq!(ended.all()[0].links.len(), 128);
}

#[test]
fn what_is_forgotten_has_not_happened() {
    let (tracer, ended) = tracer();
    tracer.start(Kind::Internal, "try", None).forget();
    assert!(ended.all().is_empty());
    assert!(Span::none().at().is_none());
    assert!(Tracer::off().start(Kind::Internal, "nothing", None).at().is_none());
}

#[test]
fn where_there_is_no_room_nobody_waits() {
    let (tracer, ended) = tracer_with(2, 100);
    let before = pipeline::DROPPED.with(&["queue_full"]).get();
    for _ in 0..5 {
        drop(tracer.start(Kind::Internal, "work", None));
    }
    assert_eq!(ended.all().len(), 2);
    assert!(pipeline::DROPPED.with(&["queue_full"]).get() >= before + 3);
}
