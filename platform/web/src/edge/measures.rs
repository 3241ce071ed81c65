//! Requests counted and timed by route pattern: every label is one of a bounded set, and each is looked up once.

use std::sync::OnceLock;
use std::time::Duration;

use poem::http::{Method, StatusCode};
use telemetry::metrics::{self, Histogram, IntCounter, IntGauge};

use crate::measures::{HTTP_IN_FLIGHT, HTTP_REQUESTS, HTTP_SECONDS};
use crate::routes::Routes;

/// How paths that match no route are counted: together.
pub(super) const UNMATCHED: &str = "unmatched";
/// Methods that no route knows count together, as the last of these.
const METHODS: [&str; 8] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "OTHER"];
/// The statuses that are answered often enough to be kept at hand.
const STATUSES: [u16; 24] = [
    200, 201, 202, 204, 304, 400, 401, 403, 404, 405, 406, 408, 409, 410, 412, 413, 415, 422, 429, 431, 500, 502, 503,
    504,
];

pub(super) struct Measures {
    service: &'static str,
    in_flight: IntGauge,
    patterns: Vec<String>,
    cells: Vec<[OnceLock<Box<Cell>>; METHODS.len()]>,
}

/// The metrics of one method of one route.
struct Cell {
    seconds: Histogram,
    by_status: [OnceLock<IntCounter>; STATUSES.len()],
}

impl Measures {
    pub fn new(service: &'static str, routes: &Routes) -> Self {
        let service = metrics::role(service);
        let mut patterns = routes.all().iter().map(|route| route.pattern.clone()).collect::<Vec<_>>();
        patterns.push(UNMATCHED.to_owned());
        let cells = patterns.iter().map(|_| std::array::from_fn(|_| OnceLock::new())).collect();
        Self { service, in_flight: HTTP_IN_FLIGHT.with(&[service]), patterns, cells }
    }

    /// A request is not answered until what is returned is dropped.
    pub fn begin(&self) -> InFlight<'_> {
        self.in_flight.inc();
        InFlight(&self.in_flight)
    }

    /// Counts a request; `route` is its index, or none where no route fits.
    pub fn record(&self, method: usize, route: Option<usize>, status: StatusCode, took: Duration) {
        let route = route.unwrap_or(self.cells.len() - 1);
        let endpoint = self.patterns[route].as_str();
        let cell = self.cells[route][method].get_or_init(|| {
            let seconds = HTTP_SECONDS.with(&[self.service, METHODS[method], endpoint]);
            Box::new(Cell { seconds, by_status: std::array::from_fn(|_| OnceLock::new()) })
        });
        cell.seconds.observe(took.as_secs_f64());
        let counter = || HTTP_REQUESTS.with(&[self.service, METHODS[method], endpoint, status.as_str()]);
        match STATUSES.binary_search(&status.as_u16()) {
            Ok(place) => cell.by_status[place].get_or_init(counter).inc(),
            Err(_) => counter().inc(),
        }
    }
}

/// A request that is not answered yet.
pub(super) struct InFlight<'a>(&'a IntGauge);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A method's place among those that are told apart.
pub(super) fn place(method: &Method) -> usize {
    let last = METHODS.len() - 1;
    METHODS[..last].iter().position(|known| *known == method.as_str()).unwrap_or(last)
}

/// The label of a method's place.
pub(super) fn label(place: usize) -> &'static str {
    METHODS[place]
}
