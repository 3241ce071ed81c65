//! The routes of a service, as its own OpenAPI document lists them.
//!
//! The document answers what the framework's errors leave open: the pattern that a path belongs to, the names of its
//! parameters, and where in a body the fault lies.

use std::time::Duration;

use poem::http::Method;
use serde_json::Value;

mod diagnosis;

pub(crate) use diagnosis::Fault;

/// All routes of a service.
pub(crate) struct Routes {
    routes: Vec<Route>,
    document: Value,
}

/// One path pattern.
pub(crate) struct Route {
    /// `/orders/{id}`.
    pub pattern: String,
    /// How long its handlers may take, where that is not the usual time.
    pub timeout: Option<Duration>,
    segments: Vec<Segment>,
    operations: Value,
}

/// Ordered so that among the patterns that fit a path the more literal one comes first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Segment {
    Literal(String),
    Parameter(String),
}

impl Routes {
    /// The routes of an OpenAPI document, and those paths beside it.
    pub fn new(document: Value, others: &[&str]) -> Self {
        let paths = document["paths"].as_object().into_iter().flatten();
        let mut routes = paths.map(|(path, operations)| Route::new(path, operations.clone())).collect::<Vec<_>>();
        routes.extend(others.iter().map(|path| Route::new(path, Value::Null)));
        routes.sort_by(|a, b| a.segments.cmp(&b.segments));
        Self { routes, document }
    }

    /// Gives the handlers of a pattern another time limit.
    pub fn set_timeout(&mut self, pattern: &str, timeout: Duration) -> bool {
        let found = self.routes.iter_mut().find(|route| route.pattern == pattern);
        found.map(|route| route.timeout = Some(timeout)).is_some()
    }

    /// The pattern that a path belongs to.
    pub fn find(&self, path: &str) -> Option<&Route> {
        self.routes.iter().find(|route| route.fits(path))
    }

    /// What is wrong with `body`, sent to this route: every fault that can be seen, in the order of the document.
    pub fn diagnose(&self, route: &Route, method: &Method, body: &Value) -> Vec<Fault> {
        let content = &route.operation(method)["requestBody"]["content"];
        let schema = content.as_object().and_then(|types| types.values().next()).map(|of_type| &of_type["schema"]);
        schema.map_or_else(Vec::new, |schema| diagnosis::faults(&self.document, schema, body))
    }
}

impl Route {
    fn new(pattern: &str, operations: Value) -> Self {
        let segments = pattern.trim_start_matches('/').split('/').map(|segment| {
            match segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
                Some(name) => Segment::Parameter(name.to_owned()),
                None => Segment::Literal(segment.to_owned()),
            }
        });
        Self { pattern: pattern.to_owned(), timeout: None, segments: segments.collect(), operations }
    }

    fn fits(&self, path: &str) -> bool {
        let mut given = path.trim_start_matches('/').split('/');
        let all = self.segments.iter().all(|segment| match (segment, given.next()) {
            (Segment::Literal(literal), Some(part)) => literal == part,
            (Segment::Parameter(_), Some(part)) => !part.is_empty(),
            (_, None) => false,
        });
        all && given.next().is_none()
    }

    fn operation(&self, method: &Method) -> &Value {
        &self.operations[method.as_str().to_ascii_lowercase()]
    }

    /// The name of the n-th parameter of the path; the framework numbers them.
    pub fn parameter(&self, number: usize) -> Option<&str> {
        let names = self.segments.iter().filter_map(|segment| match segment {
            Segment::Parameter(name) => Some(name.as_str()),
            Segment::Literal(_) => None,
        });
        names.into_iter().nth(number)
    }

    /// The methods that it knows, as an `Allow` header has them.
    pub fn allow(&self) -> String {
        match self.operations.as_object() {
            Some(operations) => {
                operations.keys().map(|method| method.to_ascii_uppercase()).collect::<Vec<_>>().join(", ")
            }
            None => "GET".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_are_found_by_pattern_the_literal_one_first() {
        let document = json!({ "paths": {
            "/orders": { "get": {}, "post": {} }, "/orders/{id}": { "get": {} },
            "/orders/mine": { "get": {} }, "/orders/{id}/lines/{line}": {},
        }});
        let routes = Routes::new(document, &["/health"]);
        let pattern = |path: &str| routes.find(path).map(|route| route.pattern.as_str());
        assert_eq!(pattern("/orders"), Some("/orders"));
        assert_eq!(pattern("/orders/mine"), Some("/orders/mine"));
        assert_eq!(pattern("/orders/7"), Some("/orders/{id}"));
        assert_eq!(pattern("/health"), Some("/health"));
        for unknown in ["/", "/orders/", "/orders/7/lines", "/health/x", "/wp-admin"] {
            assert_eq!(pattern(unknown), None, "{unknown}");
        }
        let route = routes.find("/orders/7/lines/8").unwrap();
        assert_eq!((route.parameter(0), route.parameter(1), route.parameter(2)), (Some("id"), Some("line"), None));
        assert_eq!(routes.find("/orders").unwrap().allow(), "GET, POST");
    }
}
