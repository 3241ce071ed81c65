//! What the edges count.

use telemetry::metrics::{Counters, Family, Gauges, Histograms, Label, SECONDS, SERVICE};

const METHOD: Label = Label::open("method", "GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS, OTHER");
const ENDPOINT: Label = Label::open("endpoint", "the patterns of the service's document, and `unmatched`");
const RPC_SERVICE: Label = Label::open("rpc_service", "the services of the descriptors, and `unmatched`");
const RPC_METHOD: Label = Label::open("rpc_method", "their methods, and `unmatched`");

/// HTTP requests that were answered.
pub static HTTP_REQUESTS: Counters = Counters::new(
    "http_requests_total",
    "HTTP requests answered.",
    &[SERVICE, METHOD, ENDPOINT, Label::open("status", "the statuses that are answered")],
);
/// How long they took.
pub static HTTP_SECONDS: Histograms = Histograms::new(
    "http_request_duration_seconds",
    "Time from a request's head to the head of its answer; long polls wait as long as they ask for.",
    &[SERVICE, METHOD, ENDPOINT],
    SECONDS,
);
pub(crate) static HTTP_IN_FLIGHT: Gauges =
    Gauges::new("http_requests_in_flight", "HTTP requests that are not answered yet.", &[SERVICE]);
pub(crate) static WAITING: Gauges = Gauges::new(
    "http_requests_waiting",
    "Requests that wait for their turn, because as many as may be are handled (gRPC: `service` is `grpc`).",
    &[SERVICE],
);
pub(crate) static SHED: Counters = Counters::new(
    "http_requests_shed_total",
    "Requests turned away because more was asked for than could be done in time (gRPC: `service` is `grpc`).",
    &[SERVICE],
);
pub(crate) static GRPC_REQUESTS: Counters = Counters::new(
    "grpc_requests_total",
    "gRPC calls answered.",
    &[RPC_SERVICE, RPC_METHOD, Label::open("code", "the codes of gRPC, such as `OK` and `NOT_FOUND`")],
);
pub(crate) static GRPC_SECONDS: Histograms = Histograms::new(
    "grpc_request_duration_seconds",
    "Time from a call's head to the end of its answer.",
    &[RPC_SERVICE, RPC_METHOD],
    SECONDS,
);

/// All of them, for `docs/metrics.md`.
pub const FAMILIES: &[&Family] = &[
    HTTP_REQUESTS.family(),
    HTTP_SECONDS.family(),
    HTTP_IN_FLIGHT.family(),
    WAITING.family(),
    SHED.family(),
    GRPC_REQUESTS.family(),
    GRPC_SECONDS.family(),
];
