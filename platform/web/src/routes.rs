//! The routes of a service, as its own OpenAPI document lists them.
//!
//! The document answers what the framework's errors leave open: the pattern that a path belongs to, the names of its
//! parameters, and where in a body the fault lies.

use std::time::Duration;

use poem::http::{HeaderValue, Method};
use serde_json::Value;

mod diagnosis;

pub(crate) use diagnosis::Fault;

/// What a service answers beside its API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Own {
    Ready,
    Live,
    Metrics,
    Docs,
    Document,
}

impl Own {
    /// Each with its path.
    pub const ALL: [(&'static str, Self); 6] = [
        ("/health", Self::Ready),
        ("/health/live", Self::Live),
        ("/health/ready", Self::Ready),
        ("/metrics", Self::Metrics),
        ("/docs", Self::Docs),
        ("/openapi.json", Self::Document),
    ];

    /// Whether it is answered whatever else is going on: by it others learn how things stand.
    pub fn always(self) -> bool {
        matches!(self, Self::Ready | Self::Live | Self::Metrics)
    }
}

/// All routes of a service.
pub(crate) struct Routes {
    routes: Vec<Route>,
    tree: matchit::Router<usize>,
    document: Value,
}

/// One path pattern.
pub(crate) struct Route {
    /// `/orders/{id}`.
    pub pattern: String,
    /// Its place among the routes.
    pub index: usize,
    /// What answers it, where that is not the API.
    pub own: Option<Own>,
    /// How long its handlers may take, where that is not the usual time.
    pub timeout: Option<Duration>,
    /// How long its bodies may be, where that is not the usual length.
    pub body_bytes_max: Option<usize>,
    /// Whether it tries passwords or makes accounts.
    pub guarded: bool,
    /// The methods that it knows, as an `Allow` header has them.
    pub allow: HeaderValue,
    parameters: Vec<String>,
    operations: Vec<Operation>,
}

/// One method of a route.
pub(crate) struct Operation {
    pub method: Method,
    /// The media types that it answers in; empty where nothing is said of them.
    pub produces: Vec<String>,
    description: Value,
}

impl Routes {
    /// The routes of an OpenAPI document, and those that every service has.
    ///
    /// # Panics
    /// Where two patterns are the same: an error of the program.
    pub fn new(document: Value) -> Self {
        let paths = document["paths"].as_object().into_iter().flatten();
        let of_api = paths.map(|(path, operations)| Route::new(path, operations, None));
        let own = Own::ALL.into_iter().map(|(path, own)| Route::new(path, &Value::Null, Some(own)));
        let mut routes = of_api.chain(own).collect::<Vec<_>>();
        let mut tree = matchit::Router::new();
        for (index, route) in routes.iter_mut().enumerate() {
            route.index = index;
            let inserted = tree.insert(numbered(&route.pattern), index);
            assert!(inserted.is_ok(), "the route {} is there twice", route.pattern);
        }
        Self { routes, tree, document }
    }

    /// All of them, by their index.
    pub fn all(&self) -> &[Route] {
        &self.routes
    }

    /// The route of a pattern, to be changed.
    ///
    /// # Panics
    /// Where there is none: an error of the program.
    pub fn of_pattern(&mut self, pattern: &str) -> &mut Route {
        let found = self.routes.iter_mut().find(|route| route.pattern == pattern);
        found.unwrap_or_else(|| panic!("there is no route {pattern}"))
    }

    /// The route that a path belongs to; the more literal of two that fit.
    pub fn find(&self, path: &str) -> Option<&Route> {
        self.tree.at(path).ok().map(|found| &self.routes[*found.value])
    }

    /// What is wrong with `body`, sent to this route: every fault that can be seen, in the order of the document.
    pub fn diagnose(&self, route: &Route, method: &Method, body: &Value) -> Vec<Fault> {
        let Some(operation) = route.operation(method) else { return Vec::new() };
        let content = &operation.description["requestBody"]["content"];
        let schema = content.as_object().and_then(|types| types.values().next()).map(|of_type| &of_type["schema"]);
        schema.map_or_else(Vec::new, |schema| diagnosis::faults(&self.document, schema, body))
    }
}

impl Route {
    fn new(pattern: &str, operations: &Value, own: Option<Own>) -> Self {
        let operations = match own {
            Some(_) => vec![Operation { method: Method::GET, produces: Vec::new(), description: Value::Null }],
            None => operations.as_object().into_iter().flatten().filter_map(Operation::new).collect(),
        };
        let parameters = pattern.split('/').filter_map(parameter).map(str::to_owned).collect();
        let allow = allow(&operations);
        Self {
            pattern: pattern.to_owned(),
            index: 0,
            own,
            timeout: None,
            body_bytes_max: None,
            guarded: false,
            allow,
            parameters,
            operations,
        }
    }

    /// What it does for a method; what can be read can also be asked for its head alone.
    pub fn operation(&self, method: &Method) -> Option<&Operation> {
        let of = |method: &Method| self.operations.iter().find(|operation| operation.method == *method);
        of(method).or_else(|| of(&Method::GET).filter(|_| method == Method::HEAD))
    }

    /// The name of the n-th parameter of the path; the framework numbers them.
    pub fn parameter(&self, number: usize) -> Option<&str> {
        self.parameters.get(number).map(String::as_str)
    }
}

impl Operation {
    fn new((method, description): (&String, &Value)) -> Option<Self> {
        let method = Method::from_bytes(method.to_ascii_uppercase().as_bytes()).ok()?;
        let answers = description["responses"].as_object().into_iter().flatten();
        let good = answers.filter(|(status, _)| status.starts_with('2'));
        let types = good.filter_map(|(_, answer)| answer["content"].as_object()).flatten();
        let mut produces = types.map(|(media_type, _)| essence(media_type).to_owned()).collect::<Vec<_>>();
        produces.dedup();
        Some(Self { method, produces, description: description.clone() })
    }
}

/// A media type without its parameters.
pub(crate) fn essence(media_type: &str) -> &str {
    media_type.split(';').next().unwrap_or_default().trim()
}

fn allow(operations: &[Operation]) -> HeaderValue {
    let mut methods = operations.iter().map(|operation| operation.method.as_str()).collect::<Vec<_>>();
    if methods.contains(&"GET") && !methods.contains(&"HEAD") {
        methods.push("HEAD");
    }
    methods.push("OPTIONS");
    methods.sort_unstable();
    HeaderValue::try_from(methods.join(", ")).unwrap_or(HeaderValue::from_static("OPTIONS"))
}

/// `{id}` is the parameter `id`.
fn parameter(segment: &str) -> Option<&str> {
    segment.strip_prefix('{')?.strip_suffix('}')
}

/// A pattern whose parameters are numbered: the tree wants those of two patterns at one place to have one name.
fn numbered(pattern: &str) -> String {
    let segments = pattern.split('/').enumerate().map(|(number, segment)| match parameter(segment) {
        Some(_) => format!("{{p{number}}}"),
        None => segment.to_owned(),
    });
    segments.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_are_found_by_pattern_the_literal_one_first() {
        let document = json!({ "paths": {
            "/orders": { "get": {}, "post": {} }, "/orders/{id}": { "get": {} },
            "/orders/mine": { "get": {} }, "/orders/{order}/lines/{line}": {},
        }});
        let routes = Routes::new(document);
        let pattern = |path: &str| routes.find(path).map(|route| route.pattern.as_str());
        assert_eq!(pattern("/orders"), Some("/orders"));
        assert_eq!(pattern("/orders/mine"), Some("/orders/mine"));
        assert_eq!(pattern("/orders/7"), Some("/orders/{id}"));
        assert_eq!(pattern("/health"), Some("/health"));
        for unknown in ["/", "/orders/", "/orders/7/lines", "/health/x", "/wp-admin"] {
            assert_eq!(pattern(unknown), None, "{unknown}");
        }
        let route = routes.find("/orders/7/lines/8").unwrap();
        assert_eq!((route.parameter(0), route.parameter(1), route.parameter(2)), (Some("order"), Some("line"), None));
        assert_eq!(routes.find("/orders").unwrap().allow, "GET, HEAD, OPTIONS, POST");
    }
}
